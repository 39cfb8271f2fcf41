"""Triples of a knowledge graph as sequences of three tokens, head, relation and tail: a layout, a select and a rewrite.  NumPy only.

Entities are tokens 0 to e - 1, relations those behind them.  m triples.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw, integers, share_before, shuffled
from bertsmith.errors import InputError

WIDE = 3  # tokens of a triple


@dataclass(frozen=True, eq=False)
class TripleSplit:
    """`tokens` (m, 3)."""

    tokens: Array

    @property
    def count(self) -> int:
        return self.tokens.size


@dataclass(frozen=True, kw_only=True, eq=False)
class TriplePlan:
    """Each triple is a sequence, once an epoch."""

    split: TripleSplit
    seed: int
    epoch: int
    step: ClassVar[None] = None
    unread: ClassVar[int] = 0

    @cached_property
    def lengths(self) -> Array:
        return np.full(len(self.split.tokens), WIDE, np.int64)

    @property
    def account(self) -> dict[str, int]:
        return {"corpus": self.split.count, "used": self.split.count}

    def shuffled(self, epoch: int) -> Array:
        return shuffled(self.seed, epoch, len(self.split.tokens))

    def row(self, indices: Array) -> Row:
        tokens = self.split.tokens[indices].astype(np.int32).ravel()
        count, nothing = len(indices), np.zeros(len(tokens), bool)
        return Row(
            tokens=tokens,
            segments=np.zeros(len(tokens), np.uint8),
            starts=nothing,
            special=np.tile([False, True, False], count),
            sentences=nothing,
            lengths=np.full(count, WIDE, np.int64),
            labels=np.full(count, IGNORE, np.int64),
            epoch=np.full(count, self.epoch, np.int64),
            example=np.asarray(indices, np.int64),
            into=lambda: share_before(self.shuffled(self.epoch))[indices],
        )


@dataclass(frozen=True, kw_only=True)
class Triples:
    """Each triple by itself."""

    length: ClassVar[int] = WIDE

    def check(self, split: Any) -> None:
        if not split.count:
            raise InputError("layout: there is no triple")

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> TriplePlan:
        return TriplePlan(split=split, seed=seed, epoch=epoch)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Of each triple the head or the tail; `head`: how often it is that."""

    head: float = 0.5

    def __post_init__(self):
        require(0 <= self.head <= 1, f"corruption.select.head: {self.head} is not a share; between 0 and 1")

    def check(self, split: Any) -> None:
        """Every graph has both."""

    def __call__(self, row: Row, draw: Draw) -> Array:
        at = row.offsets[:-1] + np.where(draw.sequences("end", row) < self.head, 0, WIDE - 1)
        return np.stack([at, at + 1], 1)


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """The triple is read as it is; it is asked to be nearer than the same with another entity in the selected place, `others` times.

    Labels are the other entities, each drawn from all but the one that stands there.
    """

    others: int = 1
    masks: ClassVar[bool] = False

    def __post_init__(self):
        require(self.others > 0, f"corruption.rewrite.others: {self.others} must be above 0")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at, (entities, _) = np.repeat(spans[:, 0], self.others), vocab.entities
        keys = np.stack([draw.keys(f"other {number}", row) for number in range(self.others)], 1).ravel()
        other = integers(keys, entities - 1)
        other += other >= row.tokens[at]
        return Batch(
            input=Stream.plain(row, row.tokens),
            targets={"triple": Target(at=at[:, None], labels=other)},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        return {"triple": self.others * len(spans)}
