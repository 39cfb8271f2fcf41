"""What is asked about a sentence: which sentences stand beside it, or what is written in them.  Nothing is hidden.  n tokens, s sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bertsmith.data.batch import Array, Batch, Examples, Row, Stream, Target, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.ranges import numbers
from bertsmith.data.select import columns

BEFORE, ITSELF, BEHIND = range(3)  # segments of a sentence among its neighbours
SENTENCE, PREVIOUS, NEXT = "sentence", "previous", "next"  # the terms


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """No token is hidden."""

    rate: ClassVar[float] = 0.0
    meets: ClassVar[bool] = False  # there is no rate to meet

    def __call__(self, row: Row, draw: Draw) -> Array:
        none = np.zeros(0, np.int64)
        return columns(none, none)


@dataclass(frozen=True, kw_only=True)
class InContext:
    """Each sentence is read as it is and asked which others of the update stand beside it (Logeswaran & Lee 2018).

    Its labels (s, 2) say where it stands: the document and the number of the sentence.
    """

    masks: ClassVar[bool] = False

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        labels = np.stack([row.labels, row.example], 1)
        return Batch(
            input=Stream.plain(row, row.tokens),
            targets={SENTENCE: Target(at=row.offsets[:-1, None], labels=labels)},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        return {SENTENCE: len(row.lengths)}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The sentence itself is read; the one before and the one behind it are written, each token from those before it (Kiros et al. 2015).

    `output` has both in one sequence, [CLS] and then the tokens but the last, the one of segment 0, the other of segment 1, where its
    positions begin anew; what is asked ends with [SEP].
    """

    masks: ClassVar[bool] = False
    of_tokens: ClassVar[tuple[str, ...]] = (PREVIOUS, NEXT)  # terms whose labels are tokens

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        parts = Parts.of(row)
        own = parts.segment == ITSELF
        read = _framed(row, parts.begin[own], parts.end[own], vocab)
        begin, end = parts.begin[~own], parts.end[~own]
        tokens, positions = _framed(
            row, begin, end - 1, vocab
        )  # what a decoder reads ends before the [SEP] that it says
        labels = row.tokens[numbers(begin, end)].astype(np.int64)
        behind = np.repeat(parts.segment[~own] == BEHIND, end - begin)
        at = np.arange(len(tokens))[:, None]
        lengths = np.bincount(parts.sequence[~own], weights=end - begin, minlength=len(row.lengths)).astype(np.int64)
        targets = {
            name: Target(at=at[mask], labels=labels[mask]) for name, mask in ((PREVIOUS, ~behind), (NEXT, behind))
        }
        return Batch(
            input=_stream(*read, parts.end[own] - parts.begin[own] + 1, "full"),
            output=_stream(tokens, positions, lengths, "causal", behind.astype(np.uint8)),
            targets={name: target for name, target in targets.items() if len(target)},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        parts = Parts.of(row)
        wide = parts.end - parts.begin
        found = {PREVIOUS: int(wide[parts.segment == BEFORE].sum()), NEXT: int(wide[parts.segment == BEHIND].sum())}
        return {name: count for name, count in found.items() if count}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The sentences of a row's sequences, (p,) each: from `begin`, which is text, to behind the [SEP] that ends it."""

    begin: Array
    end: Array
    segment: Array
    sequence: Array

    @classmethod
    def of(cls, row: Row) -> Parts:
        ends = row.special.copy()
        ends[row.offsets[:-1]] = False  # [CLS]
        end = np.flatnonzero(ends) + 1
        begin = np.concatenate([[0], end[:-1]])
        sequence = row.sequence[end - 1]
        return cls(
            begin=begin + (sequence != np.concatenate([[-1], sequence[:-1]])),  # behind [CLS]
            end=end,
            segment=row.segments[end - 1],
            sequence=sequence,
        )


def _framed(row: Row, begin: Array, end: Array, vocab: Vocab) -> tuple[Array, Array]:
    """Each part behind a [CLS]: tokens and positions."""
    width = end - begin + 1
    head = np.cumsum(width) - width
    tokens = row.tokens[numbers(begin - 1, end)]
    tokens[head] = vocab.cls
    return tokens, (np.arange(len(tokens)) - np.repeat(head, width)).astype(np.int32)


def _stream(tokens: Array, positions: Array, lengths: Array, visibility: str, segments: Any = None) -> Stream:
    zeros = np.zeros(len(tokens), np.uint8)
    rank: Any = positions if visibility == "causal" else zeros
    return Stream(
        tokens=tokens,
        positions=positions,
        segments=zeros if segments is None else segments,
        query_rank=rank,
        key_rank=rank,
        lengths=tuple(lengths.tolist()),
        visibility=visibility,
    )
