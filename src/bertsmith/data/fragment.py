"""One hidden fragment of a text, written by a decoder that reads what stands before each of its tokens (MASS, Song et al. 2019).

k of a text's m tokens are hidden: k = 1 is BERT's case, k = m a language model's (section 3.2).  n tokens, s sequences.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Vocab
from bertsmith.data.decoded import decoded
from bertsmith.data.denoise import spans_of
from bertsmith.data.draw import Draw, hashed, integers, uniform
from bertsmith.data.ranges import numbers, sums
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import check_rate, columns

FIRST, LAST = 0.2, 0.4  # up to which draw a fragment begins the text, and ends it (released code, `mask_start`)


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """round(rate m) tokens in a row, halves to even, or `tokens` of them; at least one.  A fifth of the fragments begin the text, a fifth
    end it, the others begin anywhere before the last place that they can.  A text that a special parts is one in which none is hidden."""

    rate: float = 0.5
    tokens: int | None = None  # k as a number; null: by the rate

    def __post_init__(self):
        check_rate(self.rate, None)
        require(
            self.tokens is None or self.tokens > 0, f"corruption.select.tokens: {self.tokens} must be above 0, or null"
        )

    def __call__(self, row: Row, draw: Draw) -> Array:
        text = row.text
        wanted = np.rint(self.rate * text).astype(np.int64) if self.tokens is None else np.full(len(text), self.tokens)
        size = np.minimum(np.maximum(wanted, 1), text)
        last = text - size
        keys = draw.keys("select", row)
        where = uniform(keys)
        begin = np.where(where < FIRST, 0, np.where(where < LAST, last, integers(hashed(0, "place", keys), last)))
        place = np.flatnonzero(~row.special)
        some = size > 0
        first = (np.cumsum(text) - text + begin)[some]
        spans = columns(place[first], place[first + size[some] - 1] + 1)
        return spans[spans[:, 1] - spans[:, 0] == size[some]]


@dataclass(frozen=True, kw_only=True)
class Written(InPlace):
    """The hidden tokens are replaced in place by BERT's rule, the decoder cannot read these places, and writes what stood there: it is
    given the token before each, at its own position, and no other."""

    start: ClassVar[str] = "sep"  # what a decoder is given where nothing stands before

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        at = numbers(spans[:, 0], spans[:, 1])
        inside = row.positions[at] > 0
        before = np.where(inside, at - 1, at)
        read = np.where(inside, row.tokens[before], vocab.sep).astype(np.int32)
        lengths = sums(spans[:, 1] - spans[:, 0], spans_of(row, spans))
        output, target = decoded(read, row.tokens[at], lengths, row.positions[before])
        hidden = np.zeros(len(row.tokens), bool)
        hidden[at] = True
        return replace(
            batch, input=replace(batch.input, hidden=hidden), output=output, targets={**batch.targets, "token": target}
        )
