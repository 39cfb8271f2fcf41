"""Both sides of a text-to-text example in one stream: a language model that reads the input and is asked for the target behind it.

T5's language model and prefix language model (Raffel et al. 2020, section 3.2.1): one stack, the loss on the target alone.  s sequences, m asked.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Stream, Target, Vocab
from bertsmith.data.denoise import Denoise
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import numbers, within


@dataclass(frozen=True, kw_only=True)
class Concatenated:
    """What `of` gives an encoder and a decoder, one behind the other.  `sees`: the input sees all of itself ("prefix"), or what comes before
    ("causal"); the target sees the input and itself up to each token.  The last token of the input asks for the first of the target."""

    of: Denoise
    sees: Literal["prefix", "causal"] = "prefix"
    causal: ClassVar[bool] = True  # in fine-tuning a token sees only what comes before it

    def __post_init__(self):
        require(
            self.of.reads == "all",
            f"corruption.rewrite.of.reads: {self.of.reads}: one stream reads all of itself; set it to all",
        )

    @property
    def sentinels(self) -> int:
        return self.of.sentinels

    @property
    def masks(self) -> bool:
        return self.of.masks

    def names(self, vocab: Vocab) -> dict[int, str]:
        return self.of.names(vocab)

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        return self.of.counts(row, spans, draw)

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        two = self.of(row, spans, vocab, draw)
        read, asked = np.array(two.input.lengths), np.array(two.output.lengths)
        labels, lengths = two.targets["token"].labels, read + asked - 1
        first, written = np.cumsum(lengths) - lengths, np.cumsum(asked) - asked
        tokens = np.empty(int(lengths.sum()), np.int32)
        tokens[numbers(first, first + read)] = two.input.tokens
        tokens[numbers(first + read, first + lengths)] = labels[numbers(written, written + asked - 1)]
        place = within(lengths)
        rank = place
        if self.sees == "prefix":
            rank = np.where(place < np.repeat(read, lengths), 0, place).astype(np.int32)
        stream = Stream(
            tokens=tokens,
            positions=place,
            segments=np.zeros(len(tokens), np.uint8),
            query_rank=rank,
            key_rank=rank,
            lengths=tuple(lengths.tolist()),
            visibility="causal" if self.sees == "causal" else "ranks",
        )
        at = numbers(first + read - 1, first + lengths)
        return Batch(input=stream, targets={"token": Target(at=at[:, None], labels=labels)}, examples=two.examples)
