"""Loader: epochs of a feed, or of several -> steps of whole sequences -> rows -> batches, for ever.

What a step holds depends on the feeds alone: neither processes, accumulation, workers nor a resume change it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heapreplace
from itertools import chain, count, groupby, islice
from typing import Any, NamedTuple

import numpy as np

from bertsmith.data.batch import Array, Batch, term_of
from bertsmith.data.feed import Epoch, Feed, Pieces
from bertsmith.data.mixture import Mixture
from bertsmith.data.workers import PATIENCE, Workers, ready

Place = tuple[int, int]  # (epoch, next sequence of its order)
Cursor = Place | Mapping[str, Place]  # of each feed in a mixture; what is not there stands at the beginning
BEGINNING: Place = (0, 0)
BLOCK = 1 << 17  # tokens that are prepared at once, of as many whole steps as it takes
AHEAD = 2  # blocks of steps that each worker prepares ahead


def never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update's worth of data, as this process sees it."""

    batches: tuple[Batch, ...]  # NumPy, one for each micro-batch of this process
    passes: dict[
        str, int
    ]  # micro-batches of each feed that every process makes at most; those without sequences are left out above
    counts: dict[str, int]  # predictions of each term, over the whole step and all processes
    tokens: int  # real input tokens, over the whole step and all processes
    cursor: Cursor  # where the step after this one begins
    read: dict[str, int] = field(
        default_factory=dict
    )  # the same tokens by the part of the text, where parts have names


class Taken(NamedTuple):
    """What a step takes of one feed."""

    parts: list[tuple[Epoch, int, int]]  # (epoch, from, to) for every epoch that it has part of
    tokens: int
    ends: bool  # whether less than a step is left of the epoch

    def dealt(self, rows: int) -> list[Pieces]:
        """The sequences of each row."""
        taken = [(epoch, epoch.order[at:end]) for epoch, at, end in self.parts]
        if rows == 1:
            return [taken]
        place = deal(np.concatenate([epoch.lengths[index] for epoch, index in taken]), rows)
        each = np.split(place, np.cumsum([len(index) for _, index in taken])[:-1])
        found = []
        for row in range(rows):
            pieces = [(epoch, index[at == row]) for (epoch, index), at in zip(taken, each, strict=True)]
            found.append([piece for piece in pieces if len(piece[1])])
        return found


class Composed(NamedTuple):
    """What a step takes, by feed, and the cursor behind it."""

    taken: dict[str, Taken]
    cursor: dict[str, Place]
    step: int

    def read(self) -> dict[str, int]:
        """{part: tokens} of the step."""
        found: dict[str, int] = {}
        for epoch, at, end in (part for taken in self.taken.values() for part in taken.parts if part[0].told):
            for name, tokens in epoch.told(epoch.order[at:end]).items():
                found[name] = found.get(name, 0) + tokens
        return found


class Made(NamedTuple):
    """Of one feed in one step."""

    batches: list[Batch]
    counts: dict[str, int]  # of all processes
    passes: int  # rows of each process


class Loader:
    """Iterates `Step`s for ever, from step number `step` + 1 at `cursor` on; each `iter()` starts there anew.

    `accumulate`: micro-batches of each process; more of them where `most` tokens in one are exceeded.  `workers`: threads that prepare
    steps ahead (NumPy lets them run beside the training), 0 prepares between the steps; `block`: tokens that are prepared at once.
    With workers the iteration ends when `stop()` turns true while a step is waited for, and with a ResourceError after `patience`
    seconds; what a worker raises comes at once, before steps that others have ready.
    InputError if a feed cannot be used.
    """

    def __init__(
        self,
        feed: Feed | Mixture,
        *,
        accumulate: int = 1,
        most: int | None = None,
        rank: int = 0,
        world: int = 1,
        cursor: Cursor = BEGINNING,
        step: int = 0,
        workers: int = 0,
        stop: Callable[[], bool] = never,
        patience: float | None = None,
        block: int | None = None,
    ):
        self.mixed = isinstance(feed, Mixture)
        self.feeds: dict[str, Feed] = getattr(feed, "feeds", {"": feed})
        self.reads = getattr(feed, "reads", lambda step: ("",))
        self.ramped: Any = feed if hasattr(feed, "room") else None
        self.accumulate, self.most, self.rank, self.world = accumulate, most, rank, world
        given = cursor if isinstance(cursor, Mapping) else {"": cursor}
        begins = getattr(feed, "begins", {})
        places = {name: given.get(name, begins.get(name, BEGINNING)) for name in self.feeds}
        self.cursor = {name: (int(epoch), int(at)) for name, (epoch, at) in places.items()}
        self.step, self.workers, self.stop = step, workers, stop
        self.patience = PATIENCE if patience is None else patience
        self.block = BLOCK if block is None else block
        self._epochs: dict[str, dict[int, Epoch]] = {name: {} for name in self.feeds}
        for name, (epoch, _) in self.cursor.items():
            self._epoch(name, epoch)  # what cannot be read is refused before anything starts

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

    def _epoch(self, name: str, number: int) -> Epoch:
        """The newest two of each feed are kept."""
        known = self._epochs[name]
        if number not in known:
            known[number] = self.feeds[name].epoch(number)
            for old in [n for n in known if n < number - 1]:
                del known[old]
        return known[number]

    def _take(self, name: str, place: Place, step: int) -> tuple[Taken, Place]:
        """What fits a step from `place` on, and the place behind it."""
        number, at = place
        epoch = self._epoch(name, number)
        room = epoch.room if self.ramped is None else self.ramped.room(step, epoch.room)
        parts, tokens = [], 0
        while True:
            end = epoch.fill(at, room)
            if end > at:
                parts.append((epoch, at, end))
                tokens += int(epoch.tokens[end] - epoch.tokens[at])
                room -= int(epoch.ends[end] - epoch.ends[at])
                ends = bool(epoch.ends[-1] - epoch.ends[end] <= epoch.room)
            if end < len(epoch.order):
                return Taken(parts, tokens, ends), (number, end)
            number, at = number + 1, 0
            if parts and not epoch.across:
                return Taken(parts, tokens, ends), (number, at)
            epoch = self._epoch(name, number)

    def _steps(self) -> Iterator[Composed]:
        cursor = dict(self.cursor)
        for step in count(self.step + 1):
            taken = {}
            for name in self.reads(step):
                taken[name], cursor[name] = self._take(name, cursor[name], step)
            yield Composed(taken, cursor.copy(), step)

    def _blocks(self) -> Iterator[list[Composed]]:
        """Neighbouring steps, `block` tokens of them or more; a step that may need another epoch's plan begins another block."""
        block, tokens = [], 0
        for composed in self._steps():
            block.append(composed)
            ends = False
            for taken in composed.taken.values():
                tokens, ends = tokens + taken.tokens, ends or taken.ends
            if tokens >= self.block or ends:
                yield block
                block, tokens = [], 0

    def _passes(self, taken: Taken) -> int:
        """Rows that each process makes of it."""
        need = -(-taken.tokens // (self.most * self.world)) if self.most else 1
        return max(self.accumulate, need)

    def _prepare(self, block: list[Composed]) -> list[Step]:
        """All steps' rows of a feed are made at once."""
        made: list[dict[str, Made]] = [{} for _ in block]
        for name in dict.fromkeys(name for composed in block for name in composed.taken):
            steps = [number for number, composed in enumerate(block) if name in composed.taken]
            taken = [block[n].taken[name] for n in steps]
            for number, found in zip(steps, self._made(name, taken, [block[n].step for n in steps]), strict=True):
                made[number][name] = found
        return [self._step(composed, parts) for composed, parts in zip(block, made, strict=True)]

    def _made(self, name: str, steps: list[Taken], numbers: list[int]) -> Iterator[Made]:
        """What this process makes of a feed in each of some steps, which have these numbers."""
        alone = self.world == 1
        passes = [self._passes(taken) for taken in steps]
        mine, others = [], []
        for taken, each in zip(steps, passes, strict=True):
            rows, first = taken.dealt(self.world * each), self.rank * each
            # Fewer sequences than rows leave rows empty.
            mine.append([row for row in rows[first : first + each] if row])
            others.append([] if alone else [piece for row in (*rows[:first], *rows[first + each :]) for piece in row])
        made = [(number, row) for number, rows in zip(numbers, mine, strict=True) for row in rows]
        counting = [(number, row) for number, row in zip(numbers, others, strict=True) if row]
        batches = iter([found for feed, rows in self._by_feed(name, made) for found in feed.batches(rows)])
        counted = iter(
            [] if alone else [found for feed, rows in self._by_feed(name, counting) for found in feed.counts(rows)]
        )
        for rows, rest, each in zip(mine, others, passes, strict=True):
            own = list(islice(batches, len(rows)))
            counts = dict(next(counted)) if rest else {}
            for batch in own:
                for term, number in batch.counts().items():
                    counts[term] = counts.get(term, 0) + number
            yield Made(own, counts, each)

    def _by_feed(self, name: str, rows: list[tuple[int, list]]) -> Iterator[tuple[Feed, list]]:
        """What makes rows of steps of these numbers, and the rows: one for all, unless it changes from step to step."""
        at = (lambda step: self.feeds[name]) if self.ramped is None else partial(self.ramped.at, name)
        for feed, group in groupby(rows, key=lambda row: at(row[0])):
            yield feed, [row for _, row in group]

    def _step(self, composed: Composed, made: dict[str, Made]) -> Step:
        read = composed.read()
        if not self.mixed:
            (taken,), (found,) = composed.taken.values(), made.values()
            alone = len(self.feeds) == 1
            passes, cursor = {"": found.passes}, composed.cursor[""] if alone else composed.cursor
            return Step(
                batches=tuple(found.batches),
                passes=passes,
                counts=found.counts,
                tokens=taken.tokens,
                cursor=cursor,
                read=read,
            )
        return Step(
            batches=tuple(replace(batch, feed=name) for name, part in made.items() for batch in part.batches),
            passes={name: part.passes for name, part in made.items()},
            counts={term_of(name, term): n for name, part in made.items() for term, n in part.counts.items()},
            tokens=sum(taken.tokens for taken in composed.taken.values()),
            cursor=composed.cursor,
            read=read,
        )


def deal(lengths: Array, rows: int) -> Array:
    """(s,) the row of each sequence: longest first, each to the emptiest row; ties go to the earlier sequence and the lower row."""
    place = np.zeros(len(lengths), np.int64)
    load = [(0, row) for row in range(rows)]  # a heap
    for i, length in zip((order := np.argsort(-lengths, kind="stable")).tolist(), lengths[order].tolist(), strict=True):
        tokens, place[i] = load[0]
        heapreplace(load, (tokens + length, load[0][1]))
    return place
