"""Language models: nothing is hidden, every token is asked for by the one before it, which sees only what came before.  n tokens, m asked."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import numbers
from bertsmith.data.select import budgets, check_rate, columns, singly


@dataclass(frozen=True, kw_only=True)
class Everything:
    """Every token but a sequence's first, before which there is nothing to be asked from; with a `rate` below 1 so many of them."""

    rate: float = 1.0

    def __post_init__(self):
        check_rate(self.rate, None)

    def __call__(self, row: Row, draw: Draw) -> Array:
        if self.rate == 1:
            return columns(row.offsets[:-1] + 1, row.offsets[1:])[row.lengths > 1]
        budget = np.minimum(budgets(row, draw, self.rate, "round", None), row.lengths - 1)
        return singly(row, draw, row.positions > 0, budget, row.lengths - 1)


@dataclass(frozen=True, kw_only=True)
class Following:
    """What a language model asks of texts that are read for something else: every token but a sequence's first, by the one before it."""

    term: ClassVar[str] = "token"

    def asked(self, stream: Stream) -> Target:
        at = np.delete(np.arange(len(stream.tokens)), np.cumsum(stream.lengths) - 1)
        return Target(at=at[:, None], labels=np.asarray(stream.tokens)[at + 1].astype(np.int64))

    def count(self, lengths: Array) -> int:
        """Of sequences of these lengths."""
        return int((lengths - 1).sum())


@dataclass(frozen=True, kw_only=True)
class Causal:
    """The model reads the text as it is; the token at p is asked for at p - 1, the last place is asked for nothing."""

    causal: ClassVar[bool] = True  # a token sees only what comes before it, in fine-tuning too
    beside: ClassVar[Following] = Following()  # what it is asked beside a task

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        stream = Stream(
            tokens=row.tokens,
            positions=row.positions,
            segments=row.segments,
            query_rank=row.positions,
            key_rank=row.positions,
            lengths=tuple(row.lengths.tolist()),
            visibility="causal",
            thread=row.thread,
        )
        targets = {"token": Target(at=at[:, None] - 1, labels=row.tokens[at].astype(np.int64))}
        return Batch(input=stream, targets=targets, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        return {"token": int((spans[:, 1] - spans[:, 0]).sum())}
