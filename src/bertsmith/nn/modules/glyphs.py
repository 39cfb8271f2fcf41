"""Pictures of characters to vectors: what the part of nn/glyphs.py builds.  n tokens, u different ones among them, d width, s points to a side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.embeddings import Embeddings

if TYPE_CHECKING:
    from bertsmith.nn.glyphs import Glyphs


class Tianzige(nn.Sequential):
    """(u, 1, 24, 24) to (u, d): strokes, then the four quarters that a character is written in, then these together."""

    def __init__(self, channels: int, width: int):
        last = nn.Conv2d(2 * channels, width, 2)
        cut_normal(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(
            nn.Conv2d(1, channels, 5),
            nn.ReLU(),
            nn.MaxPool2d(5),  # 20 points to 4
            nn.Conv2d(channels, 2 * channels, 2, stride=2),
            nn.ReLU(),
            last,
            nn.Flatten(),
        )


class GlyphEmbeddings(Embeddings):
    """`pictures` (v, s, s) uint8: of all tokens, empty where there is none; no parameter, for they are given."""

    pictures: Tensor
    rows: Tensor | None = None  # (v, d) of all tokens, where they were looked at beforehand

    def __init__(self, part: Glyphs, model: Any):
        super().__init__(part, model)
        self.how = part.how
        self.network = Tianzige(part.channels, model.inner)
        self.register_buffer("pictures", torch.zeros(model.vocab, part.side, part.side, dtype=torch.uint8))

    def learn_of(self, corpus: Any) -> None:
        self.take(corpus.pictures)

    @torch.no_grad()
    def take(self, pictures: np.ndarray) -> None:
        """Those of a tokenizer's tokens; rows of the table beyond them have none."""
        self.pictures[: len(pictures)] = torch.from_numpy(pictures)

    def vectors(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) of the pictures of these tokens, and (n,) bool where there is one; each picture is looked at once."""
        kinds, of = torch.unique(tokens, return_inverse=True)
        pictures = self.pictures[kinds]
        some = (pictures > 0).flatten(1).any(1)
        weight = self.network[0].weight
        seen = self.network(pictures[some].unsqueeze(1).to(weight.dtype) / 255)
        found = seen.new_zeros(len(kinds), seen.shape[1]).index_put((some.nonzero()[:, 0],), seen)
        return found[of], some[of]

    @torch.no_grad()
    def look_at_all(self) -> None:
        """For who reads on: every token's vector becomes a row of a table, since what is traced knows no number of different tokens."""
        self.rows = self._of(torch.arange(len(self.pictures), device=self.pictures.device))

    def looked_up(self, stream: Stream) -> Tensor:
        """(n, d)."""
        return self._of(stream.tokens) if self.rows is None else pick(self.rows, stream.tokens)

    def _of(self, tokens: Tensor) -> Tensor:
        seen, some = self.vectors(tokens)
        learned = self.tokens(tokens)
        seen = seen.to(learned.dtype)
        return learned + seen if self.how == "beside" else torch.where(some[:, None], seen, learned)
