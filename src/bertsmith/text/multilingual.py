"""Several languages in one store: how much of each is read, and what a layout makes of them.

Languages stand one after the other in a store, parallel lines ("en+de") among them.  A language of n tokens is read in proportion to n to the power
of `smoothing` (multilingual BERT: 0.7, released documentation), so that small ones are read several times in an epoch, each time with
pairs and masks of their own, and of large ones a part; an epoch has as many tokens as all of them.  The second segment of a pair is of the
language of the first.  Or each has a share of its own (`portions`), as where an old text is mixed into a new one: that with the largest is
read once in an epoch.  l languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bertsmith.data.batch import Array, Vocab
from bertsmith.data.draw import hashed, shuffled
from bertsmith.data.ranges import spread
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.text.plan import Plan, languages_of
from bertsmith.text.sources import AND

__all__ = ["ByLanguage", "Languages", "Part", "Stretch", "languages_of", "parts_of", "shares"]

SMOOTHING = 0.7


class Stretch(NamedTuple):
    """Where a language stands in a split: documents from `first` to before `last`."""

    language: str
    first: int
    last: int

    @property
    def parallel(self) -> bool:
        return AND in self.language


def shares(sizes: Array, smoothing: float) -> Array:
    """(l,) the share of each language that has so many tokens (or bytes), `sizes` (l,), in what is read."""
    raised = np.asarray(sizes, np.float64) ** smoothing
    return raised / raised.sum()


class Languages:
    """Counts of each language of a store that is being written, by split."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, dict[str, int]]] = {}
        self._before: list[Array] = []

    def add(self, language: str, splits: Any) -> None:
        """What was written since it was last called, all of one language."""
        now = [np.array([getattr(writer, name) for name in COUNTED], np.int64) for writer in splits]
        before, self._before = self._before or [np.zeros_like(counts) for counts in now], now
        of = self.counts.setdefault(language, {writer.name: dict.fromkeys(COUNTED, 0) for writer in splits})
        for writer, old, new in zip(splits, before, now, strict=True):
            for name, more in zip(COUNTED, (new - old).tolist(), strict=True):
                of[writer.name][name] += more

    def go_on(self, counts: dict[str, dict[str, dict[str, int]]], splits: Any) -> None:
        """Those that stand in the splits already."""
        self.counts = deepcopy(counts)
        self._before = [np.array([getattr(writer, name) for name in COUNTED], np.int64) for writer in splits]

    def move(self, split: Any, number: int, side: int) -> None:
        """Document `number` of a split, the first (0) or second (1) of the two, goes to the other one."""
        at = 0
        sentences = split.documents[number : number + 2]
        tokens = split.sentences[sentences]
        moved = dict(zip(COUNTED, (int(np.diff(tokens)[0]), int(np.diff(sentences)[0]), 1), strict=True))
        for of in self.counts.values():
            names = list(of) if not side else list(of)[::-1]
            at += of[names[0]]["documents"]
            if number < at:
                for name, count in moved.items():
                    of[names[0]][name] -= count
                    of[names[1]][name] += count
                return


COUNTED = ("tokens", "sentences", "documents")


class Part:
    """A language of a split, as if it were one: offsets begin at 0, the ids are those from token `base` on."""

    def __init__(self, split: Any, stretch: Stretch):
        self.split, self.language = split, stretch.language
        self.bounds = split.documents[stretch.first : stretch.last + 1]
        self.base, end = (int(split.sentences[at]) for at in self.bounds[[0, -1]])
        self.count = end - self.base
        self.levels = split.levels

    def __getattr__(self, name: str) -> Any:
        if name == "split":
            raise AttributeError(name)
        return getattr(self.split, name)

    @cached_property
    def documents(self) -> Array:
        return self.bounds - self.bounds[0]

    @cached_property
    def sentences(self) -> Array:
        return self.split.sentences[self.bounds[0] : self.bounds[-1] + 1] - self.base

    def gather(self, indices: Array | slice) -> Array:
        return self.split.gather(self._there(indices))

    def starts(self, indices: Array | slice) -> Array:
        return self.split.starts(self._there(indices))

    def annotations(self, indices: Array) -> Array:
        return self.split.annotations(self._there(indices))

    def _there(self, indices: Array | slice) -> Array | slice:
        if isinstance(indices, slice):
            start, stop, _ = indices.indices(self.count)
            return slice(start + self.base, stop + self.base)
        return np.asarray(indices) + self.base


def parts_of(split: Any, parallel: bool = False) -> list[Part]:
    """The languages of a split that have text in it, or its parallel lines."""
    return [part for part in split.parts if (AND in part.language) == parallel]


@dataclass(frozen=True, eq=False)
class ByLanguage:
    """A layout over each language of a store by itself.  `lenient`: languages that it can make nothing of are left out (held-out text, of
    which a small language may have a single document)."""

    layout: Any
    smoothing: float
    lenient: bool = False
    portions: tuple[float, ...] = ()  # of what is read, one for each language in the order of the store

    def __getattr__(self, name: str) -> Any:
        if name in ("layout", "smoothing", "lenient", "portions"):
            raise AttributeError(name)
        return getattr(self.layout, name)

    @cached_property
    def parallel(self) -> bool:
        return bool(getattr(self.layout, "parallel", False))

    def check(self, split: Any) -> None:
        """InputError, with its name, for a language that the layout cannot use."""
        if not list(self.usable(split)):
            parts_there = parts_of(split, self.parallel)
            self.layout.check(parts_there[0] if parts_there else split)
            named = ", ".join(s.language for s in split.languages)
            raise InputError(
                f"layout: no text in {named}; prepare it with text of these languages, too, or take a member that reads parallel lines (cove)"
                if all(s.parallel for s in split.languages)
                else f"layout: no text in {named}"
            )

    def few(self, split: Any) -> str:
        said = ((part, self.layout.few(part)) for part in parts_of(split, self.parallel)) if self._has_few else ()
        return "; ".join(f"{part.language}: {line}" for part, line in said if line)

    @property
    def _has_few(self) -> bool:
        return hasattr(self.layout, "few")

    def usable(self, split: Any) -> Iterator[Part]:
        """The languages that the layout can read.  InputError as `check` says, unless `lenient`."""
        for part in parts_of(split, self.parallel):
            try:
                self.layout.check(part)
            except InputError as error:
                if self.lenient:
                    continue
                raise InputError(f"{part.language}: {error}") from None
            yield part

    def left_out(self, split: Any, vocab: Vocab, seed: int) -> tuple[int, int]:
        """(tokens that stand in no sequence of an epoch that reads every language once, tokens of these languages)."""
        plans = [self.layout.plan(part, vocab, seed, 0) for part in self.usable(split)]
        return sum(plan.unread for plan in plans), sum(plan.account["corpus"] for plan in plans)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Any:
        """The plans of all languages as one, each as often as its share of the tokens that are read wants."""
        parts = list(self.usable(split))
        if not parts:
            self.check(split)
        seeds = [int(hashed(seed, "language", number)[0]) for number in range(len(parts))]
        plans = [self.layout.plan(part, vocab, own, epoch) for part, own in zip(parts, seeds, strict=True)]
        if not all(isinstance(plan, Plan) for plan in plans):  # their sequences go on from one another
            if self.smoothing != 1 or self.portions:
                what, plain = ("shares", "()") if self.portions else ("smoothing", "1")
                raise InputError(
                    f"training.{what}: sequences that go on from one another are read as they stand; {plain} reads them so"
                )
            return self.layout.plan(split, vocab, seed, epoch)
        read = np.array([plan.lengths.sum() for plan in plans], np.float64)
        share, wanted = self._wanted([part.language for part in parts], np.array([part.count for part in parts]), read)
        pieces = []
        for part, plan, own, tokens in zip(parts, plans, seeds, wanted.tolist(), strict=True):
            pieces += [Piece(*piece, part.base) for piece in self._copies(part, plan, own, tokens, vocab, epoch)]
        made = _joined(pieces, split, vocab, seed, epoch)
        made.account["languages"] = dict(zip((part.language for part in parts), share.tolist(), strict=True))
        return made

    def _wanted(self, names: list[str], sizes: Array, read: Array) -> tuple[Array, Array]:
        """(l,) the share of each language and the tokens of it that an epoch reads, where reading each once reads `read` (l,)."""
        if self.portions:
            if len(self.portions) != len(names):
                raise InputError(
                    f"training.shares: {len(self.portions)} of them, and the store has {amount(len(names), 'language')}: {', '.join(names)}"
                )
            share = np.array(self.portions, np.float64) / sum(self.portions)
            largest = int(share.argmax())
            return share, share / share[largest] * read[largest]
        if self.smoothing == 1:
            return read / read.sum(), read
        share = shares(sizes, self.smoothing)
        return share, share * read.sum()

    def _copies(
        self, part: Part, plan: Plan, seed: int, tokens: float, vocab: Vocab, epoch: int
    ) -> Iterator[tuple[Plan, Array]]:
        """(a plan, numbers of the sequences that are read of it), about so many `tokens` in all: the first plan, further ones of other draws, and
        as much of the last as fits, by a random order."""
        copy = 0
        while tokens > 0:
            own = int(hashed(seed, "copy", copy)[0])
            found = self.layout.plan(part, vocab, own, epoch) if copy else plan
            order = shuffled(own, epoch, len(found.labels))
            ends = np.cumsum(found.lengths[order])
            many = int(np.searchsorted(ends - found.lengths[order] / 2, tokens))  # to the nearest sequence
            if not many and copy:
                return
            yield found, np.sort(order[: max(many, 1)])
            tokens -= int(ends[-1])
            copy += 1


class Piece(NamedTuple):
    plan: Plan
    kept: Array  # numbers of its sequences, ascending
    base: int  # of its tokens in the split


def _joined(pieces: list[Piece], split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
    """One plan of all sequences that are kept, numbered one after another."""
    fields: dict[str, list[Array]] = {name: [] for name in ("begin", "end", "segment", "labels", "cut")}
    counts, account = [], {}
    for plan, kept, base in pieces:
        at, _ = spread(plan.first[kept], plan.first[kept + 1])
        fields["begin"].append(plan.begin[at] + base)
        fields["end"].append(plan.end[at] + base)
        fields["segment"].append(plan.segment[at])
        fields["labels"].append(plan.labels[kept])
        fields["cut"].append(plan.cut[kept])
        counts.append(plan.first[kept + 1] - plan.first[kept])
    arrays = {name: np.concatenate(found) for name, found in fields.items()}
    first = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    labels = arrays["labels"]
    account = {"sequences": len(labels), "corpus": split.count, "used": 0}
    if (labels >= 0).any():
        account["label_1"] = float((labels[labels >= 0] == 1).mean())
    cls = pieces[0].plan.cls
    made = type(pieces[0].plan)(
        split=split, vocab=vocab, seed=seed, epoch=epoch, first=first, account=account, cls=cls, **arrays
    )
    account["used"] = split.count - made.unread
    account["repeated"] = int((made.end - made.begin).sum()) - account["used"]
    return made
