"""Rewrite: how the selected spans are asked for.  `rewrite(row, spans, vocab, draw)` -> Batch.  m asked tokens, s sequences."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Batch, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, hashed, integers, mix, uniform
from bertsmith.data.ranges import spread


@dataclass(frozen=True, kw_only=True)
class InPlace:
    """BERT: of the asked tokens `mask` become [MASK], `random` another token, the rest stay; all are predicted where they stand.

    `by`: what one draw covers, a token (BERT, whole words too) or a span (SpanBERT).  `avoid_special`: random tokens are never
    special (RoBERTa); BERT draws from the whole vocabulary, [MASK] and the original included.
    """

    mask: float = 0.8
    random: float = 0.1
    by: Literal["token", "span"] = "token"
    avoid_special: bool = False

    def __post_init__(self):
        shares = (self.mask, self.random, self.mask + self.random)
        require(
            all(0 <= share <= 1 + 1e-9 for share in shares),
            f"corruption.rewrite: mask {self.mask} and random {self.random} must be shares whose sum is at most 1; the rest is kept",
        )

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at, span = spread(spans[:, 0], spans[:, 1])
        choice = uniform(bits_at(draw, "rewrite", row, at if self.by == "token" else spans[span, 0]))
        noise = integers(bits_at(draw, "noise", row, at), vocab.size)
        if self.avoid_special:
            text = ordinary(vocab)
            noise = text[integers(bits_at(draw, "noise", row, at), len(text))]
        clean = row.tokens[at].astype(np.int64)
        tokens = row.tokens.astype(np.int64)
        tokens[at] = np.where(choice < self.mask, vocab.mask, np.where(choice < self.mask + self.random, noise, clean))
        targets = {"token": Target(at=at[:, None], labels=clean)}
        asked = np.flatnonzero(row.labels != IGNORE)
        if len(asked):
            targets["pair"] = Target(at=row.offsets[asked][:, None], labels=row.labels[asked])
        examples = tuple(zip(row.epoch.tolist(), row.example.tolist(), strict=True))
        return Batch(input=Stream.plain(row, tokens), targets=targets, examples=examples)

    def counts(self, row: Row, spans: Array) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it: for the rows of other processes."""
        pairs = int((row.labels != IGNORE).sum())
        return {"token": int((spans[:, 1] - spans[:, 0]).sum()), **({"pair": pairs} if pairs else {})}


def bits_at(draw: Draw, purpose: str, row: Row, at: Array) -> Array:
    """`draw.bits(purpose, row)[at]`, hashing only what is asked for."""
    return mix(
        hashed(draw.seed, purpose, row.epoch, row.example)[row.sequence[at]] ^ row.positions[at].astype(np.uint64)
    )


@lru_cache(maxsize=8)
def ordinary(vocab: Vocab) -> Array:
    """The ids that are text."""
    return np.setdiff1d(np.arange(vocab.size), vocab.special)
