"""Runs of white space as one blank: some tokenizers make a token of every character of theirs.  n characters, t tokens."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from bertsmith.text.categories import category

Array = np.ndarray
WHITE = "[\\s\u200b\ufeff]"  # a zero-width space alone, between Khmer words, stays
RUNS = re.compile(rf"\A{WHITE}+|{WHITE}+\Z|{WHITE}{{2,}}")


def squeezed(text: str) -> tuple[str, Array | None]:
    """The text without white space at its ends and with one blank for each run of it; (n,) where each character of that stood in the
    text, None where it is the text itself."""
    runs = [found.span() for found in RUNS.finditer(text)]
    if not runs:
        return text, None
    stays = np.ones(len(text), bool)
    letters = list(text)
    for start, end in runs:
        inner = start > 0 and end < len(text)
        stays[start + inner : end] = False
        letters[start] = " "
    at = np.flatnonzero(stays)
    return "".join(letters[i] for i in at.tolist()), at


def located(tokenizer: Any, texts: list[str]) -> list[tuple[Array, Array]]:
    """(ids (t,), characters (t, 2)) of each text squeezed, in characters of the text as it stands."""
    short = [squeezed(text) for text in texts]
    found = []
    for (ids, spans), (_, at) in zip(tokenizer.located([text for text, _ in short]), short, strict=True):
        if at is not None and len(at):
            starts, ends = np.append(at, at[-1] + 1)[spans[:, 0]], at[spans[:, 1] - 1] + 1
            spans = np.stack([starts, np.where(spans[:, 1] > spans[:, 0], ends, starts)], 1)
        found.append((ids, spans))
    return found


def whole(text: str, end: int) -> int:
    """`end`, or behind the marks that belong to the character before it (é written as e and U+0301)."""
    while 0 < end < len(text) and category(text[end])[0] == "M":
        end += 1
    return end
