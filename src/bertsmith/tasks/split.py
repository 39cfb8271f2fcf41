"""A share of a training file as its dev set.  n rows, g groups.

Rows of one group (equal texts, a text's questions) stay on one side; each stratum (a class) gives its share.  Which rows are drawn follows
a hash of what they say: the same for every seed and process, and whatever the order of the file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from bertsmith.data.draw import hashed
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option

Array = np.ndarray
MOST = 0.5
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?%?|[-+]?(nan|inf)", re.IGNORECASE)
SEVERAL = 4  # of the largest groups that fit into the share, or else it says little about the file
FEW = 3  # rows of a class, from which on one at least is drawn


def share_of(dev: object) -> float | None:
    """The share that a dev file's name says, where that is a number: `--dev 0.1`; None where it names a file (`./0.1`).  InputError
    outside (0, 0.5]."""
    if isinstance(dev, bool) or not (isinstance(dev, (int, float)) or (isinstance(dev, str) and NUMBER.fullmatch(dev))):
        return None
    share = -1.0 if str(dev).endswith("%") else float(dev)
    if not 0 < share <= MOST:
        raise InputError(
            f"{option('dev', printable(dev, 40))}: a share of the training file is above 0 and at most {MOST:g}, such as 0.1; a file of that name is ./{printable(dev, 40)}"
        )
    return share


def drawn(share: float, groupings: Sequence[Sequence[Hashable]], strata: Sequence[Hashable]) -> tuple[Array, int]:
    """(numbers of the rows that are drawn, sorted; which grouping).  `groupings`: keys (n,) of the rows, coarse ones first: the first of
    which several groups make the share is taken, or else the last.  Each stratum keeps a group for training; one of FEW rows gives one at least.
    """
    rows = max(1, round(share * len(strata)))
    largest = max(rows // SEVERAL, min(rows, FEW))
    fitting = (i for i, keys in enumerate(groupings) if max(Counter(keys).values()) <= largest)
    which = next(fitting, len(groupings) - 1)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(groupings[which]):
        groups[key].append(i)
    often = Counter(strata)
    inside: dict[Hashable, list[list[int]]] = defaultdict(list)
    for key in _order(list(groups)):
        members = groups[key]
        inside[min((strata[i] for i in members), key=lambda stratum: often[stratum])].append(members)
    sizes = {stratum: sum(map(len, members)) for stratum, members in inside.items()}
    quotas = _quotas(share, sizes, rows)
    found = [i for stratum, members in inside.items() for i in _taken(members, quotas[stratum])]
    return np.sort(np.array(found, np.int64)), which


def linked(columns: Sequence[Sequence[Hashable]]) -> list[int]:
    """(n,) the same number for rows that share a value in a column, themselves or by way of others."""
    first: dict[tuple[int, Hashable], int] = {}
    above = list(range(len(columns[0])))

    def top(i: int) -> int:
        while above[i] != i:
            above[i] = i = above[above[i]]
        return i

    for column, values in enumerate(columns):
        for i, value in enumerate(values):
            a, b = top(first.setdefault((column, value), i)), top(i)
            above[max(a, b)] = min(a, b)
    return [top(i) for i in above]


def plain(text: str) -> str:
    """A text by which equal ones are known: case and blanks make none another."""
    return " ".join(text.casefold().split())


def _order(keys: list[Hashable]) -> list[Hashable]:
    at = np.array([crc32(repr(key).encode("utf-8", "surrogatepass")) for key in keys], np.uint64)
    return [keys[i] for i in np.argsort(hashed(0, "dev", at), kind="stable").tolist()]


def _quotas(share: float, sizes: dict[Hashable, int], rows: int) -> dict[Hashable, int]:
    """Rows of each stratum: its share, what is lost in rounding to the largest remainders."""
    exact = {stratum: share * size for stratum, size in sizes.items()}
    found = {stratum: int(value) for stratum, value in exact.items()}
    last = sorted(exact, key=lambda stratum: found[stratum] - exact[stratum])[: max(0, rows - sum(found.values()))]
    found |= {stratum: found[stratum] + 1 for stratum in last}
    return {stratum: min(max(found[stratum], size >= FEW), size // 2) for stratum, size in sizes.items()}


def _taken(groups: list[list[int]], quota: int) -> list[int]:
    """Rows of whole groups, in their order, as long as they fit; the smallest where none does, and half of the stratum stays."""
    found: list[int] = []
    for members in groups[: len(groups) - 1]:
        if len(found) + len(members) <= quota:
            found += members
    if not found and quota:
        smallest = min(groups, key=len)
        found = smallest if 2 * len(smallest) <= sum(map(len, groups)) else []
    return found


@dataclass(frozen=True)
class Fold:
    """A dev set of a cross-validation: `number` of `of` parts, from 0."""

    number: int
    of: int


def folded(folds: int, groupings: Sequence[Sequence[Hashable]], strata: Sequence[Hashable]) -> tuple[Array, int]:
    """((n,) the fold of each row, which grouping): as `drawn`, each stratum dealt to all folds, the fold with fewest of it next.

    InputError where there are fewer groups than folds.
    """
    largest = -(-len(strata) // folds)
    fits = lambda keys: max(Counter(keys).values()) <= largest and len(set(keys)) >= folds
    which = next((i for i, keys in enumerate(groupings) if fits(keys)), len(groupings) - 1)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(groupings[which]):
        groups[key].append(i)
    if len(groups) < folds:
        what = f"{amount(len(strata), 'row')} with {amount(len(groups), 'different text')}"
        raise InputError(
            f"{option('folds', folds)}: {what} cannot make as many; {option('folds', len(groups))} at most"
        )
    often, found = Counter(strata), np.full(len(strata), -1)
    held: dict[Hashable, list[int]] = defaultdict(lambda: [0] * folds)
    sizes = [0] * folds
    rarest = lambda members: min((strata[i] for i in members), key=lambda stratum: often[stratum])
    for key in sorted(_order(list(groups)), key=lambda key: -len(groups[key])):
        members = groups[key]
        own = held[rarest(members)]
        fold = min(range(folds), key=lambda fold: (own[fold], sizes[fold], fold))
        found[members] = fold
        own[fold] += len(members)
        sizes[fold] += len(members)
    if not all(sizes):
        raise InputError(f"{option('folds', folds)}: leaves a fold without a row; take fewer")
    return found, which


@dataclass(frozen=True)
class Few:
    """Of the training rows so many, drawn by `seed`: those of a smaller number are among those of a larger one."""

    rows: int
    seed: int


def first(few: Few, strata: Sequence[Hashable]) -> Array:
    """Numbers of the rows, sorted: one of each stratum, the largest first, and then as the strata are, each by its share of all.

    InputError for more than there are."""
    inside: dict[Hashable, list[int]] = defaultdict(list)
    for i in np.argsort(hashed(few.seed, "few", np.arange(len(strata))), kind="stable").tolist():
        inside[strata[i]].append(i)
    if few.rows > len(strata):
        raise InputError(f"{amount(few.rows, 'row')}: the training rows are {len(strata):,}; `all` takes all of them")
    order = sorted(inside.values(), key=lambda members: (-len(members), members[0]))
    later = [((k + 0.5) / len(members), i) for members in order for k, i in enumerate(members) if k]
    taken = [members[0] for members in order] + [i for _, i in sorted(later)]
    return np.sort(np.array(taken[: few.rows], np.int64))
