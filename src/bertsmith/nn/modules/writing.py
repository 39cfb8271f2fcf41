"""Models that go on with texts, a token at a time: what each step of a search asks.  b texts, V vocabulary.

A writer begins with whole texts or sources, is then told which token each text goes on with, and may be told to keep some texts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.asks import Asks
from bertsmith.nn.modules.cache import Cache


class Writer(Protocol):
    def begin(self) -> Tensor:
        """(b, V) logits of what comes first, one row for each text."""

    def step(self, tokens: Tensor) -> Tensor:
        """(b, V) logits of what comes next, after the texts have gone on with `tokens` (b,)."""

    def keep(self, rows: Tensor) -> None:
        """The texts `rows` (b',) alone, in that order; those that went on from one source stand together, as many of each."""


class Causal:
    """A stack that reads from the left goes on with its own text."""

    def __init__(self, member: Any, stream: Stream):
        self.member, self.stream = member, stream
        self.cache = Cache(len(member.model.layers))

    def begin(self) -> Tensor:
        ends = torch.tensor(self.stream.lengths, device=self.stream.tokens.device).cumsum(0) - 1
        hidden = self.member.model(self.stream, None, cache=self.cache)[ends]
        return said(self.member, hidden, self.stream.tokens[ends])

    def step(self, tokens: Tensor) -> Tensor:
        return said(self.member, self.member.model(stepped(tokens, self.cache.lengths), cache=self.cache), tokens)

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)


class Filling:
    """A stack that sees both sides writes behind the texts of a stream: a mask asks for the next token, which then takes its place.

    What a layer kept of the mask is forgotten: each step reads the token that came there, and the next mask behind it.
    """

    def __init__(self, member: Any, stream: Stream, asks: Asks):
        self.member, self.stream, self.asks = member, stream, asks
        self.cache = Cache(len(member.model.layers), forgets=1)

    def begin(self) -> Tensor:
        texts = texts_of(self.stream)
        stream = asking(texts, list(map(len, texts)), self.asks, self.stream.tokens.device)
        ends = torch.tensor(stream.lengths, device=stream.tokens.device).cumsum(0) - 1
        return self._said(self.member.model(stream, None, cache=self.cache)[ends])

    def step(self, tokens: Tensor) -> Tensor:
        masks, at = torch.full_like(tokens, self.asks.mask), self.cache.lengths
        two = torch.stack([tokens, masks], 1).flatten(), torch.stack([at, at + 1], 1).flatten()
        stream = stepped(*two, each=2, segment=self.asks.segments[1])
        return self._said(self.member.model(stream, cache=self.cache)[1::2])

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)

    def _said(self, hidden: Tensor) -> Tensor:
        masks = torch.full((len(hidden),), self.asks.mask, device=hidden.device)
        return said(self.member, hidden, masks)


class Decoder:
    """A decoder writes about what an encoder has read; `start`: the token that it is given first."""

    def __init__(self, member: Any, stream: Stream, start: int):
        self.member, self.start, self.texts = member, start, len(stream.lengths)
        self.source = member.model.source(stream)
        self.cache = member.model.cache()
        self.owner = torch.arange(self.texts, device=stream.tokens.device)  # (b,) the source of each text

    def begin(self) -> Tensor:
        return self.step(torch.full_like(self.owner, self.start))

    def step(self, tokens: Tensor) -> Tensor:
        lengths = torch.zeros_like(tokens) if self.cache.lengths is None else self.cache.lengths
        hidden = self.member.model.decoder(stepped(tokens, lengths), None, self.source, self.cache)
        return said(self.member, hidden, tokens)

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)
        left, self.owner = torch.unique_consecutive(self.owner[rows], return_inverse=True)
        if len(left) < self.texts:
            self.cache.keep_sources(left)
            self.texts = len(left)


class Running:
    """A stack of cells goes on with its own text: all that it keeps of one is a state."""

    def __init__(self, member: Any, stream: Stream):
        self.member, self.stream = member, stream
        self.states: list[tuple[Tensor, Tensor]] | None = None

    def begin(self) -> Tensor:
        return self._read(self.stream)

    def step(self, tokens: Tensor) -> Tensor:
        return self._read(stepped(tokens, torch.zeros_like(tokens)))

    def keep(self, rows: Tensor) -> None:
        self.states = [(said[rows], remembered[rows]) for said, remembered in self.states or ()]

    def _read(self, stream: Stream) -> Tensor:
        hidden, self.states = self.member.model.after(stream, self.states)
        ends = torch.tensor(stream.lengths, device=hidden.device).cumsum(0) - 1
        return said(self.member, hidden, stream.tokens[ends])


class Again:
    """Any of these by reading everything again at every step: the slow way, for bodies whose layers keep nothing, and the one that the
    others are compared with.  `said(texts, sizes)` -> (b, V): what comes behind each of `texts`, lists of tokens, of which `sizes` were given."""

    def __init__(self, said: Callable[[list[list[int]], list[int]], Tensor], texts: Sequence[Sequence[int]]):
        self.said, self.texts = said, [list(text) for text in texts]
        self.sizes = list(map(len, self.texts))

    def begin(self) -> Tensor:
        return self.said(self.texts, self.sizes)

    def step(self, tokens: Tensor) -> Tensor:
        self.texts = [[*text, token] for text, token in zip(self.texts, tokens.tolist(), strict=True)]
        return self.said(self.texts, self.sizes)

    def keep(self, rows: Tensor) -> None:
        self.texts = [list(self.texts[row]) for row in rows.tolist()]
        self.sizes = [self.sizes[row] for row in rows.tolist()]


def writer_of(member: Any, stream: Stream, asks: Asks) -> Writer:
    """How `member` writes about the texts of `stream`, or after them."""
    if asks.start is not None:
        return Decoder(member, stream, asks.start)
    if hasattr(member.model, "after") and asks.mask is None:
        return Running(member, stream)
    if member.model.keeps:
        return Causal(member, stream) if asks.mask is None else Filling(member, stream, asks)
    read = _behind if asks.mask is None else partial(_filled, asks=asks)
    return Again(lambda now, sizes: read(member, now, sizes, stream), texts_of(stream))


def said(member: Any, hidden: Tensor, read: Tensor) -> Tensor:
    """(b, V) of hidden states (b, d), where the tokens `read` (b,) stand."""
    return member.objective.answer("token", hidden, member.model, read)


def texts_of(stream: Stream) -> list[list[int]]:
    return [part.tokens.tolist() for part in stream.split([1] * len(stream.lengths))]


def _behind(member: Any, texts: list[list[int]], sizes: list[int], like: Stream) -> Tensor:
    """(b, V) logits of what comes behind each of the texts, all read anew."""
    flat, place, lengths = _flat(texts, like.tokens.device)
    ranks = {"query_rank": place, "key_rank": place}
    zeros = torch.zeros_like(flat)
    stream = Stream(tokens=flat, positions=place, segments=zeros, **ranks, lengths=lengths, visibility="causal")
    return _at_ends(member, stream)


def _filled(member: Any, texts: list[list[int]], sizes: list[int], like: Stream, asks: Asks) -> Tensor:
    """The same of what fills masks."""
    return _at_ends(member, asking(texts, sizes, asks, like.tokens.device))


def _at_ends(member: Any, stream: Stream) -> Tensor:
    ends = torch.tensor(stream.lengths, device=stream.tokens.device).cumsum(0) - 1
    return member.objective.logits(member.model, stream, ends)


def asking(texts: list[list[int]], sizes: list[int], asks: Asks, device: torch.device) -> Stream:
    """Each text with a mask behind it.  The first `sizes` tokens of each see each other, those behind them also themselves and what stands
    between."""
    flat, place, lengths = _flat([[*text, asks.mask] for text in texts], device)
    given = torch.tensor(sizes, device=device).repeat_interleave(torch.tensor(lengths, device=device))
    read, (of_text, of_target) = place < given, asks.segments
    rank = torch.where(read, 0, place)
    segments = torch.where(read, of_text, of_target)
    ranks = {"query_rank": rank, "key_rank": rank}
    return Stream(tokens=flat, positions=place, segments=segments, **ranks, lengths=lengths, visibility="ranks")


def _flat(texts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """(tokens, places in their texts, lengths)."""
    lengths = tuple(map(len, texts))
    flat, place = (
        torch.tensor([x for row in rows for x in row], device=device) for rows in (texts, map(range, lengths))
    )
    return flat, place, lengths


def stepped(tokens: Tensor, positions: Tensor, each: int = 1, segment: int = 0) -> Stream:
    """`each` further tokens of each text (b * each,), at `positions`."""
    zeros = torch.zeros_like(tokens)
    return Stream(
        tokens=tokens,
        positions=positions,
        segments=zeros + segment,
        query_rank=zeros,
        key_rank=zeros,
        lengths=(each,) * (len(tokens) // each),
    )
