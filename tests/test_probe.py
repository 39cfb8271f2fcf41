"""Probes: linear models of every layer's states, control tasks, labels that texts have of themselves."""

import json

import numpy as np
import pytest

import bertsmith
from bertsmith import cli
from bertsmith.downstream.linear import probed
from bertsmith.errors import InputError
from bertsmith.tasks import probing

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def found(pretrained, tasks, tmp_path_factory):
    """{task: (what is said of it, the file)}."""
    folder, made = tmp_path_factory.mktemp("probes"), {}
    for name in ("classify", "regress", "tag"):
        kind, train, dev = tasks[name]
        out = folder / f"{name}.json"
        made[name] = bertsmith.probe(pretrained, task=kind, train=train, dev=dev, out=out), out
    return made


@pytest.mark.parametrize("name", ["classify", "regress", "tag"])
def test_every_layer_has_the_scores_of_the_task(name, found, pretrained):
    said, out = found[name]
    layers = bertsmith.load(pretrained).recipe.model.layers
    assert [line["layer"] for line in said["layers"]] == list(range(layers + 1))
    for line in said["layers"]:
        score = line["scores"][said["chosen_by"]]
        assert score["low"] <= score["value"] <= score["high"]
        assert ("control" in line) == (name != "regress")
        if name != "regress":
            assert line["selectivity"] == line["scores"]["accuracy"]["value"] - line["control"]["value"]
    best = max(said["layers"], key=lambda line: line["scores"][said["chosen_by"]]["value"])
    assert said["best"] == best["layer"] and json.loads(out.read_text())["layers"] == said["layers"]


def test_a_probe_says_the_same_twice_and_is_what_scikit_learn_finds(found, pretrained, tasks):
    kind, train, dev = tasks["classify"]
    again = bertsmith.probe(pretrained, task=kind, train=train, dev=dev)
    assert again["layers"] == found["classify"][0]["layers"]
    linear = pytest.importorskip("sklearn.linear_model")
    draw = np.random.default_rng(0)
    states = draw.normal(size=(400, 12)).astype(np.float32) * np.arange(1, 13, dtype=np.float32)
    truth = (states @ draw.normal(size=(12, 3)) / np.arange(1, 4)).argmax(1)
    said, penalty = probed(states[:300], truth[:300], states[300:], 3)
    scaled = (states - states[:300].mean(0)) / states[:300].std(0)
    # Ours is the mean loss with `penalty` |w|^2, theirs the sum with |w|^2 / (2 C).
    theirs = linear.LogisticRegression(C=1 / (2 * penalty * 300), tol=1e-8, max_iter=5000).fit(
        scaled[:300], truth[:300]
    )
    assert np.allclose(said - said.mean(1, keepdims=True), theirs.decision_function(scaled[300:]), rtol=5e-3, atol=0.02)
    numbers = (states @ draw.normal(size=12)).astype(np.float64)
    said, penalty = probed(states[:300], numbers[:300], states[300:], None)
    ridge = linear.Ridge(alpha=penalty * 300).fit(scaled[:300], numbers[:300])
    assert np.allclose(said[:, 0], ridge.predict(scaled[300:]), rtol=1e-4, atol=1e-3)


def test_a_word_has_one_label_at_random_wherever_it_stands():
    draw = np.random.default_rng(0)
    words = {
        "train": [f"w{i}" for i in draw.integers(0, 3000, 9000)],
        "dev": [f"w{i}" for i in draw.integers(0, 3000, 900)],
    }
    truth = draw.choice(3, 9000, p=[0.7, 0.2, 0.1])
    labels = probing.control(words, truth, 3)
    known = {}
    for part in words:
        for word, label in zip(words[part], labels[part].tolist(), strict=True):
            assert known.setdefault(word, label) == label
    share = np.bincount(list(known.values()), minlength=3) / len(known)
    assert np.abs(share - [0.7, 0.2, 0.1]).max() < 0.03
    assert (probing.control(words, truth, 3, seed=1)["train"] != labels["train"]).mean() > 0.3


def test_lengths_are_six_classes_and_orders_move_two_neighbours():
    draw = np.random.default_rng(0)
    texts = {
        part: [" ".join(f"w{i}" for i in range(n)) for n in draw.integers(1, 40, size)]
        for part, size in (("train", 600), ("dev", 90))
    }
    rows, notes = probing.rows_of("length", texts)
    assert notes == [] and len({row["label"] for row in rows["train"]}) == 6
    for row in rows["train"] + rows["dev"]:
        low, high = map(int, row["label"].split("-"))
        assert low <= len(row["text"].split()) <= high
    rows, notes = probing.rows_of("order", texts)
    short = sum(len(text.split()) == 1 for text in texts["train"])
    assert notes[0].startswith(f"train: {short} texts of 600 have no two different words")
    kept = [text for text in texts["train"] if len(text.split()) > 1]
    swapped = 0
    for row, text in zip(rows["train"], kept, strict=True):
        moved = sum(a != b for a, b in zip(row["text"].split(), text.split(), strict=True))
        assert moved == (2 if row["label"] == "swapped" else 0)
        swapped += row["label"] == "swapped"
    assert 0.42 < swapped / len(kept) < 0.58


def test_texts_alone_are_enough_for_lengths_and_orders(pretrained, documents, tmp_path):
    lines = [line for text in documents for line in text.split("\n")][:300]
    (tmp_path / "train.txt").write_text("\n".join(lines[:240]) + "\n")
    (tmp_path / "dev.txt").write_text("\n".join(lines[240:]) + "\n")
    for task in ("length", "order"):
        found = bertsmith.probe(
            pretrained, task=task, train=tmp_path / "train.txt", dev=tmp_path / "dev.txt", control=False
        )
        assert found["task"] == task and "control" not in found["layers"][0]
    assert len(found["classes"]) == 2


def test_the_command_prints_a_table_and_a_report_has_the_curve(found, pretrained, tasks, tmp_path, capsys):
    kind, train, dev = tasks["tag"]
    out = tmp_path / "probe.json"
    arguments = ["probe", str(pretrained), "--task", kind, "--train", str(train), "--dev", str(dev), "--out", str(out)]
    assert cli.run(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(printed) if line.startswith("layer  "))
    assert printed[at + 1].startswith("0 embedding") and sum(" *" in line for line in printed[at:]) == 1
    assert (
        cli.run(["report", str(pretrained), str(out), str(found["classify"][1]), "--out", str(tmp_path / "page.html")])
        == 0
    )
    page = (tmp_path / "page.html").read_text()
    assert "What each layer knows" in page and page.count('aria-label="tag: ') == 1 == page.count(
        'aria-label="classify: '
    )
    bertsmith.report(out, tmp_path / "alone.html")
    assert "<title>bertsmith: probe</title>" in (tmp_path / "alone.html").read_text()


def test_what_cannot_be_probed_is_one_line(pretrained, tasks, tmp_path):
    kind, train, dev = tasks["qa"]
    with pytest.raises(
        InputError, match="task='qa': no single state answers it; classify, regress, tag, length, order can be probed"
    ):
        bertsmith.probe(pretrained, task=kind, train=train, dev=dev)
    with pytest.raises(InputError, match="task='lenght': unknown; did you mean 'length'"):
        bertsmith.probe(pretrained, task="lenght", train=train, dev=dev)
    (tmp_path / "one.txt").write_text("a b c\nd e f\n")
    (tmp_path / "two.txt").write_text("a b d\nd e g\n")
    with pytest.raises(InputError, match="every training text has 3 words"):
        bertsmith.probe(pretrained, task="length", train=tmp_path / "one.txt", dev=tmp_path / "two.txt")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(InputError, match="stands here and is no probe of ours"):
        bertsmith.probe(pretrained, task="tag", train=tasks["tag"][1], dev=tasks["tag"][2], out=tmp_path / "mine.json")
    with pytest.raises(InputError, match="is no probe, or is damaged"):
        bertsmith.report(tmp_path / "mine.json", tmp_path / "page.html")


def test_the_command_takes_all_labels_that_there_are(pretrained, tasks, tmp_path, capsys):
    kind, train, dev = tasks["classify"]
    names = ["named", "plain", "rare"]
    files = ["--train", str(train), "--dev", str(dev), "--out", str(tmp_path / "probe.json")]
    assert cli.run(["probe", str(pretrained), "--task", kind, *files, "--no-control", "--labels", ",".join(names)]) == 0
    assert json.loads((tmp_path / "probe.json").read_text())["classes"] == names
