"""Sources to documents: every byte read is used, dropped by a named rule, or markup; nothing is silent, memory is bounded.

Rules, all of them counted in `Account`:
- A line ends at byte 0A and nowhere else (not at U+2028, U+0085, VT, FF or a lone CR); the CR of CR LF goes with it.
- A UTF-8 byte-order mark at the start of a file goes; elsewhere U+FEFF is text.
- Control characters 00-08, 0E-1B and 7F are dropped.  Tab, VT, FF, CR and 1C-1F are white space like any other.
- Text that is not valid in its encoding is an error, or with `on_bad_line="skip"` the line is dropped; it is never replaced.
- A line (or a text of a record) longer than 1 MB is cut, at white space where there is some.
"""

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Literal

from bertsmith.errors import InputError, printable
from bertsmith.text.sources import Source, expand, read

BLOCK = 1 << 20  # bytes read at once; a longer line is cut
LONGEST_RECORD = 64 << 20  # bytes of one JSON line or CSV row
CONTROL = bytes(range(9)) + bytes(range(14, 28)) + b"\x7f"
_CONTROL_CHARACTERS = dict.fromkeys(CONTROL)
_CONTROL_PATTERN = re.compile("[" + "".join(f"\\x{c:02x}" for c in CONTROL) + "]")
_WITHOUT_SPACES = re.compile(
    r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff]"
)  # CJK: lines join without a space
_FINAL = tuple(".!?:;…。！？：；”’\"')]»")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How sources are read; the names of the command line."""

    documents: Literal["blank", "file"] = "blank"
    lines: Literal["paragraph", "sentence", "wrapped"] = "paragraph"
    field: str = "text"
    encoding: str = "utf-8"
    on_bad_line: Literal["error", "skip"] = "error"

    def __post_init__(self):
        allowed = {
            "documents": ("blank", "file"),
            "lines": ("paragraph", "sentence", "wrapped"),
            "on_bad_line": ("error", "skip"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option}: {printable(repr(getattr(self, name)))} is not one of {', '.join(values)}")
        try:
            if not codecs.lookup(self.encoding)._is_text_encoding:
                raise LookupError
            codecs.getincrementaldecoder(self.encoding)
        except (LookupError, TypeError, ValueError):
            raise InputError(
                f"--encoding: {printable(repr(self.encoding))} is not one that Python knows; for example utf-8, latin-1, gb18030"
            ) from None
        if not isinstance(self.field, str) or not self.field:
            raise InputError("--field: expected the name of the field that holds the text")


@dataclass(slots=True)
class Document:
    """A document, or a part of a long one: its paragraphs, without line breaks or outer white space, none empty."""

    number: int  # within the corpus, from 0
    paragraphs: list[str]
    last: bool  # False: more of the same document follows
    size: int  # characters


@dataclass(slots=True)
class Account:
    """Where every byte went: read + recoded == text + markup + the sum of dropped, in bytes of UTF-8."""

    files: int = 0
    read: int = 0  # decompressed bytes of the sources
    recoded: int = 0  # what conversion to UTF-8 added, where --encoding is another
    text: int = 0  # paragraphs handed on
    newlines: int = 0  # line ends, CR LF being two bytes
    dropped: dict[str, int] = field(default_factory=lambda: {"bad_encoding": 0, "bad_record": 0, "control": 0})
    lines: int = 0  # as `grep -c ''` counts them
    blank_lines: int = 0
    bad_lines: int = 0
    cut_lines: int = 0
    crlf: int = 0
    lone_cr: int = 0
    byte_order_marks: int = 0
    records: int = 0
    documents: int = 0
    sampled: int = 0  # lines looked at for hard wrapping
    long: int = 0  # of these, between 40 and 100 characters
    longer: int = 0  # longer than 100
    closed: int = 0  # ending like a sentence
    wrapped_files: int = 0

    @property
    def markup(self) -> int:
        """Line ends, outer white space, byte-order marks, everything of a record but its text."""
        return self.read + self.recoded - self.text - sum(self.dropped.values())

    @property
    def hard_wrapped(self) -> bool:
        """Whether lines pile up below a right margin and mostly do not end like sentences, in one of the files or in all together."""
        return self.wrapped_files > 0 or _look_wrapped(self.sampled, self.long, self.longer, self.closed)


def _look_wrapped(lines: int, long: int, longer: int, closed: int) -> bool:
    return lines >= 40 and longer <= 0.03 * lines and long >= 0.5 * lines and closed < 0.5 * lines


def documents(
    sources: list[str] | tuple[Source, ...], options: Options | None = None, account: Account | None = None
) -> Iterator[Document]:
    """The documents of the sources in order, those above 1 MB in parts.  InputError names file and line."""
    options = options or Options()
    account = Account() if account is None else account
    found = sources if sources and isinstance(sources[0], Source) else expand(list(sources))
    for source in found:
        account.files += 1
        before = (account.sampled, account.long, account.longer, account.closed)
        for paragraphs, last in _parts(_READERS[source.kind](source, options, account)):
            yield Document(account.documents, paragraphs, last, sum(map(len, paragraphs)))
            account.documents += last
        after = (account.sampled, account.long, account.longer, account.closed)
        account.wrapped_files += _look_wrapped(*(b - a for a, b in zip(before, after, strict=True)))


def _parts(pieces: Iterator[tuple[list[str], bool]]) -> Iterator[tuple[list[str], bool]]:
    """Documents without a paragraph go; (paragraphs, last) with `last` on exactly one part of each document."""
    is_open = False
    for paragraphs, last in pieces:
        if paragraphs or is_open:
            yield paragraphs, last
            is_open = not last
    if is_open:
        yield [], True


# Plain text


def _plain(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    blank_ends, wrapped = options.documents == "blank", options.lines == "wrapped"
    paragraphs, open_lines, size = [], [], 0
    for text, _, partial in _blocks(source, options, account, BLOCK):
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        stripped = list(map(str.strip, lines))
        if not partial:
            _look_at(stripped[:500], account)
            account.blank_lines += stripped.count("")
        for line in stripped:
            if line:
                size += len(line) + 1
                if wrapped and not partial:
                    open_lines.append(line)
                    if size >= BLOCK:
                        account.cut_lines += 1
                        paragraphs += _joined(open_lines, account)
                else:
                    if open_lines:
                        paragraphs += _joined(open_lines, account)
                    paragraphs.append(line)
                    account.text += len(line) if line.isascii() else len(line.encode())
            elif not partial:
                if open_lines:
                    paragraphs += _joined(open_lines, account)
                if blank_ends:
                    yield paragraphs, True
                    paragraphs, size = [], 0
            if size >= BLOCK:
                yield paragraphs, False
                paragraphs, size = [], 0
    yield paragraphs + _joined(open_lines, account), True


def _joined(lines: list[str], account: Account, newline: int = 1) -> list[str]:
    """Hard-wrapped lines as one paragraph; a space for each line break, none between two characters of scripts without spaces."""
    if not lines:
        return []
    parts = [lines[0]]
    for before, after in pairwise(lines):
        if not (_WITHOUT_SPACES.match(before[-1]) and _WITHOUT_SPACES.match(after[0])):
            parts.append(" ")
            account.newlines -= newline  # the line end became text
        parts.append(after)
    lines.clear()
    paragraph = "".join(parts)
    account.text += len(paragraph.encode())
    return [paragraph]


def _look_at(lines: list[str], account: Account) -> None:
    full = [line for line in lines if line]
    account.sampled += len(full)
    account.long += sum(40 <= len(line) <= 100 for line in full)
    account.longer += sum(len(line) > 100 for line in full)
    account.closed += sum(line.endswith(_FINAL) for line in full)


def _blocks(
    source: Source, options: Options, account: Account, longest: int, whole: bool = False
) -> Iterator[tuple[str, int, bool]]:
    """(decoded lines, number of the first, whether this is a part of one line above `longest` bytes), clean of CR LF, marks, controls.

    `whole`: a line that long is an InputError, not cut.
    """
    for raw, first, partial in _bytes(source, options, account, longest, whole):
        for data, number in _valid(raw, first, source, options, account):
            if b"\r" in data:
                pairs = data.count(b"\r\n")
                account.crlf += pairs
                account.newlines += pairs
                account.lone_cr += data.count(b"\r") - pairs
                data = data.replace(b"\r\n", b"\n") if pairs else data
            account.newlines += data.count(b"\n")
            clean = data.translate(None, CONTROL)
            account.dropped["control"] += len(data) - len(clean)
            yield clean.decode(), number, partial


def _valid(data: bytes, number: int, source: Source, options: Options, account: Account) -> Iterator[tuple[bytes, int]]:
    """The block if it is UTF-8; else the runs of lines between bad ones, each counted, or an InputError for the first."""
    try:
        data.decode()  # faster than a check without a copy; control bytes are still in it, so that dropping one cannot mend a sequence
        yield data, number
        return
    except UnicodeDecodeError:
        pass
    run, first = [], number
    for here, line in enumerate(_split_lines(data), first):
        try:
            line.decode()
            run.append(line)
            continue
        except UnicodeDecodeError as error:
            if options.on_bad_line == "error":
                where = f"{printable(source.name)}:{here}: byte {error.start + 1}"
                allowed = "--encoding names another, --on-bad-line skip counts and skips"
                raise InputError(f"{where}: not UTF-8 (0x{line[error.start]:02x}); {allowed}") from None
        ends = line.endswith(b"\n")
        account.bad_lines += 1
        account.newlines += ends
        account.dropped["bad_encoding"] += len(line) - ends
        if run:
            yield b"".join(run), first
        run, first = [], here + 1
    if run:
        yield b"".join(run), first


def _split_lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _is_utf8(options: Options) -> bool:
    return options.encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def _bytes(
    source: Source, options: Options, account: Account, longest: int, whole: bool
) -> Iterator[tuple[bytes, int, bool]]:
    """(whole lines, number of the first, False), or the pieces of a line above `longest` bytes one by one with True."""
    carry, number, inside = b"", 1, False  # inside: the carry goes on a line of which pieces were given away
    for data in chain(_recoded(source, options, account), (b"",)):
        final = not data
        data = carry + data
        if inside:
            end = data.find(b"\n") + 1 or (len(data) if final else 0)
            if end and end <= longest:
                yield data[:end], number, True
                account.lines += 1
                number, inside, data = number + 1, False, data[end:]
        if not inside:
            end = len(data) if final else data.rfind(b"\n") + 1
            if end:
                lines = data.count(b"\n", 0, end) + (data[end - 1 : end] != b"\n")
                account.lines += lines
                yield data[:end], number, False
                number, data = number + lines, data[end:]
        while len(data) > longest:
            if whole:
                raise InputError(
                    f"{printable(source.name)}:{number}: a record of more than {longest} bytes; split it into smaller ones"
                )
            cut = _cut(data, longest)
            if not inside:
                account.cut_lines += 1
            yield data[:cut], number, True
            inside, data = True, data[cut:]
        carry = data


def _cut(data: bytes, longest: int) -> int:
    """Where to cut a long line: after white space in the last part of it, else between two characters of UTF-8."""
    space = data.rfind(b" ", longest - longest // 8, longest)
    if space >= 0:
        return space + 1
    cut = longest
    while cut > longest - 4 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _recoded(source: Source, options: Options, account: Account) -> Iterator[bytes]:
    """Blocks of UTF-8 as far as it is valid, none empty: as read, or converted from `options.encoding`; without the mark at the start."""
    decoder = None if _is_utf8(options) else codecs.getincrementaldecoder(options.encoding)("strict")
    first, line, before = True, 1, 0
    for data in chain(read(source, BLOCK), (b"",)):
        account.read += len(data)
        if first:
            _sniff(data, source, options)
        if decoder:
            try:
                converted = decoder.decode(data, final=not data).encode()
            except (UnicodeError, ValueError) as error:
                reason = printable(getattr(error, "reason", error), 60)
                where = f"{printable(source.name)}: after line {line}, in bytes {before + 1} to {before + len(data)}"
                raise InputError(f"{where}: not {options.encoding} ({reason}); --encoding names another") from None
            before += len(data)
            line += converted.count(b"\n")
            account.recoded += len(converted) - len(data)
            data = converted
        if first and data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
            account.byte_order_marks += 1
        first = first and not data
        if data:
            yield data


def _sniff(data: bytes, source: Source, options: Options) -> None:
    where = printable(source.name)
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise InputError(f"{where}: its content is {what}; {_MEND.get(what, 'extract the text first')}")
    head = data[:4096]
    if _is_utf8(options):
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{where}:1: byte 1: not UTF-8 (UTF-16 byte-order mark); --encoding utf-16 reads it")
        if len(head) >= 4 and head.count(0) * 4 >= len(head):
            guess = "utf-16-be" if head[0::2].count(0) > head[1::2].count(0) else "utf-16-le"
            raise InputError(
                f"{where}:1: {head.count(0)} of the first {len(head)} bytes are NUL: not text in UTF-8; --encoding {guess} may read it"
            )


_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"%PDF-": "PDF",
    b"PAR1": "parquet",
}
_MEND = {"gzip": "name it .gz", "xz": "name it .xz", "zstd": "name it .zst", "parquet": "name it .parquet"}


# Records: one document each, blank lines inside separate paragraphs


def _record(text: object, raw: str, where: str, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """The pieces of a record's text; `raw`: the record as it was read."""
    problem = None
    if not isinstance(text, str):
        kind = {type(None): "null", bool: "a boolean", dict: "an object", list: "a list"}.get(type(text), "a number")
        problem = f"{printable(options.field)}: expected a string, got {kind}"
    else:
        try:
            used = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            problem = f"{printable(options.field)}: a lone surrogate (\\u{ord(text[error.start]):04x}) at character {error.start + 1}"
    if problem:
        yield from _bad_record(f"{where}: {problem}", raw, options, account)
        return
    account.records += 1
    if _CONTROL_PATTERN.search(text):
        text = text.translate(_CONTROL_CHARACTERS)
        without = len(text.encode())
        account.dropped["control"] += used - without
    wrapped, open_lines, paragraphs, pieces = options.lines == "wrapped", [], [], 0
    for raw in text.split("\n"):
        line = raw.strip()
        if wrapped and len(line) < BLOCK // 4:
            if line:
                open_lines.append(line)
                continue
            paragraphs += _joined(open_lines, account, 0)
            continue
        paragraphs += _joined(open_lines, account, 0)
        while line:
            head, line = (line, "") if len(line) <= BLOCK else _head(line, account)
            if head:
                paragraphs.append(head)
                account.text += len(head) if head.isascii() else len(head.encode())
                pieces += len(head)
        if pieces >= BLOCK:
            yield paragraphs, False
            paragraphs, pieces = [], 0
    yield paragraphs + _joined(open_lines, account, 0), True


def _head(line: str, account: Account) -> tuple[str, str]:
    account.cut_lines += 1
    cut = line.rfind(" ", BLOCK - BLOCK // 8, BLOCK) + 1 or BLOCK
    return line[:cut].strip(), line[cut:].strip()


def _bad_record(message: str, raw: str, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    if options.on_bad_line == "error":
        raise InputError(f"{message}; --on-bad-line skip counts and skips")
    account.bad_lines += 1
    account.dropped["bad_record"] += len(raw.removesuffix("\n").encode("utf-8", "surrogatepass"))
    return iter(())


def _lines(source: Source, options: Options, account: Account) -> Iterator[tuple[str, int]]:
    """(line with its line end, its number)."""
    for text, number, _ in _blocks(source, options, account, LONGEST_RECORD, whole=True):
        lines = text.split("\n")
        last = lines.pop()
        for i, line in enumerate(lines):
            yield line + "\n", number + i
        if last:
            yield last, number + len(lines)


def _jsonl(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    name = printable(source.name)
    for line, number in _lines(source, options, account):
        if not line.strip():
            account.blank_lines += 1
            continue
        where = f"{name}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield from _bad_record(
                f"{where}: not JSON: {error.msg} at character {error.pos + 1}", line, options, account
            )
            continue
        except (RecursionError, ValueError) as error:
            what = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
            yield from _bad_record(f"{where}: not JSON that can be read: {what}", line, options, account)
            continue
        if not isinstance(record, dict):
            yield from _bad_record(
                f"{where}: expected an object with a field {options.field!r}", line, options, account
            )
        elif options.field not in record:
            known = printable(", ".join(map(str, record)) or "none", 80)
            yield from _bad_record(
                f"{where}: no field {options.field!r}; --field names one of: {known}", line, options, account
            )
        else:
            yield from _record(record[options.field], line, where, options, account)


def _table(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """.csv: quoted as RFC 4180 says; .tsv: a quote is a character like any other."""
    name, place = printable(source.name), {"line": 1, "start": 1, "raw": []}

    def physical() -> Iterator[str]:
        for line, number in _lines(source, options, account):
            place["line"] = number
            place["raw"].append(line)
            yield line

    style = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if source.kind == "tsv" else {"delimiter": ","}
    before = csv.field_size_limit(LONGEST_RECORD)
    try:
        rows = csv.reader(physical(), strict=True, **style)
        header = next(rows, None)
        if header is None:
            return
        if header.count(options.field) != 1:
            found = "stands twice" if options.field in header else "is missing"
            columns = printable(", ".join(header), 80)
            raise InputError(f"{name}:1: column {options.field!r} {found}; --field names one of: {columns}")
        column = header.index(options.field)
        while True:
            place["start"], place["raw"] = place["line"] + 1, []
            csv.field_size_limit(LONGEST_RECORD)  # it is one number for the whole process
            row = next(rows, None)
            if row is None:
                return
            where = f"{name}:{place['start']}"
            if not row:
                account.blank_lines += 1
            elif len(row) != len(header):
                yield from _bad_record(
                    f"{where}: {len(row)} columns; the header has {len(header)}",
                    "".join(place["raw"]),
                    options,
                    account,
                )
            else:
                yield from _record(row[column], "".join(place["raw"]), where, options, account)
    except csv.Error as error:
        what = (
            "a quote that opens here is never closed"
            if "unexpected end" in str(error) or "limit" in str(error)
            else str(error)
        )
        raise InputError(f"{name}:{place['start']}: not {source.kind.upper()}: {what}") from None
    finally:
        csv.field_size_limit(before)


def _parquet(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{printable(source.name)}: parquet needs pyarrow; pip install 'bertsmith[hub]'") from None
    name, number = printable(source.name), 0
    try:
        with source.seekable() as file:
            table = pyarrow.parquet.ParquetFile(file)
            if options.field not in table.schema_arrow.names:
                columns = printable(", ".join(table.schema_arrow.names), 80)
                raise InputError(f"{name}: column {options.field!r} is missing; --field names one of: {columns}")
            for batch in table.iter_batches(batch_size=256, columns=[options.field]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    yield from _value(text, f"{name}: row {number}", options, account)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: row {number + 1}: not parquet that can be read: {printable(error)}") from None


def _hub(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """hf:NAME[:CONFIG[:SPLIT]] (split train), streamed by the `datasets` library."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{printable(source.name)}: needs the datasets library; pip install 'bertsmith[hub]'"
        ) from None
    dataset, config, split = [*source.name.removeprefix("hf:").split(":"), "", ""][:3]
    try:
        rows = iter(datasets.load_dataset(dataset, config or None, split=split or "train", streaming=True))
    except Exception as error:  # the hub's errors have no common class
        reason = printable(str(error).split("\n")[0] or type(error).__name__, 120)
        raise InputError(f"{printable(source.name)}: cannot be loaded: {reason}") from None
    for number, row in enumerate(rows, 1):
        where = f"{printable(source.name)}: row {number}"
        if not isinstance(row, dict) or options.field not in row:
            known = printable(", ".join(map(str, row)), 80)
            raise InputError(f"{where}: no field {options.field!r}; --field names one of: {known}")
        yield from _value(row[options.field], where, options, account)


def _value(text: object, where: str, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """A record of a source that is not bytes: what was read is the text itself."""
    size = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    account.read += size
    return _record(text, text if isinstance(text, str) else "", where, options, account)


_READERS: dict[str, Callable[[Source, Options, Account], Iterator[tuple[list[str], bool]]]] = {
    "txt": _plain,
    "jsonl": _jsonl,
    "csv": _table,
    "tsv": _table,
    "parquet": _parquet,
    "hf": _hub,
}
