"""Where two models differ: McNemar's test, and the texts that changed most."""

import json
import re

import numpy as np
import pytest

import bertsmith
from bertsmith import cli
from bertsmith.downstream import changed
from bertsmith.downstream.compare import Heard
from bertsmith.errors import InputError
from bertsmith.tasks import kinds, paired
from bertsmith.tasks.answers import Said
from bertsmith.tasks.given import source
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.written import Answer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def both(pretrained, tasks, tmp_path_factory):
    """A classifier of two seeds and one of fresh weights, on the same dev rows."""
    folder, (kind, train, dev) = tmp_path_factory.mktemp("changed"), tasks["classify"]
    options = {"task": kind, "train": train, "dev": dev, "threads": 1, "allow_unknown": True, "steps": 6}
    sets = ["batch=8", "lr=0.003"]
    bertsmith.finetune(pretrained, out=folder / "one", set=sets, seeds=2, **options)
    bertsmith.finetune(pretrained, out=folder / "other", set=sets, scratch=True, **options)
    return folder / "one", folder / "other"


def heard(name: str, rows, labels: Labels, said) -> Heard:
    kind = kinds.kind(name)
    return Heard("it", kind, kind.targets(rows, labels), said, labels, rows=rows)


def read(name: str, given):
    kind = kinds.kind(name)
    rows = source(given, "input", {}, fields=kind.fields, pair=kind.pair)
    return kind.read(rows, columns=rows.columns or None, labelled=True)


def test_mcnemars_test_is_the_binomial_of_what_only_one_got_right():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for n, share in ((7, 0.5), (60, 0.3), (900, 0.45), (5000, 0.5)):
        a, b = draw.random(n) < 0.7, draw.random(n) < share
        found = paired.mcnemar(a, b)
        assert sum(found[name] for name in ("both", "only_a", "only_b", "neither")) == n
        k, m = found["only_a"], found["only_a"] + found["only_b"]
        assert found["p"] == pytest.approx(stats.binomtest(k, m, 0.5).pvalue, rel=1e-9)
        assert paired.mcnemar(b, a)["p"] == found["p"]
    assert paired.mcnemar(a, a)["p"] == 1.0 and paired.mcnemar(~a, a)["p"] >= 0


def test_classes_that_changed_most_are_those_whose_truth_lost_most():
    rows = read("classify", {"text": ["p", "q", "r", "s"], "label": ["x", "y", "x", "y"]})
    labels = Labels(names=("x", "y"))
    a = heard("classify", rows, labels, np.log([[0.9, 0.1], [0.5, 0.5], [0.6, 0.4], [0.2, 0.8]]))
    b = heard("classify", rows, labels, np.log([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]))
    found = changed.changed(a, b)
    assert [row["index"] for row in found] == [0, 1, 3], "the third did not change"
    assert [round(row["change"], 6) for row in found] == [0.8, -0.3, 0.1]
    assert found[0]["text"] == "p" and found[0]["truth"] == "x"
    assert (found[0]["a"]["label"], found[0]["b"]["label"]) == ("x", "y")
    assert found[0]["b"]["scores"]["y"] == pytest.approx(0.9)
    assert [row["index"] for row in changed.changed(a, b, 1)] == [0] and changed.changed(a, b, 0) == []
    assert changed.mcnemar(a, b) == {"both": 2, "only_a": 1, "only_b": 1, "neither": 0, "p": 1.0}
    assert list(changed.cells(found[:1], a.kind, 50)) == [("p", "x", "x 0.90", "y 0.90")]


def test_numbers_have_no_test_and_change_by_their_error():
    rows = read("regress", {"text": ["p", "q"], "label": [10.0, 20.0]})
    labels = Labels(mean=15.0, scale=5.0)
    a = heard("regress", rows, labels, np.array([[-1.0], [1.0]]))
    b = heard("regress", rows, labels, np.array([[0.0], [1.4]]))
    found = changed.changed(a, b)
    assert changed.mcnemar(a, b) is None
    assert [row["change"] for row in found] == pytest.approx([5.0, 2.0]), "in the scale of the file"
    assert next(changed.cells(found, a.kind, 50)) == ("p", "10", "10", "15")


def test_sentences_show_the_words_that_are_tagged_otherwise():
    rows = read("tag", [{"text": ["Ada", "ran"], "label": ["B-PER", "O"]}, {"text": ["so"], "label": ["O"]}])
    labels = Labels(names=("O", "B-PER"))
    a = heard("tag", rows, labels, np.log([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]]))
    b = heard("tag", rows, labels, np.log([[0.6, 0.4], [0.8, 0.2], [0.6, 0.4]]))
    found = changed.changed(a, b)
    assert [row["change"] for row in found] == pytest.approx([0.25, 0.1])
    told = [("Ada ran", "Ada B-PER", "B-PER 0.90", "O 0.60"), ("so", "so O", "O 0.70", "O 0.60")]
    assert list(changed.cells(found, a.kind, 50)) == told
    assert changed.mcnemar(a, b)["only_a"] == 1


def test_answers_and_written_texts_change_by_their_overlap_and_how_sure_they_are():
    asked = {
        "question": "who?",
        "context": "Ada ran home",
        "answers": {"text": ["Ada"], "answer_start": [0]},
        "id": "1",
    }
    rows = read("qa", [asked])
    right = Said(text="Ada", start=0, end=3, score=1.0, null=0.0, p=0.8, p_null=0.1)
    wrong = Said(text="home", start=8, end=12, score=1.0, null=0.0, p=0.7, p_null=0.1)
    a, b = (heard("qa", rows, Labels(), [said]) for said in (right, wrong))
    (found,) = changed.changed(a, b)
    assert found["change"] == pytest.approx(0.8) and changed.mcnemar(a, b)["only_a"] == 1
    assert next(changed.cells([found], a.kind, 50)) == ("who?", "Ada", "Ada 0.80", "home 0.70")
    rows = read("text2text", {"text": ["p"], "label": ["a b"]})
    a, b = (heard("text2text", rows, Labels(), [Answer(text, -0.5, "end")]) for text in ("a b", "c"))
    (found,) = changed.changed(a, b)
    assert found["change"] == pytest.approx(np.exp(-0.5)) and changed.mcnemar(a, b)["only_a"] == 1
    assert next(changed.cells([found], a.kind, 50)) == ("p", "a b", "a b 0.61", "c 0.61")


def test_several_labels_orders_and_choices_change_by_how_probable_the_truth_is():
    rows = read("multilabel", {"text": ["p", "q"], "label": ["x|y", ""]})
    labels = kinds.kind("multilabel").learn(read("multilabel", {"text": ["p", "q", "r"], "label": ["x|y", "x", "y"]}))
    a, b = (heard("multilabel", rows, labels, np.array([said, [-9.0, -9.0]])) for said in ([9.0, 9.0], [9.0, -9.0]))
    (found,) = changed.changed(a, b)
    assert found["change"] == pytest.approx(0.5, abs=1e-3) and changed.mcnemar(a, b)["only_a"] == 1
    assert next(changed.cells([found], a.kind, 50)) == ("p", "x|y", "x 1.00, y 1.00", "x 1.00")
    rows, labels = read("ordinal", {"text": ["p"], "label": ["1"]}), Labels(names=("0", "1", "2"))
    a, b = (heard("ordinal", rows, labels, np.array([said])) for said in ([4.0, -4.0], [4.0, 4.0]))
    (found,) = changed.changed(a, b)
    assert found["change"] == pytest.approx(0.964 - 0.0, abs=2e-2) and changed.mcnemar(a, b)["only_a"] == 1
    assert next(changed.cells([found], a.kind, 50))[:2] == ("p", "1")
    rows = read(
        "choice",
        [{"text": "p", "choices": ["yes", "no"], "label": 1}, {"text": "q", "choices": ["so", "not"], "label": 0}],
    )
    labels = kinds.kind("choice").learn(rows)
    a, b = (heard("choice", rows, labels, np.log([share, [1.0, 1e-300]])) for share in ([0.2, 0.8], [0.7, 0.3]))
    (found,) = changed.changed(a, b)
    assert found["truth"] == "no" and found["change"] == pytest.approx(0.5)
    assert next(changed.cells([found], a.kind, 50)) == ("p", "no", "no 0.80", "yes 0.70")


def test_vectors_change_by_the_number_or_the_rank_and_have_no_test():
    rows = read("similarity", {"text": ["p", "q"], "text2": ["r", "s"], "label": [0.2, 0.9]})
    labels = Labels(mean=0.0, scale=1.0)
    a, b = (heard("similarity", rows, labels, np.array([[0.2], [said]])) for said in (0.9, 0.4))
    (found,) = changed.changed(a, b)
    assert found["change"] == pytest.approx(0.5) and changed.mcnemar(a, b) is None
    assert next(changed.cells([found], a.kind, 50)) == ("q | s", "0.9", "0.900", "0.400")
    kind = kinds.kind("retrieval")
    given = source({"text": ["p", "q"], "text2": ["r", "s"]}, "input", {}, fields=kind.fields, pair=kind.pair)
    rows = kind.read(given, columns=given.columns or None, labelled=True)
    same = np.eye(2)[:, None].repeat(2, 1)
    crossed = np.stack([np.eye(2)[[0, 1]], np.eye(2)[[1, 0]]])
    a, b = (heard("retrieval", rows, Labels(), said.astype(np.float32)) for said in (same, crossed))
    assert [row["truth"] for row in changed.changed(a, b)] == ["belong together"] * 2


def test_compare_says_who_is_right_alone_and_keeps_what_changed(both, tasks, tmp_path, capsys):
    one, other = both
    out, dev = tmp_path / "changed.jsonl", tasks["classify"][2]
    found = bertsmith.compare(one, other, changed=7, out=out)
    assert [json.loads(line) for line in out.read_text().splitlines()] == found["changed"] and len(
        found["changed"]
    ) == 7
    seed = json.loads((one / "result.json").read_text())["best_seed"]
    assert found["best_seeds"] == {"a": seed, "b": 0}, "the seed that predict takes"
    mine, theirs = (bertsmith.predict(model, dev) for model in both)
    for row in found["changed"]:
        i = row["index"]
        for side, rows in (("a", mine), ("b", theirs)):
            assert row[side]["label"] == rows[i]["label"]
            assert row[side]["scores"] == pytest.approx(rows[i]["scores"], abs=1e-6)
        assert row["change"] == pytest.approx(row["a"]["scores"][row["truth"]] - row["b"]["scores"][row["truth"]])
    test = found["mcnemar"]
    assert test["both"] + test["only_a"] == round(40 * bertsmith.evaluate(one, dev)["accuracy"]["value"])
    assert cli.run(["compare", str(one), str(other), "--input", str(dev)]) == 0
    said = capsys.readouterr().out
    assert (
        f"only {one} is right: {test['only_a']}, only {other}: {test['only_b']} of 40 rows, of seeds {seed} and 0"
        in said
    )
    assert len(re.findall("^  row ", said, re.M)) == 5 and "… 15 more; --out FILE has them" in said


def test_a_report_shows_the_texts_that_changed_most(both, tmp_path):
    page = bertsmith.report(both, tmp_path / "page.html").read_text()
    first = bertsmith.compare(*both)["changed"][0]
    assert "Texts that changed most" in page and "Only one is right" in page and first["text"][:30] in page


def test_a_place_that_is_taken_and_a_number_below_zero_are_refused(both, tasks, tmp_path):
    dev = tmp_path / "dev.tsv"
    dev.write_bytes(tasks["classify"][2].read_bytes())
    for options, said in (
        ({"changed": -1}, "changed=-1: 0 or more"),
        ({"out": dev}, "out is the input file"),
        ({"out": both[0] / "changed.jsonl"}, "lies in .* a store, run or export"),
        ({"out": tmp_path / "no" / "changed.jsonl"}, "there is no folder"),
    ):
        with pytest.raises(InputError, match=said):
            bertsmith.compare(*both, dev, **options)
