"""Smaller matrices in the layers of a body.  n tokens, r rank, a matrix (o, d), h heads of width e."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import placed_layers
from bertsmith.nn.modules.attending import Attention

if TYPE_CHECKING:
    from bertsmith.nn.compressed import Factored

LEAST, MOST = -127, 127  # -128 has no counterpart


class FactoredLinear(nn.Module):
    """`weight` (o, d) is up (o, r) times down (r, d); who asks for its rows gets the product's."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        out, width = linear.weight.shape
        self.down, self.up = nn.Parameter(torch.zeros(rank, width)), nn.Parameter(torch.zeros(out, rank))
        self.bias = linear.bias
        self.in_features, self.out_features = width, out

    @property
    def weight(self) -> Tensor:
        return self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.down), self.up, self.bias)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """The nearest product of this rank, by the singular values (Eckart & Young 1936); what is apart are those that are left out."""
        u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
        rank, root = len(self.down), s[: len(self.down)].sqrt()
        self.up.copy_(u[:, :rank] * root)
        self.down.copy_(root[:, None] * v[:rank])


class MaskedLinear(nn.Linear):
    """`hidden` (o, d) bool: where the matrix is 0 for good."""

    hidden: Tensor

    def __init__(self, linear: nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._parameters |= linear._parameters
        self.register_buffer("hidden", torch.zeros(linear.weight.shape, dtype=torch.bool))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self._parameters["weight"].masked_fill(self.hidden, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Int8Linear(nn.Module):
    """`number` (o, d) int8 and `scale` (o,): row i of the matrix is scale[i] times number[i]."""

    number: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("number", torch.zeros(linear.weight.shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(linear.out_features))
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        return self.number * self.scale[:, None]

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        number, scale = rounded(weight)
        self.number.copy_(number)
        self.scale.copy_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) -> (n, o).  On a CPU a product of whole numbers, added up in 32 bits, each token's by its own largest; elsewhere one of the
        matrix itself, which is exact in what is read and saves no time."""
        if x.device.type != "cpu":
            return F.linear(x, self.weight.to(x.dtype), self.bias)
        read, by = rounded(x)
        said = torch._int_mm(read, self.number.t()).float().mul_(by[:, None]).mul_(self.scale)
        return said if self.bias is None else said.add_(self.bias)


class Int8Embedding(nn.Embedding):
    """A table (V, d) of int8 with a scale for each row; its rows are made numbers again where they are looked up."""

    number: Tensor
    scale: Tensor

    def __init__(self, table: nn.Embedding):
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.padding_idx = None
        self.register_buffer("number", torch.zeros(table.weight.shape, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(table.num_embeddings))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.number * self.scale[:, None]

    fit = Int8Linear.fit

    def forward(self, tokens: Tensor) -> Tensor:
        return self.number[tokens] * self.scale[tokens][..., None]


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(o, d) int8 and (o,): each row by its own largest number, half to even; a row of zeros has scale 1."""
    most = weight.detach().abs().amax(1).float()
    scale = torch.where(most > 0, most / MOST, torch.ones_like(most))
    return (weight.detach() / scale[:, None]).round().clamp(LEAST, MOST).to(torch.int8), scale


def matrices(body: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """(owner, name, matrix) of every linear layer in the layers of every stack."""
    found: dict[int, tuple[nn.Module, str, nn.Linear]] = {}
    for layers, number in placed_layers(body):
        for owner in layers[number].modules():
            for name, matrix in owner.named_children():
                if isinstance(matrix, nn.Linear):
                    found.setdefault(id(matrix), (owner, name, matrix))
    return [*found.values()]


def _replaced(body: nn.Module, made: Callable[[nn.Linear], nn.Module | None]) -> None:
    """Every matrix by what is `made` of it (None: it stays), once where layers share it."""
    new = {id(matrix): made(matrix) for _, _, matrix in matrices(body)}
    for owner in [*body.modules()]:
        for name, matrix in [*owner.named_children()]:
            if new.get(id(matrix)) is not None:
                setattr(owner, name, new[id(matrix)])


def factor(body: nn.Module, config: Factored) -> None:
    """In place, with zeros for what is to be loaded or fitted."""

    def smaller(matrix: nn.Linear) -> nn.Module | None:
        out, width = matrix.weight.shape
        return FactoredLinear(matrix, config.rank(out, width)) if min(out, width) > 1 else None

    _replaced(body, smaller)


def mask(body: nn.Module) -> None:
    _replaced(body, MaskedLinear)


def quantise(body: nn.Module) -> None:
    """In place: matrices, and the tables below the layers."""
    _replaced(body, Int8Linear)
    for owner in [*body.modules()]:
        for name, table in [*owner.named_children()]:
            if isinstance(table, nn.Embedding) and not isinstance(table, Int8Embedding):
                setattr(owner, name, Int8Embedding(table))


def narrow(body: nn.Module, heads: tuple[int, ...]) -> None:
    places = placed_layers(body)
    if len(places) != len(heads):
        raise InputError(f"heads: {len(heads)} numbers for {len(places)} layers")
    for (layers, number), count in zip(places, heads, strict=True):
        layer: Any = layers[number]
        check_narrow(layer.attention)
        layer.attention = layer.attention.fewer(count)


def check_narrow(attention: Any) -> None:
    """InputError for attention whose heads have parameters of their own besides queries, keys and values."""
    if not getattr(attention, "narrows", False):
        raise InputError(
            "prune-heads: places are part of each head of this model, so that none can go alone; prune-layers can"
        )


@torch.no_grad()
def keep_heads(wide: Attention, small: Attention, kept: list[int]) -> None:
    """What `small` is: the heads `kept` of `wide`."""
    e = wide.inner // wide.heads
    small.keep(wide, torch.cat([torch.arange(h * e, (h + 1) * e) for h in kept]))
