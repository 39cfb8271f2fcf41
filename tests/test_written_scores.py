"""Texts put together by templates, what targets are taken for, and how good written answers are."""

import json

import numpy as np
import pytest

from bertsmith.errors import InputError
from bertsmith.tasks import kinds, overlap
from bertsmith.tasks.template import Template
from bertsmith.tasks.written import Answer

ROWS = [{"premise": "It rains.", "hypothesis": "Wet?", "score": 3.26, "label": i % 2} for i in range(8)]


def answers(*texts):
    return [Answer(text, 0.0, "end") for text in texts]


def task(**options):
    return kinds.kind("text2text").asking(**options)


def learned(labels, **options):
    rows = task(**options).read(source([{"text": f"text {i}", "label": x} for i, x in enumerate(labels)]))
    return rows, task(**options).learn(rows)


def source(rows, kind=None):
    from bertsmith.tasks import given

    kind = kind or task()
    return given.source(rows, "train", {}, fields=kind.fields, pair=kind.pair)


def test_a_template_puts_columns_into_a_text():
    kind = task(template="nli premise: {premise} hypothesis: {hypothesis} {{}}", target="{score:.1f}")
    table = kind.read(source(ROWS, kind))
    assert table.columns["text"][0] == "nli premise: It rains. hypothesis: Wet? {}"
    assert table.columns["label"][0] == "3.3"
    assert task(target_step=0.2, target="{score}").read(source([{"text": "a", "score": 3.26}], task(target="{score}"))).columns["label"] == ["3.2"]  # fmt: skip
    halves = [Template("{x}", "target", 0.2).filled({"x": x}, "") for x in (0, 0.1, 0.3, 5, 2.5)]
    assert halves == ["0.0", "0.0", "0.2", "5.0", "2.4"], "halves to even, as T5's own rounding has it"


def test_files_are_read_by_the_names_of_their_columns_or_by_their_numbers(tmp_path):
    (tmp_path / "a.tsv").write_text("de\ten\nein Hund\ta dog\n")
    (tmp_path / "b.csv").write_text('ein Hund,"a dog, black"\n')
    (tmp_path / "c.jsonl").write_text(json.dumps({"de": "ein Hund", "en": True, "n": 4}) + "\n")
    read = lambda name, source, target, **more: (
        task(template=source, target=target).read(tmp_path / name, **more).columns
    )
    assert read("a.tsv", "translate: {de}", "{en}") == {"text": ["translate: ein Hund"], "label": ["a dog"]}
    assert read("b.csv", "{1}", "{2}", header=False) == {"text": ["ein Hund"], "label": ["a dog, black"]}
    assert read("c.jsonl", "{n} {de}", "{en}") == {"text": ["4 ein Hund"], "label": ["true"]}
    assert read("c.jsonl", "{de}", "{nothing}", labelled=False) == {"text": ["ein Hund"]}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("premise", r"template='premise': names no column"),
        ("{premis}", r"train\[0\]: premis: is missing; did you mean 'premise'\?"),
        ("{premise", r"template='\{premise': .*a brace itself is"),
        ("{}", r"braces without the name of a column"),
        ("{premise!r}", r"!r after a column"),
        ("{premise:.1f}", r"train\[0\]: premise: 'It rains.' is not a number, and template formats it as one"),
        ("{score:.1q}", r"rounds a number"),
    ],
)
def test_a_template_that_cannot_be_filled_is_one_line(template, says):
    with pytest.raises(InputError, match=says) as error:
        kind = task(template=template)
        kind.read(source(ROWS, kind))
    assert "\n" not in str(error.value)


def test_a_column_that_a_file_lacks_is_named_with_the_nearest_one(tmp_path):
    (tmp_path / "a.tsv").write_text("sentence\tlabel\nx y\t1\n")
    with pytest.raises(InputError, match=r"a.tsv:1: no column 'sentense'; did you mean 'sentence'\?"):
        task(template="{sentense}").read(tmp_path / "a.tsv")
    with pytest.raises(InputError, match=r"text2: is there.*template='\{text\} \{text2\}'"):
        task().read(source([{"text": "a", "text2": "b", "label": "c"}], kinds.kind("classify")))


def test_few_targets_of_several_rows_each_are_names_numbers_are_numbers_and_others_texts():
    assert learned(["yes", "no"] * 3)[1].names == ("no", "yes")
    assert learned(["yes", "no", "maybe"] * 2)[1].names == ()
    assert not learned(["yes", "no"] * 3)[1].numbers
    _, known = learned([f"{i % 5}.5" for i in range(20)])
    assert known.numbers and known.mean == 2.5 and len(known.names) == 5 and task().best(known) == "pearson"
    assert task().best(learned([i % 2 for i in range(9)])[1]) == "accuracy"
    assert task().best(learned([f"text {i}" for i in range(9)])[1]) == "f1"
    with pytest.raises(InputError, match=r"metric='accuracy': the 9 different targets of train are not few names"):
        learned([f"text {i}" for i in range(9)], metric="accuracy")
    with pytest.raises(InputError, match=r"metric='blue': unknown; did you mean 'bleu'\?"):
        task(metric="blue")


def test_what_names_no_class_is_wrong_and_counted():
    _, known = learned(["yes", "no", "well"] * 3)
    true, said = ["yes", "no", "yes", "well"], answers("Yes ", "yes", "perhaps", "well")
    scores = {name: score["value"] for name, score in task().score(true, said, known, resamples=0).items()}
    assert scores["accuracy"] == 0.5 and scores["other"] == 0.25
    assert scores["macro_f1"] == pytest.approx((0.5 + 0 + 1) / 3), "by the classes of the training file alone"
    found = task().breakdown(true, said, known)
    assert found["classes"]["yes"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert [row["label"] for row in task().answer(None, said, known)] == ["yes", "yes", None, "well"]


def test_one_text_about_all_is_said_as_such():
    from bertsmith.tasks.breakdown import alike

    said = lambda label, found: alike({"label": label, "count": 12, "of": "texts"}, found, "dev ")
    classes = {"classes": {"yes": {"support": 3}}, "majority": {"label": "yes", "share": 0.5}}
    assert said("", classes) == "it writes nothing about all 12 dev texts: it has learned nothing from them"
    assert said("x", {}) == "it writes 'x' about all 12 dev texts: it has learned nothing from them"
    assert "beyond the commonest class" in said("yes", classes)
    assert task().only(answers("x", "x"), learned(["a", "b"] * 3)[1], ["a", "b"]) == "x"


def test_dev_targets_of_another_kind_are_counted():
    _, known = learned(["yes", "no"] * 3)
    other, _ = learned(["yes", "maybe"])
    train, _ = learned(["yes", "no"] * 3)
    found = {
        part: {"rows": len(rows), **task().outline(rows, known)} for part, rows in (("train", train), ("dev", other))
    }
    assert "warning: dev: 1 of 2 targets are not among the classes of train: no answer is right there" in [
        *task().told(found)
    ]


def test_what_is_no_number_counts_as_the_mean_and_is_counted():
    _, known = learned([0.0, 1.0, 2.0, 3.5])
    scores = task().score(["0", "1", "2", "3"], answers("0.1", "1 . 1", "x", "2.9"), known, resamples=0)
    expected = np.corrcoef([0, 1, 2, 3], [0.1, 1.1, known.mean, 2.9])[0, 1]
    assert scores["pearson"]["value"] == pytest.approx(expected) and scores["other"]["value"] == 0.25
    assert scores["spearman"]["value"] == pytest.approx(1.0)
    assert [row["label"] for row in task().answer(None, answers("0.1", "x"), known)] == [0.1, None]


def test_texts_are_compared_as_squad_does():
    _, known = learned([f"text {i}" for i in range(9)])
    scores = task().score(["The black dog."] * 2, answers("black dog", "a black cat"), known, resamples=0)
    assert scores["exact"]["value"] == 0.5 and scores["f1"]["value"] == 0.75
    assert task().correct(["a b", "c"], answers("b", "d")).tolist() == [1.0, 0.0]


SAID = ["the cat sat on a mat .", "there is a dog here", "", "the the the the", "a man rides a horse ."]
TRUE = ["the cat is on the mat .", "there is a cat here today", "a b", "the cat", "a man is riding a horse ."]


def resampled(figures, seed, n):
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=20).astype(float)
    return weights, figures(weights)


def test_bleu_and_chrf_are_sacrebleus_of_every_resample():
    import sacrebleu

    for seed, said in enumerate((SAID, SAID[::-1], TRUE, [""] * 5, ["the"] * 5)):
        for name, figures in (("bleu", overlap.bleu(said, TRUE)), ("chrf", overlap.chrf(said, TRUE))):
            weights, found = resampled(figures, seed, len(said))
            for row, score in zip(weights, found[name], strict=True):
                taken = np.repeat(np.arange(len(said)), row.astype(int))
                corpus = getattr(sacrebleu, f"corpus_{name}")
                theirs = corpus([said[i] for i in taken], [[TRUE[i] for i in taken]])
                assert score == pytest.approx(theirs.score, abs=1e-9), (name, taken)


def test_rouge_is_that_of_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer

    found = overlap.rouge(SAID, TRUE)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name, values in found.items():
        theirs = [scorer.score(target, said)[name].fmeasure for said, target in zip(SAID, TRUE, strict=True)]
        assert values.tolist() == theirs
    _, known = learned([f"text {i}" for i in range(9)], metric="rouge")
    assert task(metric="rouge").best(known) == "rougeL"
    scores = task(metric="rouge").score(TRUE, answers(*SAID), known)
    assert scores["rougeL"]["value"] == pytest.approx(found["rougeL"].mean())
    assert scores["rougeL"]["low"] < scores["rougeL"]["value"] < scores["rougeL"]["high"]


def test_a_metric_whose_package_is_missing_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"metric='bleu': needs sacrebleu: pip install 'bertsmith\[eval\]'"):
        task(metric="bleu")
    with pytest.raises(InputError, match="metric='rouge': needs rouge-score"):
        task(metric="rouge")
