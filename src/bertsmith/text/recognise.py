"""What a file holds: by its name, and where that does not say, by its first bytes.

A file that is neither is `Unread` with the reason: a folder names it and passes over it, a user who named it is told.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

KINDS = {".txt": "txt", ".text": "txt", ".md": "txt", ".rst": "txt", ".jsonl": "jsonl", ".ndjson": "jsonl"}
KINDS |= {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".warc": "warc", ".wet": "warc"}
COMPRESSIONS = {".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}
SAID = {
    "txt": "text",
    "jsonl": "JSON lines",
    "doc": "<doc> elements",
    "warc": "web archives",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "parquet",
    "hf": "a data set of the hub",
    "rows": "rows",
    "parallel": "parallel lines",
}
HEAD = 1 << 16  # bytes that are looked at
STREAMS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
ZIP = b"PK\x03\x04"
_MAGIC = {
    ZIP: "a zip archive; unpack it",
    b"Rar!": "a rar archive; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"SQLite format 3": "a data base",
    b"\x93NUMPY": "a NumPy array",
}
_TEXT, _SHEET = "save it as plain text (UTF-8)", "save the sheet as CSV UTF-8"
# Documents: (the ending, what the first bytes hold, what it is, what to save it as).
_DOCUMENTS = (
    (".docx", b"word/", f"a Word document; {_TEXT}"),
    (".xlsx", b"xl/", f"an Excel workbook; {_SHEET}"),
    (".pptx", b"ppt/", f"PowerPoint slides; {_TEXT}"),
    (".odt", b"opendocument.text", f"an OpenDocument text; {_TEXT}"),
    (".ods", b"opendocument.spreadsheet", f"an OpenDocument sheet; {_SHEET}"),
    (".epub", b"epub+zip", "an e-book (EPUB); convert it to plain text (UTF-8)"),
)
_OLE = b"\xd0\xcf\x11\xe0"  # Office before 2007
_OLD = {
    ".doc": f"a Word document; {_TEXT}",
    ".xls": f"an Excel workbook; {_SHEET}",
    ".ppt": f"PowerPoint slides; {_TEXT}",
}
_TAR = 257, b"ustar"
_ENCODED = (b"\xff\xfe", b"\xfe\xff")  # UTF-16 and its byte-order marks: bytes that are 0 are no sign of anything
_DOC = re.compile(r"<doc\b[^<>\n]*>", re.IGNORECASE)


def document(head: bytes, name: str) -> str:
    """What an office document, an e-book or a page is by its first bytes, and what to save it as; "" for what is none.

    Most are zip archives: what is inside tells which, or else the ending.
    """
    ending = os.path.splitext(name.lower())[1]
    if head.startswith(b"%PDF-"):
        return "PDF; extract its text to a .txt first"
    if head.startswith(b"{\\rtf"):
        return f"a rich text (RTF); {_TEXT}"
    if head.startswith(_OLE):
        return _OLD.get(ending, f"an office document; {_TEXT}")
    if not head.startswith(ZIP):
        return ""
    by_content = (what for _, inside, what in _DOCUMENTS if inside in head)
    return next(by_content, next((what for suffix, _, what in _DOCUMENTS if suffix == ending), ""))


class Unread(ValueError):
    """Why a file holds nothing that can be read: "a picture"."""


@dataclass(frozen=True)
class Content:
    kind: str  # of SAID
    compression: str = ""
    by_content: bool = False  # the name alone would not have said so


def by_name(name: str) -> Content | None:
    """What the endings say; None where they say nothing."""
    stem, suffix = os.path.splitext(name.lower())
    compression = COMPRESSIONS.get(suffix, "")
    kind = KINDS.get(os.path.splitext(stem)[1] if compression else suffix)
    return Content(kind, compression) if kind else None


def recognised(name: str, encoding: str = "utf-8", begins: Callable[[int], bytes] | None = None) -> Content:
    """What the file `name` holds.  Unread; OSError where it cannot be opened.  `begins`: its first bytes, where it is not on this machine.

    Endings are believed but for text, which may be JSON lines or <doc> elements (WikiExtractor's) all the same.
    """
    named = by_name(os.path.basename(name))
    if named is not None and named.kind != "txt":
        return named
    head = (begins or partial(_head, name))(HEAD)
    compression = named.compression if named else COMPRESSIONS.get(os.path.splitext(name.lower())[1], "")
    compression = compression or next((how for magic, how in STREAMS.items() if head.startswith(magic)), "")
    inside = _start(head, compression) if compression else head
    if named is None or head.startswith(_ENCODED):
        _check(inside, encoding, name)
    kind = _kind(inside, encoding, os.path.splitext(name)[1].lower() == ".json")
    found = Content(kind, compression)
    return found if found == named else Content(kind, compression, by_content=True)


def _head(name: str, size: int) -> bytes:
    with open(name, "rb") as file:
        return file.read(size)


def _start(head: bytes, compression: str) -> bytes:
    """The first bytes of a stream that begins so; nothing where that cannot be read, which its reader will say better."""
    openers = {"gzip": lambda f: gzip.GzipFile(fileobj=f), "xz": lzma.LZMAFile, "bzip2": bz2.BZ2File}
    try:
        if compression == "zstd":
            import zstandard

            try:
                return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(head)[:HEAD]
            except zstandard.ZstdError:
                return b""
        found = b""
        with openers[compression](BytesIO(head)) as stream:
            while len(found) < HEAD and (data := stream.read1(HEAD)):
                found += data
        return found
    except (ImportError, EOFError, OSError, lzma.LZMAError, zlib.error, ValueError):
        return b""


def _check(head: bytes, encoding: str, name: str) -> None:
    """Unread for what is no text in any encoding; what is none in `encoding` alone is left to the reader, which names the byte."""
    if what := document(head, name):
        raise Unread(what)
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise Unread(what)
    if head.startswith(_ENCODED) and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        raise Unread("UTF-16 by its byte-order mark; `encoding` utf-16 reads it")
    if head[_TAR[0] :].startswith(_TAR[1]):
        raise Unread("a tar archive; unpack it")
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")) or head.startswith(_ENCODED)
    odd = sum(head.count(code) for code in (*range(1, 8), *range(14, 27)))
    if (not wide and b"\0" in head) or odd * 20 > len(head):
        raise Unread("not text")


def _kind(head: bytes, encoding: str, json_name: bool) -> str:
    """txt, jsonl, doc or warc, by the first line that is not blank.  Unread for one JSON value over several lines."""
    try:
        text = codecs.getincrementaldecoder(encoding)("ignore").decode(head).lstrip("\ufeff").lstrip()
    except (LookupError, UnicodeError):
        return "txt"
    line, end, rest = text.partition("\n")
    if _DOC.match(line):
        return "doc"
    if line.startswith("WARC/1."):
        return "warc"
    if line.startswith("<mediawiki"):
        raise Unread("a MediaWiki dump; `python -m wikiextractor.WikiExtractor --json FILE` makes text of it")
    if line.startswith("{") and (_is_object(line) if end else line.startswith('{"')):
        return "jsonl"
    if json_name and line[:1] in "{[" and (rest or line.startswith("[")):
        raise Unread("one JSON value, not one object a line; `jq -c '.[]'` makes lines")
    return "txt"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
