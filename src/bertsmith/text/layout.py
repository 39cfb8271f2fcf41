"""Layouts: documents -> clean sequences.  Segment pairs, sentence pairs, full sentences, doc sentences (RoBERTa's four, table 2).

`layout.plan(split, vocab, seed, epoch)` decides, `plan.row(indices)` assembles.  Layouts without pairs depend on neither seed nor
epoch, only their order does.  No token is lost: `plan.account` adds up to the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.ranges import spread
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text.pairs import SegmentPairs, SentencePairs
from bertsmith.text.plan import Plan, outline

__all__ = ["DocSentences", "FullSentences", "Plan", "SegmentPairs", "SentencePairs"]


@dataclass(frozen=True, kw_only=True)
class _Sentences:
    """Whole sentences in single segments; `crosses`: on into the next document."""

    length: int
    crosses: ClassVar[bool]
    in_sections: ClassVar[bool] = True

    def __post_init__(self):
        require(self.length >= 3, f"layout.length: {self.length} has no room for a token and two specials; at least 3")

    def check(self, split: Any) -> None:
        check_text(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
        return sentence_plan(self, split, vocab, seed, epoch)


@dataclass(frozen=True, kw_only=True)
class FullSentences(_Sentences):
    """[CLS] whole sentences while they fit [SEP], on across documents with an extra [SEP] between two.

    A sentence longer than the room is split over sequences; its last part is packed like a sentence.
    """

    crosses: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class FullSentencesOfBert(FullSentences):
    """The same for a model whose pairs, in fine-tuning, have one separator between them as BERT's do, though it is told no segments."""

    separators: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class DocSentences(_Sentences):
    """As full sentences, but a sequence ends where its document does."""

    crosses: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class DocSentencesOfBert(DocSentences):
    """The same for a model whose pairs, in fine-tuning, have one separator between them, as `FullSentencesOfBert`."""

    separators: ClassVar[int] = 1


def check_text(split: Any) -> None:
    if not split.count:
        counts = (
            f"{amount(len(split.documents) - 1, 'document')}, {amount(len(split.sentences) - 1, 'sentence')}, 0 tokens"
        )
        raise InputError(
            f"layout: there is no text, found {counts}; prepare more text, or hold out more of it ({option('holdout')})"
        )


_known: WeakKeyDictionary[Any, dict[Any, dict[str, Any]]] = WeakKeyDictionary()


def sentence_plan(layout: FullSentences | DocSentences, split: Any, vocab: Vocab, seed: int, epoch: int) -> Plan:
    layout.check(split)
    kept = _known.setdefault(split, {})
    if layout not in kept:
        kept[layout] = _sequences(layout, split)
    return Plan(split=split, vocab=vocab, seed=seed, epoch=epoch, **kept[layout])


def _sequences(layout: FullSentences | DocSentences, split: Any) -> dict[str, Any]:
    found = outline(split)
    room = layout.length - 2
    offsets, documents = _units(found.sentences, found.documents, room)
    starts = _greedy(offsets, documents, room, layout.crosses)
    begin, end = offsets[starts[:-1]], offsets[starts[1:]]

    # A piece for every document that a sequence has part of.
    edges = offsets[documents]
    low = np.searchsorted(edges, begin, "right") - 1
    high = np.searchsorted(edges, end, "left")
    number, owner = spread(low, high)
    count = high - low
    sequences = len(begin)
    return {
        "begin": np.maximum(begin[owner], edges[number]),
        "end": np.minimum(end[owner], edges[number + 1]),
        "segment": np.zeros(len(number), np.uint8),
        "first": np.concatenate([[0], np.cumsum(count)]),
        "labels": np.full(sequences, IGNORE, np.int64),
        "cut": np.zeros(sequences, np.int64),
        "account": {
            "corpus": found.tokens,
            "used": int((end - begin).sum()),
            "truncated": 0,
            "dropped": 0,
            "repeated": 0,
            "specials": sequences + int(count.sum()),
            "sequences": sequences,
            "split_sentences": int((np.diff(found.sentences) > room).sum()),
        },
    }


def _units(sentences: Array, documents: Array, room: int) -> tuple[Array, Array]:
    """Token offsets of what is packed whole, and where each document starts among them: sentences, those beyond `room` in parts."""
    width = np.diff(sentences)
    parts = -(-width // room)
    if (parts == 1).all():
        return sentences, documents
    number, owner = spread(np.zeros_like(parts), parts)
    offsets = np.append(sentences[owner] + number * room, sentences[-1])
    return offsets, np.concatenate([[0], np.cumsum(parts)])[documents]


def _greedy(offsets: Array, documents: Array, room: int, crosses: bool) -> Array:
    """The units that sequences start with, and the number of units: one search for every possible start, then one walk."""
    units = len(offsets) - 1
    of = np.repeat(np.arange(len(documents) - 1), np.diff(documents))  # document of each unit
    if crosses:
        # Units i..e-1 need offsets[e] - offsets[i] tokens and a [SEP] for each document boundary among them.
        after = np.searchsorted(offsets[1:] + of, offsets[:-1] + of + room, "right")
    else:
        after = np.minimum(np.searchsorted(offsets[1:], offsets[:-1] + room, "right"), documents[of + 1])
    jumps = after.tolist()
    starts, at = [], 0
    while at < units:
        starts.append(at)
        at = jumps[at]
    return np.array([*starts, units], np.int64)
