"""Models that go on with texts, a token at a time: what each step of a search asks.  b texts, V vocabulary.

A writer begins with whole texts or sources, is then told which token each text goes on with, and may be told to keep some texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bertsmith.data.batch import Stream
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
        return self._said(hidden, self.stream.tokens[ends])

    def step(self, tokens: Tensor) -> Tensor:
        return self._said(self.member.model(stepped(tokens, self.cache.lengths), cache=self.cache), tokens)

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)

    def _said(self, hidden: Tensor, read: Tensor) -> Tensor:
        return self.member.objective.answer("token", hidden, self.member.model, read)


class Decoder:
    """A decoder writes about what an encoder has read; `start`: the token that it is given first."""

    def __init__(self, member: Any, stream: Stream, start: int):
        self.member, self.start, self.texts = member, start, len(stream.lengths)
        self.source = member.model.source(stream)
        self.cache = Cache(len(member.model.decoder.layers))
        self.owner = torch.arange(self.texts, device=stream.tokens.device)  # (b,) the source of each text

    def begin(self) -> Tensor:
        return self.step(torch.full_like(self.owner, self.start))

    def step(self, tokens: Tensor) -> Tensor:
        lengths = torch.zeros_like(tokens) if self.cache.lengths is None else self.cache.lengths
        hidden = self.member.model.decoder(stepped(tokens, lengths), None, self.source, self.cache)
        return self.member.objective.answer("token", hidden, self.member.model, tokens)

    def keep(self, rows: Tensor) -> None:
        self.cache.keep(rows)
        left, self.owner = torch.unique_consecutive(self.owner[rows], return_inverse=True)
        if len(left) < self.texts:
            self.cache.keep_sources(left)
            self.texts = len(left)


class Again:
    """Any of these by reading everything again at every step: the slow way, for bodies whose layers keep nothing, and the one that the
    others are compared with.  `said(texts)` -> (b, V): what comes behind each of `texts`, lists of tokens."""

    def __init__(self, said: Any, texts: Sequence[Sequence[int]]):
        self.said, self.texts = said, [list(text) for text in texts]

    def begin(self) -> Tensor:
        return self.said(self.texts)

    def step(self, tokens: Tensor) -> Tensor:
        self.texts = [[*text, token] for text, token in zip(self.texts, tokens.tolist(), strict=True)]
        return self.said(self.texts)

    def keep(self, rows: Tensor) -> None:
        self.texts = [list(self.texts[row]) for row in rows.tolist()]


def writer_of(member: Any, stream: Stream, start: int | None) -> Writer:
    """How `member` writes about the texts of `stream`, or after them; `start`: the token that its decoder is given first, None without one."""
    if start is not None:
        return Decoder(member, stream, start)
    if member.model.keeps:
        return Causal(member, stream)
    texts = [part.tokens.tolist() for part in stream.split([1] * len(stream.lengths))]
    return Again(lambda now: _behind(member, now, stream), texts)


def _behind(member: Any, texts: list[list[int]], like: Stream) -> Tensor:
    """(b, V) logits of what comes behind each of the texts, all read anew."""
    lengths = tuple(map(len, texts))
    flat, place = (
        torch.tensor([x for row in rows for x in row], device=like.tokens.device)
        for rows in (texts, map(range, lengths))
    )
    ranks = {"query_rank": place, "key_rank": place}
    zeros = torch.zeros_like(flat)
    stream = Stream(tokens=flat, positions=place, segments=zeros, **ranks, lengths=lengths, visibility="causal")
    ends = torch.tensor(lengths, device=flat.device).cumsum(0) - 1
    return member.objective.logits(member.model, stream, ends)


def stepped(tokens: Tensor, positions: Tensor) -> Stream:
    """One token of each text (b,), at `positions` (b,)."""
    zeros = torch.zeros_like(tokens)
    return Stream(
        tokens=tokens,
        positions=positions,
        segments=zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=(1,) * len(tokens),
    )
