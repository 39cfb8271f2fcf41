"""Texts with any number of labels: how files say them, what is learned, chosen, scored and refused."""

import json

import numpy as np
import pytest
from sklearn import metrics as theirs

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks import kinds, metrics
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.multilabel import threshold
from bertsmith.tasks.readers import read

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = kinds.kind("multilabel")
WORDS = {"list": "plural", "class": "type", "value": "thing"}


def rows(n, seed=0):
    """A label for each word of three that stands in a text."""
    draw, found = np.random.default_rng(seed), []
    for i in range(n):
        words = [word for word in WORDS if draw.random() < 0.4]
        found.append(
            {
                "text": f"the {' '.join(words)} of module {chr(97 + i % 7)}{chr(97 + i % 11)}{chr(97 + i % 13)}",
                "label": [WORDS[word] for word in words],
            }
        )
    return found


def tuned(model, out, *settings, **options):
    given = ["batch=8", "epochs=16", "lr=0.01", "dropout=0", "pool=mean", "precision=float32", *settings]
    options = {"train": rows(160), "dev": rows(48, 1), "threads": 1, **options}
    return bertsmith.finetune(model, task="multilabel", out=out, set=given, **options)


@pytest.fixture(scope="module")
def run(pretrained, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("several") / "run", []
    return out, tuned(pretrained, out, say=said.append, baseline=True), said


def test_several_labels_a_text_are_learned_and_evaluate_gives_the_same_numbers(run):
    out, result, said = run
    assert result["chosen_by"] == "micro_f1" and result["dev"]["micro_f1"]["value"] > 0.9
    assert list(result["dev"]) == ["micro_f1", "macro_f1", "subset_accuracy"]
    assert bertsmith.evaluate(out, rows(48, 1)) == result["dev"]
    assert any("3 labels, " in line and "with none" in line for line in said)
    assert result["baseline"]["dev"]["micro_f1"]["value"] > 0.9 and "for each label" in result["baseline"]["method"]


def test_the_threshold_stands_in_the_result_and_predictions_go_by_it(run):
    out, result, _ = run
    (one,) = set(result["thresholds"])
    assert bertsmith.load(out).labels.thresholds == (one,) * 3
    for row in bertsmith.predict(out, [one["text"] for one in rows(20, 2)]):
        assert row["label"] == [name for name, p in row["scores"].items() if p >= one]


def test_each_label_may_have_a_threshold_of_its_own(pretrained, tmp_path):
    result = tuned(pretrained, tmp_path / "run", "thresholds=each", "epochs=2")
    assert len(set(result["thresholds"])) > 1
    assert bertsmith.evaluate(tmp_path / "run", rows(48, 1)) == result["dev"]
    found = bertsmith.compare(tmp_path / "run", tmp_path / "run", rows(48, 1))
    assert found["difference"]["macro_f1"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_threshold_is_the_best_of_all_that_tell_two_texts_apart():
    draw = np.random.default_rng(3)
    for _ in range(30):
        p, true = np.round(draw.random(12), 1), draw.random(12) < 0.4
        best = max(theirs.f1_score(true, p >= t, zero_division=0) for t in [*p, 0.0])
        assert theirs.f1_score(true, p >= threshold(p, true), zero_division=0) == pytest.approx(best)
    assert threshold(p, np.zeros(12, bool)) == 0.5


def test_scores_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    true, said = draw.random((40, 5)) < 0.3, draw.random((40, 5)) < 0.3
    found = {name: float(x[0]) for name, x in metrics.label_figures(true, said)(np.ones((1, 40))).items()}
    assert found["micro_f1"] == pytest.approx(theirs.f1_score(true, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(theirs.f1_score(true, said, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(theirs.accuracy_score(true, said))


@pytest.mark.parametrize(
    ("labels", "names", "each"),
    [
        (["a|b", "", "b | c"], ("a", "b", "c"), [[1, 1, 0], [0, 0, 0], [0, 1, 1]]),
        (["x, y", "x", "z"], ("x", "y", "z"), [[1, 1, 0], [1, 0, 0], [0, 0, 1]]),
        (["Food, drink|Sport", "Sport"], ("Food, drink", "Sport"), [[1, 1], [0, 1]]),
        (["['a', 'b']", "[]", '["b"]'], ("a", "b"), [[1, 1], [0, 0], [0, 1]]),
        (["a|a||b", "a"], ("a", "b"), [[1, 1], [1, 0]]),
    ],
)
def test_a_field_holds_labels_parted_by_a_sign_or_a_list(labels, names, each, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"t\t{label}\n" for label in labels))
    table = KIND.read(path)
    known = KIND.learn(table)
    assert known.names == names and KIND.targets(table, known).tolist() == each


def test_lists_of_json_are_labels_and_null_is_none(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "t", "label": x}) + "\n" for x in (["a", "b|c"], [], None, [3])))
    table = KIND.read(path)
    assert KIND.learn(table).names == ("3", "a", "b|c")


def test_a_dev_share_is_drawn_by_the_rarest_label(pretrained, tmp_path):
    said = []
    result = tuned(pretrained, tmp_path / "run", "epochs=1", dev=0.25, say=said.append)
    assert (
        any("drawn by label" in line for line in said)
        and sum(result["texts"][p]["texts"] for p in result["texts"]) == 160
    )


@pytest.mark.parametrize(
    ("train", "dev", "says"),
    [
        ([("a", "x|y"), ("b", "y")], [("c", "x|z")], 'dev[0]: label: "z" is not one of: x, y'),
        ([("a", ""), ("b", "")], [("c", "x")], "train: label: no row has one"),
        ([("a", ["x", True]), ("b", ["y"])], [("c", ["x"])], "train[0]: label: True is not a label"),
        ([("a", ["x", ["y"]]), ("b", ["y"])], [("c", ["x"])], "train[0]: label: a list where a text or a number"),
    ],
)
def test_what_is_no_label_is_told_in_one_line(train, dev, says, pretrained, tmp_path):
    given = {
        part: [{"text": text, "label": label} for text, label in one] for part, one in (("train", train), ("dev", dev))
    }
    with pytest.raises(InputError) as raised:
        bertsmith.finetune(pretrained, task="multilabel", out=tmp_path / "run", **given)
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_setting_of_another_kind_is_refused(pretrained, tmp_path):
    with pytest.raises(InputError, match="thresholds: task='classify' has none; task='multilabel' or 'typing' has"):
        given = {"train": {"text": ["a", "b"], "label": ["x", "y"]}, "dev": {"text": ["c"], "label": ["x"]}}
        bertsmith.finetune(pretrained, task="classify", out=tmp_path / "run", set=["thresholds=each"], **given)


def test_rows_of_one_label_each_are_told_of_classify():
    table = read_rows(["x", "y", "x"])
    known = KIND.learn(table)
    found = {part: {"rows": 3, **KIND.outline(table, known)} for part in ("train", "dev")}
    assert any("no row has several labels; task='classify' learns one a row" in line for line in KIND.told(found))


def read_rows(labels):
    from bertsmith.tasks.given import source

    return read(source([{"text": "t", "label": x} for x in labels], "train"), lists=("label",))


def test_a_model_that_says_the_same_labels_of_all_says_so():
    said, known = np.tile([[3.0, -3.0]], (12, 1)), Labels(names=("a", "b"))
    true = np.array([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 6)
    assert KIND.only(said, known, true) == "a" and KIND.only(-said + 6, known, true) == "a|b"
    assert (
        KIND.only(said * 0 - 1, known, true) == "none"
        and KIND.only(said, known, np.tile([[1.0, 0.0]], (12, 1))) is None
    )


def test_an_export_opens_as_a_multi_label_classifier_and_comes_back(pretrained, tmp_path):
    transformers = pytest.importorskip("transformers")
    tuned(pretrained, tmp_path / "run", "pool=cls", "epochs=2")
    run = [tmp_path / "run"]
    bertsmith.export(run[0], tmp_path / "out")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert config.problem_type == "multi_label_classification" and config.architectures == [
        "BertForSequenceClassification"
    ]
    back = bertsmith.load(tmp_path / "out")
    assert back.task["kind"] == "multilabel" and back.labels.names == ("plural", "thing", "type")
    text = "the list of module a"
    here, there = (bertsmith.predict(model, [text])[0]["scores"] for model in (run[0], tmp_path / "out"))
    assert list(here.values()) == pytest.approx(list(there.values()), abs=1e-6)
    said = transformers.pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)([text])[0]
    assert {one["label"]: one["score"] for one in said} == pytest.approx(here, abs=1e-5)
    assert "from a probability on that the dev file chose" in (tmp_path / "out" / "README.md").read_text()
