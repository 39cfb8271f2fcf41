"""A layout that notes which tokens of a sequence stand in other parts of their document, too (ERNIE 2.0's token-document relation)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from bertsmith.data.batch import Array, Row, Vocab
from bertsmith.data.levels import RECURS
from bertsmith.text.layout import DocSentences
from bertsmith.text.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Recurring(DocSentences):
    """As DocSentences, whose sequences end where their documents do; `annotations` has the note (levels.RECURS)."""

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> RecurringPlan:
        plan = DocSentences(length=self.length).plan(split, vocab, seed, epoch)
        return RecurringPlan(**{field.name: getattr(plan, field.name) for field in fields(Plan)})


class RecurringPlan(Plan):
    def row(self, indices: Array) -> Row:
        row = super().row(indices)
        return replace(row, annotations=lambda: row.annotations | self._recurs(row, np.asarray(indices)) * RECURS)

    def _recurs(self, row: Row, indices: Array) -> Array:
        """(n,) bool: the token's id stands in its document more often than in its sequence."""
        split = self.split
        edges = np.asarray(split.sentences)[np.asarray(split.documents)]
        begin = self.begin[self.first[indices]]
        owner = np.searchsorted(edges, begin, "right") - 1
        found = np.zeros(len(row.tokens), bool)
        bounds = row.offsets
        for document in np.unique(owner).tolist():
            whole = np.bincount(split.gather(slice(int(edges[document]), int(edges[document + 1]))))
            for s in np.flatnonzero(owner == document).tolist():
                part = slice(int(bounds[s]), int(bounds[s + 1]))
                tokens, text = row.tokens[part], ~row.special[part]
                own = np.bincount(tokens[text], minlength=len(whole))
                found[part][text] = whole[tokens[text]] > own[tokens[text]]
        return found
