"""Translation language modelling's rewrite: tokens of a text and of its translation are hidden in place, and asked from both (XLM)."""

from dataclasses import dataclass, replace

import numpy as np

from bertsmith.data.batch import Array, Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace


@dataclass(frozen=True, kw_only=True)
class Translated(InPlace):
    """`reset`: the second side counts its positions from 0 again, so that words stand about where their translations do (Lample & Conneau
    2019, figure 1); else they go on."""

    reset: bool = True

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        batch = super().__call__(row, spans, vocab, draw)
        if not self.reset:
            return batch
        second = row.segments > 0
        first = np.bincount(row.sequence[~second], minlength=len(row.lengths)).astype(np.int32)
        positions = np.where(second, row.positions - np.repeat(first, row.lengths), row.positions)
        return replace(batch, input=replace(batch.input, positions=positions.astype(np.int32)))
