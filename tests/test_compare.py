"""What fine-tunings are measured against: a simple method on the same rows, another run, themselves; and what is told at their end."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from tests.runs import snapshot

import bertsmith
from bertsmith import cli, files
from bertsmith.downstream.model import load
from bertsmith.downstream.predict import judged
from bertsmith.errors import InputError
from bertsmith.tasks import baselines, kinds

pytestmark = pytest.mark.usefixtures("one_thread")
SEEDS = {"pairs": 2}


def tune(model, tasks, name, out, *assignments, **options):
    kind, train, dev = tasks[name]
    options = {"task": kind, "train": train, "dev": dev, "threads": 1, "allow_unknown": True} | options
    return bertsmith.finetune(model, out=out, set=["epochs=2", "batch=8", "lr=0.003", *assignments], **options)


@pytest.fixture(scope="module")
def tuned(pretrained, tasks, tmp_path_factory):
    """{name: (run, result, what was said)}: with a baseline where there is one; the same again, with other weights to start from."""
    folder, found = tmp_path_factory.mktemp("compared"), {}
    for name in tasks:
        for suffix, scratch in (("", False), ("-scratch", True)):
            said: list[str] = []
            more = {"on_long": "window"} if name == "pairs" else {}
            more |= {"baseline": name != "qa" and not scratch, "seeds": SEEDS.get(name, 1), "scratch": scratch}
            result = tune(pretrained, tasks, name, folder / f"{name}{suffix}", say=said.append, **more)
            found[f"{name}{suffix}"] = folder / f"{name}{suffix}", result, said
    return found


def command(capsys, *arguments) -> tuple[int, str, str]:
    code = cli.run([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", ["classify", "pairs", "regress", "tag", "qa"])
def test_two_runs_are_compared_by_every_score_of_theirs(name, tuned):
    a, b = (tuned[f"{name}{suffix}"] for suffix in ("", "-scratch"))
    found = bertsmith.compare(a[0], b[0])
    for side, (_, result, _) in (("a", a), ("b", b)):
        results = result.get("results", [result])
        assert found[side].keys() == results[0]["dev"].keys() and found["seeds"][side] == len(results)
        for score, said in found[side].items():
            assert said["value"] == pytest.approx(np.mean([r["dev"][score]["value"] for r in results]))
    for score, said in found["difference"].items():
        assert said["value"] == pytest.approx(found["a"][score]["value"] - found["b"][score]["value"], abs=1e-12)
        assert said["low"] <= said["value"] <= said["high"]
    assert str(a[0]) in found["says"] and found["chosen_by"] in found["says"]
    json.dumps(found)


def test_a_run_beside_itself_is_no_better_and_the_input_may_be_named(tuned, tasks, capsys):
    run, dev = tuned["classify"][0], tasks["classify"][2]
    found = bertsmith.compare(run, run)
    assert set(found["difference"]["accuracy"].values()) == {0.0} and "cannot be told apart" in found["says"]
    code, out, _ = command(capsys, "compare", run, load(run).path, "--input", dev)
    assert code == 0 and "40 rows, 95 % intervals over texts" in out and "cannot be told apart" in out
    code, out, _ = command(capsys, "compare", run, tuned["classify-scratch"][0], "--json")
    assert code == 0 and json.loads(out).keys() == found.keys()
    assert bertsmith.compare(load(run), run, dev) == found | {
        "says": found["says"].replace(str(run), str(load(run).run))
    }


def test_what_cannot_be_compared_is_refused_in_one_line(tuned, tasks, pretrained, tmp_path, capsys):
    run, other = tuned["classify"][0], tuned["pairs"][0]
    lines = {
        (run, tuned["tag"][0]): "is of task='classify' and .* of task='tag': they cannot be compared",
        (run, other): "other labels: named, plain / 0, 1",
        (run, pretrained): "is a pre-training run",
        (run, tmp_path / "none"): "no such folder",
    }
    for models, said in lines.items():
        with pytest.raises(InputError, match=said):
            bertsmith.compare(*models)
        code, out, error = command(capsys, "compare", *models)
        assert code == 2 and not out and error.count("\n") == 1
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "result.json").rename(tmp_path / "result.json")
    with pytest.raises(InputError, match=r"result\.json: missing; the fine-tuning here did not finish"):
        bertsmith.compare(run, tmp_path / "run")
    (tmp_path / "result.json").rename(tmp_path / "run" / "result.json")
    config = json.loads((run / "config.json").read_text())
    config["data"]["dev"]["sha256"] = "0" * 64
    (tmp_path / "run" / "config.json").write_bytes(files.sealed({k: v for k, v in config.items() if k != "sha256"}))
    with pytest.raises(InputError, match="not the same dev rows; input=FILE"):
        bertsmith.compare(run, tmp_path / "run")


def test_a_dev_file_that_is_gone_is_asked_for(pretrained, tasks, tmp_path):
    dev = tasks["classify"][2]
    shutil.copy(dev, tmp_path / "dev.tsv")
    tune(pretrained, tasks, "classify", tmp_path / "run", dev=tmp_path / "dev.tsv", steps=1)
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(InputError, match="not there any more, or is another one; input=FILE"):
        bertsmith.compare(tmp_path / "run", tmp_path / "run")
    assert bertsmith.compare(tmp_path / "run", tmp_path / "run", dev)["texts"] == 40


@pytest.mark.parametrize("name", ["classify", "pairs", "regress", "tag"])
def test_a_baseline_is_scored_on_the_same_rows_beside_the_model(name, tuned, tasks):
    run, result, said = tuned[name]
    found = result["baseline"]
    kept = json.loads((run / "result.json").read_text())
    assert kept["baseline"] == found and bertsmith.verify(run)
    results = result.get("results", [result])
    kind, (_, train, dev) = kinds.kind(tasks[name][0]), tasks[name]
    rows = {part: kind.read(path) for part, path in (("train", train), ("dev", dev))}
    labels = load(run).labels
    targets = {part: kind.targets(read, labels) for part, read in rows.items()}
    method, theirs = kind.baseline(rows, targets, labels)
    labels = kind.settled(targets["dev"], theirs, labels)
    assert found["method"] == method and found["dev"] == kind.score(targets["dev"], theirs, labels)
    for score, difference in found["difference"].items():
        mine = np.mean([r["dev"][score]["value"] for r in results])
        assert difference["value"] == pytest.approx(mine - found["dev"][score]["value"], abs=1e-12)
    assert any(line.startswith("baseline: ") for line in said) and any("the baseline" in line for line in said[-20:])


def test_baselines_learn_what_is_easy():
    texts, labels = [f"the {word} is {i}" for i in range(30) for word in ("good", "bad")], np.arange(60) % 2
    name, said = baselines.classes((texts, None), labels, (["so good", "so bad"], None), 3)
    assert said.argmax(1).tolist() == [0, 1] and said.shape == (2, 3) and "words and word pairs, logistic" in name
    numbers = np.array([1.0, 4.0] * 30)
    name, said = baselines.numbers((texts, None), numbers, (["good", "bad"], None))
    assert said[0, 0] < 2.5 < said[1, 0] and "ridge" in name
    first, second = ["a b c", "d e f", "g h i", "k l m"] * 8, ["a b c", "x y z", "g h i", "u v w"] * 8
    name, said = baselines.classes((first, second), np.arange(32) % 2, (["q r s", "q r s"], ["q r s", "t n o"]), 2)
    assert said.argmax(1).tolist() == [0, 1], "words that were never seen, but shared"
    name, said = baselines.classes(
        (["这个很好", "那个不行"] * 20, None), np.arange(40) % 2, (["很好", "不行"], None), 2
    )
    assert said.argmax(1).tolist() == [0, 1] and "1 to 3 characters" in name
    name, said = baselines.tags(["a", "a", "b", "a"], np.array([1, 1, 0, 2]), ["a", "b", "new"], 3)
    assert said.argmax(1).tolist() == [1, 0, 1]


def test_few_rows_and_lone_classes_have_a_baseline_too():
    for labels in ([0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [*[0, 1] * 10, 2]):
        texts = [f"word{label} number{i}" for i, label in enumerate(labels)]
        _, said = baselines.classes((texts, None), np.array(labels), (texts, None), 3)
        assert said.shape == (len(labels), 3) and np.isfinite(said).all()


def test_a_baseline_that_cannot_be_is_refused_before_anything_is_written(
    tuned, pretrained, tasks, tmp_path, monkeypatch
):
    with pytest.raises(InputError, match="baseline=True: task='qa' has none"):
        tune(pretrained, tasks, "qa", tmp_path / "run", baseline=True)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"pip install 'bertsmith\[eval\]'"):
        tune(pretrained, tasks, "classify", tmp_path / "run", baseline=True)
    for against, said in ((tuned["tag"][0], "they cannot be compared"), (pretrained, "is a pre-training run")):
        with pytest.raises(InputError, match=said):
            tune(pretrained, tasks, "classify", tmp_path / "run", against=against)
    shutil.copy(tasks["classify"][2], tmp_path / "dev.tsv")
    (tmp_path / "dev.tsv").write_text((tmp_path / "dev.tsv").read_text() + "one more\tplain\n")
    with pytest.raises(InputError, match="its dev file was another one"):
        tune(pretrained, tasks, "classify", tmp_path / "run", against=tuned["classify"][0], dev=tmp_path / "dev.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["dev.tsv"]


def test_a_run_against_another_is_what_compare_says_and_is_kept(tuned, pretrained, tasks, tmp_path):
    other, said = tuned["pairs-scratch"][0], []
    more = {"seeds": 2, "on_long": "window"}
    result = tune(pretrained, tasks, "pairs", tmp_path / "run", **more, against=other, say=said.append)
    found = bertsmith.compare(tmp_path / "run", other)
    assert result["against"]["difference"] == found["difference"] and result["against"]["dev"] == found["b"]
    assert result["against"]["says"] == found["says"].replace(str(tmp_path / "run"), "this model") in said
    back = bertsmith.compare(other, tmp_path / "run")["difference"]
    for name, score in found["difference"].items():
        mirrored = {"value": -score["value"], "low": -score["high"], "high": -score["low"]}
        assert back[name] == pytest.approx(mirrored, abs=1e-12)
    itself = bertsmith.compare(other, other)["difference"]
    assert {value for score in itself.values() for value in score.values()} == {0.0}
    before = snapshot(tmp_path / "run")
    again = tune(pretrained, tasks, "pairs", tmp_path / "run", **more, resume=True)
    assert again == result, "what it was measured against stays"
    assert {p: b for p, (_, b) in before.items()} == {p: b for p, (_, b) in snapshot(tmp_path / "run").items()}
    with_both = tune(pretrained, tasks, "pairs", tmp_path / "run", **more, resume=True, baseline=True)
    assert with_both["baseline"] == tuned["pairs"][1]["baseline"] and with_both["against"] == result["against"]


@pytest.mark.parametrize("name", ["classify", "tag"])
def test_class_by_class_is_kept_shown_and_what_evaluate_says(name, tuned, tasks, capsys):
    run, result, said = tuned[name]
    dev = tasks[name][2]
    details = bertsmith.evaluate(run, dev, per_class=True)
    assert bertsmith.evaluate(run, dev) == result["dev"] == {key: details[key] for key in result["dev"]}
    assert {key: result[key] for key in details if key not in result["dev"]} == {
        key: value for key, value in details.items() if key not in result["dev"]
    }
    targets, values, kind = judged(run, dev)
    assert result["classes"] == kind.breakdown(targets, values, load(run).labels)["classes"]
    table = [line for line in said if line.startswith("class ")]
    code, out, _ = command(capsys, "evaluate", run, "--input", dev)
    assert code == 0 and table[0] in out and f"(always {result['majority']['label']}: " in out
    code, out, _ = command(capsys, "evaluate", run, "--input", dev, "--json")
    assert json.loads(out) == result["dev"]
    code, out, _ = command(capsys, "evaluate", run, "--input", dev, "--json", "--per-class")
    assert json.loads(out) == json.loads(json.dumps(details)) and details["classes"]


ONE = {
    "classify": "says '(plain|named)' to all 40 dev texts: it",
    "regress": "says about .* to all 40 dev texts: it has learned nothing beyond the mean",
    "tag": "says 'O' to all .* dev words: it has learned nothing beyond the commonest tag",
}


@pytest.mark.parametrize("name", ONE)
def test_a_model_that_learned_nothing_says_so(name, pretrained, tasks, tmp_path, capsys):
    rate, said, dev = "lr=1e-9", [], tasks[name][2]
    if name == "tag":  # a head of fresh weights says anything; a few steps teach it the commonest tag alone
        rate = "lr=3e-3"
    options = {"steps": 12} if name != "regress" else {"steps": 1}
    result = tune(pretrained, tasks, name, tmp_path / "run", rate, say=said.append, scratch=True, **options)
    warned = [line for line in said if line.startswith("warning: it says")]
    assert "says_only" in result, result["dev"]
    assert (
        len(warned) == 1 and re.search(ONE[name], warned[0]) and "epochs=10" in warned[0] and "{'lr': …}" in warned[0]
    )
    told = []
    assert (
        bertsmith.evaluate(tmp_path / "run", dev, per_class=True, say=told.append)["says_only"] == result["says_only"]
    )
    bertsmith.predict(tmp_path / "run", dev, say=told.append)
    assert sum("it says" in line or "predictions" in line for line in told) == 2
