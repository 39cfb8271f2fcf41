"""Rows that are given in Python are read as the file would be that holds them."""

import json
import subprocess
import sys

import numpy as np
import pytest

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks.given import source

FIRST, SECOND = ["one two", "three four", "five"], ["six", "seven", "eight nine"]
LABELS = ["a", "b", "a"]
OPTIONS = {"steps": 2, "threads": 1, "allow_unknown": True, "set": {"batch": 4, "lr": 1e-3}}


def jsonl(path, **columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def texts(pretrained, tmp_path_factory):
    """A classifier of texts, learned from lists."""
    train = {"text": FIRST * 3, "label": LABELS * 3}
    out = tmp_path_factory.mktemp("texts") / "tuned"
    bertsmith.finetune(
        pretrained, task="classify", train=train, dev=[{"text": "new", "label": "a"}], out=out, **OPTIONS
    )
    return bertsmith.load(out)


@pytest.fixture(scope="module")
def pairs(pretrained, tmp_path_factory):
    train = [{"text": a, "text2": b, "label": i} for a, b, i in zip(FIRST, SECOND, (0, 1, 1), strict=True)]
    dev = [{"text": "new", "text2": "too", "label": 1}]
    out = tmp_path_factory.mktemp("pairs") / "tuned"
    bertsmith.finetune(pretrained, task="classify", train=train, dev=dev, out=out, **OPTIONS)
    return bertsmith.load(out)


def test_texts_are_answered_alike_in_every_form(texts, tmp_path):
    pandas = pytest.importorskip("pandas")
    wanted = bertsmith.predict(texts, jsonl(tmp_path / "rows.jsonl", text=FIRST))
    forms = [
        FIRST,
        tuple(FIRST),
        (text for text in FIRST),
        np.array(FIRST),
        np.array(FIRST, dtype=object),
        [{"text": text, "other": object()} for text in FIRST],
        {"text": FIRST},
        {"text": np.array(FIRST)},
    ]
    for form in forms:
        assert bertsmith.predict(texts, form) == wanted
    assert pandas.DataFrame(wanted).label.tolist() == [row["label"] for row in wanted]
    assert bertsmith.predict(texts, [{"name": text} for text in FIRST], columns={"text": "name"}) == wanted
    vectors = bertsmith.embed(texts, FIRST)
    assert vectors.shape == (3, 16)
    assert np.array_equal(bertsmith.embed(texts, pandas.Series(FIRST)), vectors)


def test_a_table_of_pandas_gives_one_on_the_same_index(texts):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"no": [1.5, None, 2], "text": FIRST, "label": LABELS}, index=["x", "y", "z"])
    plain = bertsmith.predict(texts, FIRST)
    for given in (table, table["text"], table.rename(columns={"text": "said"})):
        options = {"columns": {"text": "said"}} if "text" not in given and hasattr(given, "columns") else {}
        found = bertsmith.predict(texts, given, **options)
        assert isinstance(found, pandas.DataFrame) and found.index.equals(table.index)
        assert found.to_dict("records") == [{k: v for k, v in row.items() if k != "index"} for row in plain]
    assert bertsmith.evaluate(texts, table) == bertsmith.evaluate(texts, {"text": FIRST, "label": LABELS})
    assert bertsmith.predict(texts, table, columns="text=2").equals(bertsmith.predict(texts, table))


def test_pairs_are_answered_alike_in_every_form(pairs, tmp_path):
    wanted = bertsmith.predict(pairs, jsonl(tmp_path / "rows.jsonl", text=FIRST, text2=SECOND))
    both = list(zip(FIRST, SECOND, strict=True))
    for form in (both, [[a, b] for a, b in both], np.array(both), {"text": FIRST, "text2": SECOND}):
        assert bertsmith.predict(pairs, form) == wanted
    assert bertsmith.embed(pairs, both).shape == (3, 16)
    with pytest.raises(InputError, match=r"^input\[0\]: text2: is missing"):
        bertsmith.predict(pairs, FIRST)


def test_words_and_questions_are_rows_too(pretrained, tmp_path):
    words = [["one", "two"], ["three"]]
    train = [{"text": each, "label": ["B-N", "O"][: len(each)]} for each in words * 4]
    found = bertsmith.finetune(pretrained, task="tag", train=train, dev=train[:1], out=tmp_path / "tag", **OPTIONS)
    assert found["task"] == "tag"
    assert [row["words"] for row in bertsmith.predict(tmp_path / "tag", words)] == words
    context = "The list holds one and two."
    asked = {"question": "What holds one?", "context": context, "answers": {"text": ["list"], "answer_start": [4]}}
    dev = {**asked, "question": "What?", "answers": [{"text": "one", "answer_start": np.int64(15)}]}
    options = {"out": tmp_path / "qa", **OPTIONS, "set": {"batch": 4, "lr": 1e-3, "length": 32}}
    bertsmith.finetune(pretrained, task="qa", train=[asked] * 1 + [{**asked, "question": "Who?"}], dev=[dev], **options)
    plain = bertsmith.predict(tmp_path / "qa", [("What?", context)])
    assert plain == bertsmith.predict(tmp_path / "qa", [{"question": "What?", "context": context, "id": "0"}])
    assert bertsmith.evaluate(tmp_path / "qa", [dev]).keys() == {"exact", "f1"}


def test_masks_of_several_texts_are_filled_one_by_one(pretrained):
    some = ["one [MASK]", "[MASK] two"]
    assert bertsmith.fill(pretrained, some) == [bertsmith.fill(pretrained, text) for text in some]
    assert bertsmith.fill(pretrained, np.array(some)) == bertsmith.fill(pretrained, {"text": some})
    with pytest.raises(InputError, match=r'^text\[1\]: no mask in "two"'):
        bertsmith.fill(pretrained, ["[MASK]", "two"])


def test_a_run_on_rows_resumes_on_the_same_rows_alone(pretrained, tmp_path):
    train = [{"text": text, "label": label} for text, label in zip(FIRST, LABELS, strict=True)]
    options = {"task": "classify", "dev": [{"text": "new", "label": "b"}], "out": tmp_path / "tuned", **OPTIONS}
    first = bertsmith.finetune(pretrained, train=train, **options)
    data = json.loads((tmp_path / "tuned" / "config.json").read_text())["data"]
    assert data["train"].items() >= {"path": None, "rows": 3, "sha256": source(train, "train").sha256}.items()
    again = {"text": np.array(FIRST), "label": LABELS, "other": range(3)}  # the same rows in another form
    assert bertsmith.finetune(pretrained, train=again, resume=True, **options) == first
    with pytest.raises(InputError, match=r"data\.train\.sha256"):
        bertsmith.finetune(pretrained, train=train[::-1], resume=True, **options)
    with pytest.raises(InputError, match=r"^dev: holds the same rows as train"):
        bertsmith.finetune(pretrained, train=options["dev"], **{**options, "out": tmp_path / "other"})


def test_rows_and_the_file_that_holds_them_teach_the_same(pretrained, tmp_path):
    train = {"text": FIRST, "label": LABELS}
    options = {"task": "classify", "dev": [{"text": "new", "label": "b"}], **OPTIONS}
    bertsmith.finetune(pretrained, train=train, out=tmp_path / "rows", **options)
    bertsmith.finetune(pretrained, train=jsonl(tmp_path / "a.jsonl", **train), out=tmp_path / "file", **options)
    rows, file = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("rows", "file"))
    assert rows == file


CORPUS = ["A first text stands here. It has two sentences.", "第二段文字没有空格", "The third one.\nOf two lines."]


def corpora(tmp_path):
    """{name: (what prepare is given, options, the texts)}"""
    pandas = pytest.importorskip("pandas")
    (tmp_path / "a.txt").write_text("In a file.\n")
    frame = pandas.DataFrame({"n": range(3), "body": CORPUS})
    return {
        "texts": (CORPUS, {}, CORPUS),
        "an iterable": ((text for text in CORPUS), {}, CORPUS),
        "an array": (np.array(CORPUS), {}, CORPUS),
        "dicts": ([{"text": text, "n": None} for text in CORPUS], {}, CORPUS),
        "columns": ({"body": CORPUS, "n": [1, 2, 3]}, {"field": "body"}, CORPUS),
        "a DataFrame": (frame, {"field": "body"}, CORPUS),
        "a Series": (frame["body"], {}, CORPUS),
        "beside files": (
            [str(tmp_path / "a.txt"), frame, CORPUS[:1]],
            {"field": "body"},
            ["In a file.", *CORPUS, CORPUS[0]],
        ),
        "a path": (tmp_path / "a.txt", {}, ["In a file."]),
        "paths": ([str(tmp_path / "a.txt")], {}, ["In a file."]),
    }


@pytest.mark.parametrize(
    "name",
    [
        "texts",
        "an iterable",
        "an array",
        "dicts",
        "columns",
        "a DataFrame",
        "a Series",
        "beside files",
        "a path",
        "paths",
    ],
)
def test_prepare_takes_rows_and_counts_them_like_a_file(name, tmp_path):
    given, options, texts = corpora(tmp_path)[name]
    options |= {"tokenizer": "wordpiece:120", "holdout": 0}
    account = bertsmith.prepare(given, tmp_path / "store", **options)
    size = account["bytes"]
    read = sum(len(text.encode()) for text in texts) + ("file" in name or "path" in name)
    assert size["read"] == read == size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values())
    assert account["documents"] == len(texts) and account["files"] == {"beside files": 3}.get(name, 1)
    rows = {"beside files": {"txt": 1, "rows": 2}, "a path": {"txt": 1}, "paths": {"txt": 1}}.get(name, {"rows": 1})
    assert account["sources"]["kinds"] == rows
    if name in ("texts", "a DataFrame"):  # the same tokenizer and ids as of a file with these records
        file = tmp_path / "a.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        bertsmith.prepare(file, tmp_path / "file", **{**options, "field": "text"})
        for part in ("tokenizer.json", *(p.name for p in (tmp_path / "file").glob("*.npy"))):
            assert (tmp_path / "store" / part).read_bytes() == (tmp_path / "file" / part).read_bytes()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"txt": "a"}], r"rows\[0\]: no field 'text'; field names one of: txt"),
        (["a text", None], "rows|sources"),
        ([{"text": "a"}, {"text": float("nan")}], r"rows\[1\]: text: expected a string, got null"),
        ({"text": ["a", "b"], "n": [1]}, "rows: its columns have 1, 2 values"),
        (["corpus/none.txt", "more.txt"], r"corpus/none\.txt: no such file"),
        (["a text here", "none.txt"], "a text here: no such file"),
        (3, "sources: 3 given; paths, or rows .* is wanted"),
        (b"a", "sources: "),
        ([], "SOURCE: nothing to read"),
    ],
)
def test_what_is_neither_path_nor_row_of_a_corpus_is_told(given, says, tmp_path):
    with pytest.raises(InputError, match=says):
        bertsmith.prepare(given, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([1, 2], r"input\[0\]: text: a number where a string"),
        (["a", None], r"input\[1\]: text: null where a string"),
        (["a", float("nan")], r"input\[1\]: text: null where a string"),
        (["a", "\ud800"], r"input\[1\]: text: character 0: lone surrogate"),
        ([("a", "b", "c")], r"input\[0\]: a tuple of 3; a text, a pair"),
        ([{"text": "a"}, "b"], r"input\[1\]: a str, where the rows before are a dict each"),
        ([{"txt": "a"}], r"input\[0\]: text: is missing; did you mean 'txt'"),
        ([{"text": object()}], r"input\[0\]: text: an object where a text"),
        ({"text": "abc"}, "input: 'text': a str given"),
        ({"text": ["a"], "text2": ["b", "c"]}, "input: its columns have 1, 2 values"),
        ([], "input: holds no rows"),
        ({"a", "b"}, "input: a set given"),
        (b"a", "input: a bytes given"),
        (np.zeros((2, 2, 2)), r"input: a ndarray of shape \(2, 2, 2\) given"),
        (3, "input: a int given|input: an int given"),
    ],
)
def test_what_is_no_row_is_told_with_its_number(texts, given, says):
    with pytest.raises(InputError, match=f"^{says}"):
        bertsmith.predict(texts, given)


def test_rows_without_labels_cannot_be_scored(texts):
    with pytest.raises(InputError, match=r"^input\[0\]: label: is missing"):
        bertsmith.evaluate(texts, FIRST)


def test_pandas_is_not_loaded(texts):
    code = "import sys, bertsmith; bertsmith.predict(sys.argv[1], ['a b']); sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(texts.run)], timeout=120).returncode == 0
