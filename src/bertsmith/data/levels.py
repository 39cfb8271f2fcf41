"""Levels of annotated spans, phrases and entities: how a byte for each token holds them.  n tokens, m spans."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bertsmith.errors import InputError
from bertsmith.spelling import option

CAPITAL = np.uint8(1 << 4)  # of a word that begins with a capital letter
RECURS = np.uint8(1 << 5)  # stands in its document elsewhere, too (text/recurring.py)
LEVELS = {"phrase": (0, 1), "entity": (2, 3)}  # bits: a span begins here, this is inside of one


def annotated(annotations: np.ndarray, level: str) -> tuple[np.ndarray, np.ndarray]:
    """(m,) where the spans of a level begin and end in `annotations` (n,); what truncation left of one is one."""
    begins, inside = (annotations & np.uint8(1 << bit) != 0 for bit in LEVELS[level])
    fresh = begins | ~np.append(False, inside[:-1])  # a span that is cut in front has lost its first token
    ends = np.append(fresh[1:] | ~inside[1:], True) if len(inside) else inside
    return np.flatnonzero(inside & fresh), np.flatnonzero(inside & ends) + 1


def check_levels(split: Any, levels: Iterable[str]) -> None:
    """InputError where the store was not prepared with these annotations."""
    for level in sorted(set(levels) - set(getattr(split, "levels", ()))):
        raise InputError(
            f"corruption.select: the store has no annotations of the level {level!r}; prepare it with {option({'phrase': 'phrases', 'entity': 'entities'}[level])}"
        )
