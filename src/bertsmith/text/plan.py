"""What a layout decides: which ranges of the corpus make which sequence.  Rows are assembled from it, many sequences at once.

s sequences, p pieces.  A sequence is [CLS] piece [SEP] piece [SEP] ...; a piece is a range of neighbouring tokens of the split.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bertsmith.data.batch import Array, Row, Vocab
from bertsmith.data.draw import hashed
from bertsmith.data.ranges import spread


class Outline(NamedTuple):
    """Sentences and documents of a split, those without tokens left out."""

    sentences: Array  # (k + 1,) token offsets, increasing
    documents: Array  # (d + 1,) sentence offsets, increasing

    @property
    def tokens(self) -> int:
        return int(self.sentences[-1])


def outline(split: Any) -> Outline:
    """A sentence without tokens, or a document without sentences, can be in no sequence and must not be drawn as one."""
    sentences, documents = np.asarray(split.sentences, np.int64), np.asarray(split.documents, np.int64)
    kept = np.diff(sentences) > 0
    if not kept.all():
        documents = np.concatenate([[0], np.cumsum(kept)])[documents]
        sentences = np.append(sentences[:-1][kept], sentences[-1])
    return Outline(sentences, documents[np.append(True, np.diff(documents) > 0)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The sequences that a layout makes of a split, numbered from 0 in corpus order."""

    split: Any
    vocab: Vocab
    seed: int
    epoch: int
    begin: Array  # (p,) int64: first token of each piece, in the split
    end: Array  # (p,) int64: one past its last
    segment: Array  # (p,) uint8
    first: Array  # (s + 1,) int64: first piece of each sequence; the last entry is p
    labels: Array  # (s,) int64: the pair label, or IGNORE
    cut: Array  # (s,) int64: tokens that truncation took from each sequence
    account: dict[str, Any]  # of corpus tokens: corpus = used + truncated + dropped; repeated are read beyond that

    @cached_property
    def lengths(self) -> Array:
        """(s,) int64, specials included."""
        width = np.concatenate([[0], np.cumsum(self.end - self.begin + 1)])
        return width[self.first[1:]] - width[self.first[:-1]] + 1

    @cached_property
    def order(self) -> Array:
        """(s,) the permutation that this epoch reads the sequences in."""
        return self.shuffled(self.epoch)

    def shuffled(self, epoch: int) -> Array:
        """(s,) the permutation of any epoch: a static view is read anew in another order."""
        return np.argsort(hashed(self.seed, "order", epoch, np.arange(len(self.labels))), kind="stable")

    def row(self, indices: Array) -> Row:
        """The sequences numbered `indices`, in that order, as one flat row."""
        indices = np.asarray(indices, np.int64)
        pieces, owner = spread(self.first[indices], self.first[indices + 1])
        begin, end = self.begin[pieces], self.end[pieces]
        lengths = self.lengths[indices]
        total = int(lengths.sum())
        # One [SEP] stands after each piece, one [CLS] before the first piece of each sequence.
        after = np.cumsum(end - begin + 1) + owner  # place of each piece's [SEP]
        source, piece = spread(begin, end)
        place = np.arange(len(source)) + piece + owner[piece] + 1

        tokens = np.empty(total, np.int32)
        tokens[place] = self.split.gather(source)
        special = np.ones(total, bool)
        special[place] = False
        tokens[special] = self.vocab.sep
        head = np.cumsum(lengths) - lengths
        tokens[head] = self.vocab.cls

        before = after - (
            end - begin
        )  # place of each piece's first token: a word and a sentence start there, cut or not
        starts = np.zeros(total, bool)
        starts[place] = self.split.starts(source)
        starts[before] = True
        sentences = np.zeros(total, bool)
        low, high = np.searchsorted(self.split.sentences, begin), np.searchsorted(self.split.sentences, end)
        numbers, piece = spread(low, high)
        sentences[np.asarray(self.split.sentences)[numbers] + (before - begin)[piece]] = True
        sentences[before] = True

        segments = np.repeat(self.segment[pieces], end - begin + 1 + np.append(True, np.diff(owner) > 0)[: len(owner)])
        return Row(
            tokens=tokens,
            segments=segments,
            starts=starts,
            special=special,
            sentences=sentences,
            lengths=lengths,
            labels=self.labels[indices],
            epoch=np.full(len(indices), self.epoch, np.int64),
            example=indices,
        )
