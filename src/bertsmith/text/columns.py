"""Layouts for models with memory: the corpus as one long text in columns, read turn by turn, so that each sequence goes on from the last.

A step reads one sequence of every column.  Columns are as many as `training.batch` holds, fewer where the text is short; all sequences
have one length, and the last ones wrap around to the beginning, so that no token is lost and no step is short.
N places of the long text (a [SEP] stands after each document), s sequences of T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Row, Vocab
from bertsmith.data.draw import hashed, integers, share_before, uniform
from bertsmith.data.thread import Thread
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.text.layout import check_text
from bertsmith.text.long_text import LongText
from bertsmith.text.pairs import truncation

SEP, CLS = -1, -2  # in place of a place of the long text


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnPlan:
    """The sequences of an epoch, column by column; `row` assembles them.  What `Plan` is for other layouts."""

    split: Any
    vocab: Vocab
    seed: int
    epoch: int
    layout: Any
    text: LongText
    columns: int
    turns: int
    length: int  # T
    stride: int

    @property
    def step(self) -> int:
        """Tokens of one sequence of every column: what an update reads."""
        return self.columns * self.length

    @cached_property
    def lengths(self) -> Array:
        return np.full(self.columns * self.turns, self.length, np.int64)

    @cached_property
    def labels(self) -> Array:
        return np.full(self.columns * self.turns, IGNORE, np.int64)

    @cached_property
    def cut(self) -> Array:
        return np.zeros(self.columns * self.turns, np.int64)

    @property
    def order(self) -> Array:
        return self.shuffled(self.epoch)

    def shuffled(self, epoch: int) -> Array:
        """(s,) the first sequence of every column, then the second, ...: in no epoch otherwise."""
        return np.arange(self.columns * self.turns).reshape(self.columns, self.turns).T.ravel()

    @cached_property
    def into(self) -> Array:
        """(s,) the share of the epoch that is read before each sequence."""
        return share_before(self.order)

    @property
    def unread(self) -> int:
        """Tokens of the split that stand in no sequence: columns read all of it."""
        return 0

    @cached_property
    def account(self) -> dict[str, Any]:
        sequences = np.arange(len(self.lengths))
        begin, backward = self.begins(sequences)
        ranges = self.layout.ranges(self, sequences, begin, backward)
        separators = sum(self.text.separators(first, last, backward) for first, last in ranges)
        text = sum(int((last - first).sum()) for first, last in ranges) - separators
        return {
            "corpus": self.text.tokens,
            "used": self.text.tokens,
            "truncated": 0,
            "dropped": 0,
            "repeated": text - self.text.tokens,
            "specials": int(self.lengths.sum()) - text,
            "sequences": len(sequences),
        }

    @property
    def forward(self) -> int:
        """Columns that are read from the front; the rest read the same text backward."""
        return self.columns // 2 if self.layout.both_ways else self.columns

    def begins(self, sequences: Array) -> tuple[Array, Array]:
        """(s,) the first place of each, in the direction that it is read in, and whether that is backward."""
        column, turn = np.divmod(sequences, self.turns)
        backward = column >= self.forward
        column = column - backward * self.forward
        turn = self.turns - 1 - turn if self.layout.from_end else turn
        return (column * self.turns + turn) * self.stride, backward

    def row(self, indices: Array) -> Row:
        indices = np.asarray(indices, np.int64)
        begin, backward = self.begins(indices)
        places, segments = self.layout.laid(self, indices, begin, backward)  # (s, T)
        backward = np.repeat(backward, self.length)
        flat = places.ravel()
        own = flat >= 0
        read = self.text.read(np.where(own, flat, 0), backward)
        special = read["special"] | ~own
        tokens = np.where(special, self.vocab.sep, self.split.gather(read["source"]))
        tokens[flat == CLS] = self.vocab.cls
        first = own & ~special  # a word and a sentence start where a stretch of text does, cut or not
        first[1:] &= (special[:-1] | (flat[1:] != flat[:-1] + 1)) | (np.arange(1, len(flat)) % self.length == 0)
        column, turn = np.divmod(indices, self.turns)
        return Row(
            tokens=tokens.astype(np.int32),
            segments=segments.ravel(),
            starts=(read["starts"] & own) | first,
            special=special,
            sentences=(read["sentences"] & own) | first,
            annotations=self._annotations(read["source"], special, backward),
            lengths=np.full(len(indices), self.length, np.int64),
            labels=np.full(len(indices), IGNORE, np.int64),
            epoch=np.full(len(indices), self.epoch, np.int64),
            example=indices,
            into=lambda: self.into[indices],
            thread=Thread(column=column, turn=turn, backward=column >= self.forward, stride=self.stride),
        )

    def _annotations(self, source: Array, special: Array, backward: Array) -> Any:
        if not getattr(self.split, "levels", ()):
            return None

        def noted() -> Array:
            if backward.any():
                raise InputError(
                    "layout: text that is read backward has no phrases or entities; take layout.both_ways=false"
                )
            return np.where(special, 0, self.split.annotations(source)).astype(np.uint8)

        return noted


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Transformer-XL's segments: [SEP] between documents and no other special.

    A sequence begins with the last token of the one before, so that every token is asked for from the one before it, across sequences too.
    `from_end`: of each column the last sequence comes first, for models that read a text from its end; within it the text stands as it is.
    """

    length: int
    columns: int = 1  # follows from training.batch
    from_end: bool = False
    both_ways: ClassVar[bool] = False

    def __post_init__(self):
        require(self.length >= 2, f"layout.length: {self.length} is below 2, a token and the one that it asks for")

    def for_batch(self, batch: int) -> "Columns":
        return replace(self, columns=max(1, batch // self.length))

    def check(self, split: Any) -> None:
        check_text(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> ColumnPlan:
        text = LongText.of(split)
        length = min(self.length, text.places)
        return _plan(self, text, vocab, seed, epoch, length, length - 1)

    def ranges(self, plan: ColumnPlan, sequences: Array, begin: Array, backward: Array) -> list[tuple[Array, Array]]:
        """The stretches of text in each sequence: pairs of (s,) where they begin and end."""
        return [(begin, begin + plan.length)]

    def laid(self, plan: ColumnPlan, sequences: Array, begin: Array, backward: Array) -> tuple[Array, Array]:
        """Places of the text (s, T), or CLS or SEP, and segments (s, T)."""
        places = begin[:, None] + np.arange(plan.length)
        return places, np.zeros(places.shape, np.uint8)


@dataclass(frozen=True, kw_only=True)
class ReusedSegments:
    """XLNet's rows: `reuse` tokens that the next row finds in memory, then A [SEP] B [SEP] [CLS], A from where these end.

    B follows A, or starts with a random sentence of the corpus, a fair coin each; A ends with a sentence.  Half of the columns read the
    same text from its end where `both_ways` says so.  Released code (data_utils.py); what is too long loses its end there, too.
    """

    length: int
    reuse: int | None = None  # null: half of the length
    random: float = 0.5
    both_ways: bool = True
    columns: int = 2  # follows from training.batch
    from_end: ClassVar[bool] = False
    cls: ClassVar[str] = "last"  # where [CLS] stands, in fine-tuning too

    def __post_init__(self):
        require(
            self.length >= 12, f"layout.length: {self.length} has no room for reused text and two segments; at least 12"
        )
        require(
            self.reuse is None or 0 < self.reuse <= self.length - 6,
            f"layout.reuse: {self.reuse} must be above 0 and leave room for two segments (at most {self.length - 6})",
        )
        require(0 <= self.random <= 1, f"layout.random: {self.random} is not a share; between 0 and 1")

    @property
    def stride(self) -> int:
        return self.reuse or self.length // 2

    def for_batch(self, batch: int) -> "ReusedSegments":
        ways = 2 if self.both_ways else 1
        return replace(self, columns=max(ways, batch // self.length // ways * ways))

    def check(self, split: Any) -> None:
        check_text(split)
        places = LongText.of(split).places
        if places < self.length:
            raise InputError(
                f"layout: a text of {amount(places, 'token')} is shorter than a sequence of {self.length}; prepare more text, hold out more, or lower layout.length"
            )

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> ColumnPlan:
        self.check(split)
        return _plan(self, LongText.of(split), vocab, seed, epoch, self.length, self.stride)

    def ranges(self, plan: ColumnPlan, sequences: Array, begin: Array, backward: Array) -> list[tuple[Array, Array]]:
        """The stretches of text in each sequence: pairs of (s,) where they begin and end."""
        a, b_begin, b = self._segments(plan, sequences, begin + self.stride, backward)
        return [(begin, begin + self.stride + a), (b_begin, b_begin + b)]

    def laid(self, plan: ColumnPlan, sequences: Array, begin: Array, backward: Array) -> tuple[Array, Array]:
        """Places of the text (s, T), or CLS or SEP, and segments (s, T)."""
        a, b_begin, _ = self._segments(plan, sequences, begin + self.stride, backward)
        t, middle = np.arange(self.length)[None], (self.stride + a)[:, None]
        places = np.where(t < middle, begin[:, None] + t, (b_begin - middle[:, 0] - 1)[:, None] + t)
        places[(t == middle) | (t == self.length - 2)] = SEP
        places[:, -1] = CLS
        segments = (t > middle).astype(np.uint8)
        segments[:, -1] = 2
        return places, segments

    def _segments(
        self, plan: ColumnPlan, sequences: Array, begin: Array, backward: Array
    ) -> tuple[Array, Array, Array]:
        """(s,) the length of A, where B begins, and its length."""
        room, places = self.length - self.stride - 3, plan.text.places
        choice, coin, where = (hashed(plan.seed, name, plan.epoch, sequences) for name in ("cut", "next", "segment"))
        start = begin % places
        a, begin_b, b = np.empty_like(start), np.empty_like(start), np.empty_like(start)
        for way, cuts in enumerate(plan.text.cuts):
            some = np.flatnonzero(backward == bool(way))
            low = np.searchsorted(cuts, start[some], "right")
            count = np.searchsorted(cuts, start[some] + room) - low
            end = np.where(
                count > 0,
                cuts[np.minimum(low + integers(choice[some], np.maximum(count, 1)), len(cuts) - 1)],
                start[some] + room,
            )
            drawn = (uniform(coin[some]) < self.random) | (count == 0)
            length_a = end - start[some]
            needed = np.maximum(room - length_a, 1)
            first = integers(where[some], np.maximum(places - needed, 1))
            first_sentence = cuts[np.searchsorted(cuts, first, "right") - 1]
            length_b = np.where(
                drawn, _next(cuts, first + needed) - first_sentence, _next(cuts, start[some] + room) - end
            )
            taken = truncation(length_a, length_b, room)
            a[some], b[some] = length_a - taken[:, 0], length_b - taken[:, 1]
            begin_b[some] = np.where(drawn, first_sentence, end)
        return a, begin_b, b


def _next(cuts: Array, places: Array) -> Array:
    """The first of `cuts` that is not before each of `places`."""
    return cuts[np.minimum(np.searchsorted(cuts, places), len(cuts) - 1)]


def _plan(layout: Any, text: LongText, vocab: Vocab, seed: int, epoch: int, length: int, stride: int) -> ColumnPlan:
    ways = 2 if layout.both_ways else 1
    columns = min(layout.columns // ways, max(1, text.places // stride))
    turns = -(-text.places // (columns * stride))
    return ColumnPlan(
        split=text.split,
        vocab=vocab,
        seed=seed,
        epoch=epoch,
        layout=layout,
        text=text,
        columns=ways * columns,
        turns=turns,
        length=length,
        stride=stride,
    )
