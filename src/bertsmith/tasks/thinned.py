"""Texts that are read without most of their words and written whole (objectives/denoising.py).  w texts of n tokens; m are written.

A word goes, all of its tokens with it, with a probability of its own, and one of each text stays (Wang et al. 2021, section 5.1:
60 %).  The decoder reads `[CLS] text` and is asked for `text [SEP]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from bertsmith.data.batch import Batch
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.denoise import seen
from bertsmith.data.draw import counted, hashed, uniform
from bertsmith.data.ranges import numbers, sums
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Array, Asked, Builder, Encoded


@dataclass(frozen=True, kw_only=True)
class Thinned(Encoded):
    """`starts` (n,) bool: a word starts here; `text` (n,) bool: what is not special; `rate`: the share of words that go; `ends`: the
    tokens that a decoder begins with, and that it writes last."""

    starts: Array
    text: Array
    rate: float
    ends: tuple[int, int]

    @cached_property
    def sizes(self) -> Array:
        """(w,) tokens that are written of each text, the end included."""
        return sums(self.text.astype(np.int64), self.lengths) + 1

    def asked_for(self, term: str) -> Asked:
        """Every token that is written, whose numbers `batch` has."""
        none = np.zeros(int(self.sizes.sum()), np.int64)
        return Asked(term=term, labels=none, at=none, each=self.sizes)

    def batch(self, which: Array, asked: Asked | None = None, keys: Array | None = None) -> Batch:
        """The texts `which`, in this order; unless something is asked, whole.  `keys` (w,): what the draws of each begin with."""
        if asked is None:
            return super().batch(which)
        keys = hashed(0, "hidden", which) if keys is None else keys
        starts = np.concatenate([[0], np.cumsum(self.lengths)])[which]
        lengths = self.lengths[which]
        flat = numbers(starts, starts + lengths)
        text, stays = self.text[flat], self._stay(flat, lengths, keys)
        left = sums(stays.astype(np.int64), lengths)
        read = seen(self.tokens[flat[stays]].astype(np.int64), left)
        hidden = np.ones(len(read.tokens), bool)
        hidden[np.cumsum(left) - left + self.reading.whole_at(left)] = False
        read = replace(read, segments=self.segments[flat[stays]].astype(np.int64), hidden=hidden)
        sizes = self.sizes[which]
        written = np.full(int(sizes.sum()), self.ends[1], np.int64)
        behind = np.ones(len(written), bool)
        behind[np.cumsum(sizes) - 1] = False
        written[behind] = self.tokens[flat[text]]
        output, target = decoded(shifted(written, sizes, self.ends[0]), written, sizes)
        examples = tuple((0, int(i)) for i in self.owner[which])
        return Batch(input=read, output=output, targets={asked.term: target}, examples=examples)

    def _stay(self, flat: Array, lengths: Array, keys: Array) -> Array:
        """(n,) bool: special tokens, and the words that stay."""
        starts, text = self.starts[flat], self.text[flat]
        each = sums(starts.astype(np.int64), lengths)
        drawn, of = uniform(counted(keys, each)), np.repeat(np.arange(len(each)), each)
        most = np.zeros(len(each))
        np.maximum.at(most, of, drawn)
        stay = (drawn >= self.rate) | (drawn == most[of])  # the greatest is any of them, where all are below
        found = ~text
        found[text] = stay[np.cumsum(starts)[text] - 1]
        return found


def encode(
    tokenizer: Any, texts: Sequence[str], reading: Reading, rate: float, where: Callable[[int], str] = "text {}".format
) -> Thinned:
    """Texts as `encode_apart` reads them; a piece of a word at the beginning is a word."""
    builder = Builder(vocab=tokenizer.vocab, reading=reading, pairs=False)
    room, lead, starts, text = builder.room, reading.lead, [], []
    for i, (ids, begun) in enumerate(tokenizer.encode([*texts])):
        end = reading.views(len(ids), room, lambda i=i: where(i))[0][1]
        builder.counts["long"] += len(ids) > room
        builder.counts["cut"] += len(ids) - end
        size = builder.add(i, np.asarray(ids[:end], np.int32))
        own = np.zeros((2, size), bool)
        own[0, lead : lead + end], own[1, lead : lead + end] = begun[:end], True
        own[0, lead : lead + min(end, 1)] = True
        starts.append(own[0])
        text.append(own[1])
    found = builder.encoded(len(texts))
    return Thinned(
        **{f.name: getattr(found, f.name) for f in fields(found)},
        starts=np.concatenate([np.zeros(0, bool), *starts]),
        text=np.concatenate([np.zeros(0, bool), *text]),
        rate=rate,
        ends=(tokenizer.vocab.cls, tokenizer.vocab.sep),
    )
