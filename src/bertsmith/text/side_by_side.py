"""Several tokenizers that read a text word by word, side by side.  k tokenizers, t rows of a text.

A text is (t, k + 1) int32: in each row a token of each tokenizer, or NONE, and a sign: that a word begins or goes on there, or that the row is none
of the text.  A word takes as many rows as the tokenizer with most pieces needs; which word a piece is of, its first character says (words.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.data.batch import BEGINS, GOES_ON, MARK, NONE, Array, Vocab
from bertsmith.data.ranges import within
from bertsmith.errors import InputError, printable
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.words import character_starts

TYPE = "side-by-side"


@dataclass(frozen=True, kw_only=True)
class Read:
    """A tokenizer, and which of its special tokens stands before a text and which behind it, where the model wants one there."""

    tokenizer: Tokenizer
    before: str | None
    behind: str | None

    def token(self, role: str | None) -> int:
        return NONE if role is None else getattr(self.tokenizer.vocab, role)


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """What a run and a fine-tuning ask of a tokenizer; specials are rows."""

    parts: tuple[Read, ...]

    @cached_property
    def size(self) -> int:
        return sum(part.tokenizer.size for part in self.parts)

    @property
    def whole_words(self) -> bool:
        """Whether all of them have words alone, so that a word which is none of them is [UNK] by their nature."""
        return all(part.tokenizer.whole_words for part in self.parts)

    @cached_property
    def vocab(self) -> Any:
        """[CLS], [SEP] and the others as rows."""
        rows = {
            "cls": [part.token(part.before) for part in self.parts],
            "sep": [part.token(part.behind) for part in self.parts],
            **{role: [part.token(role) for part in self.parts] for role in ("pad", "unk", "mask")},
        }
        signs = {"unk": BEGINS}
        made: dict[str, Any] = {role: (*row, signs.get(role, MARK)) for role, row in rows.items()}
        return Vocab(size=self.size, special=(), **made)

    def located(self, texts: Sequence[str]) -> list[tuple[Array, Array]]:
        """(rows (t, k + 1), characters (t, 2)) for each text: the first row of a word stands for all of it, the others for nothing."""
        texts = list(texts)
        each = [part.tokenizer.located(texts) for part in self.parts]
        return [self._aligned(text, [found[i] for found in each]) for i, text in enumerate(texts)]

    def encode(self, texts: Sequence[str], **_: Any) -> list[tuple[Array, Array]]:
        """(rows (t, k + 1), whether a word starts there (t,)) for each text."""
        return [(rows, rows[:, -1] == BEGINS) for rows, _ in self.located(texts)]

    def _aligned(self, text: str, found: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        words = np.flatnonzero(character_starts(text)) if text else np.zeros(0, np.int64)
        count = max(len(words), 1)
        owners = [np.maximum(np.searchsorted(words, spans[:, 0], "right") - 1, 0) for _, spans in found]
        owners = [np.maximum.accumulate(owner) if len(owner) else owner for owner in owners]
        pieces = np.stack([np.bincount(owner, minlength=count) for owner in owners])
        wide = pieces.max(0)
        ends = np.cumsum(wide)
        rows = np.full((int(ends[-1]), len(found) + 1), NONE, np.int32)
        spans = np.zeros((len(rows), 2), np.int64)
        rows[:, -1] = GOES_ON
        first = (ends - wide)[wide > 0]
        rows[first, -1] = BEGINS
        last = np.zeros(count, np.int64)
        for number, (owner, own, (ids, characters)) in enumerate(zip(owners, pieces, found, strict=True)):
            rows[(ends - wide)[owner] + within(own), number] = ids
            np.maximum.at(last, owner, characters[:, 1])
        begin = words if len(words) else np.zeros(1, np.int64)
        last = np.maximum.accumulate(np.maximum(last, begin))
        spans[:] = np.repeat(last, wide)[:, None]
        spans[first, 0] = begin[wide > 0]
        return rows, spans

    def json(self) -> bytes:
        parts = [
            {
                "before": part.before,
                "behind": part.behind,
                "roles": part.tokenizer.roles,
                "tokenizer": json.loads(part.tokenizer.backend.to_str()),
            }
            for part in self.parts
        ]
        return json.dumps({"type": TYPE, "parts": parts}, ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.json()).hexdigest()

    @property
    def reading(self) -> str:
        return self.digest

    @classmethod
    def load(cls, path: str | Path) -> SideBySide | None:
        """None where the file describes something else, or is not there.  InputError for one of ours that is damaged."""
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.get("type") != TYPE:
            return None
        import tokenizers

        try:
            parts = [
                Read(
                    tokenizer=Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(part["tokenizer"])), part["roles"]),
                    before=part["before"],
                    behind=part["behind"],
                )
                for part in found["parts"]
            ]
        except Exception as error:  # tokenizers raises plain Exception
            raise InputError(f"{printable(path)}: {printable(error)}; it is no tokenizers of a stack") from None
        return cls(parts=tuple(parts))
