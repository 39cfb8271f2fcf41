"""How tags of spans follow one another: what a file's scheme is, and what it allows.  c tags, p words, s sentences.

BIO     I- goes on with a span that B- began (IOB2)
IOB1    B- stands only where a span begins behind another of its type
IOE     E- ends every span (IOE2); what has I- and S- alone besides is BIOES
BIOES   B- begins, I- goes on, E- ends, S- is a span by itself: BMES and BILOU, which only write them otherwise

A file need not keep to its scheme; where most of its tags do, the rest is counted, and a model may say what the file does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bertsmith.tasks.spans import BARE, PREFIXED, mark_spans, parts

Array = np.ndarray
Part = (
    tuple[str, str] | None
)  # what `parts` says of a tag; None: outside, and before the first word and behind the last


def _bio(a: Part, b: Part) -> bool:
    return not b or b[0] == "B" or (a is not None and a[1] == b[1])


def _iob1(a: Part, b: Part) -> bool:
    return not b or b[0] == "I" or (a is not None and a[1] == b[1])


def _ioe(a: Part, b: Part) -> bool:
    return not a or a[0] == "E" or (b is not None and a[1] == b[1])


def _bioes(a: Part, b: Part) -> bool:
    opened, goes_on = a is not None and a[0] in "BI", b is not None and b[0] in "IE"
    return opened == goes_on and not (opened and a[1] != b[1])  # type: ignore[index]


RULES = {"BIO": _bio, "IOB1": _iob1, "IOE": _ioe, "BIOES": _bioes}
SPELT = {"M": "BMES", "L": "BILOU", "U": "BILOU"}


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """`name` as the file spells it; `against`: how many of its tags do not follow by it, `first`: (sentence, word) of the first."""

    name: str
    rule: str
    against: int = 0
    first: tuple[int, int] | None = None


def scheme_of(names: Sequence[str], ids: Array, lengths: Array) -> Scheme | None:
    """The scheme that most tags of a file keep to; None where they mark no spans.  `ids` (p,) number `names`, `lengths` (s,)."""
    if not mark_spans(names):
        return None
    used = {names[i] for i in np.unique(ids).tolist()}
    letters = {tag if tag in BARE else tag[0] for tag in used if parts(tag)}
    kinds = {found[0] for tag in used if (found := parts(tag))}
    if kinds & {"S"} or {"B", "E"} <= kinds:
        known = ("BIOES",)
    elif "E" in kinds:
        known = ("IOE",)
    else:
        known = ("BIO", "IOB1") if "B" in kinds else ("IOB1",)
    spelt = next((SPELT[letter] for letter in sorted(letters) if letter in SPELT), "")
    pairs, where = _pairs(ids, lengths, len(names))
    found = []
    for rule in known:
        bad = ~_table(names, rule)[tuple(pairs.T)]
        first = where[np.flatnonzero(bad)[0]] if bad.any() else None
        at = None if first is None else (int(first[0]), int(first[1]))
        found.append(
            Scheme(name=spelt if spelt and rule == "BIOES" else rule, rule=rule, against=int(bad.sum()), first=at)
        )
    return min(found, key=lambda scheme: scheme.against)


def allowed(names: Sequence[str], ids: Array, lengths: Array) -> tuple[str, ...]:
    """(c + 1) rows of c + 1 signs, "1" where the tag of the column may follow the tag of the row: by the file's scheme, and wherever it
    does in the file.  The last row is before the first word, the last column behind the last.  () where tags mark no spans."""
    scheme = scheme_of(names, ids, lengths)
    if scheme is None:
        return ()
    table = _table(names, scheme.rule)
    table[tuple(_pairs(ids, lengths, len(names))[0].T)] = True
    return tuple("".join("01"[int(one)] for one in row) for row in table)


def said(names: Sequence[str], ids: Array, lengths: Array) -> dict[str, object]:
    """For config.json: the scheme, and how many tags are against it, with one of them in words."""
    scheme = scheme_of(names, ids, lengths)
    if scheme is None:
        return {}
    if scheme.first is None:
        return {"scheme": scheme.name}
    sentence, word = scheme.first
    tags = ids[lengths[:sentence].sum() :][: lengths[sentence]].tolist()
    before = "at the beginning" if word == 0 else f"behind {names[tags[word - 1]]}"
    what = f"{names[tags[word]]} {before}" if word < len(tags) else f"{names[tags[-1]]} at the end"
    return {"scheme": scheme.name, "against": scheme.against, "such_as": what}


def _table(names: Sequence[str], rule: str) -> Array:
    """(c + 1, c + 1) bool: what may follow what by a rule."""
    every = [*map(parts, names), None]
    return np.array([[RULES[rule](a, b) for b in every] for a in every], bool)


def _pairs(ids: Array, lengths: Array, count: int) -> tuple[Array, Array]:
    """(p + s, 2) the tags beside each other, `count` for the ends of a sentence, and (sentence, word) of each one's second."""
    ends = np.cumsum(lengths)
    behind = np.insert(ids, ends, count)
    before = np.insert(ids, ends - lengths, count)
    sentence = np.repeat(np.arange(len(lengths)), lengths + 1)
    first = np.cumsum(lengths + 1) - (lengths + 1)
    word = np.arange(len(behind)) - np.repeat(first, lengths + 1)
    # each sentence is [start, t1 … tn] against [t1 … tn, end]
    return np.stack([before, behind], 1), np.stack([sentence, word], 1)


def spellings(tags: Iterable[str]) -> list[str]:
    """Letters of a file that say the same two ways: ["S", "U"]."""
    letters = {tag if tag in BARE else found[1] for tag in tags if tag in BARE or (found := PREFIXED.fullmatch(tag))}
    return sorted({letter for pair in ("IM", "EL", "SU") if {*pair} <= letters for letter in pair})
