"""What a verb writes where its user says: what stands there is not lost in silence, and what is wrong is named."""

import errno
import json

import pytest
from tests.runs import small

import bertsmith
from bertsmith import files
from bertsmith.cli import run as command
from bertsmith.downstream import demo
from bertsmith.errors import InputError, ResourceError

ROWS = {"text": ["one two", "three four"] * 4, "label": ["a", "b"] * 4}


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory):
    """A fine-tuning of two seeds."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "rows.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(*ROWS.values(), strict=True))
    )
    dev = {"text": ["five", "six"], "label": ["a", "b"]}
    options = {"task": "classify", "dev": dev, "steps": 1, "seeds": 2, "allow_unknown": True, "threads": 1}
    bertsmith.finetune(pretrained, train=folder / "rows.jsonl", out=folder / "run", **options)
    return folder / "run"


@pytest.mark.parametrize("verb", ["predict", "report"])
def test_a_file_is_not_written_into_a_folder_that_is_not_there_or_is_ours(verb, tuned, short, tmp_path):
    def write(out):
        return bertsmith.predict(tuned, ["a text"], out) if verb == "predict" else bertsmith.report(tuned, out)

    (tmp_path / "folder").mkdir()
    for out, says in {
        tmp_path / "nodir" / "x": rf"x: there is no folder {tmp_path}/nodir; make it first$",
        tmp_path / "folder": rf"folder: out is a folder; name a file, such as {tmp_path}/folder/",
        short.path: "out is a store, run or export; choose another place$",
        short.path / "x": "out lies in .*, a store, run or export; choose another place$",
        tuned / "seed-0" / "steps" / "x": "out lies in .*seed-0, a store, run or export",
        "/dev/null": "out is not a plain file",
    }.items():
        with pytest.raises(InputError, match=says):
            write(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_predict_never_replaces_what_it_reads_and_says_what_it_replaced(tuned, tmp_path, capsys):
    given, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    given.write_text('{"text": "one"}\n')
    (tmp_path / "link").symlink_to(given)
    for same in (given, tmp_path / "link"):
        with pytest.raises(InputError, match="out is the input file; choose another place"):
            bertsmith.predict(tuned, given, same)
    assert given.read_text() == '{"text": "one"}\n'
    line = f"{out}: 1 prediction, a JSON line each: index, label, scores"
    for more in ("", "; what stood there is replaced"):
        assert command(["predict", str(tuned), "--input", str(given), "--out", str(out)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == line + more


def test_what_is_written_of_rows_replaces_such_lines_and_no_file_of_another(tuned, tmp_path):
    mine = tmp_path / "mine.tsv"
    mine.write_text("text\tlabel\none\tcode\n")
    for write in (
        lambda: bertsmith.predict(tuned, ["one"], mine),
        lambda: bertsmith.compare(tuned, tuned, out=mine),
    ):
        with pytest.raises(InputError, match=r"mine\.tsv: stands here and is not what was written of rows before"):
            write()
    assert mine.read_text() == "text\tlabel\none\tcode\n"


def test_report_replaces_a_report_and_nothing_else(tuned, tmp_path):
    mine, page, said = tmp_path / "mine.html", tmp_path / "page.html", []
    mine.write_text("<html>mine</html>")
    with pytest.raises(
        InputError, match=r"mine\.html: stands here and is no report of ours; out says where the page goes"
    ):
        bertsmith.report(tuned, mine)
    assert mine.read_text() == "<html>mine</html>"
    bertsmith.report(tuned, page, say=said.append)
    assert "replaced" not in said[-1]
    bertsmith.report(tuned, page, say=said.append)
    assert said[-1].endswith("kB; the one that stood there is replaced")


def test_a_full_disk_is_told_only_where_it_is_one(tmp_path):
    for number, full in {errno.ENOSPC: True, errno.EDQUOT: True, errno.EACCES: False, errno.ENOENT: False}.items():
        with pytest.raises(ResourceError) as refused, files.writing(tmp_path / "x"):
            raise OSError(number, "refused")
        assert ("free some space" in str(refused.value)) == full and "choose another place" in str(refused.value)


def test_the_seed_that_is_taken_of_several_is_said(tuned, tmp_path, capsys):
    best = json.loads((tuned / "result.json").read_text())["best_seed"]
    line = f"{tuned}: seed {best} of 2 seeds is taken: accuracy "
    (tmp_path / "rows.jsonl").write_text('{"text": "one", "label": "a"}\n')
    rows = ["--input", str(tmp_path / "rows.jsonl")]
    for given in (["evaluate", tuned, *rows], ["predict", tuned, *rows, "--out", tmp_path / "o"]):
        assert command([*map(str, given)]) == 0
        assert sum(said.startswith(line) for said in capsys.readouterr().out.splitlines()) == 1
    said = []
    bertsmith.load(tuned / f"seed-{best}", say=said.append)
    assert not any("is taken" in line for line in said)


def test_a_resume_of_nothing_says_that_the_run_begins(short, tmp_path):
    said = []
    options = {"steps": 1, "threads": 1, "resume": True, "say": said.append}
    line = f"resume=True: nothing is saved in {tmp_path / 'run'} yet; the run begins"
    bertsmith.pretrain(small(), short, tmp_path / "run", **options)
    assert said.count(line) == 1 and line in (tmp_path / "run" / "log.txt").read_text()
    bertsmith.pretrain(small(), short, tmp_path / "run", **options)
    assert said.count(line) == 1


def test_the_example_of_the_notebook_starts_no_process(tmp_path, monkeypatch):
    """So the notebook is a script too, which has no `if __name__ == "__main__":`."""
    asked = []
    monkeypatch.setattr(demo, "docstrings", lambda workers: asked.append(workers))
    monkeypatch.setattr(demo, "task", lambda found: None)
    with pytest.raises(AttributeError):
        demo.example(tmp_path)
    assert asked == [1]
