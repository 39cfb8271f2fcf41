"""ELECTRA's layout: two neighbouring segments that nothing is asked about, as pairs of texts will come in fine-tuning.

The released code (build_pretraining_dataset.py) is followed, but that it may put a short sentence into the first segment after the
second has begun, out of order: here both are contiguous.  Draws are keyed by the sentence that a sequence begins with.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.draw import hashed, integers, uniform
from bertsmith.text.layout import check_text
from bertsmith.text.plan import Outline, Plan, outline, two_segments

LEAST = 5  # tokens that a sequence aims at


@dataclass(frozen=True, kw_only=True)
class Halves:
    """[CLS] A [SEP] B [SEP]: whole sentences of a document until they reach the target length, about half of it in A; the end is cut.

    `single`: share of the sequences that are one segment.  `short`: share whose target is drawn from [5, length], not `length`.
    """

    length: int
    in_sections: ClassVar[bool] = True
    single: float = 0.1
    short: float = 0.05

    def __post_init__(self):
        require(self.length >= LEAST, f"layout.length: {self.length} is below {LEAST}")
        for name in ("single", "short"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"layout.{name}: {share} is not a share; between 0 and 1")

    def check(self, split: Any) -> None:
        check_text(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        self.check(split)
        found = outline(split)
        start, middle, stop = (found.sentences[part] for part in _walk(self, found, seed, epoch))
        a = np.minimum(middle - start, self.length - 2)
        b = np.minimum(stop - middle, np.maximum(self.length - 3 - a, 0))
        begin, end = np.stack([start, middle], 1), np.stack([start + a, middle + b], 1)
        kept = end > begin
        used, sequences = int((a + b).sum()), len(start)
        account = {
            "corpus": found.tokens,
            "used": used,
            "truncated": found.tokens - used,
            "dropped": 0,
            "repeated": 0,
            "specials": sequences + int(kept.sum()),
            "sequences": sequences,
        }
        return Plan(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            **two_segments(begin, end, kept),
            labels=np.full(sequences, IGNORE, np.int64),
            cut=stop - start - a - b,
            account=account,
        )


def _walk(layout: Halves, found: Outline, seed: int, epoch: int) -> tuple[Array, Array, Array]:
    """Sentences that each sequence begins with, that its second segment begins with, and one past its last."""
    numbers = np.arange(len(found.sentences) - 1)
    draw = lambda purpose: hashed(seed, purpose, epoch, numbers)
    drawn = LEAST + integers(draw("target"), layout.length - LEAST + 1)
    aims = np.where(uniform(draw("short")) < layout.short, drawn, layout.length).tolist()
    whole = (uniform(draw("single")) < layout.single).tolist()
    over = (uniform(draw("half")) < 0.5).tolist()
    offsets = found.sentences.tolist()
    starts: list[int] = []
    middles: list[int] = []
    stops: list[int] = []
    i = 0
    for last in found.documents[1:].tolist():
        while i < last:
            stop = bisect_left(offsets, offsets[i] + aims[i], i + 1, last)
            starts.append(i)
            stops.append(stop)
            middles.append(stop if whole[i] else _half(offsets, i, stop, (aims[i] - 3) // 2, over[i]))
            i = stop
    return np.array(starts), np.array(middles), np.array(stops)


def _half(offsets: list[int], start: int, stop: int, aim: int, over: bool) -> int:
    """One past the first segment: its sentences stay below `aim` tokens, but that there is one, and that `over` admits one that does not."""
    reached = bisect_left(offsets, offsets[start] + aim, start + 1, stop + 1)
    return min(reached, stop) if over or reached == start + 1 or reached > stop else reached - 1
