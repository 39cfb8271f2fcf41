"""A split that is too large to be planned at once, as sections that are planned one after another: order in bounded memory.

The documents are cut into runs of neighbours, and section i of k has every k-th run from the i-th on: a sample of the whole corpus, the same in
every epoch.  An epoch reads the sections in an order of its own, and the sequences of each in an order of its own; what is drawn at random of
other documents is drawn within the section.  Smaller splits are planned whole, as they always were.  A language is cut by itself, so that every
section has its share of each; one of fewer documents than sections stands in all of them, and is read by its share of the whole.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bertsmith.data.batch import Array
from bertsmith.data.draw import hashed
from bertsmith.errors import InputError
from bertsmith.text.multilingual import ByLanguage, Part, Stretch, shares

WHOLE = 1 << 27  # tokens of a split that are planned at once
SECTION = 1 << 24  # tokens of a section, about
RUNS = 64  # of neighbouring documents in each


class Section:
    """Some runs of documents of a split, as if they were one: offsets begin at 0 and know nothing of what lies between.

    `documents`: (r, 2) the first of each run and one past its last, ascending; `stretches`: how many of the runs are of each language.
    """

    def __init__(self, split: Any, documents: Array, stretches: tuple[int, ...] = ()):
        self.split = split
        first, last = split.documents[documents[:, 0]], split.documents[documents[:, 1]]
        begin, end = split.sentences[first], split.sentences[last]
        self.edges = np.concatenate([[0], np.cumsum(end - begin)])  # where runs begin here
        self.moved = np.append(begin - self.edges[:-1], 0)  # from here to there
        self.count = int(self.edges[-1])
        sentences = np.cumsum(last - first) - (last - first)
        self.sentences = self._offsets(split.sentences, first, last, self.edges[:-1] - begin, self.count)
        self.documents = self._offsets(
            split.documents, documents[:, 0], documents[:, 1], sentences - first, int((last - first).sum())
        )
        sizes = documents[:, 1] - documents[:, 0]
        self.languages = tuple(self._stretches(sizes, stretches))

    @staticmethod
    def _offsets(offsets: Array, first: Array, last: Array, moved: Array, total: int) -> Array:
        parts = [
            np.asarray(offsets[a:b]) + by
            for a, b, by in zip(first.tolist(), last.tolist(), moved.tolist(), strict=True)
        ]
        return np.concatenate([*parts, [total]]).astype(np.int64)

    def _stretches(self, sizes: Array, runs: tuple[int, ...]) -> list[Stretch]:
        found, run, at = [], 0, 0
        for of, many in zip(getattr(self.split, "languages", ()), runs, strict=True):
            count = int(sizes[run : run + many].sum())
            found.append(Stretch(of.language, at, at + count))
            run, at = run + many, at + count
        return found

    def __getattr__(self, name: str) -> Any:
        if name == "split":
            raise AttributeError(name)
        return getattr(self.split, name)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(self, stretch) for stretch in self.languages if stretch.last > stretch.first)

    def gather(self, indices: Array | slice) -> Array:
        return self.split.gather(self._there(indices))

    def starts(self, indices: Array | slice) -> Array:
        return self.split.starts(self._there(indices))

    def annotations(self, indices: Array) -> Array:
        return self.split.annotations(self._there(indices))

    def capitals(self, indices: Array) -> Array:
        return self.split.capitals(self._there(indices))

    def _there(self, indices: Array | slice) -> Array:
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(self.count))
        indices = np.asarray(indices)
        return indices + self.moved[np.searchsorted(self.edges, indices, "right") - 1]


def sections_of(split: Any, layout: Any) -> Sections | None:
    """None where the split is planned whole: it is small, or the layout reads it in one piece."""
    asked = getattr(layout, "layout", layout)
    large = split.count > WHOLE and getattr(asked, "in_sections", False)
    return Sections(split) if large and split.links is None else None


class Sections:
    """The sections of a split."""

    def __init__(self, split: Any):
        self.split = split
        self.count = -(-split.count // SECTION)
        stretches = getattr(split, "languages", ()) or (Stretch("", 0, len(split.documents) - 1),)
        self.bounds = [self._bounds(stretch) for stretch in stretches]  # of documents, in each language

    def _bounds(self, stretch: Stretch) -> Array:
        """Where its documents are cut into runs of about as many tokens, whole multiples of `count` of them; one run where there are too few.
        Where long documents would leave a section without any, runs have as many documents each."""
        many = stretch.last - stretch.first
        if many < self.count:
            return np.array([stretch.first, stretch.last])
        documents, sentences = self.split.documents, self.split.sentences
        begin, end = (int(sentences[documents[at]]) for at in (stretch.first, stretch.last))
        runs = self.count * max(1, min(RUNS, many // (8 * self.count)))
        wanted = begin + (end - begin) * np.arange(1, runs) // runs
        bounds = np.searchsorted(documents, np.searchsorted(sentences, wanted), "left")
        bounds = np.concatenate([[stretch.first], np.clip(bounds, stretch.first, stretch.last), [stretch.last]])
        if np.diff(bounds).reshape(-1, self.count).any(0).all():
            return bounds
        return stretch.first + many * np.arange(self.count + 1) // self.count

    def section(self, number: int) -> Section:
        runs, many = [], []
        for bounds in self.bounds:
            pairs = np.stack([bounds[:-1], bounds[1:]], 1)
            own = pairs[number :: self.count] if len(pairs) > 1 else pairs
            own = own[own[:, 1] > own[:, 0]]
            runs.append(own)
            many.append(len(own))
        return Section(self.split, np.concatenate(runs), tuple(many) if getattr(self.split, "languages", ()) else ())

    def order(self, seed: int, epoch: int) -> Array:
        """(count,) the order in which an epoch reads them."""
        return np.argsort(hashed(seed, "sections", epoch, np.arange(self.count)), kind="stable")

    def laid(self, layout: Any) -> Any:
        """The layout for a section: of several languages each has the share in it that it has in the whole."""
        if not isinstance(layout, ByLanguage) or layout.portions:
            return layout
        usable = {part.language for part in layout.usable(self.section(0))}
        documents, sentences = self.split.documents, self.split.sentences
        sizes = [
            int(sentences[documents[of.last]] - sentences[documents[of.first]])
            for of in self.split.languages
            if of.language in usable
        ]
        if not sizes:
            raise InputError("layout: no text in a section of the store; prepare more text")
        return replace(layout, portions=tuple(shares(np.array(sizes), layout.smoothing).tolist()))
