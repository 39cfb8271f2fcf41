"""Language models: nothing is hidden, every token is asked for by the one before it, which sees only what came before; or, of a text that is
read from its end, by the one behind it.  n tokens, m asked."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import numbers
from bertsmith.data.select import budgets, check_rate, columns, singly


@dataclass(frozen=True, kw_only=True)
class Everything:
    """Every token but a sequence's first, before which there is nothing to be asked from; with a `rate` below 1 so many of them.  `backward`:
    every token but the last, where a text is read from its end."""

    rate: float = 1.0
    backward: bool = False

    def __post_init__(self):
        check_rate(self.rate, None)

    def __call__(self, row: Row, draw: Draw) -> Array:
        edge = row.offsets[1:] - 1 if self.backward else row.offsets[:-1]
        if self.rate == 1:
            return columns(row.offsets[:-1] + (not self.backward), row.offsets[1:] - self.backward)[row.lengths > 1]
        asked = np.ones(len(row.tokens), bool)
        asked[edge] = False
        budget = np.minimum(budgets(row, draw, self.rate, "round", None), row.lengths - 1)
        return singly(row, draw, asked, budget, row.lengths - 1)


@dataclass(frozen=True, kw_only=True)
class Following:
    """What a language model asks of texts that are read for something else: every token but a sequence's first, by the one before it; or
    every one but the last, by the one behind it."""

    backward: bool = False
    term: ClassVar[str] = "token"

    def asked(self, stream: Stream) -> Target:
        ends = np.cumsum(stream.lengths)
        edge = ends - np.array(stream.lengths) if self.backward else ends - 1
        at = np.delete(np.arange(len(stream.tokens)), edge)
        labels = np.asarray(stream.tokens)[at - 1 if self.backward else at + 1]
        return Target(at=at[:, None], labels=labels.astype(np.int64))

    def count(self, lengths: Array) -> int:
        """Of sequences of these lengths."""
        return int((lengths - 1).sum())


@dataclass(frozen=True, kw_only=True)
class Causal:
    """The model reads the text as it is; the token at p is asked for at p - 1, the last place is asked for nothing.  `backward`: at p + 1,
    which sees only what stands behind it."""

    backward: bool = False
    hides: ClassVar[bool] = False

    @property
    def causal(self) -> bool:
        """Whether a token sees only what comes before it, in fine-tuning too."""
        return not self.backward

    @property
    def ways(self) -> tuple[bool, ...]:
        """Of a body that reads from token to token: from the end, or from the beginning."""
        return (self.backward,)

    @property
    def beside(self) -> Following:
        """What it is asked beside a task."""
        return Following(backward=self.backward)

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        asking = at + 1 if self.backward else at - 1
        targets = {"token": Target(at=asking[:, None], labels=row.tokens[at].astype(np.int64))}
        stream = Stream.ordered(row, self.backward)
        return Batch(input=stream, targets=targets, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        return {"token": int((spans[:, 1] - spans[:, 0]).sum())}
