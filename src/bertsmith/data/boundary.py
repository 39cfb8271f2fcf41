"""SpanBERT's rewrite: spans in place, each token asked where it stands and once more from beside its span.  m asked tokens."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Batch, Row, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import spread
from bertsmith.data.rewrite import InPlace


@dataclass(frozen=True, kw_only=True)
class Boundaries(InPlace):
    """`limit`: how many tokens of a span are asked from beside it at most; a span beside a special is not asked so at all.

    `by` and `noise` as the released code has them: one draw for a span, random tokens as often as in the corpus (the paper says neither).
    """

    by: Literal["token", "span"] = "span"
    noise: Literal["vocab", "corpus"] = "corpus"
    limit: int = 20

    def __post_init__(self):
        super().__post_init__()
        require(self.limit > 0, f"corruption.rewrite.limit: {self.limit} must be above 0")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        begin, end = self._asked(row, spans).T
        at, span = spread(begin, np.minimum(end, begin + self.limit))
        places = np.stack([at, begin[span] - 1, end[span]], 1)
        if len(at):
            batch.targets["boundary"] = Target(at=places, labels=row.tokens[at].astype(np.int64))
        return batch

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        begin, end = self._asked(row, spans).T
        count = int(np.minimum(end - begin, self.limit).sum())
        return super().counts(row, spans, draw) | ({"boundary": count} if count else {})

    def _asked(self, row: Row, spans: Array) -> Array:
        """(k, 2) the spans with text on both sides."""
        return spans[~(row.special[spans[:, 0] - 1] | row.special[spans[:, 1]])]
