"""Where the words of paragraphs start, where that is more than a rule of letters: scripts without blanks, a user's words, segmented text.

It is settled for the paragraph, by what its document is written in, and once for all tokenizers.  n characters, p paragraphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np

from bertsmith.text.segment import FIRST, han_or_kana, inside, japanese_lines
from bertsmith.text.user_words import UserWords
from bertsmith.text.words import LETTER, SPACE, UNSPACED, character_starts, classes, code_points

Array = np.ndarray
# CJK punctuation and full-width forms, beside which Chinese and Japanese have no blanks of their own
_WIDE = (
    (0x3001, 0x3003),
    (0x3008, 0x301F),
    (0x30FB, 0x30FB),
    (0xFF00, 0xFF65),
    (0x2018, 0x2019),
    (0x201C, 0x201D),
    (0x2026, 0x2026),
)


class Words:
    """`words`: a user's; `segmented`: blanks part words and nothing else does, and those beside scripts without blanks are no text."""

    def __init__(self, language: str = "en", words: Sequence[str] = (), segmented: bool = False):
        self.language, self.segmented = language, segmented
        self.user = UserWords(words) if words else None

    def __call__(self, parts: list[list[str]]) -> tuple[list[list[str]], list[bytes | None], int]:
        """The paragraphs of each part; of each paragraph a byte for each character, 1 where a word starts, or None for the rule; and how many
        characters were read as Japanese."""
        if self.segmented:
            pairs = [[unsegmented(paragraph) for paragraph in part] for part in parts]
            marks = [starts.tobytes() for part in pairs for _, starts in part]
            return [[text for text, _ in part] for part in pairs], marks, 0
        paragraphs = list(chain.from_iterable(parts))
        chosen = range(len(paragraphs)) if self.user else _unspaced(paragraphs)
        found: list[bytes | None] = [None] * len(paragraphs)
        if not len(chosen):
            return parts, found, 0
        text = "\n".join([paragraphs[i] for i in chosen])
        of = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[list(chosen)]
        starts = character_starts(text, language=self.language, parts=of)
        if self.user:
            starts = self.user.over(text, starts)
        at, marks = 0, starts.tobytes()  # cut into pieces faster than an array is
        for i in chosen:
            found[i] = marks[at : at + len(paragraphs[i])]
            at += len(paragraphs[i]) + 1
        points = code_points(text)
        japanese = japanese_lines(points, self.language, of)
        return parts, found, int((japanese & han_or_kana(points)).sum()) if japanese.any() else 0


def _unspaced(paragraphs: list[str]) -> list[int]:
    """The numbers of those with letters of scripts without blanks."""
    points = code_points("\n".join(paragraphs))
    if not len(points) or points.max() < FIRST:
        return []
    places = np.flatnonzero(points >= FIRST)
    places = places[classes()[points[places]] == UNSPACED]
    if not len(places):
        return []
    ends = np.cumsum([len(paragraph) + 1 for paragraph in paragraphs])
    return np.unique(np.searchsorted(ends, places, "right")).tolist()


def unsegmented(text: str) -> tuple[str, Array]:
    """Segmented text without its blanks, and where its words start (n,).

    A blank is taken out where a letter of a script without blanks or wide punctuation is beside it, so that ids are those of the text as
    it is written, for every tokenizer; others stay (New York).  Between two blanks only punctuation and symbols part words.
    """
    points = code_points(text)
    kinds = classes()[points]
    blank = kinds == SPACE
    starts = character_starts(text, segmenter=lambda whole: whole.split())
    if not blank.any():
        return text, starts
    places = np.arange(len(points))
    before = np.maximum.accumulate(np.where(blank, -1, places))
    after = np.minimum.accumulate(np.where(blank, len(points), places)[::-1])[::-1]
    close = np.append((kinds == UNSPACED) | inside(points, _WIDE), False)
    goes = blank & (close[before] | close[after])  # at either end: the False that was appended
    kept = ~goes
    return "".join([c for c, keep in zip(text, kept.tolist(), strict=True) if keep]), starts[kept]


def spaced(text: str, starts: Array) -> tuple[str, Array | None]:
    """The text with a blank before each word, `starts` (n,), that follows a letter at once, and of each of its places the one in `text`
    (m + 1,); None where it is the same."""
    letter = classes()[code_points(text)] >= LETTER
    at = np.flatnonzero(starts[1:] & letter[1:] & letter[:-1]) + 1
    if not len(at):
        return text, None
    bounds = [0, *at.tolist(), len(text)]
    blanks = at + np.arange(len(at))
    places = np.arange(len(text) + len(at) + 1)
    return " ".join([text[a:b] for a, b in pairwise(bounds)]), places - np.searchsorted(blanks, places)
