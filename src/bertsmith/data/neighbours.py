"""Words and their neighbours, as static vectors learn from them: a select and a rewrite.  NumPy only.

n tokens of a row, k <= n of them that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, halves, scaled
from bertsmith.data.ranges import numbers
from bertsmith.data.rewrite import bits_at
from bertsmith.data.select import columns
from bertsmith.errors import InputError

TERM = "word"
LEFT, RIGHT, DRAWN = (
    "left",
    "right",
    "drawn",
)  # features of a stream: words to either side that a word is paired with, and a draw
LARGEST = 255  # window that a byte holds


@dataclass(frozen=True, kw_only=True)
class Frequent:
    """Frequent words are left out at random, before windows are drawn (Mikolov et al. 2013b, section 2.3; the rule of word2vec's code): one whose share
    of the corpus is f stays with sqrt(t / f) + t / f, t being `sample`; 0 leaves out none.  Unknown words are never read.

    It must know how often each token stands in the corpus (`knowing`), which a feed tells it.
    """

    meets: ClassVar[bool] = False
    sample: float = 1e-3

    def __post_init__(self):
        require(0 <= self.sample < 1, f"corruption.select.sample: {self.sample} is not a share from 0 to below 1")

    def knowing(self, vocab: Vocab) -> Frequent:
        """The same for a corpus."""
        known = replace(self)
        known.__dict__["stays"] = self.shares(vocab)
        return known

    def shares(self, vocab: Vocab) -> Array:
        """(size,) float64, how likely each token stays."""
        stays = np.ones(vocab.size)
        if self.sample and vocab.unigrams is not None and vocab.unigrams.any():
            counts = vocab.unigrams.astype(np.float64)
            counts[list(vocab.special)] = 0
            ratio = self.sample * max(1.0, counts.sum()) / np.maximum(counts, 1)
            stays = np.minimum(1.0, np.sqrt(ratio) + ratio)
        stays[vocab.wordless] = 0
        return stays

    def __call__(self, row: Row, draw: Draw) -> Array:
        stays = self.__dict__.get("stays")
        if stays is None:
            raise InputError(
                "corruption.select: how often words stand in the corpus is not known; take a feed of a store"
            )
        gone = np.flatnonzero((draw.tokens("sample", row) >= stays[row.tokens]) & ~row.special)
        return columns(gone, gone + 1)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What is selected is left out, and every word that stays is asked about together with its neighbours: as many to either side as `window`
    says, or a number drawn for each word, 1 to `window` (so that one at distance d counts (window - d + 1) / window times).

    Windows end where a sequence or a document does.  `drawn` (k,) is what an objective that draws words draws them by.
    """

    window: int = 5
    reach: Literal["drawn", "full"] = "drawn"
    masks: ClassVar[bool] = False
    shown: ClassVar[bool] = False  # example by example, as a text with its masks

    def __post_init__(self):
        require(0 < self.window <= LARGEST, f"corruption.rewrite.window: {self.window} is not from 1 to {LARGEST}")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at, begin, end = kept(row, spans)
        drawn, low = halves(bits_at(draw, "neighbours", row, at))
        half = 1 + scaled(low, self.window) if self.reach == "drawn" else np.full(len(at), self.window)
        place = np.arange(len(at))
        left, right = (np.minimum(side, half).astype(np.uint8) for side in (place - begin, end - place))
        asked, tokens, zeros = np.flatnonzero(end > begin), row.tokens[at], np.zeros(len(at), np.uint8)
        stream = Stream(
            tokens=tokens,
            positions=row.positions[at],
            segments=row.segments[at],
            query_rank=zeros,
            key_rank=zeros,
            lengths=tuple(np.bincount(row.sequence[at], minlength=len(row.lengths)).tolist()),
            features={LEFT: left, RIGHT: right, DRAWN: drawn * 2.0**-32},
        )
        target = Target(at=asked[:, None], labels=tokens[asked].astype(np.int64))
        return Batch(input=stream, targets={TERM: target}, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        _, begin, end = kept(row, spans)
        return {TERM: int((end > begin).sum())}


def kept(row: Row, spans: Array) -> tuple[Array, Array, Array]:
    """Where the tokens that stay stand in the row (k,), and of each the first and the last that it could have as a neighbour, counted among
    those that stay: specials are walls, as the ends of sequences are."""
    stays = ~row.special
    stays[numbers(spans[:, 0], spans[:, 1])] = False
    at = np.flatnonzero(stays)
    walls = (np.cumsum(row.special) + row.sequence)[at]
    edges = np.flatnonzero(np.diff(walls)) + 1
    begin, end = np.append(0, edges), np.append(edges, len(at))
    many = end - begin
    return at, np.repeat(begin, many), np.repeat(end - 1, many)
