"""Rewrites of models that read with one stack and write with another: what stands in place of the hidden spans, and what is written.

n tokens, m spans, s sequences.  BART (Lewis et al. 2020, section 2.2) and T5 (Raffel et al. 2020, sections 3.1.4 and 3.3) are values of
one rewrite; which spans are hidden, and in which order the text is read, a corruption says elsewhere.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import SENTINEL, Array, Batch, Examples, Row, Stream, Vocab
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.draw import Draw, halves, integers, scaled
from bertsmith.data.ranges import numbers, sums, within
from bertsmith.data.rewrite import bits_at, ordinary, share_of
from bertsmith.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Denoise:
    """`stand`: in a hidden span's place stands a [MASK] for each of its tokens ("masks"), one for all ("mask": infilling, empty spans
    too), a sentinel of its own ("sentinel"), or nothing ("nothing": deletion).  `random`: the share of these [MASK] that are a random token instead.

    `write`: the whole text ("all"), or what is hidden and an end ("hidden"), each span behind its sentinel where it has one.  The decoder
    begins with `start`.  `rotate`: the share of sequences that are read from a random token on, and then up to it.
    `reads`: what the decoder is told of the text: every state ("all"), or that of its first token alone ("first"), so that one vector has to hold
    all of it (TSDAE: Wang et al. 2021, section 3, with stand="nothing" and 60 % of the words).
    `sentinels`: how many there are; they follow the tokenizer's own tokens, the first with the highest id, unless it has some.
    """

    stand: Literal["masks", "mask", "sentinel", "nothing"]
    write: Literal["all", "hidden"] = "all"
    random: float = 0.0
    rotate: float = 0.0
    start: Literal["pad", "cls", "sep"] = "sep"
    sentinels: int = 0
    reads: Literal["all", "first"] = "all"

    def __post_init__(self):
        for name in ("random", "rotate"):
            require(0 <= getattr(self, name) <= 1, f"corruption.rewrite.{name}: {getattr(self, name)} is not a share")
        marked = self.stand == "sentinel"
        require(
            (self.sentinels > 0) == marked,
            f"corruption.rewrite.sentinels: {self.sentinels}, where {self.stand} stand{'s' * (self.stand != 'masks')} for a span; "
            + ("at least 1" if marked else "only stand=sentinel has them"),
        )
        require(
            not self.random or self.stand in ("masks", "mask"),
            f"corruption.rewrite.random: {self.random}, but no [MASK] is placed (stand={self.stand})",
        )

    @property
    def whole(self) -> bool:
        """Whether the decoder has learned to say all of a text."""
        return self.write == "all"

    @property
    def masks(self) -> bool:
        """Whether the tokenizer must have a [MASK]."""
        return self.stand in ("masks", "mask")

    def __call__(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> Batch:
        tokens, lengths = self._read(row, spans, vocab, draw)
        if self.rotate:
            tokens = tokens[self._rotated(row, lengths, draw)]
        asked, count = self._written(row, spans, vocab)
        output, target = decoded(shifted(asked, count, getattr(vocab, self.start)), asked, count)
        read = seen(tokens, lengths)
        if self.reads == "first":
            read = replace(read, hidden=read.positions > 0)
        return Batch(
            input=read,
            output=output,
            targets={"token": target},
            examples=Examples(row.epoch, row.example),
        )

    def counts(self, row: Row, spans: Array, draw: Draw) -> dict[str, int]:
        """What `counts()` of the batch will be, without making it."""
        if self.write == "all":
            return {"token": len(row.tokens)}
        hidden = int((spans[:, 1] - spans[:, 0]).sum()) + len(row.lengths)
        return {"token": hidden + (len(spans) if self.stand == "sentinel" else 0)}

    def marks(self, vocab: Vocab) -> Array:
        """(sentinels,) int32: the ids that stand for the first span, the second, ..."""
        return _marks(vocab, self.sentinels)

    def names(self, vocab: Vocab) -> dict[int, str]:
        """Of the sentinels, by id."""
        return {int(i): SENTINEL.format(number) for number, i in enumerate(self.marks(vocab))}

    def _numbered(self, row: Row, spans: Array, vocab: Vocab) -> Array:
        """(m,) each span's sentinel.  InputError where a sequence has more spans than there are."""
        count = spans_of(row, spans)
        marks, most = self.marks(vocab), int(count.max(initial=0))
        if most > len(marks):
            raise InputError(
                f"corruption.rewrite.sentinels: {len(marks)}, but a sequence of {int(row.lengths[count.argmax()])} tokens has {most} hidden spans; "
                f"raise it, or lower layout.length or corruption.select.rate"
            )
        return marks[np.arange(len(spans)) - np.repeat(np.cumsum(count) - count, count)]

    def _read(self, row: Row, spans: Array, vocab: Vocab, draw: Draw) -> tuple[Array, Array]:
        """What the encoder reads, and its lengths (s,)."""
        begin = spans[:, 0]
        if self.stand == "masks":
            at, tokens = numbers(begin, spans[:, 1]), row.tokens.copy()
            tokens[at] = self._masks(row, at, vocab, draw)
            return tokens, row.lengths
        # Each span leaves, and its mark comes: what stands behind it is read from further on, by as much as all spans so far have taken.
        width, marked = spans[:, 1] - begin, int(self.stand != "nothing")
        taken = np.cumsum(width - marked)
        place = begin - taken + width - marked
        edges = np.concatenate([[0], place, [len(row.tokens) - (taken[-1] if len(taken) else 0)]])
        source = np.repeat(np.concatenate([[0], taken]), np.diff(edges))
        source += np.arange(len(source))
        tokens = row.tokens[source]
        if marked:
            tokens[place] = (
                self._numbered(row, spans, vocab) if self.sentinels else self._masks(row, begin, vocab, draw)
            )
        return tokens, row.lengths - sums(width - marked, spans_of(row, spans))

    def _masks(self, row: Row, at: Array, vocab: Vocab, draw: Draw) -> Array:
        """What is placed at `at`, [MASK] but for a `random` share."""
        tokens = np.full(len(at), vocab.mask, np.int32)
        if self.random:
            choice, place = halves(bits_at(draw, "rewrite", row, at))
            some, text = choice < share_of(self.random), ordinary(vocab)
            tokens[some] = text[scaled(place[some], len(text))]
        return tokens

    def _written(self, row: Row, spans: Array, vocab: Vocab) -> tuple[Array, Array]:
        """What the decoder is asked for, and its lengths (s,)."""
        if self.write == "all":
            return row.original, row.lengths
        width, marked = spans[:, 1] - spans[:, 0], int(self.stand == "sentinel")
        spans_in = spans_of(row, spans)
        lengths = sums(width + marked, spans_in) + 1
        found = np.full(int(lengths.sum()), vocab.sep, np.int32)
        sequence = np.repeat(np.arange(len(lengths)), spans_in)
        begin = np.cumsum(width + marked) - (width + marked) + sequence  # an end for each sequence before
        found[numbers(begin + marked, begin + marked + width)] = row.tokens[numbers(spans[:, 0], spans[:, 1])]
        if marked:
            found[begin] = self._numbered(row, spans, vocab)
        return found, lengths

    def _rotated(self, row: Row, lengths: Array, draw: Draw) -> Array:
        """(n,) the places of what is read, in the order that it is read in; specials at both ends stay."""
        first, last = row.offsets[:-1], row.offsets[1:] - 1
        begin, end = np.cumsum(lengths) - lengths + row.special[first], np.cumsum(lengths) - row.special[last]
        text = np.maximum(end - begin, 0)
        by = integers(draw.keys("from", row), np.maximum(text - 1, 0)) + 1
        by = np.where((draw.sequences("rotate", row) < self.rotate) & (text > 1), by, 0)
        places = np.arange(int(lengths.sum()))
        inner = numbers(begin, begin + text)
        start, turn, size = (np.repeat(x, text) for x in (begin, by, text))
        places[inner] = start + (inner - start + turn) % size
        return places


def seen(tokens: Array, lengths: Array) -> Stream:
    """The side of an encoder: all of a sequence sees all of it."""
    zeros = np.zeros(len(tokens), np.uint8)
    return Stream(
        tokens=tokens,
        positions=within(lengths),
        segments=zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=tuple(lengths.tolist()),
    )


def spans_of(row: Row, spans: Array) -> Array:
    """(s,) how many spans each sequence has."""
    return np.diff(np.searchsorted(spans[:, 0], row.offsets))


@lru_cache(maxsize=8)
def _marks(vocab: Vocab, count: int) -> Array:
    own = vocab.sentinels[:count] or range(vocab.size + count - 1, vocab.size - 1, -1)
    return np.array(own, np.int32)
