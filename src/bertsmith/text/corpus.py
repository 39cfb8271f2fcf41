"""Sources to documents: every byte read is used, dropped by a named rule, or markup; nothing is silent, memory is bounded.

Rules, all of them counted in `Account`:
- A line ends at byte 0A and nowhere else (not at U+2028, U+0085, VT, FF or a lone CR); the CR of CR LF goes with it.  Only in a file
  that has CR and no LF (in its first MB) each CR ends one.
- A UTF-8 byte-order mark at the start of a file goes; elsewhere U+FEFF is text.
- Control characters 00-08, 0E-1B and 7F are dropped.  Tab, VT, FF, CR and 1C-1F are white space like any other.
- Text that is not valid in its encoding is an error, or with `on_bad_line="skip"` the line is dropped; it is never replaced.
- A line (or a text of a record) longer than 1 MB is cut, at white space where there is some.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bertsmith.text import raw
from bertsmith.text.account import Account, Options, look_wrapped
from bertsmith.text.marked import marked
from bertsmith.text.paragraphs import joined, look_at
from bertsmith.text.parallel import parallel
from bertsmith.text.records import READERS
from bertsmith.text.sources import Source, listed
from bertsmith.text.webarchive import web_archive


@dataclass(slots=True)
class Document:
    """A document, or a part of a long one: its paragraphs, without line breaks or outer white space, none empty."""

    number: int  # within the corpus, from 0
    paragraphs: list[str]
    last: bool  # False: more of the same document follows
    size: int  # characters
    source: str = ""  # its name
    place: int = 1  # which document of its source
    language: str = ""  # as its source was named; two, "en+de", of parallel lines


@dataclass(frozen=True)
class Texts:
    """Sources and how they are read."""

    sources: tuple[Source, ...]
    options: Options

    def read(self) -> tuple[Iterator[Document], Account]:
        """Their documents, and where every byte went once these are read."""
        account = Account()
        return documents(self.sources, self.options, account), account


def documents(
    sources: list[str | Source] | tuple[Source, ...], options: Options | None = None, account: Account | None = None
) -> Iterator[Document]:
    """The documents of the sources in order, those above 1 MB in parts.  InputError names file and line."""
    options = options or Options()
    account = Account() if account is None else account
    found = (
        sources
        if sources and isinstance(sources[0], Source)
        else listed(list(sources), encoding=options.encoding).sources
    )
    for source in found:
        account.files += 1
        before = (account.sampled, account.long, account.longer, account.closed)
        first = account.documents - 1
        for paragraphs, last in _parts(_READERS[source.kind](source, options, account)):
            number = account.documents
            size = sum(map(len, paragraphs))
            yield Document(number, paragraphs, last, size, source.name, number - first, source.language)
            account.documents += last
        after = (account.sampled, account.long, account.longer, account.closed)
        account.wrapped_files += look_wrapped(*(b - a for a, b in zip(before, after, strict=True)))


def chunked(pieces: Iterator[Document], size: int) -> Iterator[list[Document]]:
    """Documents and parts of them, about `size` characters at once, all of one language."""
    chunk, held = [], 0
    for piece in pieces:
        if chunk and chunk[0].language != piece.language:
            yield chunk
            chunk, held = [], 0
        chunk.append(piece)
        held += piece.size + 16  # a million empty or tiny documents are not one chunk
        if held >= size:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _parts(pieces: Iterator[tuple[list[str], bool]]) -> Iterator[tuple[list[str], bool]]:
    """Documents without a paragraph go; (paragraphs, last) with `last` on exactly one part of each document."""
    is_open = False
    for paragraphs, last in pieces:
        if paragraphs or is_open:
            yield paragraphs, last
            is_open = not last
    if is_open:
        yield [], True


def _plain(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    blank_ends, wrapped = options.documents == "blank", options.lines == "wrapped"
    paragraphs, open_lines, size = [], [], 0
    for text, _, partial in raw.blocks(source, options, account, raw.BLOCK):
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        stripped = list(map(str.strip, lines))
        if not partial:
            look_at(stripped[:500], account)
            account.blank_lines += stripped.count("")
        for line in stripped:
            if line:
                size += len(line) + 1
                if wrapped and not partial:
                    open_lines.append(line)
                    if size >= raw.BLOCK:
                        account.cut_lines += 1
                        paragraphs += joined(open_lines, account)
                else:
                    if open_lines:
                        paragraphs += joined(open_lines, account)
                    paragraphs.append(line)
                    account.text += len(line) if line.isascii() else len(line.encode())
            elif not partial:
                if open_lines:
                    paragraphs += joined(open_lines, account)
                if blank_ends:
                    yield paragraphs, True
                    paragraphs, size = [], 0
            if size >= raw.BLOCK:
                yield paragraphs, False
                paragraphs, size = [], 0
    yield paragraphs + joined(open_lines, account), True


_READERS: dict[str, Callable[[Source, Options, Account], Iterator[tuple[list[str], bool]]]] = {
    "txt": _plain,
    "doc": marked,
    "warc": web_archive,
    "parallel": parallel,
    **READERS,
}
