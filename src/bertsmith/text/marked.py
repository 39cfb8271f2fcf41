"""Texts between <doc …> and </doc>, as WikiExtractor and SGML corpora have them: each is a document."""

import re
from collections.abc import Iterator

from bertsmith.errors import printable
from bertsmith.text.account import Account, Options
from bertsmith.text.records import bad_record, numbered_lines, paragraphs_of
from bertsmith.text.sources import Source

_OPEN = re.compile(r"\s*<doc\b[^<>\n]*>", re.IGNORECASE)
_CLOSE = re.compile(r"</doc\s*>\s*$", re.IGNORECASE)


def marked(source: Source, options: Options, account: Account) -> Iterator[tuple[list[str], bool]]:
    """What stands between the marks; an opening mark begins a line, a closing one ends it.  Text outside of any is a bad record."""
    held: list[str] = []
    opened = 0  # the line of the mark that is open
    for line, number in numbered_lines(source, options, account):
        where, begins = f"{printable(source.name)}:{number}", _OPEN.match(line)
        if begins and opened:
            yield from bad_record(f"{where}: a <doc> inside the one of line {opened}", "".join(held), options, account)
            opened = 0
        if begins:
            held, opened, line = [], number, line[begins.end() :]
        elif not opened:
            if line.strip():
                yield from bad_record(f"{where}: text outside of <doc> and </doc>", line, options, account)
            else:
                account.blank_lines += 1
            continue
        ends = _CLOSE.search(line)
        held.append(line[: ends.start()] if ends else line)
        if ends:
            yield from paragraphs_of("".join(held), "".join(held), where, options, account)
            opened = 0
    if opened:
        where = f"{printable(source.name)}:{opened}"
        yield from bad_record(f"{where}: a <doc> that nothing closes", "".join(held), options, account)
