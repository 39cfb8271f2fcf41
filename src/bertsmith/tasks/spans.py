"""Tags of words as spans: IOB1, IOB2, IOE, IOBES (BILOU, BMES) by one rule, the one of the CoNLL shared tasks' conlleval.

`B-`, `S-` start a span; `I-`, `E-` go on with an open one of their type and start one where there is none, so that nothing is lost of tags
that a model put in an impossible order; `E-`, `S-` end it.  Tags without types (B, I, O of noun phrases; B, M, E, S of segmented words)
mark spans of the type that seqeval gives them, "_".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

OUTSIDE = "O"
PREFIXED = re.compile(r"([BIESMLU])-(.+)", re.DOTALL)
BARE = frozenset("BIESMLU")
UNTYPED = "_"
SAME = {"M": "I", "L": "E", "U": "S"}  # BMES and BILOU call them so
Span = tuple[str, int, int]  # type, first word, word after the last


def parts(tag: str) -> tuple[str, str] | None:
    """(one of B, I, E, S, and the type); None for a tag outside, or of another kind."""
    if tag in BARE:
        return SAME.get(tag, tag), UNTYPED
    found = PREFIXED.fullmatch(tag)
    return (SAME.get(found[1], found[1]), found[2]) if found else None


def mark_spans(tags: Iterable[str]) -> bool:
    """Whether a tag set marks spans: everything but O has a prefix and a type, and something has; or nothing has a type, B or I is
    among them and all are prefixes."""
    others = {tag for tag in tags if tag != OUTSIDE}
    if others & BARE:
        return others <= BARE and bool(others & {"B", "I"})
    return bool(others) and all(map(PREFIXED.fullmatch, others))


def spans(tags: Sequence[str | None]) -> list[Span]:
    """Of one sentence, in order; a word without a tag (None) is outside."""
    found: list[Span] = []
    start, open_type = 0, None
    for i, tag in enumerate([*tags, None]):
        prefix, kind = (tag and parts(tag)) or (None, None)
        goes_on = prefix in ("I", "E") and kind == open_type
        if open_type is not None and not goes_on:
            found.append((open_type, start, i))
        if prefix and not goes_on:
            start = i
        open_type = kind
        if prefix in ("E", "S"):
            found.append((kind, start, i + 1))
            open_type = None
    return found


def closed(tags: Iterable[str]) -> list[str]:
    """The tag set with every prefix that occurs on every type: which of them a file of a few hundred sentences lacks is chance.  Where I- is
    the only one the scheme is IOB1, whose B- stands between neighbours of one type alone: it belongs to the set, too."""
    tags = set(tags)
    if tags & BARE:
        return sorted(tags)
    split = [PREFIXED.fullmatch(tag) for tag in tags if tag != OUTSIDE]
    kinds, prefixes = {found[2] for found in split}, {found[1] for found in split}
    prefixes |= {"B"} if prefixes == {"I"} else set()
    return sorted(tags | {f"{prefix}-{kind}" for prefix in prefixes for kind in kinds})
