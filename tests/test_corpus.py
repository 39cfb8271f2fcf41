"""Sources to documents: formats, rules, counts, and every malformed corpus of the catalogue."""

import gzip
import json
import lzma
import os
import socket
import tracemalloc

import pytest

from bertsmith.errors import InputError, ResourceError
from bertsmith.text import raw
from bertsmith.text.account import Account, Options
from bertsmith.text.corpus import documents
from bertsmith.text.sentences import split

zstandard = pytest.importorskip("zstandard")
TEXT = "One sentence. Another one.\nA second paragraph.\n\nThe next document.\n"
EXPECTED = [["One sentence. Another one.", "A second paragraph."], ["The next document."]]


def read(*sources, account=None, **options):
    """Documents as lists of paragraphs, parts put together; the account must balance."""
    account = Account() if account is None else account
    result, numbers = [], []
    for part in documents([str(source) for source in sources], Options(**options), account):
        if numbers and numbers[-1] == part.number:
            result[-1] += part.paragraphs
        else:
            result.append(list(part.paragraphs))
            numbers.append(part.number)
    assert numbers == list(range(account.documents))
    assert account.text == sum(len(p.encode()) for document in result for p in document)
    assert account.newlines >= 0 and account.markup >= account.newlines
    assert account.read + account.recoded == account.text + account.markup + sum(account.dropped.values())
    return result


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)],
)
def test_plain_text_is_read_whatever_its_compression(tmp_path, suffix, pack):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(pack(TEXT.encode()))
    account = Account()
    assert read(path, account=account) == EXPECTED
    assert (account.read, account.lines, account.blank_lines, account.newlines) == (len(TEXT), 4, 1, 4)
    assert read(path, documents="file") == [EXPECTED[0] + EXPECTED[1]]


def test_several_compressed_streams_in_a_row_are_one_file(tmp_path):
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)):
        (tmp_path / f"a.txt{suffix}").write_bytes(pack(TEXT[:30].encode()) + pack(TEXT[30:].encode()))
        assert read(tmp_path / f"a.txt{suffix}") == EXPECTED


def test_records_are_documents(tmp_path):
    texts = ['He said "no", twice.\nSecond.', "Tab\tand comma, too."]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"id": float("nan"), "text": t}) for t in texts))
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'1,"{t.replace(chr(34), chr(34) * 2)}"\n' for t in texts))
    (tmp_path / "a.tsv").write_text('id\ttext\n1\tHe said "no.\n2\tnext\n')
    whole = [['He said "no", twice.', "Second."], ["Tab\tand comma, too."]]
    assert read(tmp_path / "a.jsonl") == whole
    assert read(tmp_path / "a.csv") == whole
    assert read(tmp_path / "a.tsv") == [['He said "no.'], ["next"]]


def test_parquet_is_read_and_its_errors_name_the_row(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    texts = ["First one.\nSecond.", "Another."]
    parquet.write_table(pyarrow.table({"text": texts, "n": [1, 2]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [["First one.", "Second."], ["Another."]]
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert read(tmp_path / "b.parquet.gz") == [["First one.", "Second."], ["Another."]]
    with pytest.raises(InputError, match="row 1: n: expected a string, got a number"):
        read(tmp_path / "a.parquet", field="n")
    with pytest.raises(InputError, match="column 'body' is missing; field names one of: text, n"):
        read(tmp_path / "a.parquet", field="body")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"c.parquet: .*not parquet"):
        read(tmp_path / "c.parquet")


def test_a_data_set_of_the_hub_is_streamed(monkeypatch):
    import sys
    import types

    seen = []
    fake = types.ModuleType("datasets")
    fake.load_dataset = lambda *args, **options: (
        seen.append((args, options)) or iter([{"text": "One."}, {"text": "Two."}])
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert read("hf:me/corpus:plain:test") == [["One."], ["Two."]]
    assert seen == [(("me/corpus", "plain"), {"split": "test", "streaming": True})]
    with pytest.raises(InputError, match="hf:me/corpus: row 1: no field 'body'"):
        read("hf:me/corpus", field="body")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_the_library_of_data_sets_streams_a_folder_and_reads_what_prepare_reads_of_the_file(
    tmp_path, monkeypatch, kind
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "home" / "datasets"))
    rows = [{"n": i, "text": f"Text number {i}.", "body": "x" * i} for i in range(500)]
    (tmp_path / "set").mkdir()
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(
            pyarrow.Table.from_pylist(rows), tmp_path / "set" / "train.parquet"
        )
    else:
        (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(f"hf:{tmp_path}/set") == read(tmp_path / "set" / f"train.{kind}") == [[row["text"]] for row in rows]
    assert not list((tmp_path / "home").rglob("*.arrow"))  # nothing is made of it on disk
    with pytest.raises(InputError, match=r"set: (row 1: )?no field 'title'; field names one of: n, text, body"):
        read(f"hf:{tmp_path}/set", field="title")
    with pytest.raises(InputError, match=r"hf:.*nowhere: cannot be loaded: "):
        read(f"hf:{tmp_path}/nowhere")


class Shaky:
    """A streamed data set of ten rows whose stream breaks behind every third one; `hopeless`: behind the first, each time."""

    def __init__(self, hopeless=False, first=0):
        self.hopeless, self.first = hopeless, first

    def skip(self, rows):
        return Shaky(self.hopeless, rows)

    def __iter__(self):
        for number in range(self.first, 10):
            if number == self.first + 3 or (self.hopeless and number == 1):
                raise ConnectionError("reset by https://key:secret@hub/x?sig=secret")
            yield {"text": f"Row {number}."}


def test_a_stream_that_breaks_goes_on_behind_what_was_read(monkeypatch):
    import sys
    import types

    from bertsmith.text import remote

    monkeypatch.setattr(remote, "WAIT", 0)
    fake = types.ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", fake)
    fake.load_dataset = lambda *args, **options: Shaky()
    assert read("hf:me/corpus") == [[f"Row {number}."] for number in range(10)]
    fake.load_dataset = lambda *args, **options: Shaky(hopeless=True)
    with pytest.raises(ResourceError, match=r"^hf:me/corpus: row 2: cannot be read: reset by .*; 4 tries; ") as caught:
        read("hf:me/corpus")
    assert "secret" not in str(caught.value)


def test_folders_are_read_sorted_and_recursively_and_globs_too(tmp_path):
    for name in ("b/2.txt", "a.txt", "b/1.jsonl", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "b1"}' if name.endswith("l") else name)
    (tmp_path / "skip.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert read(tmp_path) == [["a.txt"], ["b1"], ["b/2.txt"]]
    assert read(f"{tmp_path}/**/*.txt") == [["a.txt"], ["b/2.txt"]]


def test_wrapped_lines_are_joined_and_lines_without_spaces_too(tmp_path):
    (tmp_path / "a.txt").write_bytes("It was\r\n  late.\n\n你好\n世界 and\nso\n".encode())
    account = Account()
    expected = [["It was late.", "你好世界 and so"]]
    assert read(tmp_path / "a.txt", account=account, documents="file", lines="wrapped") == expected
    assert read(tmp_path / "a.txt", lines="wrapped") == [[p] for p in expected[0]]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "It was\nlate.\n\nNext"}))
    assert read(tmp_path / "a.jsonl", lines="wrapped") == [["It was late.", "Next"]]


@pytest.mark.parametrize(
    ("data", "expected", "counts"),
    [
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [["a", "\ufeffb"]], {"byte_order_marks": 1}),
        (
            b"a\0b\x01\nc",
            [["ab", "c"]],
            {"dropped": {"bad_encoding": 0, "bad_record": 0, "control": 2, "zero_width": 0}},
        ),
        (b"a\r\nb\rc\r\n\r\nd\n", [["a", "b\rc"], ["d"]], {"crlf": 3, "lone_cr": 1, "lines": 4}),
        ("a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n".encode(), [["a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"]], {"lines": 1}),
        (b"a\nb", [["a", "b"]], {"lines": 2, "newlines": 1}),
        ("\u202ea\u200b\ue000\u0378\n".encode(), [["\u202ea\u200b\ue000\u0378"]], {}),
        (b"", [], {"lines": 0}),
        (b"\n\n\n", [], {"lines": 3, "blank_lines": 3}),
        (" \t\u00a0\n\u3000".encode(), [], {"lines": 2, "blank_lines": 2}),
    ],
    ids="bom nul crlf separators no-final-newline invisible empty blank spaces".split(),
)
def test_odd_but_accepted_text_follows_its_rule_and_is_counted(tmp_path, data, expected, counts):
    (tmp_path / "a.txt").write_bytes(data)
    account = Account()
    assert read(tmp_path / "a.txt", account=account) == expected
    assert {name: getattr(account, name) for name in counts} == counts


BAD_BYTES = {
    "ff": (b"good\nab\xffc\n", "2: byte 3: not UTF-8 (0xff)"),
    "cut": (b"good\n\xe2\x82", "2: byte 1: not UTF-8 (0xe2)"),
    "overlong": (b"\xc0\x80\n", "1: byte 1: not UTF-8 (0xc0)"),
    "surrogate": (b"a\n\nb\xed\xa0\x80\n", "3: byte 2: not UTF-8 (0xed)"),
    "latin-1": ("caf\xe9\n".encode("latin-1"), "1: byte 4: not UTF-8 (0xe9)"),
    "control inside": (b"\xe2\x00\x82\xac\n", "1: byte 1: not UTF-8 (0xe2)"),
    "utf-16": ("hello\n".encode("utf-16"), " UTF-16 by its byte-order mark; `encoding` utf-16 reads it"),
    "utf-16-le": ("hello there\n".encode("utf-16-le"), "encoding='utf-16-le'"),
    "utf-16-be": ("hello there\n".encode("utf-16-be"), "encoding='utf-16-be'"),
    "zeros": (bytes(5000), "NUL"),
    "pdf": (b"%PDF-1.4 ...", "its content is PDF"),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_bytes_that_are_not_text_are_named_with_file_and_line(tmp_path, case):
    data, said = BAD_BYTES[case]
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.txt")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/a.txt:") and said in message and "\n" not in message


def test_bad_lines_are_skipped_on_request_without_becoming_a_boundary(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\xff two\r\nthree\n\xff")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n[1]\n{"text": "\xff"}\n{"text": 1}\n{"text": "two"}\n')
    account = Account()
    assert read(tmp_path / "a.txt", account=account, on_bad_line="skip") == [["one", "three"]]
    assert (account.bad_lines, account.dropped["bad_encoding"], account.lines) == (2, 8, 4)
    account = Account()
    assert read(tmp_path / "a.jsonl", account=account, on_bad_line="skip") == [["one"], ["two"]]
    assert (account.bad_lines, account.dropped["bad_record"]) == (3, 3 + 11)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_other_encodings_are_converted_and_the_difference_is_counted(tmp_path, encoding):
    text = "caf\xe9\nna\xefve\n\nend\n"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    account = Account()
    assert read(tmp_path / "a.txt", account=account, encoding=encoding) == [["caf\xe9", "na\xefve"], ["end"]]
    assert account.read == len(text.encode(encoding)) and account.lines == 4


def test_a_wrong_encoding_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a\nb\x81\n")
    with pytest.raises(InputError, match=r"a.txt: after line .*: not cp1252"):
        read(tmp_path / "a.txt", encoding="cp1252")
    for encoding in ("latin-99", "rot13", "\0", ""):
        with pytest.raises(InputError, match="encoding"):
            Options(encoding=encoding)


BAD_RECORDS = {
    "not json": ('{"text": "a"}\n{"text: 1}\n', "a.jsonl:2: not JSON"),
    "two objects": ('{"text": "a"} {"text": "b"}\n', "a.jsonl:1: not JSON"),
    "list": ("[1]\n", "a.jsonl:1: expected an object with a field 'text'"),
    "null": ("\n\nnull\n", "a.jsonl:3: expected an object"),
    "missing": ('{"body": "a", "n": 1}\n', "a.jsonl:1: no field 'text'; field names one of: body, n"),
    "number": ('{"text": 7}\n', "a.jsonl:1: text: expected a string, got a number"),
    "bool": ('{"text": true}\n', "text: expected a string, got a boolean"),
    "null field": ('{"text": null}\n', "text: expected a string, got null"),
    "deep": ("[" * 100_000 + "\n", "a.jsonl:1: not JSON that can be read: nested too deeply"),
    "digits": ('{"text": ' + "1" * 5000 + "}\n", "a.jsonl:1: not JSON that can be read"),
    "surrogate": ('{"text": "ab\\ud800"}\n', "a.jsonl:1: text: a lone surrogate (\\ud800) at character 3"),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_named_with_file_line_and_field(tmp_path, case):
    data, said = BAD_RECORDS[case]
    (tmp_path / "a.jsonl").write_text(data)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.jsonl")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("id,text\n1,a\n2\n", "a.csv:3: 1 column; the header has 2"),
        ('id,text\n1,a\n2,"open\nmore\n', "a.csv:3: not CSV: a quote that opens here is never closed"),
        ("id,body\n1,a\n", "a.csv:1: column 'text' is missing; field names one of: id, body"),
        ("text,text\n1,a\n", "a.csv:1: column 'text' stands twice"),
    ],
)
def test_a_bad_table_is_named_with_file_and_line(tmp_path, data, said):
    (tmp_path / "a.csv").write_text(data)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.csv")
    assert said in str(caught.value)


def test_compressed_files_that_are_cut_or_damaged_are_named(tmp_path):
    data = os.urandom(5000).hex().encode()
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.compress)):
        path = tmp_path / f"a.txt{suffix}"
        packed = pack(data)
        for broken in (packed[:-1], packed[: len(packed) // 2], packed[:1], data):
            path.write_bytes(broken)
            with pytest.raises(InputError, match=rf"a.txt{suffix}: (cut short|not )"):
                read(path)
    path = tmp_path / "crc.txt.gz"
    packed = bytearray(gzip.compress(data))
    packed[-6] ^= 1
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"crc.txt.gz: not gzip"):
        read(path)


def special_folder(path):
    path.mkdir()


def special_pipe(path):
    os.mkfifo(path)


def special_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


def special_device(path):
    path.symlink_to("/dev/zero")


def special_dangling(path):
    path.symlink_to(path.parent / "nowhere")


def special_loop(path):
    path.symlink_to(path)


def special_missing(path):
    pass


SPECIALS = [
    special_folder,
    special_pipe,
    special_socket,
    special_device,
    special_dangling,
    special_loop,
    special_missing,
]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", SPECIALS)
def test_what_is_not_a_plain_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "a.txt")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.txt")
    assert str(caught.value).startswith(f"{tmp_path}/a.txt: ")


def test_names_that_cannot_be_files_are_refused_and_shown_on_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    for name in ("x" * 5000 + ".txt", "nul\0.txt", f"{tmp_path}/*.jsonl", "new\nline.txt", "esc\x1b[31m.txt"):
        with pytest.raises(InputError) as caught:
            read(name)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    for twice in ([tmp_path / "a.txt"] * 2, [tmp_path] * 2, [tmp_path / "a.txt", f"{tmp_path}/b*"]):
        with pytest.raises(InputError, match="name it once"):
            read(*twice)
    with pytest.raises(InputError, match="a Word document; save it as plain text"):
        (tmp_path / "a.docx").write_bytes(b"PK\x03\x04a")
        read(tmp_path / "a.docx")
    undecodable = os.fsdecode(bytes(tmp_path / "bad") + b"\xff.txt")
    with open(undecodable, "wb") as file:
        file.write(b"\xff")
    with pytest.raises(InputError) as caught:
        read(undecodable)
    str(caught.value).encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(InputError, match=r"a.txt: cannot be read: Permission denied"):
        read(tmp_path / "a.txt")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\n\n" * 10)
    stream = documents([str(path)])
    next(stream)
    with open(path, "a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match="changed while it was read"):
        list(stream)


@pytest.mark.parametrize("space", [" ", ""])
def test_a_huge_line_is_cut_into_parts_without_losing_a_character(tmp_path, monkeypatch, space):
    monkeypatch.setattr(raw, "BLOCK", 1 << 12)
    line = (f"Wörter{space}" * 20_000).strip()
    (tmp_path / "a.txt").write_text(f"before\n{line}\nafter\n\nnext\n")
    account = Account()
    found = read(tmp_path / "a.txt", account=account)
    assert [len(found), found[0][0], found[0][-1], found[1]] == [2, "before", "after", ["next"]]
    assert space.join(found[0][1:-1]) == line
    assert (account.lines, account.cut_lines) == (5, 1)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": line}))
    assert space.join(read(tmp_path / "a.jsonl")[0]) == line


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    ("data", "expected", "counts"),
    [
        (
            b"One. Two.\r\rThree.\r\rFour.\r",
            [["One. Two."], ["Three."], ["Four."]],
            {"cr": 5, "lines": 5, "newlines": 5},
        ),
        (b"One.\rTwo.", [["One.", "Two."]], {"cr": 1, "lines": 2, "newlines": 1, "lone_cr": 0}),
        (b"\r", [], {"cr": 1, "lines": 1, "blank_lines": 1}),
    ],
)
def test_lines_end_in_cr_where_no_line_ends_in_lf(tmp_path, monkeypatch, data, expected, counts, block):
    (tmp_path / "a.txt").write_bytes(data)
    monkeypatch.setattr(raw, "read", lambda source, size: (data[i : i + block] for i in range(0, len(data), block)))
    account = Account()
    assert read(tmp_path / "a.txt", account=account) == expected
    assert {name: getattr(account, name) for name in counts} == counts


def test_records_of_an_old_mac_are_read_and_an_lf_far_behind_ends_a_line_too(tmp_path, monkeypatch):
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\rgood nice\t1\rbad\t0\r")
    assert read(tmp_path / "a.tsv") == [["good nice"], ["bad"]]
    monkeypatch.setattr(raw, "BLOCK", 16)
    (tmp_path / "b.txt").write_bytes(b"one\rtwo\rthree\rfour\r\nfive\nsix")
    account = Account()
    assert read(tmp_path / "b.txt", account=account) == [["one", "two", "three", "four", "five", "six"]]
    assert (account.cr, account.crlf, account.lone_cr, account.newlines) == (3, 1, 0, 6)


def test_memory_does_not_grow_with_a_line_a_document_or_a_bomb(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"word " * (32 << 20 >> 2), 1))  # 40 MB in one line
    (tmp_path / "b.txt").write_bytes(b"\n" * 3_000_000 + b"short lines\n" * 1_000_000)
    tracemalloc.start()
    for part in documents([str(tmp_path)], Options(documents="file")):
        assert part.size < 4 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 << 20


def test_hard_wrapped_lines_are_noticed_and_others_are_not(tmp_path):
    words = "the quick brown fox jumps over a lazy dog and then some more of it happens again. ".split() * 200
    wrapped = [" ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    for lines, expected in ((wrapped, True), ([" ".join(wrapped)] * 50, False), (["Short."] * 100, False)):
        (tmp_path / "a.txt").write_text("\n".join(lines))
        account = Account()
        read(tmp_path / "a.txt", account=account)
        assert account.hard_wrapped == expected
    (tmp_path / "b.txt").write_text("\n".join(wrapped))
    account = Account()
    read(tmp_path / "a.txt", tmp_path / "b.txt", account=account)
    assert account.hard_wrapped and account.wrapped_files == 1


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", 'Dr. Smith left. "Is it?" she asked.', ["Dr. Smith left. ", '"Is it?" she asked.']),
        ("zh", "你好。今天天气很好！我们去吗？", ["你好。", "今天天气很好！", "我们去吗？"]),
        ("xx", "Unknown language. Still split.", ["Unknown language. ", "Still split."]),
    ],
)
def test_paragraphs_are_split_into_sentences(language, text, expected):
    assert split(text, language) == expected


def test_no_splitting_loses_a_character_of_a_long_paragraph():
    for text in ("Some words here. " * 20_000, "x" * 250_000, "no end " * 50_000, "é.\n\n  A\n" * 30_000):
        sentences = split(text)
        assert "".join(sentences) == text
    whole = "Some words here. " * 20_000
    assert set(split(whole)) == {"Some words here. "}
