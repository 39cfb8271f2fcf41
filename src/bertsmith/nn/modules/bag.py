"""What nn/bag.py builds.  n tokens of s texts, m <= n of them read, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.gru import BOUND

if TYPE_CHECKING:
    from bertsmith.nn.bag import Bag


class MeanOfVectors(nn.Module):
    def __init__(self, config: Bag):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab, config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.uniform_(self.tokens.weight, -BOUND, BOUND)

    def depth_of(self, name: str) -> int:
        return depth_of(self, name, 0)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,)."""
        x = self.states(stream)[-1]
        return x if read is None else pick(x, read)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The vectors of the tokens (n, d), and the same with the means: those of the texts' first tokens."""
        x = self.dropout(self.tokens(stream.tokens))
        if layers == 0:
            return [x]
        texts = x.split(stream.lengths)
        means = torch.stack([text[min(1, len(text) - 1) :].mean(0) for text in texts])
        lengths = torch.tensor(stream.lengths, device=x.device)
        return [x, x.index_copy(0, lengths.cumsum(0) - lengths, means)]
