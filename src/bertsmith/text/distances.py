"""Layouts of two sentences, [CLS] A [SEP] B [SEP], whose relation is asked: how far apart they stand, or what joins them.  k sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import Array, Vocab
from bertsmith.data.draw import hashed, integers
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.text.connectives import CONNECTIVES, Sense
from bertsmith.text.layout import check_text
from bertsmith.text.pairs import SPECIALS, strangers, truncation
from bertsmith.text.plan import Outline, Plan, outline, two_segments

NEXT, APART, STRANGE = range(3)


def _check_length(length: int) -> None:
    require(length >= 5, f"layout.length: {length} has no room for two tokens and three specials; at least 5")


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Every sentence as A; B is the next one (0), another of its document that is not beside it (1), or one of another document (2), each as
    often as the other two, but where a document has no such sentence (ERNIE 2.0's sentence distance)."""

    length: int
    pairs: ClassVar[tuple[str, ...]] = ("B follows A", "B is of A's document", "B is of another document")

    def __post_init__(self):
        _check_length(self.length)

    def check(self, split: Any) -> None:
        check_text(split)
        found = outline(split)
        documents, sentences = len(found.documents) - 1, len(found.sentences) - 1
        if documents < 2 and sentences < 2:
            raise InputError(
                f"layout: a distance is between two sentences, found {amount(sentences, 'sentence')} in {amount(documents, 'document')}; prepare more text"
            )

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        self.check(split)
        found = outline(split)
        number = np.arange(len(found.sentences) - 1)
        own = np.searchsorted(found.documents, number, "right") - 1
        low, high = found.documents[own], found.documents[own + 1]
        before, behind = (number > low).astype(np.int64), (number + 1 < high).astype(np.int64)
        apart = high - low - 1 - before - behind
        possible = np.stack([behind > 0, apart > 0, np.full(len(number), len(found.documents) > 2)], 1)
        wanted = integers(hashed(seed, "distance", epoch, number), 3)
        for _ in range(2):
            wanted = np.where(possible[number, wanted], wanted, (wanted + 1) % 3)
        # Among the others of the document: those before the block of A and its neighbours, then those behind it.
        place = low + integers(hashed(seed, "apart", epoch, number), np.maximum(apart, 1))
        place += (place >= number - before) * (1 + before + behind)
        other, _ = strangers(found, own, number, seed, epoch) if len(found.documents) > 2 else (number, number)
        second = np.choose(wanted, [number + 1, place, other])
        kept = possible[number, wanted]
        return _pairs(self, found, split, vocab, seed, epoch, number[kept], second[kept], wanted[kept])


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Every sentence that begins with a connective and has one before it: A is that one, B the sentence without its connective, and the
    label what sense the connective has (ERNIE 2.0's discourse relation, after Sileo et al. 2019, arXiv:1903.11850)."""

    length: int
    senses: tuple[Sense, ...] = CONNECTIVES

    def __post_init__(self):
        _check_length(self.length)
        require(len(self.senses) > 1, "layout.senses: one relation is no question; at least two")

    @property
    def pairs(self) -> tuple[str, ...]:
        return tuple(sense.name for sense in self.senses)

    def check(self, split: Any) -> None:
        check_text(split)
        if getattr(split, "spelled", None) is None:
            raise InputError("layout: connectives are found in a store, by its tokenizer; give one")
        if not len(self.found(split)[0]):
            listed = sum(len(sense.words) for sense in self.senses)
            raise InputError(
                f"layout: none of {amount(len(split.sentences) - 1, 'sentence')} goes on from the one before with one of the {listed} connectives (text/connectives.py)"
            )

    def found(self, split: Any) -> tuple[Array, Array, Array]:
        """(sentences that begin with a connective and have one before them, its tokens, its sense), by their number."""
        kept = _known.setdefault(split, {})
        if self.senses not in kept:
            kept[self.senses] = _begun(outline(split), split, self.senses)
        return kept[self.senses]

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        self.check(split)
        second, taken, sense = self.found(split)
        return _pairs(self, outline(split), split, vocab, seed, epoch, second - 1, second, sense, taken)


_known: WeakKeyDictionary[Any, dict[Any, tuple[Array, Array, Array]]] = WeakKeyDictionary()


def _begun(found: Outline, split: Any, senses: tuple[Sense, ...]) -> tuple[Array, Array, Array]:
    first, width = found.sentences[:-1], np.diff(found.sentences)
    length, sense = np.zeros(len(first), np.int64), np.zeros(len(first), np.int64)
    opens = np.zeros(len(first), bool)
    opens[found.documents[:-1]] = True  # nothing stands before it
    for number, of in enumerate(senses):
        for word in of.words:
            for ids in split.spelled(word):
                at = np.flatnonzero(~opens & (width > len(ids)) & (length < len(ids)))
                for place, token in enumerate(ids):
                    at = at[split.gather(first[at] + place) == token]
                length[at], sense[at] = len(ids), number
    begun = np.flatnonzero(length)
    return begun, length[begun], sense[begun]


def _pairs(
    layout: Any,
    found: Outline,
    split: Any,
    vocab: Vocab,
    seed: int,
    epoch: int,
    first: Array,
    second: Array,
    labels: Array,
    taken: Array | int = 0,
) -> Plan:
    """Sentences `first` and `second` (s,) as pairs, the latter without its first `taken` tokens; what does not fit goes from the longer's end."""
    numbers = np.stack([first, second], 1)
    begin, end = found.sentences[numbers], found.sentences[numbers + 1]
    begin[:, 1] += taken
    cut = truncation(end[:, 0] - begin[:, 0], end[:, 1] - begin[:, 1], layout.length - SPECIALS)
    end = end - cut
    plan = Plan(
        split=split,
        vocab=vocab,
        seed=seed,
        epoch=epoch,
        **two_segments(begin, end, np.ones(begin.shape, bool)),
        labels=labels.astype(np.int64),
        cut=cut.sum(1),
        account={"corpus": found.tokens, "sequences": len(first)},
    )
    plan.account["used"] = found.tokens - plan.unread
    return plan
