"""Heads: hidden states of the asked positions to logits.  m predictions, d width, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.nn.modules.blocks import ACTIVATIONS


class TokenHead(nn.Module):
    """Dense, activation and norm (`transform`), then the model's own token table and, with `bias`, one for each token.

    The table is handed in, not held: it is the model's and is saved once.  `norm`: a kind, as the model's.
    """

    def __init__(
        self,
        width: int,
        embedding: int,
        vocab: int,
        transform: bool,
        activation: str,
        norm: Any,
        bias: bool = True,
        dense_bias: bool = True,
    ):
        super().__init__()
        self.dense = nn.Linear(width, embedding, bias=dense_bias) if transform else None
        self.norm = norm.build(embedding) if transform else None
        self.activation = ACTIVATIONS[activation]
        self.bias = nn.Parameter(torch.zeros(vocab)) if bias else None

    def forward(self, hidden: Tensor, table: Tensor) -> Tensor:
        """hidden (m, d), table (V, d) -> (m, V)."""
        if self.dense is not None:
            hidden = self.norm(self.activation(self.dense(hidden)))
        return F.linear(hidden, table, self.bias)


POOLERS = {"tanh": torch.tanh, "gelu": F.gelu, "relu": F.relu}
TRANSFORM = "transform"


class Pooler(nn.Module):
    """A summary of a sequence: tanh (BERT), gelu (ELECTRA) or relu (DistilBERT) of a dense layer over [CLS]."""

    def __init__(self, width: int, activation: str = "tanh", read: int | None = None):
        super().__init__()
        self.dense = nn.Linear(read or width, width)
        self.activation = POOLERS[activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """(m, d), or (m, read) -> (m, d)."""
        return self.activation(self.dense(hidden))


class Transform(nn.Module):
    """What stands before a token head's table, before any head: dense without bias, GELU, norm (ModernBERT).  `norm`: a kind."""

    def __init__(self, width: int, norm: Any, read: int | None = None):
        super().__init__()
        self.dense = nn.Linear(read or width, width, bias=False)
        self.norm = norm.build(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(m, d), or (m, read) -> (m, d)."""
        return self.norm(F.gelu(self.dense(hidden)))


class TokenLabel(nn.Module):
    """Dropout and a linear layer over a token's hidden state, or over what `pooler` makes of it: the head of tagging and of answers in a text."""

    def __init__(self, width: int, classes: int, dropout: float = 0.0, pooler: nn.Module | None = None):
        super().__init__()
        self.pooler = pooler
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, classes)

    def forward(self, hidden: Tensor) -> Tensor:
        """(m, d) -> (m, classes)."""
        return self.out(self.dropout(hidden if self.pooler is None else self.pooler(hidden)))


class PairHead(nn.Module):
    """Pooler and a linear layer.  With dropout between them it is also the head of fine-tuning, which takes the pooler over.

    `pooler` "state": a linear layer over the state itself; "none": a matrix over it, without bias, as GPT's is in transformers; "transform": a
    `Transform` with this kind of `norm`.  `read`: the numbers that it reads, if not d.
    """

    def __init__(
        self,
        width: int,
        classes: int,
        dropout: float = 0.0,
        pooler: str = "tanh",
        read: int | None = None,
        norm: Any = None,
    ):
        super().__init__()
        self.read = read or width
        self.pooler: Pooler | Transform | None = None
        if pooler == TRANSFORM:
            self.pooler = Transform(width, norm, read)
        elif pooler in POOLERS:
            self.pooler = Pooler(width, pooler, read)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width if self.pooler else read or width, classes, bias=pooler != "none")

    def forward(self, hidden: Tensor) -> Tensor:
        """(m, d), or (m, read) -> (m, classes)."""
        return self.out(self.dropout(hidden if self.pooler is None else self.pooler(hidden)))


class RankHead(PairHead):
    """One number of a pair head against thresholds in an order, which begin at `begin` (ascending) and stay in it: the later ones are the
    first and what is above 0 added up."""

    def __init__(
        self,
        width: int,
        begin: tuple[float, ...],
        dropout: float = 0.0,
        pooler: str = "tanh",
        read: int | None = None,
        norm: Any = None,
    ):
        super().__init__(width, 1, dropout, pooler, read, norm)
        self.begin = begin
        self.moved = nn.Parameter(torch.zeros(len(begin)))

    def thresholds(self) -> Tensor:
        """(classes - 1,): the first, and each of the others above the one before it."""
        begin = self.moved.new_tensor(self.begin)
        gaps = begin.diff().clamp(min=1e-3)
        above = F.softplus(torch.log(torch.expm1(gaps)) + self.moved[1:])
        return torch.cat([begin[:1] + self.moved[:1], above]).cumsum(0)

    def forward(self, hidden: Tensor) -> Tensor:
        """(m, d) -> (m, classes - 1): log-odds of being above each class but the last."""
        return super().forward(hidden).float() - self.thresholds().float()
