"""Position schemes.  A scheme is a configuration that builds a `Position`; it overrides those of the three hooks that it uses.

`scheme.build(model)` serves the embedding and all layers; `build_layer(model, number, first)`, where a scheme has it, gives each layer one
of its own instead (`first`: that of layer 0).  `model` is a TransformerConfig; `check(model)`, where a scheme has it, refuses one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.attention import Bias


class Position(nn.Module):
    """Knows where tokens stand.  n tokens, m <= n asking, d width, h heads, e head width."""

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """x (n, d), before the embedding's norm."""
        return x

    def rotate(self, q: Tensor, k: Tensor, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """q (m, h, e) of the flat indices `read` (None: all n), k (n, h, e)."""
        return q, k

    def bias(self, stream: Stream) -> Bias | None:
        """What is added to the attention scores."""
        return None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """One vector for each of `length` places, added to the embedding (BERT)."""

    length: int = 512

    def __post_init__(self):
        require(self.length > 0, f"model.positions.length: {self.length} must be above 0")

    def build(self, model: Any) -> "LearnedTable":
        return LearnedTable(self.length, model.inner)

    def parameters(self, model: Any) -> int:
        return self.length * model.inner


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """None: order is what visibility says of it."""

    def build(self, model: Any) -> Position:
        return Position()

    def parameters(self, model: Any) -> int:
        return 0


class LearnedTable(Position):
    def __init__(self, length: int, width: int):
        super().__init__()
        self.table = nn.Embedding(length, width)

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """Raises InputError where a sequence is longer than the table."""
        longest = max(stream.lengths, default=0)
        if longest > self.table.num_embeddings:
            raise InputError(
                f"a sequence of {longest} tokens is longer than the model's {self.table.num_embeddings} positions; cut or split it"
            )
        return x + self.table(stream.positions)
