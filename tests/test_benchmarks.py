"""GLUE and CLUE: the official files as they are, the official metrics, the mean, the archive."""

import json
import lzma
import shutil
import zipfile

import numpy as np
import pytest
from tests import benchmark_files
from tests.conftest import real_data

import bertsmith
from bertsmith import cli, files
from bertsmith.errors import InputError
from bertsmith.tasks import averaged, metrics, official
from bertsmith.tasks.benchmarks import CLUE, GLUE, Dev, marked

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = {"steps": 1, "threads": 1, "allow_unknown": True, "set": ["batch=4", "length=32"]}
ARCHIVE = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "AX", "QNLI", "RTE", "WNLI"]


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return benchmark_files.glue(tmp_path_factory.mktemp("glue") / "GLUE")


@pytest.fixture(scope="module")
def clue(tmp_path_factory):
    return benchmark_files.clue(tmp_path_factory.mktemp("clue") / "CLUE")


@pytest.fixture(scope="module")
def done(glue, pretrained, tmp_path_factory):
    """(what is returned, OUT, what is said) of all nine tasks."""
    out, said = tmp_path_factory.mktemp("done") / "glue", []
    return bertsmith.glue(glue, pretrained, out=out, say=said.append, **QUICK), out, said


def archived(out) -> dict[str, list[str]]:
    with zipfile.ZipFile(out / "submission.zip") as archive:
        return {name: archive.read(name).decode().splitlines() for name in archive.namelist()}


def said(function, *arguments, **options) -> str:
    """The one line of the InputError."""
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_people_reach_the_published_mean_by_the_rule_that_models_are_averaged_by():
    assert np.mean([task.human for task in GLUE.tasks]) == pytest.approx(87.1, abs=0.06)


def test_what_people_reach_is_the_published_line_and_no_figure_stands_where_none_could_be_confirmed():
    of = lambda benchmark: {task.name: [n for dev in task.devs for n in dev.human] for task in benchmark.tasks}
    assert of(GLUE) == {
        "CoLA": [66.4],
        "SST-2": [97.8],
        "MRPC": [86.3, 80.8],
        "STS-B": [92.7, 92.6],
        "QQP": [59.5, 80.4],
        "MNLI": [92.0, 92.8],
        "QNLI": [91.2],
        "RTE": [93.6],
        "WNLI": [95.9],
    }
    known = {"TNEWS": [71.0], "OCNLI": [90.3], "WSC": [98.0], "CSL": [84.0]}
    assert of(CLUE) == {name: known.get(name, []) for name in ("AFQMC", "TNEWS", "IFLYTEK", "CMNLI", *[*known][1:])}
    assert len(GLUE.tasks) == 9
    assert sorted(test.archived for task in GLUE.tasks for test in task.tests) == sorted(f"{n}.tsv" for n in ARCHIVE)


def test_all_nine_tasks_have_their_official_metrics(done):
    found, out, _ = done
    metrics_of = {
        name: {file: list(scores) for file, scores in task["scores"].items()} for name, task in found["tasks"].items()
    }
    accuracy, both = {"dev": ["accuracy"]}, {"dev": ["f1", "accuracy"]}
    assert metrics_of == {
        "CoLA": {"dev": ["matthews"]},
        "SST-2": accuracy,
        "MRPC": both,
        "STS-B": {"dev": ["pearson", "spearman"]},
        "QQP": both,
        "MNLI": {"matched": ["accuracy"], "mismatched": ["accuracy"], "AX": ["matthews"]},
        "QNLI": accuracy,
        "RTE": accuracy,
        "WNLI": accuracy,
    }
    tasks = found["tasks"]
    values = {
        name: np.mean(
            [np.mean([s["value"] for s in scores.values()]) for file, scores in task["scores"].items() if file != "AX"]
        )
        for name, task in tasks.items()
    }
    assert {name: task["score"]["value"] for name, task in tasks.items()} == pytest.approx(values)
    assert found["mean"]["value"] == pytest.approx(np.mean([*values.values()]))
    assert found["mean"]["low"] <= found["mean"]["value"] <= found["mean"]["high"]
    assert found["of"] == found["all"] == 9 and not found["missing"] and found["human"] == pytest.approx(0.8705)
    assert files.unsealed((out / "glue.json").read_bytes(), "") == found


def test_the_scores_are_those_of_evaluate_on_the_same_file(done, glue):
    found, out, _ = done
    alone = bertsmith.evaluate(out / "MNLI", glue / "MNLI" / "dev_mismatched.tsv")
    assert alone["accuracy"]["value"] == found["tasks"]["MNLI"]["scores"]["mismatched"]["accuracy"]["value"]
    alone = bertsmith.evaluate(out / "CoLA", glue / "CoLA" / "dev.tsv")
    assert alone["matthews"]["value"] == found["tasks"]["CoLA"]["scores"]["dev"]["matthews"]["value"]


def test_the_archive_has_an_answer_in_words_to_every_row_of_every_test_file(done):
    found, out, _ = done
    answers = archived(out)
    assert [name.removesuffix(".tsv") for name in answers] == ARCHIVE
    assert found["archive"] == {"holds": [*answers], "lacks": []}
    words = {"MNLI-m": benchmark_files.NLI, "MNLI-mm": benchmark_files.NLI, "AX": benchmark_files.NLI}
    words |= dict.fromkeys(("QNLI", "RTE"), ("entailment", "not_entailment"))
    for name, (head, *rows) in answers.items():
        assert head == "index\tprediction" and [row.split("\t")[0] for row in rows] == [str(i) for i in range(8)]
        said = {row.split("\t")[1] for row in rows}
        if name == "STS-B.tsv":
            assert all(0 <= float(number) <= 5 and len(number) == 5 for number in said)
        else:
            assert said <= {*words.get(name.removesuffix(".tsv"), ("0", "1"))}


def test_what_is_left_out_is_counted_and_the_file_itself_stays(done, glue):
    found, out, said = done
    assert found["tasks"]["QQP"]["left"] == {"train.tsv": {"broken": 1, "empty": 1}}
    assert found["tasks"]["QQP"]["rows"] == {"train.tsv": 6, "dev.tsv": 8, "test.tsv": 8}
    assert f"{glue / 'QQP' / 'train.tsv'}: 1 row with another number of columns left out" in said
    assert any(line.startswith("warning: QQP: dev: 8 rows: its scores say little") for line in said)
    copied = (out / "files" / "QQP" / "train.tsv").read_text().splitlines()
    original = (glue / "QQP" / "train.tsv").read_text().splitlines()
    assert copied == [line for i, line in enumerate(original) if i not in (4, 6)]
    assert [path.name for path in (out / "files").iterdir()] == ["QQP"]


def test_resume_finds_the_same_and_without_it_the_place_is_taken(done, glue, pretrained):
    found, out, _ = done
    before = (out / "submission.zip").read_bytes()
    assert "holds a GLUE run already; resume=True goes on" in said(bertsmith.glue, glue, pretrained, out=out, **QUICK)
    shutil.rmtree(out / "WNLI")
    assert bertsmith.glue(glue, pretrained, out=out, resume=True, **QUICK) == found
    assert (out / "submission.zip").read_bytes() == before


def test_some_tasks_with_seeds_are_averaged_beside_people_in_the_same(glue, pretrained, tmp_path, capsys):
    options = ["--seeds", "2", "--steps", "1", "--threads", "1", "--allow-unknown", "--set", "batch=4"]
    command = ["glue", glue, pretrained, "--out", tmp_path / "out", "--tasks", "rte,sst2", *options]
    assert cli.run([*map(str, command)]) == 0
    out = capsys.readouterr().out
    assert "2 of 9 tasks, human too: not GLUE's score, which has all" in out and "left out" not in out
    assert "submission.zip: SST-2.tsv, RTE.tsv; without CoLA.tsv, MRPC.tsv" in out
    found = json.loads((tmp_path / "out" / "glue.json").read_text())
    assert [*found["tasks"]] == ["SST-2", "RTE"] and found["human"] == pytest.approx((0.978 + 0.936) / 2)
    seeds = [
        bertsmith.evaluate(tmp_path / "out" / "RTE" / f"seed-{i}", glue / "RTE" / "dev.tsv")["accuracy"]["value"]
        for i in (0, 1)
    ]
    assert found["tasks"]["RTE"]["score"]["value"] == pytest.approx(np.mean(seeds)) and (
        found["tasks"]["RTE"]["seeds"] == 2
    )


def test_a_plan_says_rows_and_updates_and_does_nothing(glue, pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = bertsmith.glue(glue, pretrained, plan=True, tasks="rte,QQP", epochs=3, seeds=2, set={"batch": 4})
    assert {name: task["updates"] for name, task in plan["tasks"].items()} == {"QQP": 6, "RTE": 6}
    assert plan["updates"] == 24 and plan["tasks"]["RTE"]["rows"]["dev.tsv"] == 8
    assert bertsmith.glue(glue, pretrained, plan=True, minutes=1)["updates"] is None
    assert cli.run(["glue", str(glue), str(pretrained), "--plan", "--tasks", "rte"]) == 0
    assert "50 updates in 50 epochs; rows: train.tsv 8" in capsys.readouterr().out and not [*tmp_path.iterdir()]


def test_what_is_not_there_is_said_and_left_out(glue, pretrained, tmp_path):
    for name in ("RTE", "WNLI", "MNLI"):
        shutil.copytree(glue / name, tmp_path / "some" / name.lower())
    (tmp_path / "some" / "wnli" / "dev.tsv").unlink()
    (tmp_path / "some" / "rte" / "test.tsv").unlink()
    packed = tmp_path / "some" / "rte" / "train.tsv"
    packed.with_name("train.tsv.xz").write_bytes(lzma.compress(packed.read_bytes()))
    packed.unlink()
    plan = bertsmith.glue(tmp_path / "some", pretrained, plan=True)
    assert [*plan["tasks"]] == ["MNLI", "RTE"] and plan["tasks"]["RTE"]["lacks"] == ["no test.tsv"]
    assert plan["tasks"]["MNLI"]["lacks"] == ["no diagnostic/diagnostic.tsv"]
    assert plan["missing"]["WNLI"].endswith("wnli: no dev.tsv") and "no folder CoLA" in plan["missing"]["CoLA"]
    assert "GLUE's WNLI was asked for" in said(bertsmith.glue, tmp_path / "some", pretrained, plan=True, tasks=["wnli"])


def test_mistakes_are_told_in_one_line_before_anything_is_written(glue, clue, pretrained, tmp_path):
    options = {"out": tmp_path / "out"}
    assert "no such folder" in said(bertsmith.glue, tmp_path / "none", pretrained, **options)
    assert "holds no task of GLUE" in said(bertsmith.glue, clue, pretrained, **options)
    assert "did you mean 'RTE'" in said(bertsmith.glue, glue, pretrained, tasks="RTEE", **options)
    assert "CHID is not run here; `bertsmith finetune --task choice`" in said(
        bertsmith.clue, clue, pretrained, tasks="chid", **options
    )
    assert "method='ful'" in said(bertsmith.glue, glue, pretrained, method="ful", **options)
    assert "out is wanted" in said(bertsmith.glue, glue, pretrained)
    for wrong, says in (
        ("reinit=9", "reinit: 9: the model has 1 layer"),
        (
            "focal=2",
            "STS-B: focal: task='regress' has none; task='classify' or 'relation' has; tasks names those that are run",
        ),
    ):
        assert says in said(bertsmith.glue, glue, pretrained, set=[wrong], **options)
    shutil.copytree(glue, tmp_path / "wrong")
    path = tmp_path / "wrong" / "RTE" / "dev.tsv"
    for content, says in (
        ("text\tlabel\na\tb\n", "RTE/dev.tsv:1: no column 'sentence1', which RTE has; there are: text, label"),
        ("index\tsentence1\tsentence2\tlabel\n1\ta\n", "RTE/dev.tsv:2: 2 columns, and 4 in the first line"),
        ("index\tsentence1\tsentence2\tlabel\n", "RTE/dev.tsv: holds no rows of RTE"),
    ):
        path.write_text(content)
        assert says in said(bertsmith.glue, tmp_path / "wrong", pretrained, **options)
    (tmp_path / "wrong" / "CoLA" / "train.tsv").write_text("a\t1\n")
    assert "CoLA has its text in column 4" in said(bertsmith.glue, tmp_path / "wrong", pretrained, **options)
    assert not (tmp_path / "out").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    assert "a folder that is not a GLUE run" in said(bertsmith.glue, glue, pretrained, out=tmp_path / "taken")


def test_clue_runs_what_lies_there_and_says_what_it_has_no_task_for(clue, pretrained, tmp_path):
    lines = []
    found = bertsmith.clue(clue, pretrained, out=tmp_path / "out", say=lines.append, **QUICK)
    assert [*found["tasks"]] == ["AFQMC", "OCNLI", "WSC", "CSL"] and found["of"] == 4
    assert found["tasks"]["OCNLI"]["left"] == {"train.50k.json": {"undecided": 2}, "dev.json": {"undecided": 2}}
    assert any(line.startswith("CHID is not run here") for line in lines)
    assert any("TNEWS is left out" in line for line in lines)
    answers = archived(tmp_path / "out")
    assert [*answers] == [f"{name}_predict.json" for name in ("afqmc", "ocnli_50k", "cluewsc11", "csl")]
    rows = [json.loads(line) for line in answers["cluewsc11_predict.json"]]
    assert [row["id"] for row in rows] == [*range(8)] and {row["label"] for row in rows} <= {"true", "false"}
    copied = json.loads((tmp_path / "out" / "files" / "WSC" / "train.json").read_text().splitlines()[0])
    assert copied["text"].startswith("_the_ ") and " [it] train" in copied["text"] and "target" not in copied


def test_spans_are_marked_where_they_stand_or_refused():
    target = {"span1_index": 5, "span1_text": "床", "span2_index": 0, "span2_text": "它"}
    assert marked({"text": "它说这时候床响", "target": target}, "x:1")["text"] == "[它]说这时候_床_响"
    assert "x:1: '床' does not stand at character 5" in said(marked, {"text": "它说床", "target": target}, "x:1")


def test_tasks_are_averaged_over_one_draw_of_all():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, 200)
    dev = Dev(names=("dev.tsv",), columns={}, metrics=("f1", "accuracy"))
    figures = {i: metrics.class_figures(truth, np.where(draw.random(200) < 0.8, truth, 1 - truth), 2) for i in range(3)}
    one, other = (averaged.task([averaged.Judged(dev, 200, {0: figures[0]})], number) for number in (0, 1))
    alone, both = averaged.mean([one]), averaged.mean([one, other])
    assert alone["value"] == pytest.approx(both["value"])
    assert both["high"] - both["low"] == pytest.approx((alone["high"] - alone["low"]) / 2**0.5, rel=0.15)
    one = averaged.task([averaged.Judged(dev, 200, figures)], 0)
    scores = [metrics.scored(f, 200)["f1"]["value"] for f in figures.values()]
    assert one.dev["dev"]["f1"]["value"] == pytest.approx(np.mean(scores))


@pytest.mark.skipif(real_data() is None, reason="no real corpora here")
def test_the_real_files_hold_as_many_rows_as_published(tmp_path):
    for name in ("cola", "rte", "wnli"):
        (tmp_path / "real").mkdir(exist_ok=True)
        (tmp_path / "real" / name).symlink_to(real_data() / name)
    found, _ = official.present(tmp_path / "real", GLUE, ("rte", "cola"))
    rows = {one.task.name: [part.rows for part in one.parts] for one in found}
    assert rows == {"CoLA": [7250, 1043, 1063], "RTE": [2490, 277, 3000]}
    (tmp_path / "real" / "ocnli").symlink_to(real_data() / "ocnli")
    (one,), _ = official.present(tmp_path / "real", CLUE, ("ocnli",))
    assert one.train.rows + sum(one.train.left.values()) == 10_000 and one.devs[0].left["undecided"] == 50
