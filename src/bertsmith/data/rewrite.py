"""Rewrite: how the selected spans are asked for.  `rewrite(row, spans, vocab, draw)` -> Batch.  m asked tokens, s sequences."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, halves, mix, scaled
from bertsmith.data.ranges import numbers


@dataclass(frozen=True, kw_only=True)
class InPlace:
    """BERT: of the asked tokens `mask` become [MASK], `random` another token, the rest stay; all are predicted where they stand.

    `by`: what one draw covers, a token (BERT, whole words too) or a span (SpanBERT).  `avoid_special`: random tokens are never
    special (RoBERTa); BERT draws from the whole vocabulary, [MASK] and the original included.  `noise`: random tokens are all alike, or
    as frequent as in the corpus.
    """

    mask: float = 0.8
    random: float = 0.1
    by: Literal["token", "span"] = "token"
    avoid_special: bool = False
    noise: Literal["vocab", "corpus"] = "vocab"

    def __post_init__(self):
        shares = (self.mask, self.random, self.mask + self.random)
        require(
            all(0 <= share <= 1 + 1e-9 for share in shares),
            f"corruption.rewrite: mask {self.mask} and random {self.random} must be shares whose sum is at most 1; the rest is kept",
        )

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        choice, place = halves(bits_at(draw, "rewrite", row, at))
        if self.by == "span":
            width = spans[:, 1] - spans[:, 0]
            choice = np.repeat(choice[np.cumsum(width) - width], width)
        clean = row.tokens[at]
        tokens = row.tokens.copy()
        tokens[at] = vocab.mask
        rest = np.flatnonzero(choice >= share_of(self.mask))
        noise = self._noise(place[rest], vocab)
        tokens[at[rest]] = np.where(choice[rest] < share_of(self.mask + self.random), noise, clean[rest])
        targets = {"token": Target(at=at[:, None], labels=clean.astype(np.int64))}
        asked = self.paired(row, draw)
        if len(asked):
            targets["pair"] = Target(at=row.offsets[asked][:, None], labels=row.labels[asked])
        return Batch(input=Stream.plain(row, tokens), targets=targets, examples=Examples(row.epoch, row.example))

    def _noise(self, half: Array, vocab: Vocab) -> Array:
        if self.noise == "corpus":
            return np.searchsorted(vocab.below, half * (2.0**-32 * int(vocab.below[-1])), "right")
        text = ordinary(vocab, self.avoid_special)
        return text[scaled(half, len(text))]

    def paired(self, row: Row, draw: Draw) -> Array:
        """(k,) the sequences that are asked for their pair label."""
        return np.flatnonzero(row.labels != IGNORE)

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it: for the rows of other processes."""
        pairs = len(self.paired(row, draw))
        return {"token": int((spans[:, 1] - spans[:, 0]).sum()), **({"pair": pairs} if pairs else {})}


def bits_at(draw: Draw, purpose: str, row: Row, at: Array) -> Array:
    """`draw.bits(purpose, row)[at]`, hashing only what is asked for; `at` (m,) ascends."""
    owned = np.diff(np.searchsorted(at, row.offsets))
    return mix(np.repeat(draw.keys(purpose, row) - row.offsets[:-1].astype(np.uint64), owned) + at.astype(np.uint64))


def share_of(share: float) -> np.uint64:
    """Below this lies that share of all halves."""
    return np.uint64(round(min(share, 1.0) * 2**32))


@lru_cache(maxsize=8)
def ordinary(vocab: Vocab, avoid_special: bool = True) -> Array:
    """int32, the ids that are text; with `avoid_special` false all of them."""
    ids = np.arange(vocab.size, dtype=np.int32)
    return np.setdiff1d(ids, vocab.special) if avoid_special else ids
