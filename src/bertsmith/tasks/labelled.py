"""A labelled file as a feed: its sequences as they are, nothing hidden, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.data.batch import Batch, Examples
from bertsmith.data.draw import hashed, shuffled
from bertsmith.data.feed import Epoch, Pieces
from bertsmith.tasks.sequences import Asked, Encoded


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """`batch` sequences a step, drawn without replacement; the last step of an epoch takes what is left."""

    encoded: Encoded
    asked: Asked
    seed: int
    batch: int
    soft: Asked | None = None  # what a teacher says, also where there is no label to ask about
    beside: Any = None  # what is asked of the texts besides (data/causal.py)

    def epoch(self, number: int) -> Epoch:
        order = shuffled(self.seed, number, len(self.encoded))
        return Epoch(
            order=order, lengths=self.encoded.lengths, room=self.batch, by="sequences", across=False, plan=number
        )

    def batches(self, rows: Sequence[Pieces]) -> list[Batch]:
        """Longest first: attention computes sequences of about one length together."""
        found = []
        for row in rows:
            which = np.concatenate([index for _, index in row])
            epoch = np.concatenate([np.full(len(index), epoch.plan) for epoch, index in row])
            first = np.argsort(-self.encoded.lengths[which], kind="stable")
            keys = hashed(self.seed, "hidden", (epoch[first] << 40) + which[first])
            batch = self.encoded.batch(which[first], self.asked, keys)
            if self.soft is not None:
                batch.targets[self.soft.term] = self.encoded.target(which[first], self.soft)
            if self.beside is not None:
                batch.targets[self.beside.term] = self.beside.asked(batch.input)
            owners = self.encoded.owner[which[first]]
            found.append(replace(batch, examples=Examples(epoch[first], owners)))
        return found

    def counts(self, rows: Sequence[Pieces]) -> list[dict[str, int]]:
        return [self._count(np.concatenate([index for _, index in row])) for row in rows]

    def _count(self, which: np.ndarray) -> dict[str, int]:
        found = {self.asked.term: int(self.asked.each[which].sum())}
        if self.soft is not None:
            found[self.soft.term] = int(self.soft.each[which].sum())
        if self.beside is not None:
            found[self.beside.term] = self.beside.count(self.encoded.stretches(which))
        return found
