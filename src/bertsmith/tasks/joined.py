"""Words of a sentence as the text they were cut from.  p words, t tokens.

Scripts that write no blanks (Han, kana, Thai, Lao, Khmer, Burmese) get none, whatever stands beside them; punctuation goes with its
neighbours, and all else is parted by one blank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from bertsmith.text.words import LETTER, MARK, UNSPACED, classes

Array = np.ndarray
ALSO = "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u19e0-\u19ff"  # Burmese, Khmer
WIDE = "\u3001-\u303f\uff01-\uff65\uffe0-\uffe6"  # punctuation and letters as wide as a Han character
BEFORE = "("  # of a piece that is encoded alone: some tokenizers put a blank before what begins a text


@dataclass(frozen=True, kw_only=True)
class Joined:
    """`begins`, `ends` (p,): which characters of `text` each word is."""

    text: str
    begins: Array
    ends: Array

    @classmethod
    def of(cls, words: list[str]) -> Joined:
        lengths = np.array([len(word) for word in words], np.int64)
        blanks = _blanks(words)
        ends = np.cumsum(lengths + np.array([0, *blanks]))
        text = "".join(word + " " * blank for word, blank in zip(words, [*blanks, False], strict=True))
        return cls(text=text, begins=ends - lengths, ends=ends)

    def part(self, first: int, end: int) -> str:
        """The words [first, end) as they stand in it."""
        return self.text[self.begins[first] : self.ends[end - 1]]


def _blanks(words: list[str]) -> list[bool]:
    """(p - 1,) whether a blank stands behind each word."""
    if not _unspaced().search("".join(words)):
        return [True] * (len(words) - 1)
    edges = [_edges(word) for word in words]
    left, right = [], []  # the script on each side: of the next letter, whichever word has it
    for _, last in edges:
        left.append(last or (left[-1] if left else ""))
    for first, _ in reversed(edges):
        right.append(first or (right[-1] if right else ""))
    return ["unspaced" not in pair for pair in zip(left[:-1], right[::-1][1:], strict=True)]


@lru_cache(1 << 16)
def _edges(word: str) -> tuple[str, str]:
    """The script ("spaced", "unspaced") of a word's first and last letter; "" where it has none."""
    scripts = [_script(character) for character in word]
    known = [script for script in scripts if script] or [""]
    return known[0], known[-1]


def _script(character: str) -> str:
    if _unspaced().match(character):
        return "unspaced"
    return "spaced" if classes()[ord(character)] in (LETTER, MARK) else ""


@cache
def without_blanks() -> str:
    """Characters of scripts that write no blanks, as the inside of a regular expression's brackets."""
    at = np.flatnonzero(classes() == UNSPACED)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return ALSO + "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


@cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{WIDE}{without_blanks()}]")


def parted(tokenizer: Any, texts: list[Joined], located: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """`located` (ids (t,), characters (t, 2)) of the texts, with every token that holds the beginnings of several words in pieces, so that
    each word has one of its own: a vocabulary of words would read one token for all characters of 北京."""
    cuts, wanted = [], {}
    for text, (_, characters) in zip(texts, located, strict=True):
        cuts.append(_cuts(text, characters))
        wanted |= {text.text[a:b]: None for pieces in cuts[-1].values() for a, b in pieces}
    alone = dict(zip(wanted, _alone(tokenizer, list(wanted)), strict=True))
    found = []
    for text, (ids, characters), pieces in zip(texts, located, cuts, strict=True):
        if pieces:
            kept = np.delete(np.arange(len(ids)), list(pieces))
            rows = [(kept_at, ids[kept_at : kept_at + 1], characters[kept_at : kept_at + 1]) for kept_at in kept]
            for at, parts in pieces.items():
                made = [alone[text.text[a:b]] for a, b in parts]
                own = np.concatenate([spans + a for (_, spans), (a, _) in zip(made, parts, strict=True)])
                rows.append((at, np.concatenate([one for one, _ in made]), own))
            rows.sort(key=lambda row: row[0])
            ids, characters = (np.concatenate([row[n] for row in rows]) for n in (1, 2))
        found.append((ids, characters))
    return found


def _cuts(text: Joined, characters: Array) -> dict[int, list[tuple[int, int]]]:
    """Of each token that holds the beginnings of several words the pieces that they part it into, in characters."""
    starts, ends = characters.T
    first = np.searchsorted(text.begins, starts, side="left")
    end = np.searchsorted(text.begins, ends, side="left")
    inner = np.maximum(
        first, np.searchsorted(text.begins, starts, side="right")
    )  # words that begin behind its first character
    found = {}
    for at in np.flatnonzero((end - first > 1) & (end > inner)).tolist():
        edges = [int(starts[at]), *text.begins[inner[at] : end[at]].tolist(), int(ends[at])]
        found[at] = list(pairwise(edges))
    return found


def _alone(tokenizer: Any, pieces: list[str]) -> list[tuple[Array, Array]]:
    """Tokens of each piece as it stands within a text, and their characters."""
    found = []
    for ids, characters in tokenizer.located([BEFORE + piece for piece in pieces]):
        own = characters[:, 0] >= len(BEFORE)
        found.append((ids[own], characters[own] - len(BEFORE)))
    return found
