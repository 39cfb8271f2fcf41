"""`--dev 0.1`: which rows of a training file become its dev set, and what files are said to hold."""

import json
from collections import Counter

import numpy as np
import pytest

import bertsmith
from bertsmith.downstream.labelled_files import Files, Rows
from bertsmith.errors import InputError
from bertsmith.tasks.split import drawn, linked, share_of

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "module class object value string function method name list type".split()


def text(i: int) -> str:
    return f"the {WORDS[i % 10]} number {i}"


def written(path, rows, header="text\tlabel"):
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def read(path, dev=0.1, task="classify", **options):
    said = []
    return Rows.read(Files(task=task, train=path, dev=dev, **options), said.append), said


def squad(articles: int, paragraphs: int, shared: str = "") -> dict:
    def paragraph(a: int, p: int) -> dict:
        context = shared or f"article {a} has part {p} here"
        answers = [{"text": "part", "answer_start": context.index("part")}]
        asked = [{"id": f"{a}-{p}-{q}", "question": f"what is {q}?", "answers": answers[: q < 2]} for q in range(3)]
        return {"context": context, "qas": asked}

    return {"data": [{"paragraphs": [paragraph(a, p) for p in range(paragraphs)]} for a in range(articles)]}


@pytest.mark.parametrize("given", [0, 0.51, -0.1, 1, 10, float("nan"), "0", "0.6", "1e9", "10%", "nan", "-.1", "2"])
def test_a_share_is_above_0_and_at_most_a_half(given):
    with pytest.raises(InputError, match=r"dev=.*above 0 and at most 0\.5"):
        share_of(given)


def test_a_number_is_a_share_and_anything_else_a_file(tmp_path):
    assert share_of("0.1") == share_of(0.1) == share_of(".1") == share_of("1e-1") == 0.1 and share_of("0.5") == 0.5
    assert share_of("./0.1") is share_of(tmp_path / "0.1") is share_of("dev.tsv") is share_of("dev1.0") is None


def test_each_class_gives_its_share_and_the_same_rows_whatever_the_order_of_the_file(tmp_path):
    rows = [(text(i), "abbcccc"[i % 7]) for i in range(700)]
    found, said = read(written(tmp_path / "a.tsv", rows))
    assert said[0] == f"dev: 70 of 700 rows of {tmp_path / 'a.tsv'}, drawn by class"
    assert Counter(found.rows["dev"].columns["label"]) == {"a": 10, "b": 20, "c": 40}
    assert len(found.rows["train"]) == 630 and not set(found.rows["train"].inputs()) & set(found.rows["dev"].inputs())
    assert found.rows["dev"].where(0).endswith(f":{found.rows['dev'].lines[0]}")
    again, _ = read(written(tmp_path / "b.tsv", rows[::-1]))
    assert set(again.rows["dev"].inputs()) == set(found.rows["dev"].inputs())


def test_equal_texts_stay_on_one_side_whatever_their_case_and_blanks(tmp_path):
    rows = [(form, "xy"[i % 2]) for i in range(60) for form in (text(i), text(i).upper(), f"{text(i)} ")]
    found, _ = read(written(tmp_path / "a.tsv", rows), dev=0.3)
    sides = {part: {form.casefold().strip() for form in of.columns["text"]} for part, of in found.rows.items()}
    assert not sides["train"] & sides["dev"] and len(found.rows["dev"]) == 54


def test_pairs_that_share_a_text_stay_on_one_side(tmp_path):
    rows = [(text(i // 3), f"claim {i}", "xy"[i % 2]) for i in range(120)]
    found, said = read(written(tmp_path / "a.tsv", rows, "text\ttext2\tlabel"))
    assert not set(found.rows["train"].columns["text"]) & set(found.rows["dev"].columns["text"])
    assert said[0].endswith("by class, pairs with a text in common on one side") and len(found.rows["dev"]) == 12
    topics = [("about", f"claim {i}", "xy"[i % 2]) for i in range(40)]  # one text in all rows parts nothing
    found, said = read(written(tmp_path / "b.tsv", topics, "text\ttext2\tlabel"), 0.5)
    assert len(found.rows["dev"]) == 20 and said[0].endswith("on both sides")
    alone = [(text(i), f"claim {i}", "xy"[i % 2]) for i in range(40)]
    assert read(written(tmp_path / "c.tsv", alone, "text\ttext2\tlabel"), 0.5)[1][0].endswith("drawn by class")


def test_rows_are_linked_by_way_of_others():
    assert linked([["a", "b", "a", "c"], ["x", "y", "z", "z"]]) == [0, 1, 0, 0]


def test_a_rare_class_stays_in_training_and_three_rows_give_one(tmp_path):
    rows = [(text(i), "xy"[i % 2]) for i in range(100)] + [(text(i), "zzzwwv"[i - 100]) for i in range(100, 106)]
    found, said = read(written(tmp_path / "a.tsv", rows))
    dev = Counter(found.rows["dev"].columns["label"])
    assert dev["z"] == 1 and not dev["w"] and not dev["v"] and found.known.names == ("v", "w", "x", "y", "z")
    assert "warning: train: 3 of 5 classes have at most 2 rows: w 2, z 2, v 1" in said
    assert "warning: dev: 2 of 5 classes are not in it: v, w" in said


@pytest.mark.parametrize("many, what", [(1, "1 row"), (9, "9 rows"), (10, "")])
def test_a_dev_set_that_tells_little_is_warned_of(many, what, tmp_path):
    written(tmp_path / "train.tsv", [(text(i), "xy"[i % 2]) for i in range(20)])
    written(tmp_path / "dev.tsv", [(text(i), "xy"[i % 2]) for i in range(20, 20 + many)])
    said = []
    Rows.read(Files(task="classify", train=tmp_path / "train.tsv", dev=tmp_path / "dev.tsv"), said.append)
    few = [line for line in said if "its scores say little" in line]
    assert len(few) == bool(what) and all(line.startswith(f"warning: dev: {what}: ") for line in few)
    assert ("warning: dev: 1 of 2 classes is not in it: y" in said) == (many == 1)


def test_questions_are_drawn_by_article_or_by_text_where_articles_are_too_large(tmp_path):
    path = tmp_path / "a.json"
    for articles, paragraphs, how in ((20, 2, "articles"), (1, 30, "texts")):
        path.write_text(json.dumps(squad(articles, paragraphs)))
        found, said = read(path, 0.2, "qa")
        sides = {part: {of.contexts[i] for i in of.about} for part, of in found.rows.items()}
        assert not sides["train"] & sides["dev"] and said[0].endswith(f"drawn at random, whole {how}")
        assert len(found.rows["dev"]) == round(0.2 * 3 * articles * paragraphs) == 3 * len(found.rows["dev"].contexts)
    path.write_text(json.dumps(squad(4, 2, shared="one part for all")))
    with pytest.raises(InputError, match=r"a\.json: 24 questions with 1 different text cannot be divided; dev=FILE"):
        read(path, 0.2, "qa")


def test_sentences_with_a_rare_type_are_dealt_first(tmp_path):
    rare = ["B-PER"] * 56 + ["B-LOC"] * 3 + ["B-ORG"]
    path = tmp_path / "a.conll"
    path.write_text("".join(f"w{i} {tag}\nof O\n\n" for i, tag in enumerate(rare)))
    found, said = read(path, 0.2, "tag")
    kinds = Counter(tag for tags in found.rows["dev"].tags for tag in tags if tag != "O")
    assert kinds == {"B-PER": 11, "B-LOC": 1} and "12 of 60 sentences" in said[0] and said[0].endswith("drawn by tag")
    assert "B-ORG" in found.known.names and "warning: dev: 1 of 3 types of entities is not in it: ORG" in said


def test_the_scale_of_numbers_is_that_of_the_training_rows(tmp_path):
    found, said = read(written(tmp_path / "a.tsv", [(text(i), str(i / 4)) for i in range(50)]), 0.2, "regress")
    kept = [float(number) for number in found.rows["train"].columns["label"]]
    assert found.known.mean == pytest.approx(np.mean(kept)) and found.known.scale == pytest.approx(np.std(kept))
    assert said[1].startswith("train: 40 rows, numbers from 0.25 to 12.25, mean 6.1")
    assert said[2].startswith("dev: 10 rows, numbers from 0 to ")


@pytest.mark.parametrize("seed", range(20))
def test_no_stratum_is_emptied_and_groups_are_never_divided(seed):
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 40, 100)
    strata = generator.choice(4, 100, p=[0.7, 0.2, 0.07, 0.03]).tolist()
    share = float(generator.uniform(0.01, 0.5))
    dev, _ = drawn(share, [groups.tolist()], strata)
    rest = np.delete(np.arange(100), dev)
    assert not set(groups[dev]) & set(groups[rest]) and set(rest) and len(dev) <= 50 + groups.max()
    assert sorted([*dev, *rest]) == list(range(100))


def test_a_run_keeps_its_share_and_goes_on_with_the_same_rows(pretrained, tmp_path):
    path = written(tmp_path / "train.tsv", [(f"{WORDS[i % 10]} {WORDS[i // 10]}", "xy"[i % 2]) for i in range(40)])
    options = {"task": "classify", "train": path, "out": tmp_path / "run", "threads": 1, "set": {"batch": 8}}
    result = bertsmith.finetune(pretrained, dev=0.2, epochs=1, seeds=2, **options)
    runs = [json.loads((tmp_path / "run" / f"seed-{n}" / "config.json").read_text()) for n in (0, 1)]
    assert runs[0]["data"]["dev"] == runs[1]["data"]["dev"], "all seeds share one dev set"
    dev, train = runs[0]["data"]["dev"], runs[0]["data"]["train"]
    assert (dev["share"], dev["rows"], dev["path"], dev["classes"]) == (0.2, 8, str(path), {"x": 4, "y": 4})
    assert (train["rows"], train["classes"]) == (32, {"x": 16, "y": 16}) and result["results"][0]["texts"]["dev"]
    again = bertsmith.finetune(pretrained, dev="0.2", epochs=2, seeds=2, resume=True, **options)
    assert len(again["results"][0]["epochs"]) == 2
    with pytest.raises(InputError, match=r"resume=True: data\.dev\.sha256"):
        bertsmith.finetune(pretrained, dev=0.3, epochs=2, seeds=2, resume=True, **options)
    assert "accuracy" in bertsmith.evaluate(tmp_path / "run", path)
    bertsmith.report([tmp_path / "run"], tmp_path / "report.html")
    bertsmith.export(tmp_path / "run", tmp_path / "hf")
    assert (
        "dev: `train.tsv`, a share of 0.2 of the training file, 8 rows" in (tmp_path / "hf" / "README.md").read_text()
    )


def test_runs_on_one_share_are_compared_on_its_rows(pretrained, tmp_path):
    path = written(tmp_path / "train.tsv", [(f"{WORDS[i % 10]} {WORDS[i // 10]}", "xy"[i % 2]) for i in range(40)])
    options = {"task": "classify", "train": path, "dev": 0.5, "epochs": 1, "threads": 1}
    bertsmith.finetune(pretrained, out=tmp_path / "a", baseline=True, **options)
    bertsmith.finetune(pretrained, out=tmp_path / "b", scratch=True, against=tmp_path / "a", **options)
    found = bertsmith.compare(tmp_path / "a", tmp_path / "b")
    assert found["texts"] == 20 and found["input"] == str(path)
    said: list[str] = []
    bertsmith.report([tmp_path / "a", tmp_path / "b"], tmp_path / "report.html", say=said.append)
    assert any("20 dev texts" in line or "20 texts" in line for line in said), said
    assert any(line.startswith("a ") and "the baseline (TF-IDF" in line for line in said), said
    bertsmith.finetune(pretrained, out=tmp_path / "c", **{**options, "dev": 0.4})
    with pytest.raises(InputError, match=r"not the same dev rows; input=FILE"):
        bertsmith.compare(tmp_path / "a", tmp_path / "c")
    path.write_text(path.read_text() + "another\tx\n")
    with pytest.raises(InputError, match=r"is not there any more, or is another one; input=FILE"):
        bertsmith.compare(tmp_path / "a", tmp_path / "b")
