"""Utterances as sequences of frames.  u utterances, s sequences, n frames of b numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Row, Vocab
from bertsmith.data.draw import share_before, shuffled
from bertsmith.data.ranges import numbers
from bertsmith.errors import InputError
from bertsmith.spelling import option


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Each utterance a sequence; one of more than `length` places is read in parts of about one size.

    `stack`: neighbouring frames that are one place of the model (Mockingjay's downsampling, 3), and what is left of an utterance behind
    its last whole place is not read.
    """

    reads: ClassVar[str] = "frames"
    bare: ClassVar[bool] = True  # nothing stands round a sequence
    length: int = 1000
    stack: int = 1

    def __post_init__(self):
        require(self.length >= 1, f"layout.length: {self.length} has no room for a frame; at least 1")
        require(self.stack >= 1, f"layout.stack: {self.stack} is below 1 frame")

    def check(self, split: Any) -> None:
        if not split.count:
            raise InputError(
                f"layout: there is no sound; prepare more of it, or hold out more of it ({option('holdout')})"
            )

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> FramePlan:
        self.check(split)
        places = np.diff(split.utterances) // self.stack
        parts = -(-places // self.length)
        of = np.repeat(np.arange(len(places)), parts)
        number = numbers(np.zeros_like(parts), parts)
        begin, end = (places[of] * n // parts[of] for n in (number, number + 1))
        first = split.utterances[:-1][of] + begin * self.stack
        return FramePlan(
            split=split, seed=seed, epoch=epoch, first=first, lengths=end - begin, stack=self.stack, utterance=of
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FramePlan:
    """The sequences of a split, numbered from 0 in its order."""

    split: Any
    seed: int
    epoch: int
    first: Array  # (s,) first frame of each
    lengths: Array  # (s,) places
    stack: int
    utterance: Array  # (s,) that each is of
    step: ClassVar[int | None] = None  # as many as fit the batch

    @property
    def unread(self) -> int:
        """Frames of the split that stand in no sequence."""
        return self.split.count - int(self.lengths.sum()) * self.stack

    @property
    def account(self) -> dict[str, int]:
        return {"corpus": self.split.count, "used": self.split.count - self.unread, "sequences": len(self.lengths)}

    @property
    def cut(self) -> Array:
        return np.zeros(len(self.lengths), np.int64)

    def shuffled(self, epoch: int) -> Array:
        return shuffled(self.seed, epoch, len(self.lengths))

    @cached_property
    def order(self) -> Array:
        return self.shuffled(self.epoch)

    @cached_property
    def into(self) -> Array:
        return share_before(self.order)

    def row(self, indices: Array) -> Row:
        """The sequences numbered `indices`, in that order, as one flat row: `tokens` (n, stack x b) float32."""
        indices = np.asarray(indices, np.int64)
        lengths, first = self.lengths[indices], self.first[indices]
        frames = self.split.frames[numbers(first, first + lengths * self.stack)].astype(np.float32)
        count = int(lengths.sum())
        return Row(
            tokens=frames.reshape(count, -1),
            segments=np.zeros(count, np.uint8),
            starts=np.ones(count, bool),
            special=np.zeros(count, bool),
            sentences=np.zeros(count, bool),
            lengths=lengths,
            labels=np.full(len(indices), IGNORE, np.int64),
            epoch=np.full(len(indices), self.epoch, np.int64),
            example=indices,
            into=lambda: self.into[indices],
        )


def stacked(frames: Array, stack: int) -> Array:
    """(n, b) -> (n // stack, stack x b): what is left behind the last whole place is not read."""
    whole = len(frames) // stack
    return frames[: whole * stack].reshape(whole, -1)
