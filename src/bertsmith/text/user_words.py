"""A user's words in a text, the longest first.  n characters, m matches.

From the left, the longest of the words that stands there is one word; what a segmenter cut otherwise gives way, its words beside it stay,
cut at its edges.  In scripts with blanks a match begins and ends where words do ("art" is not found in "party"); nowhere does one part a
letter from its marks.  Words stand as they are spelt in the list, blanks in them included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bertsmith.text.lexicon import disjoint, hashed_rows, matches
from bertsmith.text.words import LETTER, MARK, UNSPACED, classes, code_points

Array = np.ndarray
LONGEST = 64  # characters; nothing longer is a word


class UserWords:
    """`words` in any order, each once."""

    def __init__(self, words: Sequence[str]):
        sizes: dict[int, list[Array]] = {}
        for word in words:
            if 1 < len(word) <= LONGEST:  # a single character of a script with blanks is a word or part of one anyway
                sizes.setdefault(len(word), []).append(code_points(word).astype(np.int32))
        self.rows = {size: hashed_rows(np.unique(np.array(rows), axis=0)) for size, rows in sorted(sizes.items())}
        self.mark = classes() == MARK
        self.mark[_hanging()] = True

    def spans(self, points: Array, starts: Array) -> Array:
        """(m, 2) in order, disjoint, for a text whose words start at `starts` (n,) by rule."""
        kinds = classes()[points]
        letter = np.append(kinds >= LETTER, False)
        before = np.concatenate([[False], letter[:-1]])
        unspaced = np.append(kinds == UNSPACED, False)
        beside = unspaced | np.concatenate([[False], unspaced[:-1]])
        edge = ~(letter & before) | np.append(starts, True) | beside
        edge[:-1] &= ~self.mark[points]
        return disjoint(matches(self.rows, points.astype(np.int32), edge))

    def over(self, text: str, starts: Array) -> Array:
        """(n,) bool: `starts` (n,) with these words in them."""
        points = code_points(text)
        spans = self.spans(points, starts)
        if not len(spans):
            return starts
        change = np.bincount(spans[:, 0], minlength=len(points) + 1) - np.bincount(
            spans[:, 1], minlength=len(points) + 1
        )
        found = starts & (np.cumsum(change)[:-1] == 0)
        found[spans[:, 0]] = True
        after = spans[spans[:, 1] < len(points), 1]
        found[after[classes()[points[after]] >= LETTER]] = True
        return found


def _hanging() -> list[int]:
    """Vowels, tones and signs of Thai, Lao, Khmer and Burmese, which hang on the letter before them."""
    from bertsmith.text.categories import category
    from bertsmith.text.segment import BURMESE, KHMER, LAO, THAI

    ranges = THAI + LAO + KHMER + BURMESE
    return [c for first, last in ranges for c in range(first, last + 1) if category(chr(c)).startswith("M")]


def digest(words: Sequence[str]) -> str:
    """SHA-256 of the words, whatever their order."""
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()
