"""A layout of text-to-text models: the corpus as one text, cut into pieces of one length, an end behind each (Raffel et al. 2020, section 3.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Vocab
from bertsmith.text.layout import check_text
from bertsmith.text.plan import Plan


@dataclass(frozen=True, kw_only=True)
class RunningText:
    """`length` - 1 tokens, on across documents, and [SEP]; no [CLS].  The last piece is shorter."""

    length: int
    cls: ClassVar[str] = "none"  # where [CLS] stands, in fine-tuning too
    separators: ClassVar[int] = 1  # between the texts of a pair, in fine-tuning

    def __post_init__(self):
        require(self.length >= 3, f"layout.length: {self.length} has no room for two tokens and their end; at least 3")

    def check(self, split: Any) -> None:
        check_text(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        begin = np.arange(0, split.count, self.length - 1, dtype=np.int64)
        pieces = len(begin)
        return Plan(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            begin=begin,
            end=np.minimum(begin + self.length - 1, split.count),
            segment=np.zeros(pieces, np.uint8),
            first=np.arange(pieces + 1, dtype=np.int64),
            labels=np.full(pieces, IGNORE, np.int64),
            cut=np.zeros(pieces, np.int64),
            cls=False,
            account={
                "corpus": split.count,
                "used": split.count,
                "truncated": 0,
                "dropped": 0,
                "repeated": 0,
                "specials": pieces,
                "sequences": pieces,
            },
        )
