"""Tables of labelled rows: what is read, and one line with file, line and field for everything that is wrong."""

import gzip
import json
import lzma

import pytest

from bertsmith.errors import InputError
from bertsmith.tasks import conll
from bertsmith.tasks.readers import parse_columns, read

BOM = b"\xef\xbb\xbf"


def table(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, **options)


def error(tmp_path, name, content, **options):
    with pytest.raises(InputError) as raised:
        table(tmp_path, name, content, **options)
    message = str(raised.value)
    assert "\n" not in message and (str(tmp_path / name) in message or message.startswith("columns"))
    return message


@pytest.mark.parametrize("packed", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize(
    "name, content",
    [
        ("a.tsv", "label\ttext\tother\n1\tgood film\tx\n0\tbad film\ty\n"),
        ("a.csv", "label,text,other\r\n1,good film,x\r\n0,bad film,y\r\n"),
        ("a.jsonl", '{"text": "good film", "label": "1"}\n\n{"label": "0", "text": "bad film"}'),
        ("a.json", '{"text": "good film", "label": "1"}\n{"label": "0", "text": "bad film"}\n'),
    ],
)
def test_the_same_rows_come_out_of_every_format_and_packing(tmp_path, name, content, packed):
    import zstandard

    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}[packed]
    rows = table(tmp_path, name + packed, pack(content.encode()), required=("text", "label"))
    assert (
        rows.rows("text") == ["good film", "bad film"]
        and rows.rows("label") == ["1", "0"]
        and rows.rows("text2") is None
    )
    assert rows.where(1).endswith(f"{name}{packed}:{2 if name == 'a.json' else 3}")


def test_columns_are_names_of_the_header_or_numbers_from_1(tmp_path):
    content = "index\tlabel\tsentence\n7\t1\tgood\n"
    for columns in ("text=sentence", "text=3,label=2", {"text": 3}):
        assert table(tmp_path, "a.tsv", content, columns=columns).columns == {"text": ["good"], "label": ["1"]}
    rows = table(tmp_path, "b.tsv", "one\t0\ntwo\t1\n", columns="text=1,label=2", header=False)
    assert rows.rows("text") == ["one", "two"] and rows.lines == [1, 2]
    rows = table(tmp_path, "c.tsv", "3\t1\ta\nx\ty\tz\n", columns="text=3")
    assert rows.rows("text") == ["x"], "a name goes before a number"
    assert "columns='text=3' takes the column of that name, number 1" in rows.notes[0]
    assert table(tmp_path, "d.jsonl", '{"sentence": "x", "gold": 1}\n', columns="text=sentence,label=gold").columns == {
        "text": ["x"],
        "label": [1],
    }


def test_stray_quotes_of_a_tsv_are_text_and_a_csv_writers_quotes_are_not(tmp_path):
    lines = [
        '"Fairies" - fine.',
        '"quoted whole"',
        '"He said ""yes"" twice"',
        'a "b',
        '"""Saddam"" he said"',
        '""',
        '"',
    ]
    rows = table(tmp_path, "a.tsv", "text\n" + "\n".join(lines) + "\n")
    assert rows.rows("text") == [
        '"Fairies" - fine.',
        '"quoted whole"',
        'He said "yes" twice',
        'a "b',
        '"Saddam" he said',
        '""',
        '"',
    ]


def test_a_quoted_csv_field_may_hold_commas_line_breaks_and_quotes(tmp_path):
    rows = table(tmp_path, "a.csv", 'text,label\n"a, ""b""\nc",1\nd,0\n')
    assert rows.rows("text") == ['a, "b"\nc', "d"] and rows.lines == [2, 4]


def test_a_long_csv_field_is_read(tmp_path):
    assert len(table(tmp_path, "a.csv", "text\n" + "x" * 300_000 + "\n").rows("text")[0]) == 300_000


def test_only_line_feeds_end_lines_and_a_byte_order_mark_is_dropped_once(tmp_path):
    rows = table(tmp_path, "a.tsv", BOM + "text\na\u2028b\x0bc\x85\r\n\ufeffd\n".encode())
    assert rows.rows("text") == ["a\u2028b\x0bc\x85", "\ufeffd"]


def test_a_txt_holds_one_text_a_line_blank_ones_included(tmp_path):
    assert table(tmp_path, "a.txt", "one\n\ntwo").rows("text") == ["one", "", "two"]
    assert "holds texts only" in error(tmp_path, "a.txt", "one\n", required=("text", "label"))


def test_a_csv_full_of_tabs_is_read_as_tabs_and_that_is_said(tmp_path):
    rows = table(tmp_path, "a.csv", "x\t5.0\tA man.\nx\t4.0\tB, and\tC\n", columns="text=3,label=2", header=False)
    assert rows.rows("text") == ["A man.", "B, and"] and "tabs part its columns" in rows.notes[0]
    assert rows.counts["wide"] == 1 and "1 row has more columns" in rows.notes[1]


@pytest.mark.parametrize("one, name", [(";", "semicolons"), ("|", "bars")])
def test_another_separator_of_a_csv_is_known_by_the_header(tmp_path, one, name):
    content = f'label,text\n1,"good, {one} ""fine"""\n0,bad\n'.replace(",", one).replace(f"good{one}", "good,")
    for options in ({}, {"columns": "text=text,label=1"}, {"columns": "text=2,label=1"}):
        rows = table(tmp_path, "a.csv", content, required=("text", "label"), **options)
        assert rows.rows("text") == [f'good, {one} "fine"', "bad"] and rows.rows("label") == ["1", "0"]
        assert rows.notes == [f"{rows.path}: {name} part its columns: read so"]
    assert table(tmp_path, "b.csv", f"text,a{one}label\nx,1\n").rows("text") == ["x"], "a comma goes first"
    assert table(tmp_path, "c.csv", f"text\na{one}b\n").rows("text") == [f"a{one}b"]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_of_old_macs_are_lines(tmp_path, end, last):
    of = lambda *lines: end.join(lines) + end * last
    mac = table(tmp_path, "mac.tsv", of("text\tlabel", "good nice\t1", "bad\t0"))
    assert mac.columns == {"text": ["good nice", "bad"], "label": ["1", "0"]} and mac.lines == [2, 3]
    assert table(tmp_path, "mac.csv", of("text,label", '"a, b",1', "bad,0")).rows("text") == ["a, b", "bad"]
    assert table(tmp_path, "mac.txt", of("one", "two", "", "three")).rows("text") == ["one", "two", "", "three"]
    assert table(tmp_path, "mac.jsonl", of('{"text": "a"}', '{"text": "b"}')).rows("text") == ["a", "b"]
    assert table(tmp_path, "mac.tsv.gz", gzip.compress(of("text", "a").encode())).rows("text") == ["a"]
    assert "mac.tsv:3: 1 column but 2" in error(tmp_path, "mac.tsv", of("text\tlabel", "a\t1", "b"))
    (tmp_path / "mac.conll").write_bytes(of("a O", "b B-X", "", "c O").encode())
    assert conll.read(tmp_path / "mac.conll").words == [["a", "b"], ["c"]]


def test_a_return_within_a_line_stays_text(tmp_path):
    assert table(tmp_path, "a.tsv", "text\na\rb\r\n").rows("text") == ["a\rb"]


def test_skipped_blank_lines_are_counted(tmp_path):
    assert table(tmp_path, "a.tsv", "text\na\n\nb\n\n").counts["blank"] == 2


@pytest.mark.parametrize(
    "line, says",
    [
        ("not json", ":2: column 1: not JSON"),
        ('{"text": "a"} {"text": "b"}', ":2: column 15: more than one JSON value"),
        ('["a"]', ":2: a list where an object"),
        ("null", ":2: null where an object"),
        ("3", ":2: a number where an object"),
        ('{"texts": "a"}', ":2: text: is missing; did you mean 'texts'"),
        ("{}", ":2: text: is missing"),
        ('{"text": null}', ":2: text: null where a string"),
        ('{"text": 3}', ":2: text: a number where a string"),
        ('{"text": ["a"]}', ":2: text: a list where a string"),
        ('{"text": "a", "x": NaN}', ":2: NaN is not"),
        ('{"text": "a", "x": -Infinity}', ":2: -Infinity is not"),
        ('{"text": "a", "x": 1e999}', ":2: 1e999 is beyond"),
        ('{"text": "a", "text": "b"}', ":2: text: stands twice"),
        ("[" * 100_000, ":2: nested too deep"),
        ('{"text": "a", "x": ' + "9" * 5000 + "}", ":2: "),
        ('{"text": "\\ud800"}', ":2: text: character 0: lone surrogate (\\ud800)"),
        ('{"text": "a", "label": 1}', ":2: label: is here but not in the rows before"),
        ('{"text": "a\u001b[2J"}', ":2: column"),
    ],
)
def test_a_bad_json_line_is_named_with_its_field(tmp_path, line, says):
    assert f"a.jsonl{says}" in error(tmp_path, "a.jsonl", '{"text": "fine"}\n' + line + "\n")


@pytest.mark.parametrize("label", ['["a"]', "{}"])
def test_a_label_that_is_no_label_is_named(tmp_path, label):
    assert ":1: label:" in error(tmp_path, "a.jsonl", '{"text": "a", "label": ' + label + "}\n")


@pytest.mark.parametrize(
    "name, content, options, says",
    [
        ("a.tsv", "text\tlabel\na\t1\nb\n", {}, ":3: 1 column but 2 in the header"),
        ("a.tsv", "text\tlabel\na\t1\nb\t1\tc\n", {}, ":3: 3 columns but 2 in the header"),
        ("a.csv", "text,label\na,1\nb,1,c\n", {}, ":3: 3 columns but 2"),
        ("a.csv", 'text,label\na,1\n"b,1\nc,0\n', {}, ":3: a quote opened in this row is never closed"),
        ("a.csv", 'text,label\n"a"b,1\n', {}, ":2: text after a closing quote"),
        ("a.csv", 'text,label\na,1\n"b,1\n"c",0\n', {}, ":3: text after a closing quote"),
        ("a.csv", "text,label\na\rb,1\n", {}, ":2: "),
        ("a.tsv", "text\ttext\na\tb\n", {}, ":1: 'text' names two columns (1 and 2)"),
        (
            "a.tsv",
            "good film\t1\n",
            {},
            ":1: no column 'text'; the header has: good film, 1; columns='text=NAME' says which, header=False",
        ),
        (
            "a.tsv",
            "sentence\tlabel\na\t1\n",
            {"columns": "text=sentense"},
            ":1: no column 'sentense'; did you mean 'sentence'",
        ),
        ("a.tsv", "text\n", {}, ": holds no rows below its header"),
        ("a.tsv", "", {}, ": is empty"),
        ("a.jsonl", "\n \n", {}, ": holds no rows"),
        ("a.tsv", "a\t1\n", {"header": False}, ": without a header columns"),
        (
            "a.tsv",
            "a\t1\nb\n",
            {"header": False, "columns": "text=1,label=2"},
            ":2: label: 1 column, and column 2 is asked for",
        ),
        ("a.tsv", b"text\nab\n\xffc\n", {}, ":3: byte 8: not UTF-8 (0xff)"),
        ("a.tsv", "text\nab".encode("utf-16"), {}, ":1: byte 0: not UTF-8 (0xff)"),
        (
            "a.tsv",
            "text\nab".encode("utf-16"),
            {},
            " but UTF-16, as its byte order mark says; encoding='utf-16' reads it",
        ),
        ("a.tsv", b"\xfe\xff" + "text\nab".encode("utf-16-be"), {}, " but UTF-16, as its byte order mark says"),
        ("a.tsv", "text\nab".encode("utf-32"), {}, " but UTF-32, as its byte order mark says"),
        ("a.csv", "text,label\na,b\n".encode("utf-16-le"), {}, ":1: not UTF-8 but UTF-16, as every other byte is 0"),
        (
            "a.csv",
            "sentence;gold\na;b\n",
            {"required": ("text", "label")},
            ":1: no column 'text'; the header has: sentence, gold; columns='text=sentence,label=gold' says which",
        ),
        (
            "a.csv",
            "text,label\na, b,1\n",
            {},
            ":2: 3 columns but 2 in the header (line 1); a text with commas needs quotes",
        ),
        ("a.tsv", "text\tlabel\n1\ta\tx\n", {}, "; columns='text=1,label=2' counts them in the rows"),
        ("a.tsv", "a,b,text\n", {"columns": "text=4"}, "columns='text=4': columns are numbered from 1 to 1"),
        ("a.tsv.gz", gzip.compress(b"text\nab\n" * 1000, mtime=0)[:-9], {}, "damaged or cut off"),
        ("a.tsv.gz", b"text\nab\n", {}, ":1: the compressed file is damaged"),
        ("a.tsv.xz", lzma.compress(b"text\nab\n")[:-3], {}, "damaged or cut off"),
        ("a.tsv.zst", b"text\nab\n", {}, "damaged or cut off"),
        ("a.feather", b"PAR1", {}, ": unknown kind of file '.feather'; known: .tsv .csv .jsonl .txt"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path, name, content, options, says):
    assert f"{name}{says}" in error(tmp_path, name, content, **options) or says in error(
        tmp_path, name, content, **options
    )


def test_what_is_not_a_file_is_refused_and_a_near_name_offered(tmp_path):
    (tmp_path / "train.tsv").write_text("text\na\n")
    (tmp_path / "folder.tsv").mkdir()
    for name, says in (
        ("folder.tsv", "is a folder, where a file is wanted"),
        ("trian.tsv", "no such file; did you mean .*train.tsv"),
        ("x" * 300 + ".tsv", "too long|no such"),
    ):
        with pytest.raises(InputError, match=says):
            read(tmp_path / name)


def test_file_names_and_cells_are_escaped_in_messages(tmp_path):
    with pytest.raises(InputError) as raised:
        read(tmp_path / "a\n\x1b[2J.tsv")
    assert "\n" not in str(raised.value) and "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    "spec, says", [("text", "expected role=column"), ("txt=1", "did you mean"), ("text=1,text=2", "twice")]
)
def test_a_wrong_columns_option_says_what_is_allowed(spec, says):
    with pytest.raises(InputError, match=says):
        parse_columns(spec)


def test_numbers_and_booleans_are_handed_on_as_labels(tmp_path):
    rows = table(
        tmp_path, "a.jsonl", "".join(json.dumps({"text": "a", "label": v}) + "\n" for v in (1, 0.5, True, "x"))
    )
    assert rows.rows("label") == [1, 0.5, True, "x"]


# -- parquet ------------------------------------------------------------------------------------------------------------------------


def test_parquet_is_read_as_lines_of_json_are(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"sentence": ["a", "b"], "label": [1, 0], "tags": [["x", "y"], []], "raw": [b"1", b"2"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet", columns="text=sentence", required=("text", "label"))
    assert table.columns == {"text": ["a", "b"], "label": [1, 0]} and table.where(1).endswith("a.parquet:2")
    labels = read(tmp_path / "a.parquet", columns="text=sentence,label=tags", lists=("label",)).columns["label"]
    assert labels == [["x", "y"], []]
    with pytest.raises(InputError, match=r"a\.parquet:1: raw: is missing"):
        read(tmp_path / "a.parquet", columns="text=raw")
    with pytest.raises(InputError, match=r"a\.parquet:1: label: a number where a string is expected"):
        read(tmp_path / "a.parquet", columns="text=label")


def test_what_is_called_parquet_and_is_none_is_told_in_one_line(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_text("text,label\na,b\n")
    with pytest.raises(InputError, match=r"a\.parquet:1: not parquet that can be read") as raised:
        read(tmp_path / "a.parquet")
    assert "\n" not in str(raised.value)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"parquet needs pyarrow; pip install 'bertsmith\[hub\]'"):
        read(tmp_path / "a.parquet")
