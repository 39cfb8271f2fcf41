"""What nn/table.py builds.  n tokens, m <= n of them read, d width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.modules.blocks import pick

if TYPE_CHECKING:
    from bertsmith.nn.table import TableConfig


class Table(nn.Module):
    """Fresh vectors are uniform between -6 / sqrt(d) and that (Bordes et al. 2013, algorithm 1)."""

    def __init__(self, config: TableConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab, config.width)
        bound = 6 / config.width**0.5
        nn.init.uniform_(self.tokens.weight, -bound, bound)

    def depth_of(self, name: str) -> int:
        return depth_of(self, name, 0)

    def vectors(self, tokens: Tensor) -> Tensor:
        """(m,) -> (m, d)."""
        found = pick(self.tokens.weight, tokens)
        if not self.config.unit:
            return found
        return torch.where((tokens < self.config.unit)[:, None], F.normalize(found, dim=-1), found)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,)."""
        return self.vectors(stream.tokens if read is None else stream.tokens[read])

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        return [self(stream)]
