"""What a layer is made of, and what it computes with.  n tokens, m <= n of them read, d width.

Where only some outputs of a layer are wanted (`read`), keys and values are made for all tokens, everything else for those alone: exact.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.positions import Position

# The paper's released code has the tanh approximation, its original commit and transformers erf: erf unless asked otherwise.
ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": partial(F.gelu, approximate="tanh"), "relu": F.relu}


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """`x[rows]`, whose backward adds in a fixed order on every device, also where rows repeat."""
    return F.embedding(rows, x)


ROWS = 64  # on a CPU oneDNN compiles each product for its number of rows, about 0.5 ms a time: so few numbers as can be


def filler(rows: int, device: torch.device) -> int:
    """None in a graph, which is of any number of rows."""
    return -rows % ROWS if device.type == "cpu" and not torch.compiler.is_exporting() else 0


def repeated(x: Tensor, extra: int) -> Tensor:
    """x with its first row so many times behind it, which take no part in gradients."""
    return torch.cat([x, x[:1].detach().expand(extra, *x.shape[1:])]) if extra else x


def fill(x: Tensor) -> Tensor:
    """The first row again, up to the next multiple of ROWS; whoever calls drops what these become.  So whoever looks for the largest number
    of all (ranges.py) finds none that is no token's."""
    return repeated(x, filler(x.shape[0], x.device))


def first(x: Tensor, rows: int) -> Tensor:
    """x without its filler: its first so many rows.  Sizes are read off shapes, here and wherever a graph is traced: `len` would make them numbers."""
    return x if x.shape[0] == rows else x[:rows]


def initialise(module: nn.Module) -> nn.Module:
    """BERT's: matrices and tables from a normal of 0.02 cut at two sigma, biases 0, norms 1; from the global torch generator."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            cut_normal(part.weight)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    return module


ADDING = ("attention.out.weight", "source.out.weight", "feedforward.down.weight")  # to the sum of a layer


@torch.no_grad()
def begin_by_depth(body: nn.Module) -> nn.Module:
    """In each stack of layers the matrices that add to the sum, divided by the square root of how many there are: twice the layers where
    no source is read."""
    found = [name for name, _ in body.named_parameters(remove_duplicate=False) if name.endswith(ADDING)]
    stacks = Counter(name.rpartition("layers.")[0] for name in found)
    for name, weight in body.named_parameters():
        if name.endswith(ADDING):
            weight.mul_(stacks[name.rpartition("layers.")[0]] ** -0.5)
    return body


def sliced(weight: Tensor) -> bool:
    """Whether a slice of it is all that is here (training/shard.py): then who asks for it by its name puts slices together, and wants itself."""
    return hasattr(weight, "device_mesh")


class Around(nn.Module):
    """The two norms of a part."""

    def __init__(self, norm: Any, said: Any, width: int):
        super().__init__()
        self.before = norm.build(width)
        self.after = said.build(width)


class Layer(nn.Module):
    """Attention, a source where there is one, feed-forward; `model` is a TransformerConfig."""

    keeps = True  # whether a cache can hold what it reads

    def __init__(self, model: Any, number: int, positions: Position | None = None, reads_source: bool = False):
        super().__init__()
        self.block = model.block
        self.attention = model.attention.build(model, number, positions)
        self.attention_norm = self.block.build_norm(model, number, "attention")
        self.source = model.attention.build_source(model) if reads_source else None
        self.source_norm = self.block.build_norm(model, number, "source") if reads_source else None
        self.feedforward = model.feedforward.build(model)
        self.feedforward_norm = self.block.build_norm(model, number, "feedforward")
        self.dropout = nn.Dropout(model.dropout if self.block.drops else 0.0)

    def forward(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None = None,
        source: Any = None,
        cache: Any = None,
        asking: Tensor | None = None,
    ) -> Tensor:
        """x (n, d) -> (n, d), or (m, d) for the m flat indices `read`, ascending.  All may end in filler.  `cache`: a LayerCache; `asking`
        (m, d): what asks in the place of the rows `read` of x."""
        return self.finish(*self.mixing(x, stream, positions, read, source, cache, asking))

    def mixing(
        self,
        x: Tensor,
        stream: Stream,
        positions: Position,
        read: Tensor | None,
        source: Any,
        cache: Any,
        asking: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(what asks, what attention, and a source that is read, say to it): (m, d) each."""
        entered = self.block.enter(self.attention_norm, x)
        if asking is None:
            asking = x if read is None else fill(pick(x, read))
        asked = entered if read is None else self.block.enter(self.attention_norm, asking)
        mixed = self.attention(entered, asked, stream, positions, read, cache)
        if self.source is not None:
            asking = self.add("attention", asking, mixed)
            mixed = self.source(self.block.enter(self.source_norm, asking), stream, source, read, cache)
        return asking, mixed

    def finish(self, asking: Tensor, mixed: Tensor) -> Tensor:
        """All that follows attention, row by row: (m, d) and (m, d) -> (m, d).  What `training.compile` compiles."""
        x = self.add("attention" if self.source is None else "source", asking, mixed)
        if hasattr(self.feedforward, "before"):
            x = self.feedforward.before(x)
        return self.add("feedforward", x, self.feedforward(self.block.enter(self.feedforward_norm, x)))

    def add(self, part: str, x: Tensor, said: Tensor) -> Tensor:
        """What becomes of x and of what a part, "attention", "source" or "feedforward", said of it."""
        return self.block.leave(getattr(self, f"{part}_norm"), x, self.dropout(said))


class DroppedLayer(Layer):
    """One whose attention has a dropout of its own on what it says."""

    def __init__(self, dropout: float, *made: Any):
        super().__init__(*made)
        self.mixed_dropout = nn.Dropout(dropout)

    def add(self, part: str, x: Tensor, said: Tensor) -> Tensor:
        if part != "attention":
            return super().add(part, x, said)
        return self.block.leave(self.attention_norm, x, self.mixed_dropout(said))
