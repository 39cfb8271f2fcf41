"""Files of a newcomer: every kind of file that a task does not read is told in one short line, and what looks like a mistake is said."""

import gzip
import json
from collections import Counter

import pytest

import bertsmith
from bertsmith.downstream.dev_rows import dev_rows
from bertsmith.downstream.labelled_files import Files, Rows
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.doubts import counted, doubts, several
from bertsmith.tasks.lines import trained_encoding
from bertsmith.tasks.readers import read
from bertsmith.text.account import Account, Options
from bertsmith.text.corpus import documents
from bertsmith.text.tokenizer import Tokenizer

ROWS = [("a good film, really", "pos"), ("a bad one", "neg"), ("so so indeed", "neg"), ("it is fine", "pos")]
CONLL = "EU B-ORG\nrejects O\nGerman B-MISC\ncall O\n\nPeter B-PER\nBlackburn I-PER\n"
QUESTION = {"id": "1", "question": "what?", "answers": [{"text": "b", "answer_start": 2}]}
SQUAD = {"data": [{"title": "x", "paragraphs": [{"context": "a b c", "qas": [QUESTION]}]}]}
RECORDS = [{"text": text, "label": label} for text, label in ROWS]
COLUMNS = {name: {str(i): row[name] for i, row in enumerate(RECORDS)} for name in ("text", "label")}


def table(separator, head="text{}label\n"):
    return head.replace("{}", separator) + "".join(f'"{text}"{separator}{label}\n' for text, label in ROWS)


# what a file looks like -> (name, content) of each form, and the tasks that read it
FORMS = {
    "SQuAD's json": [("a.json", json.dumps(SQUAD)), ("b.json", json.dumps(SQUAD, indent=1))],
    "a CoNLL file": [("a.conll", CONLL), ("a.txt", CONLL), ("a.tsv", CONLL.replace(" ", "\t")), ("a.iob", CONLL)],
    "a table": [("a.csv", table(",")), ("a.tsv", table("\t")), ("b.csv", table(";")), ("c.csv", table("|"))],
    "JSON lines of texts": [("a.jsonl", "".join(json.dumps(row) + "\n" for row in RECORDS))],
    "JSON lines of words and tags": [("a.jsonl", json.dumps({"text": ["a", "b"], "label": ["O", "B-X"]}) + "\n")],
    "a JSON array": [("a.json", json.dumps(RECORDS)), ("b.json", json.dumps(RECORDS, indent=1))],
    "pandas' columns in one JSON object": [("a.json", json.dumps(COLUMNS))],
    "plain text": [("a.txt", "Some text.\nAnd more of it.\n")],
}
READ = {
    "SQuAD's json": ("qa",),
    "a CoNLL file": ("tag",),
    "JSON lines of words and tags": ("tag",),
    "a table": ("classify",),
    "JSON lines of texts": ("classify",),
}
CASES = [
    (looks, task, name, content)
    for looks, forms in FORMS.items()
    for task in ("classify", "regress", "tag", "qa")
    for name, content in forms
    if task not in READ.get(looks, ()) and not (looks in ("a table", "JSON lines of texts") and task == "regress")
]


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("looks, task, name, content", CASES)
def test_a_file_of_another_kind_is_told_in_one_short_line(looks, task, name, content, tmp_path):
    path = written(tmp_path, name, content)
    with pytest.raises(InputError) as raised:
        kinds.kind(task).read(path)
    said = str(raised.value).removeprefix(str(path))
    if looks == "plain text" and task in ("classify", "regress"):
        assert said == ": a .txt holds texts only, and 'label' is needed; use .tsv, .csv or .jsonl"
        return
    assert said.startswith(f": looks like {looks}") and f", but task='{task}' reads " in said and len(said) < 200
    assert all(f"task='{other}'" in said for other in READ.get(looks, ()))


@pytest.mark.parametrize("looks, tasks", READ.items())
def test_each_kind_of_file_is_read_by_its_task(looks, tasks, tmp_path):
    for name, content in FORMS[looks]:
        rows = kinds.kind(tasks[0]).read(written(tmp_path, name, content))
        assert len(rows), name


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.xlsx", b"PK\x03\x04", ": is an Excel workbook; save the sheet as CSV UTF-8"),
        ("a.csv", b"PK\x03\x04 xl/workbook.xml", ": is an Excel workbook; save the sheet as CSV UTF-8"),
        (
            "a.docx",
            b"PK\x03\x04 word/document.xml",
            ": is a Word document, but task='classify' reads texts and classes",
        ),
        ("a.pdf", b"%PDF-1.7", "is PDF, but task='classify' reads texts and classes in columns; write them as .tsv"),
        ("a.csv", b"PK\x03\x04\x14\xff", "not UTF-8 (0xff) but a zip archive or an Excel sheet; save it as CSV UTF-8"),
        (
            "a.csv",
            "text;label\ncaf\xe9;x\n".encode("latin-1"),
            "; encoding names another, or convert the file to UTF-8 (Excel: CSV UTF-8)",
        ),
        ("a.tsv", b"\x1f\x8b\x08\x00", "not UTF-8 (0x8b) but gzip; name it .gz"),
        ("a.stsa", b"x", "unknown kind of file '.stsa'"),
        ("a.parquet", b"PAR1", "a.parquet:1: not parquet that can be read"),
        ("a.arrow", b"ARROW1", "write JSON lines (to_json(…) of datasets)"),
        ("a.txt", "".join(f"{text}\t{label}\n" for text, label in ROWS), "tabs seem to part its columns: name it .tsv"),
    ],
)
def test_what_is_no_text_or_has_another_name_is_told_with_the_way_out(name, content, says, tmp_path):
    with pytest.raises(InputError) as raised:
        kinds.kind("classify").read(written(tmp_path, name, content))
    assert says in str(raised.value)


@pytest.mark.parametrize("task, reads", [("tag", "a word and its tag a line (CoNLL)"), ("qa", "SQuAD's json")])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_columns_of_a_table_are_told_what_words_and_questions_are_read_from(name, task, reads, tmp_path):
    header, row = ["tokens", "tags"], ["['EU', 'calls']", "['B-ORG', 'O']"]
    by = {"a.csv": ",", "a.tsv": "\t"}[name]
    lines = [by.join(f'"{cell}"' for cell in cells) for cells in [header, *[row] * 5]]
    with pytest.raises(InputError) as raised:
        kinds.kind(task).read(
            written(tmp_path, name, "\n".join(lines) + "\n"), columns={"text": "tokens", "label": "tags"}
        )
    assert f"looks like a table ({'commas' if by == ',' else 'tabs'} part" in str(raised.value)
    assert f"but task='{task}' reads {reads}" in str(raised.value)


def test_an_error_of_a_file_that_is_of_the_right_kind_stays_as_it_is(tmp_path):
    bad = json.dumps(SQUAD).replace('"answer_start": 2', '"answer_start": "2"')
    with pytest.raises(InputError, match="answer_start: a string where"):
        kinds.kind("qa").read(written(tmp_path, "a.json", bad))
    with pytest.raises(InputError, match="no column 'text'; the header has: review, label"):
        kinds.kind("classify").read(written(tmp_path, "a.csv", table(";", "review{}label\n")))


# -- tables ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, usual", [("a.csv", ","), ("a.tsv", "\t")])
@pytest.mark.parametrize("separator, called", [(",", "commas"), ("\t", "tabs"), (";", "semicolons"), ("|", "bars")])
@pytest.mark.parametrize("head", ["", "text{}label\n", "Satz{}Klasse\n", "\ufefftext{}label\n", '"text"{}"label"\n'])
def test_what_parts_the_columns_is_known_with_a_header_or_without(name, usual, separator, called, head, tmp_path):
    content = table(separator, head) if separator != "\t" or '"' in head else table(separator, head).replace('"', "")
    options = {} if "text" in head else {"columns": "text=1,label=2", "header": bool(head)}
    rows = read(written(tmp_path, name, content), required=("text", "label"), **options)
    assert list(zip(rows.columns["text"], rows.columns["label"], strict=True)) == ROWS
    assert rows.notes == ([] if separator == usual else [f"{rows.path}: {called} part its columns: read so"])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("separator, called", [(",", "commas"), ("\t", "tabs"), (";", "semicolons"), ("|", "bars")])
@pytest.mark.parametrize("head", ["text{}label\n", '"text"{}"label"\n', "\ufefftext{}label\n", "sep={}\ntext{}label\n"])
def test_prepare_reads_the_texts_that_a_task_reads(name, separator, called, head, tmp_path):
    content = table(separator, head)
    if separator == "\t" and '"' not in head:
        content = content.replace('"', "")
    path, said = written(tmp_path, name, content), []
    rows = read(path, required=("text", "label"))
    account = Account()
    found = [" ".join(document.paragraphs) for document in documents([str(path)], Options(), account)]
    assert found == rows.columns["text"] == [text for text, _ in ROWS]
    usual = name == ("a.csv" if separator == "," else "a.tsv") and separator in ",\t"
    assert account.separators == ({} if usual else {called: 1})
    tokenizer = Tokenizer.train("wordpiece:60", found)
    tokenizer.save(tmp_path / "tokenizer")
    options = {"tokenizer": str(tmp_path / "tokenizer"), "holdout": 0, "allow_unknown": True}
    counted = bertsmith.prepare([str(path)], tmp_path / "store", say=said.append, **options)
    assert f"columns: {called} part those of 1 file: read so" in said or usual
    size = counted["bytes"]
    assert size["read"] + size["recoded"] == size["used"] + size["newlines"] + size["markup"] + sum(
        size["dropped"].values()
    )


ENCODED = {
    "gb18030": "这个电影真好看",
    "big5": "這個電影真好看",
    "shift_jis": "この映画はとても良い",
    "latin-1": "le café était très bon",
    "utf-16": "Это очень хорошо",
}


@pytest.mark.parametrize("encoding", ENCODED)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
def test_files_of_another_encoding_are_read_with_the_option_that_prepare_has(encoding, name, tmp_path):
    rows = [(f"{ENCODED[encoding]} {i}", "xy"[i % 2]) for i in range(12)]
    by = "\t" if name == "a.tsv" else ","
    content = "text" + by + "label\n" + "".join(f"{text}{by}{label}\n" for text, label in rows)
    if name == "a.jsonl":
        content = "".join(json.dumps({"text": t, "label": v}, ensure_ascii=False) + "\n" for t, v in rows)
    data = content.encode(encoding)
    path = written(tmp_path, name, gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(InputError, match=r"; encoding(='utf-16' reads it| names another)"):
        kinds.kind("classify").read(path)
    found = kinds.kind("classify").read(path, encoding=encoding)
    assert list(zip(found.columns["text"], found.columns["label"], strict=True)) == rows and found.where(3)
    told = [" ".join(d.paragraphs) for d in documents([str(path)], Options(encoding=encoding))]
    assert told == found.columns["text"]
    task = Rows.read(Files(task="classify", train=path, dev=0.5, encoding=encoding), lambda line: None)
    again = dev_rows({"kind": "classify", "encoding": encoding}, task.sources)
    assert again.columns == task.rows["dev"].columns
    assert trained_encoding(path, encoding) == encoding
    assert trained_encoding(written(tmp_path, "u.csv", content), encoding) == "utf-8"


def test_a_wrong_or_unknown_encoding_is_told_in_one_line(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\ncaf\xe9,x\n".encode("latin-1"))
    with pytest.raises(
        InputError, match=r"a.csv: after line 1, in bytes 1 to .*: not shift_jis .*; encoding names another"
    ):
        read(path, encoding="shift_jis")
    with pytest.raises(InputError, match="encoding: 'no-such' is not one that Python knows"):
        Files(task="classify", train=path, dev=0.1, encoding="no-such")


def test_excels_line_that_names_the_separator_is_no_header(tmp_path):
    rows = read(written(tmp_path, "a.csv", "sep=;\r\n" + table(";")), required=("text", "label"))
    assert rows.columns["label"] == [label for _, label in ROWS] and rows.lines[0] == 3


def test_commas_in_one_column_of_texts_part_nothing(tmp_path):
    texts = [f"Smith, {i} and so" for i in range(10)]
    for options in ({}, {"header": False, "columns": "text=1"}):
        head = "" if options else "text\n"
        assert read(written(tmp_path, "a.tsv", head + "\n".join(texts)), **options).columns["text"] == texts


@pytest.mark.parametrize("columns", ["text=3,label=4", "text=body,label=4", "text=3,label=y"])
def test_names_that_stand_twice_or_are_empty_are_no_error_unless_they_are_asked_for(columns, tmp_path):
    content = ",text,body,y,text,\n0,x,good,1,x,\n"
    rows = read(written(tmp_path, "a.csv", content), columns=columns)
    assert rows.columns == {"text": ["good"], "label": ["1"]}
    with pytest.raises(
        InputError, match=r"a\.csv:1: 'text' names two columns \(2 and 5\); columns='text=2' says which"
    ):
        read(written(tmp_path, "a.csv", content))


def test_numbers_count_the_columns_of_rows_where_the_header_has_others(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\n0,good,1\n1,bad,0\n")
    rows = read(path, columns="text=2,label=3")
    assert rows.columns["text"] == ["good", "bad"] and rows.columns["label"] == ["1", "0"]
    assert rows.notes == [f"{path}:1: 2 columns, 3 in the rows below: numbers count in the rows"]
    with pytest.raises(InputError, match=r"a\.csv:2: 3 columns but 2 in the header .* columns='text=1,label=2' counts"):
        read(path)
    with pytest.raises(InputError, match=r"a\.csv:3: 2 columns but 3 in the first row"):
        read(written(tmp_path, "a.csv", "text,label\n0,good,1\n1,0\n"), columns="text=2,label=3")


def test_a_first_row_that_is_taken_for_a_header_is_warned_of(tmp_path):
    content = "".join(f"{text}\t{label}\n" for text, label in ROWS)
    rows = read(written(tmp_path, "a.tsv", content), columns="text=1,label=2")
    assert len(rows) == 3 and rows.notes == [
        f"warning: {rows.path}:1: is taken for a header, but 'pos' is the label of 1 row too; header=False reads it as data"
    ]


def test_a_header_that_is_read_as_data_is_warned_of(tmp_path):
    rows = read(written(tmp_path, "a.csv", table(",")), columns="text=1,label=2", header=False)
    assert len(rows) == 5 and rows.notes == [
        f"warning: {rows.path}:1: is read as data, but its label, 'label', is like a header's; header=True passes it over"
    ]


# -- classes --------------------------------------------------------------------------------------------------------------------------


def told(tmp_path, labels, dev=("x",), task="classify"):
    said = []
    for name, rows in (("train", labels), ("dev", dev)):
        lines = [json.dumps({"text": f"{name} {i}", "label": label}) for i, label in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    Rows.read(Files(task=task, train=tmp_path / "train.jsonl", dev=tmp_path / "dev.jsonl"), said.append)
    return said


def test_what_a_file_holds_is_said_in_two_lines(tmp_path):
    said = told(tmp_path, ["x"] * 6 + ["y"] * 4, ["y", "x", "y", "y"])
    assert said[:2] == [
        "train: 10 rows, 2 classes: x 6, y 4",
        "dev: 4 rows; x, the commonest class: 60.0% of train, 25.0% of dev",
    ]
    many = [f"c{i}" for i in range(20) for _ in range(3)]
    assert told(tmp_path, many, many)[0].endswith("c19 3 and 8 more")


@pytest.mark.parametrize(
    "labels, says",
    [
        ({"Positive": 12, "positive": 300, "bad": 9}, "differ only in case or blanks: positive 300, Positive 12"),
        ({"good": 5, "good ": 3}, "differ only in case or blanks: good 5, 'good ' 3"),
        ({"good": 50, "NaN": 3, "?": 1}, "looks like a missing value: NaN 3, ? 1 of 54 rows"),
        ({"a": 5, "b": 5, "a|b": 3}, "reads; here each combination is a class, such as 'a|b' (3 rows have one)"),
        ({"a; b": 5, "b;c": 5, "c;a": 3}, "such as 'a; b' (13 rows have one)"),
        ({"sports": 5, "news": 5, "sports, news": 2, "news,sports": 3}, "such as 'sports, news' (5 rows have one)"),
        ({"['a']": 5, "['a', 'b']": 5}, "such as \"['a', 'b']\" (5 rows have one)"),
    ],
)
def test_classes_that_are_hardly_meant_are_counted(labels, says):
    (found,) = doubts(Counter(labels))
    assert found.endswith(says)


@pytest.mark.parametrize("names", ["pos neg", "a|b c|d", "0 1 2", "-1 1"])
def test_ordinary_classes_are_not_doubted(names):
    assert not list(doubts(Counter(names.split())))
    assert not several(["Arts, Crafts", "Food, Drink", "Sports"])


def test_names_are_quoted_where_they_would_not_be_seen():
    assert (
        counted({"": 3, " a": 2, "b": 1}) == "'' 3, ' a' 2, b 1" and counted({"1": 5, "-0.5": 4}) == "'1' 5, '-0.5' 4"
    )


@pytest.mark.parametrize(
    "task, labels, says",
    [
        ("classify", ["x", "", "y", " ", None], r"train\.jsonl:2: label: is empty, in 3 of 5 rows"),
        (
            "classify",
            [["x"], ["y"]],
            r"train\.jsonl:1: label: a list of labels, where one is expected; task=.multilabel. reads several",
        ),
        ("classify", [f"{i / 2}" for i in range(20)], "20 different labels in 20 rows; are these numbers"),
        ("classify", ["x", "y"] * 3 + ["X"], None),
        ("regress", [1, 2.5, None, "x", 3], r"train\.jsonl:3: label: null is not a number, as in 2 of 5 rows"),
        ("regress", ["x", "y"], "'x' is not a number, as in 2 of 2 rows; task='classify' learns names"),
    ],
)
def test_missing_and_several_labels_are_told_with_their_line_and_number(task, labels, says, tmp_path):
    if says is None:
        assert any("differ only in case" in line for line in told(tmp_path, labels))
        return
    with pytest.raises(InputError, match=says):
        told(tmp_path, labels, task=task)


def test_empty_texts_are_counted(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\na,x\n,y\n ,x\n")
    with pytest.raises(InputError, match=r"a\.csv:3: text: is empty, in 2 of 3 rows"):
        kinds.kind("classify").check(kinds.kind("classify").read(path), "train")


def test_columns_that_are_the_wrong_way_round_are_told(tmp_path):
    content = "label\ttext\n" + "".join(f"{text} {i}\t{label}\n" for i in range(5) for text, label in ROWS)
    with pytest.raises(InputError, match=r"20 different labels of 2 different texts; columns='text=NAME,label=NAME'"):
        kinds.kind("classify").learn(kinds.kind("classify").read(written(tmp_path, "a.tsv", content)))


@pytest.mark.parametrize(
    "head, way", [("Text,Label", "text=Text,label=Label"), ("Review,x", "text=Review"), ("a,b", "text=NAME")]
)
def test_the_columns_that_are_meant_are_guessed_by_their_names(head, way, tmp_path):
    path = written(tmp_path, "a.csv", f"{head}\ngood,1\n")
    with pytest.raises(InputError, match=f"the header has: {head.replace(',', ', ')}; columns='{way}' says which"):
        kinds.kind("classify").read(path)


def test_decimals_with_a_comma_are_told(tmp_path):
    path = written(tmp_path, "a.csv", "text;label\na;3,5\nb;2\n")
    with pytest.raises(InputError, match=r"a\.csv:2: label: '3,5' is not a number, .*; decimals have a point: 3\.5"):
        kinds.kind("regress").learn(kinds.kind("regress").read(path))


def test_a_class_of_dev_that_is_known_but_for_its_case_is_told(tmp_path):
    with pytest.raises(InputError, match='"X" is not one of: x, y; it is "x" but for case or blanks'):
        told(tmp_path, ["x", "y"] * 3, ["X"])


@pytest.mark.parametrize("label", [[[0, 5, "PER"]], {"PER": {"Peter": [[0, 4]]}}, [{"start": 0, "end": 5}]])
def test_spans_of_texts_are_told_from_classes(label, tmp_path):
    path = written(tmp_path, "a.jsonl", json.dumps({"text": "Peter slept.", "label": label}) + "\n")
    with pytest.raises(
        InputError, match=r"JSON lines of texts with spans, but task='classify' .*; task='tag' reads such"
    ):
        kinds.kind("classify").read(path)
