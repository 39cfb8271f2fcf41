"""Loader: the order of an epoch -> steps of whole sequences -> rows -> corrupted batches, for ever.

What a step holds depends on seed and batch alone: neither processes, accumulation, workers nor a resume change it.  Several steps are
corrupted as one long row and cut apart again, because a call of NumPy takes as long as a thousand tokens do.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from heapq import heapreplace
from itertools import chain, groupby, islice, pairwise
from typing import Any

import numpy as np

from bertsmith.data.batch import Array, Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.thread import Thread
from bertsmith.data.workers import PATIENCE, Workers, ready
from bertsmith.errors import InputError

Cursor = tuple[int, int]
Pieces = list[tuple["Epoch", Array]]  # numbers of sequences, in this order
HELD_OUT_SEED = 0x4E1D  # of the masks of every held-out evaluation, whatever the run's own seed
BLOCK = 1 << 17  # tokens that are prepared at once, of as many whole steps as it takes
AHEAD = 2  # blocks of steps that each worker prepares ahead


def never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update's worth of data, as this process sees it."""

    batches: tuple[Batch, ...]  # NumPy, one for each micro-batch of this process
    counts: dict[str, int]  # predictions of each term, over the whole step and all processes
    tokens: int  # real input tokens, over the whole step and all processes
    cursor: Cursor  # (epoch, next sequence of its order): where the step after this one begins


@dataclass(frozen=True, kw_only=True)
class Composed:
    """What a step takes: (epoch, from, to) for every epoch that it has part of, and the cursor behind it."""

    parts: tuple[tuple["Epoch", int, int], ...]
    cursor: Cursor
    tokens: int

    def dealt(self, rows: int) -> list["Pieces"]:
        """The sequences of each row."""
        taken = [(epoch, epoch.order[at:end]) for epoch, at, end in self.parts]
        if rows == 1:
            return [taken]
        place = deal(np.concatenate([epoch.plan.lengths[index] for epoch, index in taken]), rows)
        each = np.split(place, np.cumsum([len(index) for _, index in taken])[:-1])
        return [
            [(epoch, index[at == row]) for (epoch, index), at in zip(taken, each, strict=True)] for row in range(rows)
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Epoch:
    """One pass over the corpus: the plan of its view, in this pass's order."""

    plan: Any
    order: Array  # (s,)
    ends: Array  # (s + 1,) tokens of the order's first i sequences

    @classmethod
    def of(cls, plan: Any, number: int) -> "Epoch":
        order = plan.shuffled(number)
        return cls(plan=plan, order=order, ends=np.concatenate([[0], np.cumsum(plan.lengths[order])]))

    def room(self, batch: int) -> int:
        """Tokens that a step takes at most."""
        return min(batch, self.plan.step or batch)

    def fill(self, at: int, room: int) -> int:
        """One past the last sequence, in order from `at`, that still fits."""
        return int(np.searchsorted(self.ends, self.ends[at] + room, "right")) - 1


class Loader:
    """Iterates `Step`s for ever, from `cursor` on; each `iter()` starts there anew.

    `workers`: threads that prepare steps ahead (NumPy lets them run beside the training), 0 prepares between the steps; `block`: tokens
    that are prepared at once (None: BLOCK).
    With workers the iteration ends when `stop()` turns true while a step is waited for, and with a ResourceError after `patience`
    seconds (None: PATIENCE); what a worker raises comes at once, before steps that others have ready.
    InputError if the corpus cannot be used, or if a sequence is longer than `batch`.
    """

    def __init__(
        self,
        split: Any,
        layout: Any,
        corruption: Any,
        vocab: Vocab,
        *,
        seed: int,
        batch: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        cursor: Cursor = (0, 0),
        workers: int = 0,
        stop: Callable[[], bool] = never,
        patience: float | None = None,
        block: int | None = None,
    ):
        self.split, self.layout, self.corruption, self.vocab = split, layout, corruption, vocab
        self.seed, self.batch, self.accumulate, self.rank, self.world = seed, batch, accumulate, rank, world
        self.cursor, self.workers = (int(cursor[0]), int(cursor[1])), workers
        self.stop, self.patience = stop, PATIENCE if patience is None else patience
        self.block = BLOCK if block is None else block
        self.draw = Draw(seed)
        self._epochs: OrderedDict[int, Epoch] = OrderedDict()
        layout.check(split)
        corruption.check(split)
        self._epoch(self.cursor[0])  # a corpus that does not fit the batch is refused before anything starts

    @property
    def epoch_tokens(self) -> int:
        """Real input tokens of the epoch that the loader starts in."""
        return int(self._epoch(self.cursor[0]).ends[-1])

    @property
    def steps_per_epoch(self) -> int:
        """Steps that begin in one epoch, counted from its first sequence."""
        epoch, at, steps = self._epoch(self.cursor[0]), 0, 0
        while at < len(epoch.order):
            at = epoch.fill(at, epoch.room(self.batch))
            steps += 1
        return steps

    def __iter__(self) -> Iterator[Step]:
        return self._ahead() if self.workers else chain.from_iterable(map(self._prepare, self._blocks()))

    def _ahead(self) -> Iterator[Step]:
        blocks = self._blocks()
        pending: deque[Future[list[Step]]] = deque()
        # Planning a large corpus takes seconds: it has a thread of its own, and never stands between two steps.
        with Workers(self.workers, "loader") as pool, Workers(1, "planner") as planner:
            composed = planner.submit(next, blocks)
            while True:
                while len(pending) < AHEAD * self.workers and (not pending or composed.done()):
                    if not self._ready(composed, pending):
                        return
                    pending.append(pool.submit(self._prepare, composed.result()))
                    composed = planner.submit(next, blocks)
                if not self._ready(pending[0], pending):
                    return
                for step in pending[0].result():
                    if not self._ready(pending[0], pending):
                        return
                    yield step
                pending.popleft()

    def _ready(self, future: Future, pending: deque[Future]) -> bool:
        return ready(future, pending, self.stop, self.patience)

    def _epoch(self, number: int) -> Epoch:
        if number not in self._epochs:
            view = self.corruption.view(number)
            known = (epoch.plan for epoch in self._epochs.values() if epoch.plan.epoch == view)
            plan = next(known, None) or self.layout.plan(self.split, self.vocab, self.seed, view)
            longest = int(plan.lengths.max())
            if (plan.step or 0) > self.batch:
                raise InputError(
                    f"training.batch: {self.batch} tokens cannot hold the {plan.step} of one sequence of every column; raise it, or lower layout.length"
                )
            if longest > self.batch:
                raise InputError(
                    f"training.batch: {self.batch} tokens cannot hold a sequence of {longest}; raise it to {longest} or lower layout.length"
                )
            self._epochs[number] = Epoch.of(plan, number)
            while len(self._epochs) > 2:
                self._epochs.popitem(last=False)
        return self._epochs[number]

    def _steps(self) -> Iterator[Composed]:
        number, at = self.cursor
        while True:
            full = room = self._epoch(number).room(self.batch)
            parts = []
            while True:
                epoch = self._epoch(number)
                end = epoch.fill(at, room)
                if end > at:
                    parts.append((epoch, at, end))
                    room -= int(epoch.ends[end] - epoch.ends[at])
                if end < len(epoch.order):
                    break
                number, end, at = number + 1, 0, 0
            at = end
            yield Composed(parts=tuple(parts), cursor=(number, at), tokens=full - room)

    def _blocks(self) -> Iterator[list[Composed]]:
        """Neighbouring steps, `block` tokens of them or more; a step that needs the next epoch's plan begins another block."""
        block, tokens = [], 0
        for composed in self._steps():
            block.append(composed)
            tokens += composed.tokens
            epoch, _, end = composed.parts[-1]
            if tokens >= self.block or epoch.ends[-1] - epoch.ends[end] <= self.batch:
                yield block
                block, tokens = [], 0

    def _prepare(self, block: list[Composed]) -> list[Step]:
        dealt = [composed.dealt(self.world * self.accumulate) for composed in block]
        mine = slice(self.rank * self.accumulate, (self.rank + 1) * self.accumulate)
        rows = [row for step in dealt for row in step[mine]]
        batches = iter(self.corruption(assembled(rows), self.vocab, self.draw).split(_sizes(rows)))
        others = self._counts([row for step in dealt for row in [*step[: mine.start], *step[mine.stop :]]], len(block))
        steps = []
        for composed, counts in zip(block, others, strict=True):
            # Fewer sequences than rows leave rows empty.
            found = tuple(batch for batch in islice(batches, self.accumulate) if batch.examples)
            for batch in found:
                for term, count in batch.counts().items():
                    counts[term] = counts.get(term, 0) + count
            steps.append(Step(batches=found, counts=counts, tokens=composed.tokens, cursor=composed.cursor))
        return steps

    def _counts(self, rows: list[Pieces], steps: int) -> list[dict[str, int]]:
        """Predictions of each term in the rows of other processes, by step; as many rows belong to each."""
        if not rows:
            return [{} for _ in range(steps)]
        row = assembled(rows)
        spans = self.corruption.select(row, self.draw)
        sizes = np.reshape(_sizes(rows), (steps, -1)).sum(1)
        found = []
        for first, last in pairwise(np.cumsum([0, *sizes]).tolist()):
            part, (begin, end) = row.part(first, last), np.searchsorted(spans[:, 0], row.offsets[[first, last]])
            found.append(self.corruption.rewrite.counts(part, spans[begin:end] - row.offsets[first], self.draw))
        return found


def _sizes(rows: list[Pieces]) -> list[int]:
    return [sum(len(index) for _, index in row) for row in rows]


def assembled(rows: list[Pieces]) -> Row:
    """All of them as one row."""
    pieces = [piece for row in rows for piece in row]
    groups = groupby(pieces, key=lambda piece: id(piece[0]))
    found = [list(group) for _, group in groups]
    return join([group[0][0].plan.row(np.concatenate([index for _, index in group])) for group in found])


def deal(lengths: Array, rows: int) -> Array:
    """(s,) the row of each sequence: longest first, each to the emptiest row; ties go to the earlier sequence and the lower row."""
    place = np.zeros(len(lengths), np.int64)
    load = [(0, row) for row in range(rows)]  # a heap
    for i, length in zip((order := np.argsort(-lengths, kind="stable")).tolist(), lengths[order].tolist(), strict=True):
        tokens, place[i] = load[0]
        heapreplace(load, (tokens + length, load[0][1]))
    return place


def join(rows: list[Row]) -> Row:
    """Rows, one after the other, as one."""
    if len(rows) == 1:
        return rows[0]
    fields = (
        "tokens",
        "segments",
        "starts",
        "special",
        "sentences",
        "annotations",
        "lengths",
        "labels",
        "epoch",
        "example",
    )
    arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in fields}
    return Row(**arrays, thread=Thread.join([row.thread for row in rows]))


def fixed_batches(split: Any, layout: Any, corruption: Any, vocab: Vocab, tokens: int, batch: int) -> list[Batch]:
    """Held-out sequences of `tokens` tokens at most (one at least) in rows of `batch`, with the same masks in every run."""
    plan = layout.plan(split, vocab, HELD_OUT_SEED, 0)
    epoch, draw = Epoch.of(plan, 0), Draw(HELD_OUT_SEED)
    last = max(epoch.fill(0, tokens), 1)
    batches, at = [], 0
    while at < last:
        end = min(max(epoch.fill(at, epoch.room(batch)), at + 1), last)
        batches.append(corruption(plan.row(epoch.order[at:end]), vocab, draw))
        at = end
    return batches
