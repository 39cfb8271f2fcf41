"""Layouts of sentences by themselves: each one a sequence, or with the one before and the one behind it.  s sequences.

Sentences are numbered in the order of the corpus, and read in stretches of neighbours, which are shuffled by (seed, epoch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import IGNORE, Array, Vocab
from bertsmith.data.beside import BEFORE, BEHIND, ITSELF
from bertsmith.data.draw import shuffled
from bertsmith.data.ranges import numbers
from bertsmith.errors import InputError
from bertsmith.spelling import amount, option
from bertsmith.text.layout import check_text
from bertsmith.text.plan import Outline, Plan, outline


@dataclass(frozen=True, kw_only=True, eq=False)
class StretchesOfSentences(Plan):
    """Its order keeps what stands in a stretch together: `stretches` (t + 1,) where each begins among the sequences."""

    stretches: Array

    def shuffled(self, epoch: int) -> Array:
        order = shuffled(self.seed, epoch, len(self.stretches) - 1)
        return numbers(self.stretches[:-1][order], self.stretches[1:][order])


@dataclass(frozen=True, kw_only=True)
class Contiguous:
    """[CLS] a sentence [SEP], cut at `length`.  `together`: neighbours that are read one behind the other, at most: those of one document.

    The label of a sequence is the number of its document: what neighbours share.
    """

    length: int
    together: int = 400  # as many as an update of the paper holds (Logeswaran & Lee 2018, section 4.1)

    def __post_init__(self):
        _check_length(self.length, 3, "a token and two specials")
        require(self.together > 1, f"layout.together: {self.together}: a sentence alone has no neighbour; 2 or more")

    def check(self, split: Any) -> None:
        check_neighbours(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> StretchesOfSentences:
        self.check(split)
        found = outline(split)
        begin, end, cut = _cut(found, self.length - 2)
        count = len(begin)
        return StretchesOfSentences(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            begin=begin,
            end=end,
            segment=np.zeros(count, np.uint8),
            first=np.arange(count + 1),
            labels=np.repeat(np.arange(len(found.documents) - 1), np.diff(found.documents)),
            cut=cut,
            account=_account(found, cut, 0, 2 * count, count),
            stretches=stretches(found.documents, self.together),
        )


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """[CLS] the sentence before [SEP] a sentence [SEP] the one behind it [SEP], each cut at `length` - 2 tokens; what a document does not have
    at its ends is left out, and so is a document of one sentence.

    `length`: of one sentence with what stands round it, as a model reads it later.
    """

    length: int
    together: int = 1  # neighbours that are read one behind the other, at most

    def __post_init__(self):
        _check_length(self.length, 3, "a token and two specials")
        require(self.together > 0, f"layout.together: {self.together} must be above 0")

    def check(self, split: Any) -> None:
        check_neighbours(split)

    def plan(self, split: Any, vocab: Vocab, seed: int, epoch: int) -> StretchesOfSentences:
        self.check(split)
        found = outline(split)
        begin, end, cut = _cut(found, self.length - 2)
        sizes = np.diff(found.documents)
        document = np.repeat(np.arange(len(sizes)), sizes)
        kept = np.flatnonzero(sizes[document] > 1)
        number = kept[:, None] + np.array([-1, 0, 1])
        there = (number >= found.documents[document[kept], None]) & (number < found.documents[document[kept] + 1, None])
        piece, segment = (
            number[there],
            np.broadcast_to(np.array([BEFORE, ITSELF, BEHIND], np.uint8), there.shape)[there],
        )
        lone = int((end - begin)[sizes[document] == 1].sum())
        places = np.searchsorted(kept, found.documents)  # of documents among what is kept
        return StretchesOfSentences(
            split=split,
            vocab=vocab,
            seed=seed,
            epoch=epoch,
            begin=begin[piece],
            end=end[piece],
            segment=segment,
            first=np.concatenate([[0], np.cumsum(there.sum(1))]),
            labels=np.full(len(kept), IGNORE, np.int64),
            cut=cut[kept],
            account=_account(found, cut, lone, len(piece) + len(kept), len(kept)),
            stretches=stretches(places[np.append(True, np.diff(places) > 0)], self.together),
        )


def stretches(documents: Array, together: int) -> Array:
    """Where stretches of at most `together` sentences begin in documents that begin there (d + 1,), and the end of the last."""
    sizes = np.diff(documents)
    parts = -(-sizes // together)
    within = numbers(np.zeros_like(parts), parts) * together
    return np.append(np.repeat(documents[:-1], parts) + within, documents[-1])


def check_neighbours(split: Any) -> None:
    """InputError where no sentence has a neighbour."""
    check_text(split)
    found = outline(split)
    documents, sentences = len(found.documents) - 1, len(found.sentences) - 1
    if documents == sentences:
        counts = f"{amount(documents, 'document')}, {amount(sentences, 'sentence')}, {amount(found.tokens, 'token')}"
        raise InputError(
            f"layout: every document is a single sentence ({counts}), and what is learned here is what stands beside a sentence; "
            f"prepare with document boundaries ({option('documents')}, {option('lines')})"
        )


def _cut(found: Outline, room: int) -> tuple[Array, Array, Array]:
    """(k,) where each sentence begins, where it ends when it is cut, and how many tokens that takes."""
    begin, end = found.sentences[:-1], np.minimum(found.sentences[1:], found.sentences[:-1] + room)
    return begin, end, found.sentences[1:] - end


def _account(found: Outline, cut: Array, lone: int, specials: int, sequences: int) -> dict[str, int]:
    truncated = int(cut.sum())
    return {
        "corpus": found.tokens,
        "used": found.tokens - truncated - lone,
        "truncated": truncated,
        "dropped": lone,
        "repeated": 0,
        "specials": specials,
        "sequences": sequences,
    }


def _check_length(length: int, least: int, room: str) -> None:
    require(length >= least, f"layout.length: {length} has no room for {room}; at least {least}")
