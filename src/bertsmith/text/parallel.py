"""Parallel lines, text and its translation: a document of two sentences each, the first in the one language, the second in the other.

`en+de=A.en+A.de` are two files, line by line; `en+de=FILE` one: a table by tabs, or JSON lines.  Where the header of a table or the fields
of a record are called like the languages these are taken, else the first two columns, or `text` and `text2`.  A pair of which one side is
empty has nothing to say; it is dropped and counted.
"""

import json
from collections.abc import Iterator
from itertools import zip_longest

from bertsmith.errors import InputError, printable
from bertsmith.text import raw
from bertsmith.text.account import Account, Options
from bertsmith.text.fields import tsv_fields
from bertsmith.text.records import bad_record, numbered_lines
from bertsmith.text.sources import AND, Source

FIELDS = ("text", "text2")
UNPAIRED = "unpaired"  # the reason for which such a pair is dropped


def parallel(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """([text, translation], True) of each pair.  InputError names file and line of what is none."""
    account.dropped.setdefault(UNPAIRED, 0)
    account.files += len(source.sides) - 1
    if len(source.sides) == 2:
        yield from _pairs(_side_by_side(source.sides, options, account), account)
        return
    (side,) = source.sides
    read = _records if side.kind == "jsonl" else _columns
    yield from _pairs(read(side, tuple(source.language.split(AND)), options, account), account)


def _pairs(pairs: Iterator[tuple[str, str]], account: Account) -> Iterator[tuple[list[str], bool]]:
    for pair in pairs:
        texts = [" ".join(text.split()) for text in pair]
        size = sum(len(text.encode()) for text in texts)
        if all(texts):
            account.records += 1
            account.text += size
            yield texts, True
        elif size:
            account.dropped[UNPAIRED] += size
        else:
            account.blank_lines += 1


def _side_by_side(sides: tuple[Source, ...], options: Options, account: Account) -> Iterator[tuple[str, str]]:
    """The lines of two files.  A bad line that was skipped in one would shift all that follow, so none is."""
    exact = Options(documents=options.documents, encoding=options.encoding)
    first, second = (numbered_lines(side, exact, account) for side in sides)
    for number, pair in enumerate(zip_longest(first, second), 1):
        if None in pair:
            short, long = (sides[0], sides[1]) if pair[0] is None else (sides[1], sides[0])
            raise InputError(
                f"{printable(short.name)}: has {number - 1} lines, {printable(long.name)} has more; parallel files have a line for each line"
            )
        yield pair[0][0], pair[1][0]


def _columns(
    source: Source, languages: tuple[str, ...], options: Options, account: Account
) -> Iterator[tuple[str, str]]:
    name, places, columns = printable(source.name), (0, 1), 0
    for line, number in numbered_lines(source, options, account):
        if not line.strip():
            account.blank_lines += 1
            continue
        fields = tsv_fields(line.rstrip("\r\n"))
        if not columns:
            columns = len(fields)
            named = [field.strip() for field in fields]
            if set(languages) <= set(named):
                places = (named.index(languages[0]), named.index(languages[1]))
                continue
        if len(fields) != columns or columns < 2:
            problem = f"{name}:{number}: expected a text, a tab and its translation; found {len(fields)} columns"
            yield from bad_record(problem, line, options, account)
            continue
        yield fields[places[0]], fields[places[1]]


def _records(
    source: Source, languages: tuple[str, ...], options: Options, account: Account
) -> Iterator[tuple[str, str]]:
    for line, number in numbered_lines(source, options, account):
        if not line.strip():
            account.blank_lines += 1
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        record = record if isinstance(record, dict) else {}
        pair = next(
            (
                [record[key] for key in keys]
                for keys in (languages, FIELDS)
                if all(isinstance(record.get(key), str) for key in keys)
            ),
            None,
        )
        if pair is None:
            wanted = f'{{"{languages[0]}": …, "{languages[1]}": …}}'
            yield from bad_record(
                f"{printable(source.name)}:{number}: expected {wanted} or text and text2", line, options, account
            )
            continue
        first, second = (text.translate(raw.CONTROL_CHARACTERS) for text in pair)
        account.dropped["control"] += sum(len(text.encode("utf-8", "replace")) for text in pair) - len(
            (first + second).encode("utf-8", "replace")
        )
        yield first.encode("utf-8", "replace").decode(), second.encode("utf-8", "replace").decode()
