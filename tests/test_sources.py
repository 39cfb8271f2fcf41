"""Folders as people have them: every file below one is read, or passed over for a reason that is counted.

The oracle of the account is the file system itself: sizes of all files below the folder.
"""

import bz2
import gzip
import io
import json
import os
import tarfile
import zipfile

import pytest

import bertsmith
from bertsmith.errors import InputError
from bertsmith.text.account import Account, Options
from bertsmith.text.corpus import documents
from bertsmith.text.sources import listed

TEXT = "One sentence. Another one.\n\nA second document here.\n"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
WIKI = (
    '<doc id="1" url="https://a" title="A">\nA\n\nFirst text.\n\n</doc>\n'
    '<doc id="2" url="https://b" title="B">\nB\n\nSecond text.\n</doc>\n'
)
LINES = "".join(json.dumps({"id": i, "title": "t", "text": f"Text {i}."}) + "\n" for i in range(3))


def tar(data: bytes) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def zipped(name: str, data: bytes = b"x") -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>") if name[-4:] == ".xml" else None
        archive.writestr(name, data)
    return whole.getvalue()


# {file: content}, how many documents, {reason: files}
TREES = {
    "WikiExtractor": ({"AA/wiki_00": WIKI, "AA/wiki_01": WIKI, "AB/wiki_00": WIKI}, 6, {}),
    "WikiExtractor with a README": ({"AA/wiki_00": WIKI, "README.txt": "Read me.\n"}, 3, {}),
    "WikiExtractor --json": ({"AA/wiki_00": LINES, "AA/wiki_01": LINES}, 6, {}),
    "WikiExtractor -c": (
        {"AA/wiki_00.bz2": bz2.compress(WIKI.encode()), "AB/wiki_01.bz2": bz2.compress(LINES.encode())},
        5,
        {},
    ),
    "json lines in .txt and .json": ({"a.txt": LINES, "b.json": LINES, "c": LINES}, 9, {}),
    "mixed": ({"a.txt": TEXT, "b.jsonl": LINES, "c.csv": "text,n\nRow one.,1\n", "d.log": TEXT, "e": TEXT}, 10, {}),
    "pictures and archives": (
        {"a.txt": TEXT, "b.png": PNG, "c.zip": b"PK\x03\x04" + bytes(99), "d.tar": tar(b"x")},
        2,
        {
            "a picture": 1,
            "a zip archive; unpack it": 1,
            "a tar archive; unpack it": 1,
        },
    ),
    "documents of offices": (
        {
            "a.txt": TEXT,
            "b.docx": zipped("word/document.xml"),
            "c.xlsx": zipped("xl/workbook.xml"),
            "d.pdf": b"%PDF-1.4\n",
        }
        | {
            "e.bin": zipped("mimetype", b"application/epub+zip"),
            "f.odt": zipped("content.xml"),
            "g.zip": zipped("a.txt"),
        },
        2,
        {
            "a Word document; save it as plain text (UTF-8)": 1,
            "an Excel workbook; save the sheet as CSV UTF-8": 1,
            "PDF; extract its text to a .txt first": 1,
            "an e-book (EPUB); convert it to plain text (UTF-8)": 1,
            "an OpenDocument text; save it as plain text (UTF-8)": 1,
            "a zip archive; unpack it": 1,
        },
    ),
    "hidden": ({"a.txt": TEXT, ".DS_Store": b"\0\0", ".git/config": "x", "b/.c.txt": TEXT}, 2, {"hidden": 3}),
    "packed twice over": ({"a.gz": gzip.compress(TEXT.encode()), "b.txt": gzip.compress(TEXT.encode())}, 4, {}),
    "one value": (
        {"a.txt": TEXT, "b.json": '[\n {"text": "x"}\n]\n', "c.bin": bytes(range(256)) * 9},
        2,
        {"one JSON value, not one object a line; `jq -c '.[]'` makes lines": 1, "not text": 1},
    ),
}


def grown(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.mark.parametrize("tree", TREES)
def test_the_account_adds_up_to_every_file_and_byte(tree, tmp_path):
    files, count, passed = TREES[tree]
    folder = grown(tmp_path / "in", files)
    said = []
    account = bertsmith.prepare([folder], tmp_path / "store", tokenizer="bpe:300", holdout=0, say=said.append)
    sources = account["sources"]
    assert account["documents"] == count
    assert {reason: of["files"] for reason, of in sources["passed_over"].items()} == passed
    read = listed([str(folder)]).sources
    assert sum(sources["kinds"].values()) == len(read) == account["files"]
    everything = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names)
    assert everything == sum(source.size for source in read) + sum(
        of["bytes"] for of in sources["passed_over"].values()
    )
    text = "\n".join(said)
    for reason in passed:
        assert f"passed over, {reason}" in text
    size = account["bytes"]
    assert (
        size["used"] + size["newlines"] + size["markup"] + sum(size["dropped"].values())
        == size["read"] + size["recoded"]
    )


def test_links_are_followed_to_files_once_and_to_folders_never(tmp_path):
    folder = grown(tmp_path / "in", {"a.txt": TEXT, "b/c.txt": TEXT})
    (folder / "z.txt").symlink_to(folder / "a.txt")
    (folder / "0.txt").symlink_to(folder / "a.txt")
    (folder / "more").symlink_to(folder / "b")
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    found = listed([str(folder)])
    assert [os.path.relpath(source.name, folder) for source in found.sources] == ["a.txt", "b/c.txt"]
    reasons = {os.path.relpath(name, folder): reason for name, reason, _ in found.passed}
    assert reasons == {
        "0.txt": "the same as another file",
        "z.txt": "the same as another file",
        "more": "a link to a folder",
        "gone.txt": "a link to nothing",
        "pipe": "a pipe",
    }


def test_only_chooses_by_name_or_path_and_says_what_it_left(tmp_path):
    folder = grown(tmp_path / "in", {"a.txt": TEXT, "b/c.md": TEXT, "b/d.txt": TEXT})
    for only, expected in (
        (["*.md"], ["b/c.md"]),
        (["b/*"], ["b/c.md", "b/d.txt"]),
        (["a*", "*.md"], ["a.txt", "b/c.md"]),
    ):
        found = listed([str(folder)], only)
        assert [os.path.relpath(source.name, folder) for source in found.sources] == expected
        assert found.passed_over["not asked for by `only`"]["files"] == 3 - len(expected)
    with pytest.raises(InputError, match="without a text to read: 3 not asked for by `only`"):
        listed([str(folder)], ["*.jsonl"])


def texts(path, **options) -> list[list[str]]:
    return [document.paragraphs for document in documents([str(path)], Options(**options))]


def test_a_text_between_doc_marks_is_a_document(tmp_path):
    (tmp_path / "a").write_text(WIKI)
    assert texts(tmp_path / "a") == [["A", "First text."], ["B", "Second text."]]
    (tmp_path / "b").write_text('\n<DOC docno="1">On the line of the mark.</DOC>\n<doc>\n two\nlines\n</doc>')
    assert texts(tmp_path / "b") == [["On the line of the mark."], ["two", "lines"]]
    assert texts(tmp_path / "b", lines="wrapped") == [["On the line of the mark."], ["two lines"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<doc>\na\n<doc>\nb\n</doc>\n", ":3: a <doc> inside the one of line 1"),
        ("<doc>\na\n</doc>\nb\n", ":4: text outside of <doc>"),
        ("<doc>\na\n", ":1: a <doc> that nothing closes"),
    ],
)
def test_what_is_wrong_with_marks_is_named_or_skipped_and_counted(content, said, tmp_path):
    (tmp_path / "a").write_text(content + "<doc>\nlast\n</doc>\n" * ("nothing" not in said))
    with pytest.raises(InputError, match=said.replace("<", "<")):
        texts(tmp_path / "a")
    account = Account()
    found = [d.paragraphs for d in documents([str(tmp_path / "a")], Options(on_bad_line="skip"), account)]
    assert account.bad_lines == 1 and account.dropped["bad_record"] > 0
    assert found[-1:] == ([["last"]] if "nothing" not in said else [])


@pytest.mark.parametrize(
    "content", ["{not json}\nmore\n", "{\nx\n}\n", "<document>\n", "{{template}}\n", "[1] a note\n", ""]
)
def test_text_that_only_begins_like_something_else_is_text(content, tmp_path):
    (tmp_path / "a").write_text(content)
    assert listed([str(tmp_path / "a")]).sources[0].kind == "txt"


def test_an_encoding_is_heard_before_bytes_are_called_no_text(tmp_path):
    (tmp_path / "a.dat").write_bytes(LINES.encode("utf-16"))
    assert listed([str(tmp_path / "a.dat")], encoding="utf-16").sources[0].kind == "jsonl"
    assert texts(tmp_path / "a.dat", encoding="utf-16") == [["Text 0."], ["Text 1."], ["Text 2."]]


def test_a_file_of_another_encoding_is_passed_over_in_a_folder_and_refused_by_name(tmp_path):
    folder = grown(tmp_path / "in", {"a.txt": TEXT, "b.txt": TEXT.encode("utf-16")})
    found = listed([str(folder)])
    assert [os.path.basename(source.name) for source in found.sources] == ["a.txt"]
    assert "`encoding` utf-16 reads it" in found.passed[0][1]
    with pytest.raises(InputError, match="`encoding` utf-16 reads it"):
        listed([str(folder / "b.txt")])
    with pytest.raises(InputError, match="1 UTF-16"):
        listed([str(grown(tmp_path / "other", {"b.txt": TEXT.encode("utf-16")}))])
