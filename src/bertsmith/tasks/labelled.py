"""A labelled file as a feed: its sequences as they are, nothing hidden, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.data.batch import Batch, Examples, Target
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
    first: int = 0  # epochs in which nothing but these terms is asked, of every token
    everywhere: tuple[str, ...] = ()

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
            if self._early(row):
                every = np.arange(len(batch.input.tokens))
                asked = Target(at=every[:, None], labels=np.zeros(len(every), np.int64))
                batch = replace(batch, targets=dict.fromkeys(self.everywhere, asked))
            elif self.soft is not None:
                batch.targets[self.soft.term] = self.encoded.target(which[first], self.soft)
            if self.beside is not None and not self._early(row):
                batch.targets[self.beside.term] = self.beside.asked(batch.input)
            owners = self.encoded.owner[which[first]]
            found.append(replace(batch, examples=Examples(epoch[first], owners)))
        return found

    def counts(self, rows: Sequence[Pieces]) -> list[dict[str, int]]:
        found = []
        for row in rows:
            which = np.concatenate([index for _, index in row])
            tokens = int(self.encoded.lengths[which].sum())
            found.append(dict.fromkeys(self.everywhere, tokens) if self._early(row) else self._count(which))
        return found

    def _early(self, row: Pieces) -> bool:
        """Steps are of one epoch each."""
        return all(epoch.plan < self.first for epoch, _ in row)

    def _count(self, which: np.ndarray) -> dict[str, int]:
        found = {self.asked.term: int(self.asked.each[which].sum())}
        if self.soft is not None:
            found[self.soft.term] = int(self.soft.each[which].sum())
        if self.beside is not None:
            found[self.beside.term] = self.beside.count(self.encoded.stretches(which))
        return found
