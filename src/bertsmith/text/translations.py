"""A layout of parallel lines, [CLS] A [SEP] B [SEP]: a text and its translation, either of them first (Lample & Conneau 2019, TLM).

A store has such lines where one of its sources was named by two languages (`prepare en+de=…`).  s pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Vocab
from bertsmith.data.draw import hashed, uniform
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.text.pairs import SPECIALS, truncation
from bertsmith.text.plan import Plan, two_segments
from bertsmith.text.sources import AND


@dataclass(frozen=True, kw_only=True)
class Translations:
    """`swap`: the share of the pairs whose second language comes first.  What does not fit goes from the end of the longer."""

    length: int
    swap: float = 0.5
    parallel: ClassVar[bool] = True
    separators: ClassVar[int] = 1

    def __post_init__(self):
        require(
            self.length >= 5, f"layout.length: {self.length} has no room for two tokens and three specials; at least 5"
        )
        require(0 <= self.swap <= 1, f"layout.swap: {self.swap} is not a share; between 0 and 1")

    def check(self, split: Any) -> None:
        language = getattr(split, "language", "")
        if AND not in language:
            raise InputError("layout: the store has no parallel lines; prepare it with some, en+de=A.en+A.de")
        documents, sentences = len(split.documents) - 1, len(split.sentences) - 1
        require(
            sentences == 2 * documents,
            f"layout: {amount(documents, 'pair')} of {language} have {amount(sentences, 'side')}; prepare the store again",
        )

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        self.check(split)
        edges = np.asarray(split.sentences, np.int64)
        begin, end = edges[:-1].reshape(-1, 2).copy(), edges[1:].reshape(-1, 2).copy()
        turned = uniform(hashed(seed, "turned", epoch, np.arange(len(begin)))) < self.swap
        for side in (begin, end):
            side[turned] = side[turned, ::-1]
        taken = truncation(end[:, 0] - begin[:, 0], end[:, 1] - begin[:, 1], self.length - SPECIALS)
        end -= taken
        account = {
            "corpus": split.count,
            "used": split.count - int(taken.sum()),
            "truncated": int(taken.sum()),
            "dropped": 0,
            "repeated": 0,
            "specials": SPECIALS * len(begin),
            "sequences": len(begin),
        }
        return Plan(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            **two_segments(begin, end, np.ones((len(begin), 2), bool)),
            labels=np.full(len(begin), IGNORE, np.int64),
            cut=taken.sum(1),
            account=account,
        )
