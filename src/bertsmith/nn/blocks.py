"""What a layer is made of.  n tokens, m <= n of them read, d width, h heads, e = d / h, f hidden width.

Where only some outputs of a layer are wanted (`read`), keys and values are made for all tokens, everything else for those alone: exact.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.attention import attend
from bertsmith.nn.positions import Position

# The paper's released code has the tanh approximation, its original commit and transformers erf: erf unless asked otherwise.
ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu}


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """`x[rows]`, whose backward adds in a fixed order on every device, also where rows repeat."""
    return F.embedding(rows, x)


ROWS = 64  # on a CPU oneDNN compiles each product for its number of rows, about 0.5 ms a time: so few numbers as can be


def filler(rows: int, device: torch.device) -> int:
    return -rows % ROWS if device.type == "cpu" else 0


def fill(x: Tensor) -> Tensor:
    """Rows of zeros up to the next multiple of ROWS; whoever calls drops what they become."""
    extra = filler(len(x), x.device)
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, extra)) if extra else x


def initialise(module: nn.Module) -> nn.Module:
    """BERT's: matrices and tables from a normal of 0.02 cut at two sigma, biases 0, norms 1; from the global torch generator."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(part.weight, std=0.02, a=-0.04, b=0.04)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    return module


class Attention(nn.Module):
    """`bias`: whether its matrices have biases; `positions`: where a scheme has weights of this layer's own."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool = True, positions: Position | None = None):
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.positions = positions

    def forward(self, x: Tensor, asking: Tensor, stream: Stream, positions: Position, read: Tensor | None) -> Tensor:
        """x (n, d), asking (m, d): the rows `read` of x, or x itself where `read` is None -> (m, d).  Both may end in filler."""
        n, m = len(stream.tokens), len(stream.tokens) if read is None else len(read)
        positions = self.positions or positions
        if read is None:
            q, k, v = self.qkv(x)[:n].unflatten(-1, (3, self.heads, -1)).unbind(1)
        else:
            width = x.shape[-1]
            of_q, of_kv = self.qkv.weight.split((width, 2 * width))
            bias_q, bias_kv = (None, None) if self.qkv.bias is None else self.qkv.bias.split((width, 2 * width))
            q = F.linear(asking, of_q, bias_q)[:m].unflatten(-1, (self.heads, -1))
            k, v = F.linear(x, of_kv, bias_kv)[:n].unflatten(-1, (2, self.heads, -1)).unbind(1)
        q, k = positions.rotate(q, k, stream, read)
        dropout = self.dropout if self.training else 0.0
        return self.out(fill(attend(q, k, v, stream, dropout, positions.bias(stream), read).flatten(1)))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, activation: str):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class PostNorm(nn.Module):
    """BERT's layer: attention, add, norm; feed-forward, add, norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        activation: str,
        eps: float,
        dropout: float,
        attention_bias: bool = True,
        positions: Position | None = None,
    ):
        super().__init__()
        self.attention = Attention(width, heads, dropout, attention_bias, positions)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.feedforward = FeedForward(width, hidden, activation)
        self.feedforward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, stream: Stream, positions: Position, read: Tensor | None = None) -> Tensor:
        """x (n, d) -> (n, d), or (m, d) for the m flat indices `read`, ascending.  All may end in filler."""
        asking = x if read is None else fill(pick(x, read))
        return self.finish(asking, self.attention(x, asking, stream, positions, read))

    def finish(self, asking: Tensor, mixed: Tensor) -> Tensor:
        """All that follows attention, row by row: (m, d) and (m, d) -> (m, d).  What `training.compile` compiles."""
        x = self.attention_norm(asking + self.dropout(mixed))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))
