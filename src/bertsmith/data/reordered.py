"""The order that a text is read in where it is not its own: a corruption's `order`.  What is asked for is the text as it was.

n tokens, s sequences, k sentences.  Specials stay where they are.
"""

from dataclasses import dataclass, replace

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Row
from bertsmith.data.draw import Draw, arranged
from bertsmith.data.ranges import numbers
from bertsmith.data.rewrite import bits_at


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """The sentences of `share` of the sequences in a random order (BART's sentence permutation); across no special."""

    share: float = 1.0

    def __post_init__(self):
        require(0 <= self.share <= 1, f"corruption.order.share: {self.share} is not a share")

    def __call__(self, row: Row, draw: Draw) -> Row:
        behind = _after(row.special)
        behind[row.offsets[:-1]] = True
        edge = np.flatnonzero(row.sentences | row.special | behind)
        end = np.append(edge[1:], len(row.tokens))
        keys = bits_at(draw, "sentences", row, edge)
        if self.share < 1:
            each = np.diff(np.searchsorted(edge, row.offsets))
            chosen = np.repeat(draw.sequences("reordered", row) < self.share, each)
            keys = np.where(chosen, keys, np.arange(len(edge), dtype=np.uint64) << np.uint64(32))
        # A special is a block of its own, before which all that comes earlier stays.
        block = np.cumsum(behind[edge] | row.special[edge])
        order = arranged(keys, block)
        return moved(row, numbers(edge[order], end[order]))


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """All tokens of a text in a random order (T5's deshuffling); across no special."""

    def __call__(self, row: Row, draw: Draw) -> Row:
        block = np.cumsum(row.special | _after(row.special) | (row.positions == 0))
        return moved(row, arranged(draw.bits("deshuffle", row), block))


def moved(row: Row, order: Array) -> Row:
    """The row with token `order[i]` (n,) in place i; specials are moved nowhere."""
    return replace(
        row,
        tokens=row.tokens[order],
        segments=row.segments[order] if row.segments.any() else row.segments,
        starts=lambda: row.starts[order],
        sentences=lambda: row.sentences[order],
        annotations=lambda: row.annotations[order],
        entities=lambda: row.entities[order],
        order=order,
    )


def _after(special: Array) -> Array:
    """(n,) bool: behind a special."""
    return np.append(False, special[:-1])
