"""A rewrite that shuffles words, too: StructBERT asks which token stood where, in a few trigrams that are out of order."""

from dataclasses import dataclass, replace

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import spread
from bertsmith.data.rewrite import InPlace, bits_at


@dataclass(frozen=True, kw_only=True)
class Shuffled:
    """In place by BERT's rule; besides, `shuffled` of all tokens stand in runs of `size` that are put into a random order (term `order`).

    Runs lie between what is hidden and the specials.  The paper says "5 % of trigrams", read here as trigrams that do not overlap, so
    that 5 % of the tokens are in them; their order is uniform, that of the text included.
    """

    mask: float = 0.8
    random: float = 0.1
    shuffled: float = 0.05
    size: int = 3

    def __post_init__(self):
        InPlace(mask=self.mask, random=self.random)
        require(0 <= self.shuffled < 1, f"corruption.rewrite.shuffled: {self.shuffled} is not a share below 1")
        require(self.size > 1, f"corruption.rewrite.size: {self.size} is below 2")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = InPlace(mask=self.mask, random=self.random)(row, spans, vocab, draw)
        first, count = self._runs(row, spans)
        begin = _least(bits_at(draw, "run", row, first), row.sequence[first], count, first)
        places = begin[:, None] + np.arange(self.size)
        keys = bits_at(draw, "order", row, places.ravel()).reshape(places.shape)
        tokens = np.array(batch.input.tokens)
        tokens[places] = row.tokens[np.take_along_axis(places, np.argsort(keys, 1), 1)]
        at = places.ravel()
        order = Target(at=at[:, None], labels=row.tokens[at].astype(np.int64))
        return replace(batch, input=replace(batch.input, tokens=tokens), targets={**batch.targets, "order": order})

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        found = InPlace(mask=self.mask, random=self.random).counts(row, spans, draw)
        return {**found, "order": self.size * int(self._runs(row, spans)[1].sum())}

    def _runs(self, row: Row, spans: Array) -> tuple[Array, Array]:
        """Where runs may begin, ascending, and how many of them each sequence shuffles (s,); nothing is drawn."""
        free = ~row.special
        free[spread(spans[:, 0], spans[:, 1])[0]] = False
        edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
        begin, end = edges[::2], edges[1::2]
        number, stretch = spread(np.zeros_like(begin), (end - begin) // self.size)
        first = begin[stretch] + self.size * number
        there = np.bincount(row.sequence[first], minlength=len(row.lengths))
        wanted = np.rint(self.shuffled * row.lengths / self.size).astype(np.int64)
        return first, np.minimum(wanted, there)


def _least(keys: Array, owner: Array, count: Array, values: Array) -> Array:
    """Of each owner's `values` the `count` with the least keys; ascending, as `values` and `owner` are."""
    order = np.lexsort((keys, owner))
    have = np.bincount(owner, minlength=len(count))
    turn = np.arange(len(order)) - np.repeat(np.cumsum(have) - have, have)
    return np.sort(values[order[turn < np.repeat(count, have)]])
