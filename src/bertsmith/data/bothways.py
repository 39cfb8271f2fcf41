"""Two language models over one text: every token is asked for by the one before it, and again by the one behind it.  n tokens."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import numbers

BACKWARD = "backward"  # the term of those that are asked for by the one behind


@dataclass(frozen=True, kw_only=True)
class BothWays:
    """The text as it is.  "token" asks for `spans`, each token at the place before it; "backward" for every token but a sequence's last, at the
    place behind it.  What either reads must know of one side alone: a body of two stacks apart (ELMo)."""

    hides: ClassVar[bool] = False

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        at = numbers(spans[:, 0], spans[:, 1])
        back = np.delete(np.arange(len(row.tokens)), row.offsets[1:] - 1)
        targets = {
            "token": Target(at=at[:, None] - 1, labels=row.tokens[at].astype(np.int64)),
            BACKWARD: Target(at=back[:, None] + 1, labels=row.tokens[back].astype(np.int64)),
        }
        asked = {name: target for name, target in targets.items() if len(target)}
        return Batch(input=Stream.plain(row, row.tokens), targets=asked, examples=Examples(row.epoch, row.example))

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        found = {"token": int((spans[:, 1] - spans[:, 0]).sum()), BACKWARD: len(row.tokens) - len(row.lengths)}
        return {name: count for name, count in found.items() if count}
