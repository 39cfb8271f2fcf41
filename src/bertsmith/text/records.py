"""Sources of records, one document each: JSON lines, tables, Parquet, data sets of the hub.  Blank lines inside separate paragraphs."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.text import raw
from bertsmith.text.account import Account, Options
from bertsmith.text.fields import SAMPLE, SEPARATORS, parting, quoted, told, tsv_fields
from bertsmith.text.paragraphs import joined
from bertsmith.text.sources import Source
from bertsmith.text.streamed import rows_of

LONGEST_RECORD = 64 << 20  # bytes of one JSON line or CSV row


def paragraphs_of(
    text: object, source: str, where: str, options: Options, account: Account
) -> Iterator[tuple[list[str], bool]]:
    """The pieces of a record's text; `source`: the record as it was read."""
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
        yield from bad_record(f"{where}: {problem}", source, options, account)
        return
    assert isinstance(text, str)  # else there was a problem
    account.records += 1
    if raw.CONTROL_PATTERN.search(text):
        text = text.translate(raw.CONTROL_CHARACTERS)
        without = len(text.encode())
        account.dropped["control"] += used - without
    wrapped, open_lines, paragraphs, pieces = options.lines == "wrapped", [], [], 0
    for line in map(str.strip, text.split("\n")):
        if wrapped and len(line) < raw.BLOCK // 4:
            if line:
                open_lines.append(line)
                continue
            paragraphs += joined(open_lines, account, 0)
            continue
        paragraphs += joined(open_lines, account, 0)
        while line:
            head, line = (line, "") if len(line) <= raw.BLOCK else _head(line, account)
            if head:
                paragraphs.append(head)
                account.text += len(head) if head.isascii() else len(head.encode())
                pieces += len(head)
        if pieces >= raw.BLOCK:
            yield paragraphs, False
            paragraphs, pieces = [], 0
    yield paragraphs + joined(open_lines, account, 0), True


def _head(line: str, account: Account) -> tuple[str, str]:
    account.cut_lines += 1
    cut = line.rfind(" ", raw.BLOCK - raw.BLOCK // 8, raw.BLOCK) + 1 or raw.BLOCK
    return line[:cut].strip(), line[cut:].strip()


def bad_record(message: str, source: str, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    if options.on_bad_line == "error":
        raise InputError(f"{message}; {option('on_bad_line', 'skip')} counts and skips")
    account.bad_lines += 1
    account.dropped["bad_record"] += len(source.removesuffix("\n").encode("utf-8", "surrogatepass"))
    return iter(())


def numbered_lines(source: Source, options: Options, account: Account) -> Iterator[tuple[str, int]]:
    """(line with its line end, its number)."""
    for text, number, _ in raw.blocks(source, options, account, LONGEST_RECORD, whole=True):
        lines = text.split("\n")
        last = lines.pop()
        for i, line in enumerate(lines):
            yield line + "\n", number + i
        if last:
            yield last, number + len(lines)


def _jsonl(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    name = printable(source.name)
    for line, number in numbered_lines(source, options, account):
        if not line.strip():
            account.blank_lines += 1
            continue
        where = f"{name}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield from bad_record(
                f"{where}: not JSON: {error.msg} at character {error.pos + 1}", line, options, account
            )
            continue
        except (RecursionError, ValueError) as error:
            what = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
            yield from bad_record(f"{where}: not JSON that can be read: {what}", line, options, account)
            continue
        if not isinstance(record, dict):
            yield from bad_record(f"{where}: expected an object with a field {options.field!r}", line, options, account)
        elif options.field not in record:
            known = printable(", ".join(map(str, record)) or "none", 80)
            yield from bad_record(
                f"{where}: no field {options.field!r}; {option('field')} names one of: {known}", line, options, account
            )
        else:
            yield from paragraphs_of(record[options.field], line, where, options, account)


def _table(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """What parts the columns is known as for a labelled file (fields.py).  With tabs a quote is a character like any other, unless the
    header's names are all quoted; else as RFC 4180 says."""
    name = printable(source.name)
    usual = "\t" if source.kind == "tsv" else ","
    lines, by, plain = _parted(numbered_lines(source, options, account), usual, options.field)
    if by != usual:
        account.separators[SEPARATORS[by]] = account.separators.get(SEPARATORS[by], 0) + 1
    place = _Place()
    before = csv.field_size_limit(LONGEST_RECORD)
    try:
        rows = _plain_rows(lines, place) if plain else csv.reader(place.read(lines), strict=True, delimiter=by)
        header = next(rows, None)
        if header is None:
            return
        header = [column.strip() for column in header]
        if header.count(options.field) != 1:
            found = "stands twice" if options.field in header else "is missing"
            columns = printable(", ".join(header), 80)
            raise InputError(
                f"{name}:{place.line}: column {options.field!r} {found}; {option('field')} names one of: {columns}"
            )
        column = header.index(options.field)
        while True:
            place.start, place.raw = place.line + 1, []
            csv.field_size_limit(LONGEST_RECORD)  # it is one number for the whole process
            row = next(rows, None)
            if row is None:
                return
            where = f"{name}:{place.start}"
            if not row:
                account.blank_lines += 1
            elif len(row) != len(header):
                problem = f"{where}: {amount(len(row), 'column')}; the header has {len(header)}"
                yield from bad_record(problem, "".join(place.raw), options, account)
            else:
                yield from paragraphs_of(row[column], "".join(place.raw), where, options, account)
    except csv.Error as error:
        what = (
            "a quote that opens here is never closed"
            if "unexpected end" in str(error) or "limit" in str(error)
            else str(error)
        )
        raise InputError(f"{name}:{place.start}: not {source.kind.upper()}: {what}") from None
    finally:
        csv.field_size_limit(before)


@dataclass(slots=True)
class _Place:
    """Where a reader of rows stands: its line, the first line of the row, and the row's lines as they were read."""

    line: int = 1
    start: int = 1
    raw: list[str] = field(default_factory=list)

    def read(self, lines: Iterator[tuple[str, int]]) -> Iterator[str]:
        for line, number in lines:
            self.line = number
            self.raw.append(line)
            yield line


def _parted(lines: Iterator[tuple[str, int]], usual: str, name: str) -> tuple[Iterator[tuple[str, int]], str, bool]:
    """The lines of a table with its header first, what parts its columns, and whether a quote is a character like any other."""
    first: list[tuple[str, int]] = []
    filled = 0
    for line in lines:
        first.append(line)
        filled += bool(line[0].strip())
        if filled == SAMPLE:
            break
    says = told(first[0][0]) if first else None
    by = says or parting((line.rstrip("\r\n") for line, _ in first), usual, (name,))
    rest = first[1:] if says else first
    plain = by == "\t" and not (rest and quoted(rest[0][0]))
    return chain(rest, lines), by, plain


def _plain_rows(lines: Iterator[tuple[str, int]], place: _Place) -> Iterator[list[str]]:
    for line in place.read(lines):
        text = line.removesuffix("\n")
        yield tsv_fields(text) if text else []


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
                raise InputError(
                    f"{name}: column {options.field!r} is missing; {option('field')} names one of: {columns}"
                )
            for batch in table.iter_batches(batch_size=256, columns=[options.field]):
                for text in batch.column(0).to_pylist():
                    number += 1
                    yield from _value(text, f"{name}: row {number}", options, account)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: row {number + 1}: not parquet that can be read: {printable(error)}") from None


def _hub(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    for text, where in rows_of(source, options, account):
        yield from _value(text, where, options, account)


def _rows(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """Given in Python: texts, or mappings that have one under `field`; NaN and NA are missing ones."""
    for number, row in enumerate(source.rows):
        where = f"{source.name}[{number}]"
        if isinstance(row, Mapping):
            if options.field not in row:
                known = printable(", ".join(map(str, row)) or "none", 80)
                raise InputError(f"{where}: no field {options.field!r}; {option('field')} names one of: {known}")
            row = row[options.field]
        missing = type(row).__name__ in ("NAType", "NaTType") or (isinstance(row, float) and row != row)
        yield from _value(None if missing else row, where, options, account)


def _value(text: object, where: str, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """A record of a source that is not bytes: what was read is the text itself."""
    size = len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
    account.read += size
    return paragraphs_of(text, text if isinstance(text, str) else "", where, options, account)


READERS = {"jsonl": _jsonl, "csv": _table, "tsv": _table, "parquet": _parquet, "hf": _hub, "rows": _rows}
