"""What nn/characters.py builds.  n tokens, u different ones, c bytes of a token, f filters in all, d width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.characters import SYMBOLS
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.characters import Characters

BEGIN, END, FILLER = 259, 260, 261  # of a word; a byte b is b + 1
GOES_ON = "##"  # before a piece that goes on with a word


def spelled(names: Sequence[str], longest: int) -> np.ndarray:
    """(V, c) int32: the symbols of each token, filled up."""
    found = np.full((len(names), longest), FILLER, np.int32)
    for row, name in zip(found, names, strict=True):
        goes_on = name.startswith(GOES_ON) and len(name) > len(GOES_ON)
        text = (name[len(GOES_ON) :] if goes_on else name).encode()
        symbols = [*([] if goes_on else [BEGIN]), *(byte + 1 for byte in text)][: longest - 1]
        row[: len(symbols) + 1] = [*symbols, END]
    return found


class Highway(nn.Module):
    """y = c t + (1 - c) x, where c is a gate that begins nearly shut (Srivastava et al. 2015)."""

    def __init__(self, width: int):
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x).sigmoid()
        return gate * self.transform(x).relu() + (1 - gate) * x


class CharacterEmbeddings(nn.Module):
    """`spelling` (V, c): given with the tokenizer (`spell`); before that a token is spelled by its number."""

    tokens = None  # there is no table
    spelling: Tensor

    def __init__(self, part: Characters, model: Any):
        super().__init__()
        self.part = part
        self.symbols = nn.Embedding(SYMBOLS, part.size)
        self.convolutions = nn.ModuleList(nn.Conv1d(part.size, many, width) for width, many in part.filters)
        self.highways = nn.ModuleList(Highway(part.count) for _ in range(part.highways))
        self.project = nn.Linear(part.count, model.width)
        self.dropout = nn.Dropout(model.dropout)
        self.register_buffer("spelling", torch.empty(model.vocab, part.longest, dtype=torch.int32))
        if not self.spelling.is_meta:
            self.spell([str(number) for number in range(model.vocab)])

    def learn_of(self, corpus: Any) -> None:
        self.spell(corpus.names)

    @torch.no_grad()
    def spell(self, names: Sequence[str]) -> None:
        """`names`: the tokens of the vocabulary as a tokenizer writes them; rows behind them stay as they are."""
        self.spelling[: len(names)].copy_(torch.from_numpy(spelled(names, self.part.longest)))

    def vectors(self, tokens: Tensor) -> Tensor:
        """(u,) -> (u, d)."""
        x = self.symbols(self.spelling[tokens].long()).transpose(1, 2)  # (u, size, c)
        x = torch.cat([convolution(x).amax(-1) for convolution in self.convolutions], 1).relu()
        for highway in self.highways:
            x = highway(x)
        return self.project(x)

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d): each different token is computed once."""
        found, where = torch.unique(stream.tokens, return_inverse=True)
        return self.dropout(positions.embed(pick(self.vectors(found), where), stream))
