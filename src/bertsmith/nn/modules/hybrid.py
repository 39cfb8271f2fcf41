"""What nn/hybrid.py builds.  n tokens of s sequences, w <= n words, u different spelled ones of up to c characters, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.bywords import SPELLED, ByWords
from bertsmith.nn.modules.positions import Position
from bertsmith.nn.modules.recurrent import RecurrentStack

if TYPE_CHECKING:
    from bertsmith.nn.hybrid import Composed, Hybrid


def streamed(symbols: Tensor, lengths: tuple[int, ...]) -> Stream:
    """Flat symbols (m,) of words of these lengths, as a stack reads them."""
    zeros = torch.zeros_like(symbols)
    return Stream(tokens=symbols, positions=zeros, segments=zeros, query_rank=zeros, key_rank=zeros, lengths=lengths)


class ComposedEmbeddings(nn.Module):
    def __init__(self, part: Composed, model: Any):
        super().__init__()
        from bertsmith.nn.hybrid import reader

        self.longest = part.longest
        self.tokens = nn.Embedding(model.vocab, model.width)
        self.characters = RecurrentStack(reader(model.letters, part.layers, model.width))
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d): each different word that is spelled is composed once."""
        x = self.tokens(stream.tokens)
        spelled = stream.features.get(SPELLED)
        if spelled is not None:
            spelled = spelled[:, : self.longest]
            at = (spelled[:, 0] > 0).nonzero()[:, 0]
            if len(at):
                found, where = torch.unique(spelled[at], dim=0, return_inverse=True)
                x = x.index_copy(0, at, pick(self.composed(found), where).to(x.dtype))
        return self.dropout(positions.embed(x, stream))

    def composed(self, spelled: Tensor) -> Tensor:
        """(u, c) symbols, 0 behind a word's last -> (u, d)."""
        there = spelled > 0
        said, _ = self.characters.after(streamed(spelled[there], tuple(there.sum(1).tolist())))
        return said


class WordStack(RecurrentStack):
    """Layers read a stream of words; what is asked and answered are places of the stream of tokens, those of a word alike."""

    config: Hybrid

    def said(self, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        by = ByWords.of(stream, self.config.letters)
        if by is None:
            return super().said(stream, read)
        words, where = torch.unique(by.word if read is None else by.word[read], return_inverse=True)
        raw, said = super().said(by.stream, words)
        return pick(raw, where), pick(said, where)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        by = ByWords.of(stream, self.config.letters)
        made = super().states(stream if by is None else by.stream, layers)
        return made if by is None else [pick(x, by.word) for x in made]

    def worded(self, stream: Stream) -> Tensor | None:
        """(n,) bool: one token of each word, which a mean over words goes by; None where every token is one."""
        by = ByWords.of(stream, self.config.letters)
        return None if by is None else by.once
