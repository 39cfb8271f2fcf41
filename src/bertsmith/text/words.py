"""Words of a text: where each starts, and from that which tokens start one.  n characters, t tokens, l lines.

A word is a run of letters, marks and numbers, or one other visible character; in scripts without spaces it is a segmenter's
word (segment.py).  A word starts at the token that holds its first character, so a token that spans several words joins them.  Invisible
characters (controls, joiners, soft hyphens) belong to no word and part none; spaces and U+200B do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.text import segment
from bertsmith.text.categories import category

SPACE, INVISIBLE, OTHER, LETTER, MARK, UNSPACED = range(6)

Segmenter = Callable[[str], Sequence[str]]
Array = np.ndarray

_ASSIGNED = ((0, 0x34000), (0xE0000, 0xE01F0))  # everything else is unassigned or private, hence invisible

# Insides of a regular expression's brackets.  These part words: VT, FF, separators 1C to 1F, C1 controls (U+0085, and what is
# left of windows-1252 dashes and quotes), the zero-width space.  The others part nothing: C0 controls, DEL, soft hyphen, marks
# of direction, word joiner and its kin, byte-order marks.  The joiners U+200C and U+200D are neither: they spell words.
PARTING = "\x0b\x0c\x1c-\x1f\x80-\x9f\u200b"
REMOVED = "\x00-\x08\x0e-\x1b\x7f\xad\u180e\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_BLANKS = "\t\n\r" + "".join(re.findall(f"[{PARTING}]", "".join(map(chr, range(0x2100)))))


@cache
def classes() -> Array:
    """(0x110000,) uint8: the class of every code point, by the general category of this Python's Unicode tables."""
    of = {"L": LETTER, "M": MARK, "N": LETTER, "P": OTHER, "S": OTHER, "Z": SPACE, "C": INVISIBLE}
    table = np.full(0x110000, INVISIBLE, np.uint8)
    for first, end in _ASSIGNED:
        table[first:end] = [of[category(chr(c))[0]] for c in range(first, end)]
    table[[ord(c) for c in _BLANKS]] = SPACE
    for first, last in segment.UNSPACED:
        block = table[first : last + 1]
        block[(block == LETTER) | (block == MARK)] = UNSPACED
    return table


def code_points(text: str) -> Array:
    """(n,) uint32.  Raises InputError where the text holds half a surrogate pair, which no encoding can write."""
    try:
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)
    except UnicodeEncodeError as error:
        what = f"lone surrogate U+{ord(text[error.start]):04X}"
        raise InputError(f"text: character {error.start}: {what}; text must be valid Unicode") from None


def word_starts(
    text: str,
    offsets: Array,
    segmenter: Segmenter | None = None,
    blank: Array | None = None,
    starts: Array | None = None,
) -> Array:
    """(t,) bool: whether each token, given its character `offsets` (t, 2), holds the first character of a word.

    `starts` (n,): the characters at which words start, where that is known.

    Where a normaliser dropped that character, the first token that holds any of the word stands in; of the tokens that share
    one character (bytes), only the first counts.  `blank` (t,) names tokens that hold nothing visible, whatever their offsets
    say (a lone "▁" is given those of the character that follows).
    """
    offsets = np.asarray(offsets, np.int64).reshape(-1, 2)
    if not len(offsets):
        return np.zeros(0, bool)
    kinds = classes()[code_points(text)]
    begun = np.concatenate([[0], np.cumsum(character_starts(text, segmenter) if starts is None else starts)])[
        offsets[:, 1]
    ]
    seen = np.concatenate([[0], np.cumsum(kinds > INVISIBLE)])
    holds = seen[offsets[:, 1]] > seen[offsets[:, 0]]
    if blank is not None:
        holds &= ~blank
    reached = np.maximum.accumulate(np.where(holds, begun, 0))
    return reached > np.concatenate([[0], reached[:-1]])


def covering(text: str, offsets: Array) -> Array:
    """(t, 2) int64: the characters that each token stands for, given its `offsets` (t, 2), so that words come back as they stood.

    White space at the ends is left out.  What a normaliser dropped or joined to its neighbour (accents, marks, joiners) goes with the
    token before it, at the start of a word with the one behind it.
    """
    space = np.array([c.isspace() for c in text], bool)
    ink = np.flatnonzero(~space)
    begin = np.append(ink, len(text))[np.searchsorted(ink, offsets[:, 0])]
    end = np.append(0, ink + 1)[np.searchsorted(ink, offsets[:, 1])]
    end = np.maximum(begin, end)
    some = begin < end
    edges = np.bincount(begin[some], minlength=len(text) + 1) - np.bincount(end[some], minlength=len(text) + 1)
    taken = space | (np.cumsum(edges)[:-1] > 0)
    if not taken.all():
        places = np.arange(len(text))
        following = np.append(np.minimum.accumulate(np.where(taken, places, len(text))[::-1])[::-1], len(text))
        before = np.append(-1, np.maximum.accumulate(np.where(taken, places, -1)))[begin]
        free = some & ((before < 0) | space[before])
        begin, end = np.where(free, before + 1, begin), np.where(some, following[end], end)
    return np.stack([begin, end], 1)


def character_starts(
    text: str, segmenter: Segmenter | None = None, language: str = "", parts: Array | None = None
) -> Array:
    """(n,) bool: the characters at which a word starts.  `language`, `parts` (l,) the document of each line: what tells Japanese from Chinese."""
    points = code_points(text)
    kinds = classes()[points]
    places = np.where(kinds != INVISIBLE, np.arange(len(kinds)), -1)
    last = np.concatenate([[-1], np.maximum.accumulate(places)[:-1]]) if len(kinds) else places
    before = np.where(last >= 0, kinds[last], SPACE)
    starts = (kinds == OTHER) | ((kinds >= LETTER) & (before < LETTER))
    unspaced = kinds == UNSPACED
    if unspaced.any():
        joint = (kinds >= LETTER) & (before >= LETTER) & (unspaced | (before == UNSPACED))
        if segmenter:
            cuts = _cuts(text, segmenter)
        else:
            cuts = segment.cuts(text, points, last, segment.japanese_lines(points, language, parts))
        starts[joint] = cuts[joint]
    return starts


def _cuts(text: str, segmenter: Segmenter) -> Array:
    """(n,) bool: where the segmenter's words start.  It may leave out white space, nothing else."""
    cuts, at = np.zeros(len(text), bool), 0
    for word in segmenter(text):
        while at < len(text) and text[at].isspace() and not text.startswith(word, at):
            at += 1
        if not word or not text.startswith(word, at):
            raise InputError(
                f"segmenter: word {printable(word, 40)!r} is not what the text has at character {at}; "
                "a segmenter returns all words of its text, in order and unchanged"
            )
        cuts[at] = True
        at += len(word)
    if text[at:].strip():
        raise InputError(
            f"segmenter: nothing was returned for the text from character {at} on; it must return all words"
        )
    return cuts
