"""What a layout decides: which ranges of the corpus make which sequence.  Rows are assembled from it, many sequences at once.

s sequences, p pieces.  A sequence is [CLS] piece [SEP] piece [SEP] ...; a piece is a range of neighbouring tokens of the split.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bertsmith.data.batch import Array, Row, Vocab
from bertsmith.data.draw import share_before, shuffled
from bertsmith.data.ranges import numbers, spread


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
    cls: bool = True  # whether a sequence begins with one
    number: int = 0  # of the first sequence, among those of the epoch
    place: tuple[int, int] = (
        0,
        1,
    )  # of a plan of one section (sections.py): how many are read before it in the epoch, of how many
    step: ClassVar[int | None] = None  # tokens that an update reads; None: as many as fit the batch

    @cached_property
    def lengths(self) -> Array:
        """(s,) int64, specials included."""
        width = np.concatenate([[0], np.cumsum(self.end - self.begin + 1)])
        return width[self.first[1:]] - width[self.first[:-1]] + self.cls

    @cached_property
    def unread(self) -> int:
        """Tokens of the split that stand in no sequence."""
        order = np.argsort(self.begin, kind="stable")
        begin, end = self.begin[order], np.maximum.accumulate(self.end[order])
        before = np.concatenate([[0], end[:-1]])  # what pieces that begin earlier have read up to
        return self.split.count - int(np.maximum(end - np.maximum(begin, before), 0).sum())

    def read(self, indices: Array) -> dict[str, int]:
        """{language: tokens} of some sequences, where the split tells languages apart."""
        names = [stretch.language for stretch in self.split.languages]
        of = np.bincount(languages_of(self, indices), weights=self.lengths[indices], minlength=len(names))
        return dict(zip(names, of.astype(np.int64).tolist(), strict=True))

    @cached_property
    def order(self) -> Array:
        """(s,) the permutation that this epoch reads the sequences in."""
        return self.shuffled(self.epoch)

    def shuffled(self, epoch: int) -> Array:
        """(s,) the permutation of any epoch: a static view is read anew in another order."""
        return shuffled(self.seed, epoch, len(self.labels))

    @cached_property
    def into(self) -> Array:
        """(s,) the share of the epoch that is read before each sequence; of a static view, when it is first read."""
        before, of = self.place
        return (before + share_before(self.order)) / of

    def row(self, indices: Array) -> Row:
        """The sequences numbered `indices`, in that order, as one flat row."""
        indices = np.asarray(indices, np.int64)
        first, last = self.first[indices], self.first[indices + 1]
        pieces, opening = numbers(first, last), np.cumsum(last - first) - (last - first)
        begin, end, lengths = self.begin[pieces], self.end[pieces], self.lengths[indices]
        # One [CLS] stands before the first piece of each sequence, where it has one, and one [SEP] after each piece.
        width = end - begin + 1
        width[opening] += self.cls
        head, stop = np.cumsum(lengths) - lengths, np.cumsum(width)

        # Text is copied by places in the split; where a special stands, a neighbour's place fills the gap.
        source = np.repeat(end + 1 - stop, width)
        source += np.arange(len(source))
        head = head if self.cls else head[:0]
        source[head], source[stop - 1] = begin[opening][: len(head)], end - 1
        tokens = self.split.gather(source)
        tokens[head], tokens[stop - 1] = self.vocab.cls, self.vocab.sep
        special = np.zeros(len(source), bool)
        special[head] = special[stop - 1] = True
        front = stop - 1 - (end - begin)  # a word and a sentence start where a piece does, cut or not
        return Row(
            tokens=tokens,
            segments=np.repeat(self.segment[pieces], width),
            starts=lambda: self._starts(source, special, front),
            special=special,
            sentences=lambda: self._sentences(begin, end, front, len(source)),
            annotations=(lambda: self._annotations(source, special)) if _annotated(self.split) else None,
            entities=(lambda: self._entities(begin, end, front, len(source)))
            if getattr(self.split, "links", None)
            else None,
            lengths=lengths,
            labels=self.labels[indices],
            epoch=np.full(len(indices), self.epoch, np.int64),
            example=indices + self.number,
            into=lambda: self.into[indices],
        )

    def _starts(self, source: Array, special: Array, front: Array) -> Array:
        """(n,) bool: a word starts at these places of the split, or a piece does."""
        starts = self.split.starts(source)
        starts[special] = False
        starts[front] = True
        return starts

    def _annotations(self, source: Array, special: Array) -> Array:
        annotations = self.split.annotations(source)
        annotations[special] = 0
        return annotations

    def _entities(self, begin: Array, end: Array, front: Array, total: int) -> Array:
        """(total,) int32 as Row has them; of a mention that a piece begins within nothing is known."""
        links = self.split.links
        number, piece = spread(np.searchsorted(links.begin, begin), np.searchsorted(links.begin, end))
        first, last = links.begin[number], np.minimum(links.end[number], end[piece])
        moved = (front - begin)[piece]
        entities, entity = np.zeros(total, np.int32), links.entity[number].astype(np.int32) + 1
        inside, owner = spread(first + moved, last + moved)
        entities[inside] = -entity[owner]
        entities[first + moved] = entity
        return entities

    def _sentences(self, begin: Array, end: Array, front: Array, total: int) -> Array:
        """(total,) bool: a sentence of the split starts in one of the pieces, or a piece does."""
        bounds = np.asarray(self.split.sentences)
        number, piece = spread(np.searchsorted(bounds, begin), np.searchsorted(bounds, end))
        sentences = np.zeros(total, bool)
        sentences[bounds[number] + (front - begin)[piece]] = True
        sentences[front] = True
        return sentences


def languages_of(plan: Any, indices: Array) -> Array:
    """(s,) the number of the language of each sequence, among those of the split."""
    edges = plan.split.sentences[plan.split.documents[[stretch.first for stretch in plan.split.languages]]]
    return np.searchsorted(edges, plan.begin[plan.first[indices]], "right") - 1


def _annotated(split: Any) -> bool:
    return bool(getattr(split, "annotated", False) or getattr(split, "levels", ()))


def two_segments(begin: Array, end: Array, kept: Array) -> dict[str, Array]:
    """The pieces of a Plan whose sequences have a first and a second one, (s, 2) each, where they are `kept`."""
    return {
        "begin": begin[kept],
        "end": end[kept],
        "segment": np.broadcast_to(np.array([0, 1], np.uint8), kept.shape)[kept],
        "first": np.concatenate([[0], np.cumsum(kept.sum(1))]),
    }
