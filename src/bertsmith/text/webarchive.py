"""Web archives (WARC, ISO 28500): the text of `conversion` records (Common Crawl's WET) and of the pages in `response` records.

A record is a head of lines, an empty line, as many bytes as its Content-Length says, and two line ends.  What is no text is dropped by reason:

- other_record: records that describe others (warcinfo, request, metadata, …)
- no_page: answers that are no HTML, or not with status 2xx
- unreadable_page: answers whose own compression or length is not as they say
- bad_encoding: text that is not valid in the encoding that the answer, the page or its bytes name

A record that is none, or cut short, is a bad record as a line of JSON that is none: told, or skipped and counted up to the next head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text import raw
from bertsmith.text.account import Account, Options
from bertsmith.text.records import LONGEST_RECORD, paragraphs_of
from bertsmith.text.unpacking import read

if TYPE_CHECKING:
    from bertsmith.text.sources import Source

OTHER, NO_PAGE, UNREADABLE = "other_record", "no_page", "unreadable_page"
LONGEST_HEAD = 1 << 16
HTML = ("text/html", "application/xhtml+xml")
_NEXT = re.compile(rb"\r?\n(?=WARC/1\.)")
_META = re.compile(rb"<meta\b[^>]*\bcharset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_FIELD = re.compile(rb"\r\n(?P<name>[\w-]+):[ \t]*(?P<value>[^\r\n]*)")


class Record(NamedTuple):
    where: str
    kind: str  # WARC-Type
    whole: bytes  # head and block
    block: bytes


def web_archive(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """The text of each record that has some, a document each.  InputError names file and record."""
    for reason in (OTHER, NO_PAGE, UNREADABLE):
        account.dropped.setdefault(reason, 0)
    for record in _records(source, options, account):
        if record.kind == "conversion":
            try:
                text = record.block.decode()
            except UnicodeDecodeError:
                account.dropped["bad_encoding"] += len(record.block)
                continue
        elif record.kind == "response":
            page = _page(record, account)
            if page is None:
                continue
            text = _text_of(page)
        else:
            account.dropped[OTHER] += len(record.block)
            continue
        yield from paragraphs_of(text, text, record.where, options, account)


def _page(record: Record, account: Account) -> str | None:
    """The HTML of an answer; None where there is none, which is counted."""
    answer = _answer(record.whole, record.where)
    status = str(getattr(answer.http_headers, "status_code", "")) if answer else ""
    if not status.startswith("2") or (answer.http_content_type or "").lower() not in HTML:
        account.dropped[NO_PAGE] += len(record.block)
        return None
    try:
        payload = answer.reader.read(LONGEST_RECORD + 1)
    except (OSError, ValueError):
        payload = b""
    if not payload or len(payload) > LONGEST_RECORD:
        account.dropped[UNREADABLE] += len(record.block)
        return None
    page = _decoded(payload, answer.http_charset)
    if page is None:
        account.dropped["bad_encoding"] += len(record.block)
        return None
    account.recoded += len(page.encode()) - _sent(record.block)
    return page


def _sent(block: bytes) -> int:
    """Bytes of an answer behind its own head."""
    return len(block) - (block.find(b"\r\n\r\n") + 4)


def _answer(whole: bytes, where: str) -> Any:
    """The HTTP answer in a record as fastwarc reads it, content that was compressed or sent in chunks put right."""
    try:
        from fastwarc.warc import ArchiveIterator
    except ImportError:
        raise InputError(f"{where}: pages of a web archive need resiliparse; pip install 'bertsmith[web]'") from None
    try:
        return next(iter(ArchiveIterator(BytesIO(whole), parse_http=True, auto_decode="all")), None)
    except (OSError, ValueError):
        return None


def _decoded(payload: bytes, named: str | None) -> str | None:
    """By a byte-order mark, else what the answer says, else the page, UTF-8, or the look of its bytes; names as HTML means them, to which
    latin-1 is Windows-1252.  None where the bytes are none of that encoding."""
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    marked = next((name for mark, name in _MARKS.items() if payload.startswith(mark)), None)
    said = _META.search(payload, 0, 1024)
    named = named or (said[1].decode() if said else None)
    known = marked or (named and map_encoding_to_html5(named, fallback_utf8=False))
    for encoding in (known,) if known else ("utf-8", detect_encoding(payload)):
        try:
            return payload.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return None


def _text_of(page: str) -> str:
    """What a reader sees of a page's main part, a line for each of its blocks: no menus, headers, footers (resiliparse's rules)."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(page, main_content=True, list_bullets=False, alt_texts=False)


def _records(source: Source, options: Options, account: Account) -> Iterator[Record]:
    buffer, number = _Buffer(source, account), 0
    while buffer.past_blank():
        number += 1
        where = f"{printable(source.name)}: record {number}"
        head, length, problem = _head(buffer)
        if not problem and length > LONGEST_RECORD:
            problem = f"a record of {amount(length, 'byte')}; at most {amount(LONGEST_RECORD, 'byte')} are read"
        elif not problem and not buffer.holds(len(head) + length):
            problem = f"cut short: {amount(len(buffer.data) - len(head), 'byte')} of {length:,}"
        elif not problem and buffer.holds(len(head) + length + 1) and not buffer.ends_at(len(head) + length):
            problem = "does not end where its Content-Length says"
        if problem:
            _bad(f"{where}: {problem}", buffer.past_damage(), options, account)
            continue
        whole = buffer.take(len(head) + length)
        kind = _fields(head).get("warc-type", "").lower()
        yield Record(where, kind, whole, whole[len(head) :])


def _head(buffer: _Buffer) -> tuple[bytes, int, str]:
    """(the head with its empty line, the length of what follows, what is wrong with it)."""
    while (end := buffer.data.find(b"\r\n\r\n", 0, LONGEST_HEAD)) < 0 and len(buffer.data) < LONGEST_HEAD:
        if not buffer.more():
            break
    head = bytes(buffer.data[: end + 4]) if end >= 0 else b""
    if not buffer.data.startswith(b"WARC/1.") or not head or _NEXT.search(head):
        return b"", 0, "no head of a record; expected WARC/1.0 and lines of fields"
    length = _fields(head).get("content-length", "")
    if not (length.isascii() and length.isdecimal() and len(length) < 16):
        return b"", 0, f"Content-Length: {printable(repr(length), 40)} is not a number of bytes"
    return head, int(length), ""


def _fields(head: bytes) -> dict[str, str]:
    found = _FIELD.finditer(head)
    return {field["name"].decode().lower(): field["value"].decode("latin-1").strip() for field in found}


def _bad(message: str, size: int, options: Options, account: Account) -> None:
    if options.on_bad_line == "error":
        raise InputError(f"{message}; {option('on_bad_line', 'skip')} counts and skips")
    account.bad_lines += 1
    account.dropped["bad_record"] += size


class _Buffer:
    """What of the decompressed bytes is looked at: as much as one record, at most."""

    def __init__(self, source: Source, account: Account):
        self.blocks, self.account, self.data = read(source, raw.BLOCK), account, bytearray()

    def more(self) -> bool:
        """Whether there was any."""
        block = next(self.blocks, b"")
        self.account.read += len(block)
        self.data += block
        return bool(block)

    def holds(self, size: int) -> bool:
        while len(self.data) < size and self.more():
            pass
        return len(self.data) >= size

    def ends_at(self, place: int) -> bool:
        """Whether a record ends there: two line ends, or nothing more."""
        self.holds(place + 4)
        return self.data[place : place + 4] in (b"\r\n\r\n", b"\r\n", b"")

    def take(self, size: int) -> bytes:
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def past_blank(self) -> bool:
        """Go on to what is no line end; False at the end."""
        while True:
            left = self.data.lstrip(b"\r\n")
            self.data = left
            if left or not self.more():
                return bool(left)

    def past_damage(self) -> int:
        """Go on to the next head, or the end; how many bytes are left behind."""
        gone = 0
        while True:
            found = _NEXT.search(self.data, 1)
            if found:
                return gone + len(self.take(found.end()))
            gone += len(self.take(max(len(self.data) - 16, 0)))  # a head may begin in the last few
            if not self.more():
                return gone + len(self.take(len(self.data)))
