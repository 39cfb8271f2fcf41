"""Which of several texts goes with a text: files, rows of different numbers, what is learned, scored, refused and exported."""

import json

import numpy as np
import pytest
from tests.runs import Breaking, same, small

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = kinds.kind("choice")
WORDS = "list class value name type module object".split()


def rows(n, seed=0):
    """Of two to four choices one says the word of the text."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(n):
        words = draw.permutation(WORDS)[: draw.integers(2, 5)].tolist()
        at = int(draw.integers(len(words)))
        found.append({"text": f"what is a {words[at]}", "choices": [f"it is a {word}" for word in words], "label": at})
    return found


def tuned(model, out, *settings, **options):
    given = ["batch=8", "lr=0.01", "dropout=0", "precision=float32", *settings]
    options = {
        "epochs": None if "steps" in options else 2,
        "train": rows(120),
        "dev": rows(40, 1),
        "threads": 1,
        **options,
    }
    return bertsmith.finetune(model, task="choice", out=out, set=given, **options)


@pytest.fixture(scope="module")
def run(pretrained, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("choice") / "run", []
    return out, tuned(pretrained, out, say=said.append), said


def test_rows_of_different_numbers_are_scored_and_evaluate_gives_the_same(run):
    out, result, said = run
    assert list(result["dev"]) == ["accuracy"] and bertsmith.evaluate(out, rows(40, 1)) == result["dev"]
    assert any("120 rows of 2 to 4 choices; guessing is right in" in line for line in said)
    assert any("a label is its number from 0" in line for line in said)


def test_predictions_are_the_chosen_text_its_number_and_a_share_for_each_choice(run, tmp_path):
    asked = [{name: row[name] for name in ("text", "choices")} for row in rows(10, 2)]
    for row, given in zip(bertsmith.predict(run[0], asked, tmp_path / "out.jsonl"), asked, strict=True):
        assert len(row["scores"]) == len(given["choices"]) and sum(row["scores"]) == pytest.approx(1)
        assert row["choice"] == int(np.argmax(row["scores"])) and row["label"] == given["choices"][row["choice"]]
    assert bertsmith.predict(run[0], [("what is a list", ["it is a list", "it is a class"])])[0]["index"] == 0


def test_the_loss_is_a_softmax_over_the_choices_of_each_row(pretrained, tmp_path):
    tuned(pretrained, tmp_path / "run", "lr=1e-9", "batch=120", steps=1)
    (line,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    wanted = [
        -np.log(found["scores"][row["label"]])
        for found, row in zip(bertsmith.predict(tmp_path / "run", rows(120)), rows(120), strict=True)
    ]
    assert line["terms"]["choice"] == pytest.approx(np.mean(wanted), rel=1e-4)


def test_what_else_is_in_a_batch_changes_no_choice(run):
    every = bertsmith.predict(run[0], rows(12, 3))
    alone = [bertsmith.predict(run[0], [row])[0] for row in rows(12, 3)]
    for a, b in zip(every, alone, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-6)


def test_it_goes_on_to_the_bit_and_passes_do_not_change_it(pretrained, tmp_path):
    tuned(pretrained, tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        tuned(pretrained, tmp_path / "broken", progress=Breaking("kill", 20))
    tuned(pretrained, tmp_path / "broken", resume=True)
    same(tmp_path / "one", tmp_path / "broken")
    tuned(pretrained, tmp_path / "parts", "accumulate=3")
    for a, b in zip(
        *((out / "metrics.jsonl").read_text().splitlines()[:10] for out in (tmp_path / "one", tmp_path / "parts")),
        strict=True,
    ):
        assert json.loads(a)["loss"] == pytest.approx(json.loads(b)["loss"], rel=1e-4)


def test_a_frozen_trunk_has_a_feature_for_each_choice(pretrained, tmp_path):
    result = tuned(pretrained, tmp_path / "run", method="frozen")
    assert bertsmith.evaluate(tmp_path / "run", rows(40, 1)) == result["dev"]


def test_the_word_that_text_and_choice_share_is_found_by_the_baseline(pretrained, tmp_path):
    result = tuned(pretrained, tmp_path / "run", steps=1, baseline=True)
    assert result["baseline"]["dev"]["accuracy"]["value"] > 0.9 and "likeliest choice" in result["baseline"]["method"]


@pytest.mark.parametrize(
    ("labels", "way"),
    [(["red", "blue"], "text"), (["0", "1"], "0"), (["1", "2"], "1"), (["A", "B"], "A"), ([1, 0], "0")],
)
def test_the_right_choice_is_its_text_its_number_or_its_letter(labels, way, tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [{"text": "t", "choices": ["red", "blue"], "label": label} for label in labels]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = KIND.read(path)
    known = KIND.learn(table)
    assert known.counted == way and KIND.targets(table, known).tolist() == ([1, 0] if labels == [1, 0] else [0, 1])


def test_a_table_has_a_column_for_each_choice_and_rows_with_fewer_leave_the_last_ones_empty(tmp_path):
    path = tmp_path / "swag.csv"
    path.write_text("sent1,sent2,ending0,ending1,ending2,label\na,He,runs,sits,eats,2\nb,She,sings,sleeps,,0\n")
    columns = {"text": "sent1", "text2": "sent2"} | {f"choice{i}": f"ending{i}" for i in range(3)}
    table = KIND.read(path, columns=columns)
    assert table.choices == [["runs", "sits", "eats"], ["sings", "sleeps"]] and table.seconds() == ["He", "She"]
    assert KIND.targets(table, KIND.learn(table)).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"choices": ["x"], "label": 0}, "train[2]: choices: 1 choice; two or more texts are wanted"),
        ({"choices": ["x", ""], "label": 0}, "train[2]: choices: an empty choice"),
        (
            {"choices": ["x", "y"], "label": 5},
            "train[2]: label: 5 is none of its 2 choices; here a label is its number from",
        ),
        ({"choices": ["x", "y"], "label": None}, "train[2]: label: null where a text or a number is expected"),
        ({"choices": "x", "label": 0}, "train[2]: choices: a list of texts is wanted"),
        ({"choices": ["x", ["y"]], "label": 0}, "train[2]: choices: a list where a text or a number is expected"),
    ],
)
def test_rows_that_offer_nothing_to_choose_are_named(row, says, pretrained, tmp_path):
    with pytest.raises(InputError) as raised:
        tuned(pretrained, tmp_path / "run", train=[*rows(2), {"text": "t", **row}])
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"on_long": "window"}, "on_long='window': task='choice' reads each choice once"),
        ({"labels": ["a", "b"]}, "labels: task='choice' has texts to choose from"),
        ({"train": [{"text": "a", "label": 0}]}, "neither choices nor choice1"),
    ],
)
def test_what_choices_cannot_do_is_told(options, says, pretrained, tmp_path):
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        tuned(pretrained, tmp_path / "run", **options)


def test_columns_of_choices_are_none_of_a_classifier(pretrained, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    options = {"task": "classify", "train": tmp_path / "a.csv", "dev": 0.1, "columns": {"choice1": "a"}}
    with pytest.raises(InputError, match="columns='choice1': is not a column of this task"):
        bertsmith.finetune(pretrained, out=tmp_path / "run", **options)


@pytest.mark.parametrize(
    ("member", "name"),
    [("bert", "Bert"), ("roberta", "Roberta"), ("electra", "Electra"), ("xlnet", "XLNet")],
)
def test_an_export_is_a_class_of_choices_there_and_comes_back(member, name, short, tmp_path):
    transformers = pytest.importorskip("transformers")
    pretrain(small("training.precision=float32", member=member), short, tmp_path / "model", steps=1, threads=1)
    tuned(tmp_path / "model", tmp_path / "run", steps=2)
    bertsmith.export(tmp_path / "run", tmp_path / "out")
    back = bertsmith.load(tmp_path / "out")
    assert back.task["kind"] == "choice"
    assert transformers.AutoConfig.from_pretrained(tmp_path / "out").architectures == [f"{name}ForMultipleChoice"]
    here, there = (bertsmith.predict(model, rows(6, 4)) for model in (tmp_path / "run", tmp_path / "out"))
    for a, b in zip(here, there, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-6)
    assert bertsmith.evaluate(tmp_path / "out", rows(6, 4)).keys() == {"accuracy"}
    assert "AutoModelForMultipleChoice" in (tmp_path / "out" / "README.md").read_text()
