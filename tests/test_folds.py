"""Cross-validation: every row is asked once, of a model that has not learned it; it resumes, and what cannot be divided is told."""

import json
import os
import signal

import numpy as np
import pytest

import bertsmith
from bertsmith.errors import InputError, Interrupted
from bertsmith.tasks.split import folded

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [{"text": f"the {word} of {chr(97 + i)}", "label": word} for i in range(12) for word in ("list", "class")]


def tuned(model, out, folds=3, **options):
    options = {"train": ROWS, "steps": 4, "set": ["batch=8", "precision=float32"], "threads": 1, **options}
    return bertsmith.finetune(model, task=options.pop("task", "classify"), folds=folds, out=out, **options)


@pytest.fixture(scope="module")
def run(pretrained, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("folds") / "run", []
    return out, tuned(pretrained, out, say=said.append), said


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_asked_once_by_the_fold_that_has_not_learned_it(run):
    out, result, said = run
    rows = lines(out / "predictions.jsonl")
    assert [row["index"] for row in rows] == list(range(24)) and {row["fold"] for row in rows} == {0, 1, 2}
    for number, one in enumerate(result["results"]):
        mine = [row for row in rows if row["fold"] == number]
        right = np.mean([row["label"] == ROWS[row["index"]]["label"] for row in mine])
        assert right == pytest.approx(one["dev"]["accuracy"]["value"]) and len(mine) == 8
        assert [ROWS[row["index"]]["label"] for row in mine].count("list") == 4, "by class"
        assert (
            bertsmith.predict(out / f"fold-{number}", [ROWS[row["index"]]["text"] for row in mine])[0]["scores"]
            == mine[0]["scores"]
        )
    values = [one["dev"]["accuracy"]["value"] for one in result["results"]]
    assert result["over_folds"]["accuracy"] == {
        "mean": pytest.approx(np.mean(values)),
        "spread": pytest.approx(np.std(values, ddof=1)),
        "folds": 3,
    }
    assert any(line.startswith("matthews: ") and line.endswith("over 3 folds") for line in said)


def test_a_cross_validation_is_no_model_and_its_folds_are(run):
    with pytest.raises(InputError, match=r"holds a cross-validation; a model is one of its folds, such as .*fold-0"):
        bertsmith.evaluate(run[0], ROWS)
    assert bertsmith.load(run[0] / "fold-1").labels.names == ("class", "list")


def test_it_is_gone_on_with_and_ends_as_one_that_was_not_broken_off(run, pretrained, tmp_path):
    def stop(step, *_):
        if step == 2 and (tmp_path / "run" / "fold-1").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        tuned(pretrained, tmp_path / "run", progress=stop)
    assert not (tmp_path / "run" / "result.json").exists()
    with pytest.raises(InputError, match=r"fold-0: a fold that was begun; resume=True goes on"):
        tuned(pretrained, tmp_path / "run")
    assert tuned(pretrained, tmp_path / "run", resume=True) == run[1]
    for name in ("result.json", "predictions.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (run[0] / name).read_bytes()


def test_a_report_of_folds_gives_their_mean(run, tmp_path):
    bertsmith.report([run[0]], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "mean of 3 folds" in text and "cross-validation of 3 folds" in text


def test_folds_of_a_file_are_found_again_by_compare(pretrained, tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in ROWS))
    for name in "ab":
        tuned(pretrained, tmp_path / name, folds=2, train=path, steps=1)
    found = bertsmith.compare(tmp_path / "a" / "fold-1", tmp_path / "b" / "fold-1")
    assert found["texts"] == 12 and found["difference"]["accuracy"]["value"] == 0


def test_groups_stay_whole_and_each_stratum_is_spread():
    draw = np.random.default_rng(0)
    groups, strata = draw.integers(0, 60, 200).tolist(), None
    strata = [group % 3 for group in groups]
    found, which = folded(5, [[0] * 200, groups], strata)
    assert which == 1 and all(len({found[i] for i in range(200) if groups[i] == group}) == 1 for group in set(groups))
    for stratum in range(3):
        many = np.bincount([found[i] for i in range(200) if strata[i] == stratum], minlength=5)
        assert many.max() - many.min() <= 6
    assert (folded(5, [groups], strata)[0] == found).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 1}, "folds=1: expected a number from 2"),
        ({"folds": 30}, "folds=30: 24 rows with 24 different texts cannot make as many; folds=24 at most"),
        ({"seeds": 2}, "folds=3 with seeds=2"),
        ({"dev": 0.1}, "dev and folds=3: take one of the two"),
        ({"folds": None}, "dev: a file, a share such as 0.1, or folds=5 is wanted"),
        ({"train": [*ROWS, {"text": "x", "label": "rare"}]}, "label: 'rare' stands in 1 place, all in one fold of 3"),
        (
            {"train": [{"text": "x", "label": str(i % 2)} for i in range(9)]},
            "folds=3: 9 rows with 1 different text cannot",
        ),
    ],
)
def test_what_cannot_be_cross_validated_is_told_and_nothing_is_written(options, says, pretrained, tmp_path):
    with pytest.raises(InputError) as raised:
        tuned(pretrained, tmp_path / "run", **options)
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_numbers_and_tags_have_folds_too(pretrained, tmp_path):
    numbers = [{**row, "label": i} for i, row in enumerate(ROWS)]
    result = tuned(pretrained, tmp_path / "numbers", folds=2, task="regress", train=numbers, steps=1)
    assert list(result["over_folds"]) == ["pearson", "spearman"]
    tags = [{"text": row["text"].split(), "label": ["O", f"B-{row['label']}", "O", "O"]} for row in ROWS]
    tuned(pretrained, tmp_path / "tags", folds=2, task="tag", train=tags, steps=1)
    assert len(lines(tmp_path / "tags" / "predictions.jsonl")[0]["label"]) == 4
