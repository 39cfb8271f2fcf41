"""What a page says that stands in the corpus already: spans of three sentences (Raffel et al. 2020), whole pages, nearly the same pages.

All are 64-bit hashes of lower-case text with single blanks.  n sentences, w words, g = w - 4 runs of five words, p = 128 permutations.
"""

import re
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

import numpy as np

from bertsmith.data.draw import hashed, mix
from bertsmith.text.clean import SCRIPTS, Drop, size_of
from bertsmith.text.seen import Seen

Array = np.ndarray
SPAN = 3
GRAM, BANDS, ROWS = 5, 16, 8
_WORDS = re.compile(rf"[{SCRIPTS}]|[^\W{SCRIPTS}]+")
_ODD = hashed(0, "near factor", np.arange(BANDS * ROWS)).astype(np.uint32) | np.uint32(1)
_SHIFT = hashed(0, "near shift", np.arange(BANDS * ROWS)).astype(np.uint32)
_PLACE = hashed(0, "near place", np.arange(GRAM)) | np.uint64(1)
_BLOCK = 512  # runs of words that are permuted at once: 256 KB


class Marks(NamedTuple):
    """What a page is known by."""

    spans: Array  # (n - 2,) uint64: of three sentences, where these are asked for
    pages: dict[str, Array]  # of each rule about whole pages


def marked(page: list[list[str]], names: tuple[str, ...]) -> Marks:
    sentences = spans = np.zeros(0, np.uint64)
    if "repeated" in names or "duplicates" in names:
        digests = [_digest(" ".join(s.lower().split()).encode()) for line in page for s in line]
        sentences = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    pages = {}
    if "duplicates" in names:
        pages["duplicates"] = hashed(0, "page", np.frombuffer(_digest(sentences.tobytes()), "<u8"))
    if "near-duplicates" in names:
        pages["near-duplicates"] = near("\n".join(["".join(line) for line in page]))
    if "repeated" in names and len(sentences) >= SPAN:
        spans = hashed(0, "span", sentences[:-2], sentences[1:-1], sentences[2:])
    return Marks(spans, pages)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def repeated(marks: Marks, seen: Seen) -> Array | None:
    """(n,) bool: sentences of spans that stand in a page before this one, or earlier in it; of the latter the first copy stays whole.  None
    where there is none of them."""
    spans = marks.spans
    known = seen.known(spans)
    if not known.any() and len(set(spans.tolist())) == len(spans):
        return None
    gone = np.zeros(len(spans) + SPAN - 1, bool)
    _, first, which = np.unique(spans, return_index=True, return_inverse=True)
    first = first[which]
    for i in np.flatnonzero(known | (first < np.arange(len(spans)))).tolist():
        gone[i if known[i] else max(i, first[i] + SPAN) : i + SPAN] = True
    return gone


def without(page: list[list[str]], gone: Array) -> tuple[list[str], Drop]:
    """The lines that are left, and what went, as one drop."""
    lines, size, empty, at = [], 0, 0, 0
    taken: list[str] = []
    for line in page:
        mine = gone[at : at + len(line)]
        at += len(line)
        before = "".join(line)
        if mine.any():
            taken += [sentence for sentence, goes in zip(line, mine, strict=True) if goes]
            left = "".join([sentence for sentence, goes in zip(line, mine, strict=True) if not goes]).strip()
            size += size_of(before) - size_of(left)
            empty += not left
            before = left
        if before:
            lines.append(before)
    text = "".join(taken).strip()
    return lines, Drop("repeated", text, size, pages=not lines, lines=empty, parts=int(gone.sum()))


def near(text: str) -> Array:
    """(16,) uint64: MinHash (Broder 1997) over runs of five words, 16 bands of 8.

    Two pages that share a share s of their runs agree in a band with 1 - (1 - s^8)^16: 0.06 at s = 0.5, 0.61 at 0.7, 0.95 at 0.8.
    A character of a script without blanks is a word.
    """
    found = smallest(text).reshape(BANDS, ROWS)
    return hashed(0, "near", np.arange(BANDS), *found.T)


def smallest(text: str) -> Array:
    """(p,) uint32: the smallest hash of the runs of five words under each permutation; two pages agree in a share s of them."""
    words = np.array([crc32(word.encode()) for word in _WORDS.findall(text.lower())] or [0], np.uint64)
    runs = max(1, len(words) - GRAM + 1)
    grams = np.zeros(runs, np.uint64)
    words = mix(words)
    for place, factor in enumerate(_PLACE[: len(words)]):
        grams += words[place : place + runs] * factor
    grams = (mix(grams) >> np.uint64(32)).astype(np.uint32)
    least = np.full(len(_ODD), 2**32 - 1, np.uint32)
    for start in range(0, len(grams), _BLOCK):
        hashes = _ODD[:, None] * grams[start : start + _BLOCK]
        hashes += _SHIFT[:, None]
        np.minimum(least, hashes.min(1), out=least)
    return least
