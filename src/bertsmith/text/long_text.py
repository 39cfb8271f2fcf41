"""All documents of a split as one long text, with a [SEP] behind each, to be read from either end.  N places, d documents, k sentences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bertsmith.data.batch import Array
from bertsmith.text.layout import check_text
from bertsmith.text.plan import outline


@dataclass(frozen=True, eq=False)
class LongText:
    """All documents of a split as one text of N places; read backward, place i is what stands at N - 1 - i."""

    split: Any
    tokens: int
    ends: Array  # (d,) places of the [SEP] behind each document
    sentences: Array  # (k,) where each sentence starts, in the split
    boundaries: Array  # (k,) and in the long text

    @classmethod
    def of(cls, split: Any) -> "LongText":
        check_text(split)
        found = outline(split)
        documents, sentences = found.sentences[found.documents], found.sentences[:-1]
        boundaries = sentences + np.searchsorted(documents[1:], sentences, "right")
        return cls(split, found.tokens, documents[1:] + np.arange(len(documents) - 1), sentences, boundaries)

    @property
    def places(self) -> int:
        return self.tokens + len(self.ends)

    @cached_property
    def cuts(self) -> tuple[Array, Array]:
        """Where sentences begin, reading forward and backward, over two rounds of the text and where the third begins."""
        backward = np.sort((self.places - self.boundaries) % self.places)
        ways = self.boundaries, backward
        return tuple(np.concatenate([x, x + self.places, [2 * self.places]]) for x in ways)  # type: ignore[return-value]

    def separators(self, begin: Array, end: Array, backward: Array) -> int:
        """How many [SEP] stand in all ranges of places together."""
        total = 0
        for way, ends in enumerate((self.ends, self.places - 1 - self.ends[::-1])):
            for sign, edge in ((1, end), (-1, begin)):
                rounds, place = np.divmod(edge[backward == bool(way)], self.places)
                total += sign * int((rounds * len(ends) + np.searchsorted(ends, place)).sum())
        return total

    def read(self, places: Array, backward: Array) -> dict[str, Array]:
        """Tokens of the split (0 for a [SEP]) at `places` (n,), where a word and a sentence begin in reading order, and what is a [SEP]."""
        places = places % self.places
        places = np.where(backward, self.places - 1 - places, places)
        document = np.searchsorted(self.ends, places)
        special = self.ends[document] == places
        source = np.where(special, 0, places - document)
        first = np.where(backward, source + 1, source)  # a word read backward begins with its last token
        past = first >= self.tokens
        first = np.where(past, 0, first)
        edge = backward & (self.ends[document] == places + 1)  # the last token of a document
        starts = (self.split.starts(first) | past | edge) & ~special
        at = np.searchsorted(self.sentences, first)
        found = self.sentences[np.minimum(at, len(self.sentences) - 1)] == first
        sentences = (found | past | edge) & ~special
        return {"source": source, "special": special, "starts": starts, "sentences": sentences}
