"""Texts that are read, and texts that are written about them.  w pairs; n tokens read, m written, ends included.

A decoder reads what is written up to each token, behind the token that it begins with, and the other stack the text.  A language model
reads one sequence, `text [SEP] target [SEP]`, and is asked for the target alone.  So does an encoder, `[CLS] text [SEP] target [SEP]`: the text
sees itself, a token of the target the text and the target up to itself; it is asked for those that are hidden (Dong et al. 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.draw import hashed
from bertsmith.data.hidden import hidden, hidden_of
from bertsmith.errors import InputError
from bertsmith.nn.asks import Asks
from bertsmith.spelling import amount, setting
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Array, Asked, Builder, Encoded

TERM = "token"


@dataclass(frozen=True)
class Answer:
    """What was written about a text.  `score`: the sum of the tokens' log-probabilities, as the search has it."""

    text: str
    score: float
    stopped: Literal["end", "limit"]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """`read`: the texts as sequences; `written` (m,) what follows each, `sizes` (w,) tokens (none of texts that are to be answered).
    `asks`: how the model is asked for them; `rate`: of a target's tokens, the share that are hidden where masks ask."""

    read: Encoded
    written: Array
    sizes: Array
    asks: Asks
    rate: float
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def rows(self) -> int:
        return self.read.rows

    @property
    def owner(self) -> Array:
        return self.read.owner

    @cached_property
    def lengths(self) -> Array:
        """(w,) tokens that go in, of both sides."""
        return self.read.lengths + self.sizes

    @cached_property
    def tokens(self) -> Array:
        """All of both sides."""
        return np.concatenate([self.read.tokens, self.written])

    @cached_property
    def each(self) -> Array:
        """(w,) tokens of each target that are asked for."""
        return self.sizes if self.asks.mask is None else hidden_of(self.sizes, self.rate)

    @cached_property
    def _from(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def batch(self, which: Array, asked: Asked | None = None, keys: Array | None = None) -> Batch:
        """The pairs `which` in this order; unless something is asked, what is read of them alone.

        `keys` (w,): what the draws of hidden tokens begin with; None: the same ones always.
        """
        batch = self.read.batch(which)
        if asked is None:
            return batch
        sizes = self.sizes[which]
        targets = np.concatenate([self.written[a:b] for a, b in zip(self._from[which], self._from[which + 1])])
        if self.asks.start is None:
            stream, own = _behind(batch.input, targets, sizes, self.asks.segments[1])
            target = Target(at=own[:, None] - 1, labels=targets.astype(np.int64))
            if self.asks.mask is not None:
                keys = hashed(0, "hidden", which) if keys is None else keys
                stream, target = _masked(stream, own[hidden(keys, sizes, self.rate)], self.asks.mask)
            return Batch(input=stream, targets={TERM: target}, examples=batch.examples)
        output, target = decoded(shifted(targets, sizes, self.asks.start), targets, sizes)
        return Batch(input=batch.input, output=output, targets={TERM: target}, examples=batch.examples)

    def by_length(self, budget: int) -> list[Array]:
        """All pairs, longest first, cut into groups of at most `budget` tokens (or one pair)."""
        return self.read.by_length(budget)


def _behind(stream: Stream, targets: Array, sizes: Array, segment: int) -> tuple[Stream, Array]:
    """Sequences that go on with their targets, which have a segment; (m,) where the targets' tokens stand."""
    lengths = np.array(stream.lengths) + sizes
    end = np.cumsum(lengths)
    place = np.arange(int(lengths.sum())) - np.repeat(end - lengths, lengths)
    own = place >= np.repeat(lengths - sizes, lengths)
    tokens, segments = np.empty(len(place), np.int64), np.full(len(place), segment)
    tokens[own], tokens[~own] = targets, stream.tokens
    segments[~own] = stream.segments
    prefix = stream.visibility == "full"
    rank = np.where(own, place, 0) if prefix else place
    whole = Stream(
        tokens=tokens,
        positions=place,
        segments=segments,
        query_rank=rank,
        key_rank=rank,
        lengths=tuple(lengths.tolist()),
        visibility="ranks" if prefix else "causal",
    )
    return whole, np.flatnonzero(own)


def _masked(stream: Stream, at: Array, mask: int) -> tuple[Stream, Target]:
    """With `mask` at the places `at` (m,), which are asked for what stood there.  None becomes another token or stays as it is: what is
    written later finds masks, and nothing but masks, where it is asked (the paper's text; its released code does as in pre-training)."""
    tokens = stream.tokens.copy()
    tokens[at] = mask
    return replace(stream, tokens=tokens), Target(at=at[:, None], labels=stream.tokens[at])


def encode(
    tokenizer: Any,
    texts: Sequence[str],
    targets: Sequence[str] | None,
    reading: Reading,
    limit: int,
    where: Callable[[int], str],
    prefix: bool = False,
    rate: float = 1.0,
) -> Pairs:
    """`limit`: tokens of a target at most, its end included; more are cut and counted, or an InputError where `reading.on_long` is that.

    `prefix`: what a language model reads sees all of itself.  `rate`: of `Pairs`.
    """
    reading, vocab = reading.to_write(), tokenizer.vocab
    sees = replace(reading, causal=False) if prefix else reading
    builder = Builder(vocab=vocab, reading=sees, pairs=False)
    room = builder.room - (limit if reading.together else 0)
    if room < 1:
        raise InputError(
            f"target_length: {limit} of {reading.length} tokens leave no room for the text; lower it, or raise length"
        )
    for i, (ids, _) in enumerate(tokenizer.encode(list(texts))):
        ids = np.asarray(ids, np.int32)
        start, end = reading.views(len(ids), room, lambda i=i: where(i))[0]
        builder.counts["long"] += len(ids) > room
        builder.counts["cut"] += len(ids) - end + start
        builder.add(i, ids[start:end])
    written, counts, notes = _targets(tokenizer, targets, reading, limit, where)
    read = builder.encoded(len(texts))
    return Pairs(
        read=read,
        written=np.concatenate([np.zeros(0, np.int32), *written]),
        sizes=np.array([len(ids) for ids in written], np.int64) if written else np.zeros(len(read), np.int64),
        asks=reading.asks(vocab),
        rate=rate,
        counts={**read.counts, **counts},
        notes=notes,
    )


def _targets(
    tokenizer: Any, targets: Sequence[str] | None, reading: Reading, limit: int, where: Callable[[int], str]
) -> tuple[list[Array], dict[str, int], tuple[str, ...]]:
    """(tokens of each, with an end; counts; what a user should know)."""
    if targets is None:
        return [], {}, ()
    found, long, cut, other = [], 0, 0, []
    for i, (ids, _) in enumerate(tokenizer.encode(list(targets))):
        if len(ids) >= limit:
            if reading.on_long == "error":
                raise InputError(
                    f"{where(i)}: target: {amount(len(ids) + 1, 'token')}, its end included, and {limit} are written at most; {setting('target_length')} takes more"
                )
            long, cut = long + 1, cut + len(ids) + 1 - limit
        found.append(np.array([*ids[: limit - 1], tokenizer.vocab.sep], np.int32))
        if (
            len(ids) < limit and tokenizer.decode(ids).strip() != targets[i].strip()
        ):  # a blank before the first word is the tokenizer's
            other.append(i)
    counts = {"targets": int(sum(map(len, found))), "long_targets": long, "cut_targets": cut}
    notes = []
    if long:
        notes.append(
            f"{long:,} of {amount(len(found), 'target')} ({long / len(found):.1%}) are longer than {amount(limit, 'token')}; {amount(cut, 'token')} cut"
        )
    if other:
        first = targets[other[0]]
        back = tokenizer.decode(tokenizer.encode([first])[0][0]).strip()
        notes.append(
            f"{len(other):,} of {len(found):,} targets cannot be written as they stand with this tokenizer: {_quoted(first, back)}"
        )
    return found, counts, tuple(notes)


def _quoted(text: str, back: str) -> str:
    """Where two texts part, with what stands round it."""
    at = next((i for i, (a, b) in enumerate(zip(text, back)) if a != b), min(len(text), len(back)))
    at = max(0, at - 10)
    return f"{text[at : at + 24]!r} becomes {back[at : at + 24]!r}"


def longest(tokenizer: Any, targets: Sequence[str]) -> int:
    """Tokens of the longest target, its end included."""
    return 1 + max((len(ids) for ids, _ in tokenizer.encode(list(targets))), default=0)
