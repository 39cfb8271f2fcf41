"""Scores class by class against scikit-learn and seqeval, and how a user sees them."""

import numpy as np
import pytest
from seqeval.metrics import classification_report
from sklearn import metrics as sk

from bertsmith.tasks import breakdown
from bertsmith.tasks.answers import Answers, Said
from bertsmith.tasks.answers import Truth as Questions
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.spans import closed
from bertsmith.tasks.tags import Tags, Truth
from bertsmith.tasks.texts import Classes, Numbers

FIGURES = ("precision", "recall", "f1", "support")


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_classes_are_scored_as_scikit_learn_does(classes):
    generator = np.random.default_rng(classes)
    truth, predicted = generator.integers(0, classes, 90), generator.integers(0, classes - 1, 90)
    names = tuple(f"c{i}" for i in range(classes))
    found = Classes().breakdown(truth, np.eye(classes)[predicted], Labels(names=names))
    theirs = sk.precision_recall_fscore_support(truth, predicted, labels=range(classes), zero_division=0)
    assert [[row[key] for key in FIGURES] for row in found["classes"].values()] == pytest.approx(np.array(theirs).T)
    assert found["confusion"] == sk.confusion_matrix(truth, predicted, labels=range(classes)).tolist()
    commonest = np.bincount(truth).max()
    assert found["majority"]["share"] == pytest.approx(commonest / 90)
    assert found["classes"][found["majority"]["label"]]["support"] == commonest


@pytest.mark.parametrize("scheme", [("B", "I"), ("I",)])
@pytest.mark.parametrize("seed", range(3))
def test_types_of_spans_are_scored_as_seqeval_does(seed, scheme):
    generator = np.random.default_rng(seed)
    names = closed({"O", *(f"{prefix}-{kind}" for prefix in scheme for kind in ("PER", "LOC", "ORG"))})
    lengths = generator.integers(1, 12, 30)
    truth = generator.integers(0, len(names), lengths.sum())
    mine = np.where(generator.random(len(truth)) < 0.6, truth, generator.integers(0, len(names), len(truth)))
    found = Tags().breakdown(Truth(ids=truth, lengths=lengths), np.eye(len(names))[mine], Labels(names=tuple(names)))
    rows = lambda ids: [[names[i] for i in part] for part in np.split(ids, np.cumsum(lengths)[:-1])]
    theirs = classification_report(rows(truth), rows(mine), output_dict=True, zero_division=0)
    assert found["classes"].keys() == {"PER", "LOC", "ORG"} and "confusion" not in found
    for kind, row in found["classes"].items():
        assert list(row.values()) == pytest.approx([theirs[kind][key.replace("f1", "f1-score")] for key in FIGURES])


def test_words_without_spans_are_scored_tag_by_tag_and_an_unread_one_is_a_miss():
    truth = Truth(ids=np.array([0, 0, 1, 1]), lengths=np.array([4]))
    said = np.array([[1, 0], [0, 1], [0, 1], [np.nan, np.nan]])
    found = Tags().breakdown(truth, said, Labels(names=("NN", "VB")))
    assert found["classes"]["VB"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert found["confusion"] == [[1, 1], [0, 1]] and found["majority"] == {"label": "NN", "share": 0.5}


def test_one_answer_to_all_is_noticed_unless_it_is_the_truth():
    names = Labels(names=("no", "yes"), mean=10.0, scale=2.0, nulls=True)
    truth, same = np.array([0, 1, 1]), np.array([[0.0, 1]] * 3)
    assert Classes().only(same, names, truth) == "yes" == Classes().only(same, names)
    assert Classes().only(same, names, np.ones(3)) is None and Classes().only(np.eye(2), names) is None
    tags = Truth(ids=truth, lengths=np.array([2, 1]))
    assert Tags().only(np.append(same[:2], [[np.nan, np.nan]], 0), names, tags) == "yes"
    assert Numbers().only(np.array([[0.5], [0.501]]), names, np.array([0.0, 1])) == pytest.approx(11.001)
    assert Numbers().only(np.array([[0.5], [0.501]]), names, np.array([1.0, 1])) is None
    assert Numbers().only(np.array([[0.5], [0.6]]), names) is None
    none = [Said(text="x", start=0, end=1, score=0.0, null=1.0, p=0.1, p_null=0.9)] * 2
    asked = lambda *golds: Questions(golds=[*golds], places=[None] * len(golds))
    assert Answers().only(none, names, asked(["x"], [])) == "" and Answers().only(none, names, asked([], [])) is None
    assert Answers().only(none, Labels(nulls=False), asked(["x"], [])) is None


def test_what_is_said_of_one_answer_names_it_and_how_many_got_it():
    found = breakdown.of_classes(np.array([0, 0, 1]), np.zeros(3, int), ["neutral", "good"])
    one = {"label": "neutral", "count": 300, "of": "texts"}
    beyond = "it says 'neutral' to all 300 dev texts: it has learned nothing beyond the commonest class"
    assert breakdown.alike(one, found, "dev ") == beyond
    assert breakdown.alike(one | {"label": "good"}, found).endswith("300 texts: it tells no class from another")
    assert "says no answer to all 3 questions" in breakdown.alike({"label": "", "count": 3, "of": "questions"}, {})
    assert "says about 2.5 to all" in breakdown.alike({"label": 2.5, "count": 3, "of": "texts"}, {})
    assert breakdown.predicted_alike("O", 12, "words") == "the predictions of all 12 words are 'O'"


def test_a_table_has_the_matrix_where_there_is_room_else_what_classes_are_taken_for():
    few = list(breakdown.lines(breakdown.of_classes(np.array([0, 0, 1]), np.array([0, 1, 1]), ["no", "yes"])))
    assert few[0].split() == ["class", "precision", "recall", "f1", "support", "said:", "no", "yes"]
    assert few[1].split() == ["no", "1.000", "0.500", "0.667", "2", "1", "1"] and len(few) == 3
    names = [f"a rather long name {i:02}" for i in range(40)]
    truth = np.repeat(np.arange(40), np.arange(40) + 3)
    many = list(breakdown.lines(breakdown.of_classes(truth, np.where(truth % 7 == 0, 1, truth), names)))
    assert len(many) == 1 + 12 + 1 and many[0].endswith("taken for") and many[-1].startswith("and 28 more")
    shown = {int(line[len(names[0]) - 2 : len(names[0])]) for line in many[1:-1]}
    assert {39, 38, 37, 36, 35, 34} < shown, "the commonest"
    assert {0, 7, 14, 21, 28} < shown, "the worst"
    assert max(map(len, many)) <= 120 and "rather long name 01 31" in " ".join(many)
    assert list(breakdown.lines({})) == []
