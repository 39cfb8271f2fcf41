"""How often words stand near one another, as cells of a table: a layout that counts them, a select and a rewrite (GloVe).  NumPy only.

A sequence is a number of cells, two tokens each: a word, and one that stood near it.  c cells, n tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.counting import LONGEST, Counted, counted
from bertsmith.data.draw import Draw, mix, share_before, shuffled
from bertsmith.errors import InputError

CELL = "cell"
_known: WeakKeyDictionary[Any, dict[Any, Counted]] = WeakKeyDictionary()  # a split is counted once


@dataclass(frozen=True, kw_only=True, eq=False)
class CellPlan:
    """Every cell once an epoch, in an order of its own; `tokens` of the corpus are what was counted."""

    found: Counted
    each: int  # cells of a sequence
    tokens: int
    seed: int
    epoch: int
    step: ClassVar[None] = None
    unread: ClassVar[int] = 0

    @cached_property
    def lengths(self) -> Array:
        whole, rest = divmod(len(self.found.cells), self.each)
        return np.array([2 * self.each] * whole + [2 * rest] * bool(rest), np.int64)

    @property
    def account(self) -> dict[str, int]:
        return {"corpus": self.tokens, "used": self.tokens, "cells": len(self.found.cells)}

    def shuffled(self, epoch: int) -> Array:
        return shuffled(self.seed, epoch, len(self.lengths))

    def row(self, indices: Array) -> Row:
        lengths = self.lengths[indices]
        begin = np.repeat(np.asarray(indices) * self.each - np.cumsum(lengths) // 2 + lengths // 2, lengths // 2)
        place = scattered(
            begin + np.arange(len(begin)), len(self.found.cells), self.seed + 0x9E3779B9 * (self.epoch + 1)
        )
        cells = self.found.cells[place]
        tokens = np.stack([cells["word"], cells["other"]], 1).ravel()
        nothing = np.zeros(len(tokens), bool)
        return Row(
            tokens=tokens.astype(np.int32),
            segments=np.zeros(len(tokens), np.uint8),
            starts=nothing,
            special=nothing,
            sentences=nothing,
            amounts=np.repeat(cells["count"], 2),
            lengths=lengths,
            labels=np.full(len(indices), IGNORE, np.int64),
            epoch=np.full(len(indices), self.epoch, np.int64),
            example=np.asarray(indices, np.int64),
            into=lambda: share_before(self.shuffled(self.epoch))[indices],
        )


@dataclass(frozen=True, kw_only=True)
class CoOccurrences:
    """Words that stand within `window` of one another, each pair counted 1 / distance (Pennington et al. 2014, section 4.2); unknown words are no words, and
    documents are walls.  `length`: tokens of a sequence, two for each cell.

    The whole corpus is counted when it is first asked for, in about `memory` MB, what is more in sorted files that go when the run ends.
    """

    window: int = 10
    length: int = 1024
    memory: int = 512

    def __post_init__(self):
        require(0 < self.window <= LONGEST, f"layout.window: {self.window} is not from 1 to {LONGEST}")
        require(self.length >= 2, f"layout.length: {self.length} has no room for a cell; at least 2")
        require(self.memory >= 16, f"layout.memory: {self.memory} MB are few; at least 16")

    def check(self, split: Any) -> None:
        if not split.count:
            raise InputError("layout: there is no text to count; prepare more of it")

    def of(self, split: Any, vocab: Vocab) -> Counted:
        """What a split holds."""
        self.check(split)
        kept = _known.setdefault(split, {})
        if (self.window, self.memory) not in kept:
            kept[self.window, self.memory] = counted(split, vocab, self.window, self.memory << 20)
        found = kept[self.window, self.memory]
        if not len(found.cells):
            raise InputError("layout: no two words stand together in this text; prepare more of it")
        return found

    def said(self, split: Any, vocab: Vocab) -> list[str]:
        return [self.of(split, vocab).said]

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> CellPlan:
        found = self.of(split, vocab)
        return CellPlan(found=found, each=self.length // 2, tokens=split.count, seed=seed, epoch=epoch)


def scattered(numbers: Array, below: int, key: int) -> Array:
    """Where each of `numbers`, below `below`, stands in an order that `key` says: a permutation that is never held (four rounds of a Feistel network
    on just as many bits as it takes; numbers beyond the end go round again)."""
    bits = max(2, (below - 1).bit_length() + 1 & ~1)
    half, mask = np.uint64(bits // 2), np.uint64((1 << bits // 2) - 1)
    keys = mix(np.uint64(key & (2**64 - 1)) + np.arange(4, dtype=np.uint64))
    found = numbers.astype(np.uint64)
    at = np.arange(len(found))
    while len(at):
        high, low = found[at] >> half, found[at] & mask
        for round_ in keys:
            high, low = low, high ^ (mix(low ^ round_) & mask)
        found[at] = high << half | low
        at = at[found[at] >= below]
    return found.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Each cell."""

    meets: ClassVar[bool] = False

    def __call__(self, row: Row, draw: Draw) -> Array:
        at = np.arange(0, len(row.tokens), 2)
        return np.stack([at, at + 2], 1)


@dataclass(frozen=True, kw_only=True)
class HowOften:
    """A cell is read as it is, and asked how often it was met."""

    masks: ClassVar[bool] = False
    shown: ClassVar[bool] = False  # example by example, as a text with its masks

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = spans[:, 0]
        return Batch(
            input=Stream.plain(row, row.tokens),
            targets={CELL: Target(at=at[:, None], labels=row.amounts[at])},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        return {CELL: len(spans)}
