"""Classes that are hardly meant as such: one name written in two ways, missing values, several labels in a cell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation

from bertsmith.errors import printable
from bertsmith.spelling import amount, option

MISSING = {"", "nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat", "-", "--", "?"}
JOINING = "|;,"
SHOWN = 12


def doubts(names: Counter[str]) -> Iterator[str]:
    """A warning for each kind of them.  `names`: rows of each class."""
    for alike in variants(names):
        yield f"classes that differ only in case or blanks: {counted({name: names[name] for name in alike})}"
    for alike in same_number(names):
        yield f"classes that are the same number: {counted({name: names[name] for name in alike})}"
    missing = {name: many for name, many in names.items() if missing_value(name)}
    if missing:
        rows = sum(missing.values())
        yield (
            f"a class that looks like a missing value: {counted(missing)} of {amount(sum(names.values()), 'row')}"
            if rows
            else ""
        )
    joined = several(names)
    if joined:
        rows = sum(names[name] for name in joined)
        yield f"{multi()}; here each combination is a class, such as {shown(joined[0])} ({amount(rows, 'row has', 'rows have')} one)"


def multi() -> str:
    return f"rows seem to have several labels, which {option('task', 'multilabel')} reads"


def missing_value(name: str) -> bool:
    return name.strip().casefold() in MISSING


def variants(names: Iterable[str]) -> list[list[str]]:
    """Names that are one but for case and blanks."""
    found = defaultdict(list)
    for name in names:
        found[" ".join(name.casefold().split())].append(name)
    return [sorted(alike) for alike in found.values() if len(alike) > 1]


def same_number(names: Iterable[str]) -> list[list[str]]:
    """Names of one number, the first two of each: 4 and 4.0."""
    found = defaultdict(list)
    for name in names:
        try:
            number = Decimal(name)
        except InvalidOperation:
            continue
        if number.is_finite():
            found[number].append(name)
    return [alike[:2] for alike in found.values() if len(alike) > 1]


def several(names: Iterable[str]) -> list[str]:
    """Those that hold several labels: lists as Python writes them, or names joined by a sign, where most parts are labels of other rows."""
    lists = [name for name in names if name[:1] == "[" and name[-1:] == "]"]
    if lists:
        return [name for name in lists if "," in name] or lists
    for sign in JOINING:
        joined = {name: _parts(name, sign) for name in names if sign in name}
        often = Counter(part for name in names for part in set(_parts(name, sign)))
        known = [name for name, parts in joined.items() if len(parts) > 1 and all(often[part] > 1 for part in parts)]
        if len(known) > 0.5 * len(joined):
            return known
    return []


def _parts(name: str, sign: str) -> list[str]:
    return [part.strip() for part in name.split(sign) if part.strip()]


def counted(names: dict[str, int]) -> str:
    """The commonest SHOWN with their numbers, then how many more there are."""
    most = sorted(names.items(), key=lambda item: -item[1])
    said = ", ".join(f"{shown(name)} {many:,}" for name, many in most[:SHOWN])
    return said + (f" and {len(most) - SHOWN:,} more" if len(most) > SHOWN else "")


def shown(name: str) -> str:
    """Quoted where it would not be seen as it is."""
    number = name.lstrip("-").replace(".", "", 1).isdigit()
    bare = name and name == name.strip() and name.isprintable() and not number and not set(",;|:") & set(name)
    return printable(name if bare else repr(name), 40)
