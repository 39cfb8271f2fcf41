"""Smaller matrices in the layers of a body.  n tokens, r rank, a matrix (o, d), h heads of width e."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.nn.modules.adapters import placed_layers
from bertsmith.nn.modules.attending import Attention
from bertsmith.nn.modules.blocks import sliced
from bertsmith.nn.modules.ranges import Range, on_grid, scale_of, whole

if TYPE_CHECKING:
    from bertsmith.nn.compressed import Factored, Int8Aware


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
        own = self._parameters["weight"]
        return own if sliced(own) else own.masked_fill(self.hidden, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Int8Linear(nn.Module):
    """`number` (o, d) int8 and `scale` (o,): row i of the matrix is scale[i] times number[i].  What is read is rounded token by token, by each
    token's largest number."""

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

    def slices(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        return [partial(self._said, rows=rows) for rows in _rows(sizes)]

    def forward(self, x: Tensor) -> Tensor:
        """x (n, d) -> (n, o).  On a CPU a product of whole numbers, added up in 32 bits; elsewhere one of the matrix itself, which is exact in
        what is read and saves no time."""
        return self._said(x, slice(0, self.out_features))

    def _said(self, x: Tensor, rows: slice) -> Tensor:
        bias = None if self.bias is None else self.bias[rows]
        if x.device.type != "cpu":
            return F.linear(self._near(x), self.weight[rows].to(x.dtype), bias)
        read, by = self._read(x)
        said = torch._int_mm(read, self.number[rows].t()).float().mul_(by).mul_(self.scale[rows])
        return said if bias is None else said.add_(bias)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) int8, and what it is times: (n, 1), or a number."""
        read, by = rounded(x)
        return read, by[:, None]

    def _near(self, x: Tensor) -> Tensor:
        """x as it is read where it is not made whole."""
        return x


class Int8FixedLinear(Int8Linear):
    """What is read is rounded by a range that was learned or looked for beforehand, the same for every text; token by token where it is 0, as
    nothing was seen.  `outside` (p,): ranges of what is said, of each part of its columns; None: it stays as it comes."""

    inside: Tensor  # ()
    outside: Tensor | None

    def __init__(self, linear: nn.Linear, parts: int = 0):
        super().__init__(linear)
        self.register_buffer("inside", torch.zeros(()))
        self.register_buffer("outside", torch.zeros(parts) if parts else None)

    @torch.no_grad()
    def take(self, number: Tensor, scale: Tensor, inside: Tensor, outside: Tensor | None) -> None:
        self.number.copy_(number)
        self.scale.copy_(scale)
        self.inside.copy_(inside.squeeze())
        if self.outside is not None and outside is not None:
            self.outside.copy_(outside)

    def _said(self, x: Tensor, rows: slice) -> Tensor:
        said = super()._said(x, rows)
        if self.outside is None:
            return said
        size = self.out_features // len(self.outside)
        return on_grid(
            said.unflatten(-1, (-1, size)), self.outside[rows.start // size : rows.stop // size, None]
        ).flatten(-2)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scale = scale_of(self.inside)
        return (whole(x, scale).to(torch.int8), scale) if float(self.inside) else super()._read(x)

    def _near(self, x: Tensor) -> Tensor:
        return on_grid(x, self.inside)


class Int8AwareLinear(nn.Linear):
    """A matrix that learns what eight bits will make of it: each of its `parts`, of as many rows, reads and says what stands on a grid, and is
    on one itself, up to its own largest number.  Its numbers keep their name among the parameters."""

    def __init__(self, linear: nn.Linear, parts: int, config: Int8Aware):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._parameters |= linear._parameters
        self.parts, self.rounds = parts, True
        self.inside = Range(config.decay)
        self.outside = Range(config.decay, parts) if config.outputs else None

    @property
    def most(self) -> Tensor:
        """(p,) of each part of the matrix."""
        return self._parameters["weight"].detach().unflatten(0, (self.parts, -1)).abs().amax((1, 2))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        own = self._parameters["weight"]
        if sliced(own) or not self.rounds:
            return own
        return on_grid(own.unflatten(0, (self.parts, -1)), self.most[:, None, None]).flatten(0, 1)

    def slices(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        weight = self.weight
        return [partial(self._said, weight=weight, rows=rows) for rows in _rows(sizes)]

    def forward(self, x: Tensor) -> Tensor:
        return self._said(x, self.weight, slice(0, self.out_features))

    def _said(self, x: Tensor, weight: Tensor, rows: slice) -> Tensor:
        bias, size = None if self.bias is None else self.bias[rows], self.out_features // self.parts
        said = F.linear(self.inside(x, rounds=self.rounds), weight[rows], bias)
        return said if self.outside is None else self.outside(said, rows.start // size, rows.stop // size)


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


class Int8AwareEmbedding(nn.Embedding):
    """A table on a grid up to its largest number, which learns."""

    def __init__(self, table: nn.Embedding):
        nn.Module.__init__(self)
        self.__dict__ |= {**vars(table), "_parameters": dict(table._parameters)}

    @property
    def most(self) -> Tensor:
        """(1,)"""
        return self._parameters["weight"].detach().abs().amax()[None]

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        own = self._parameters["weight"]
        return own if sliced(own) else on_grid(own, self.most)

    def forward(self, tokens: Tensor) -> Tensor:
        return on_grid(F.embedding(tokens, self._parameters["weight"]), self.most)


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(o, d) int8 and (o,): each row by its own largest number."""
    return numbers(weight, weight.detach().abs().amax(1))


def numbers(weight: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """(o, d) int8 and (o,), the scale of each row: parts of as many rows each on the grid up to `most` (p,)."""
    scale = scale_of(most.float()).repeat_interleave(len(weight) // len(most))
    return whole(weight.detach(), scale[:, None]).to(torch.int8), scale


def _rows(sizes: Sequence[int]) -> list[slice]:
    ends = [*accumulate(sizes, initial=0)]
    return [slice(*pair) for pair in pairwise(ends)]


def matrices(body: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """(owner, name, matrix) of every linear layer in the layers of every stack."""
    found: dict[int, tuple[nn.Module, str, nn.Linear]] = {}
    for layers, number in placed_layers(body, "made smaller"):
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
    _retabled(body, Int8Embedding)


def fix(body: nn.Module, outputs: bool) -> None:
    parts = _parts(body)
    _replaced(body, lambda matrix: Int8FixedLinear(matrix, parts[id(matrix)] if outputs else 0))
    _retabled(body, Int8Embedding)


def learn_eight(body: nn.Module, config: Int8Aware) -> None:
    parts = _parts(body)
    _replaced(body, lambda matrix: Int8AwareLinear(matrix, parts[id(matrix)], config))
    _retabled(body, Int8AwareEmbedding)


def _parts(body: nn.Module) -> dict[int, int]:
    """Of each matrix, how many it is in one: queries, keys and values are three."""
    return {id(matrix): getattr(owner, "joined", {}).get(name, 1) for owner, name, matrix in matrices(body)}


def _retabled(body: nn.Module, made: Callable[[nn.Embedding], nn.Embedding]) -> None:
    """Every table of embeddings by what is made of it, once where several places share it."""
    new: dict[nn.Module, nn.Module] = {}
    for owner in [*body.modules()]:
        for name, table in [*owner.named_children()]:
            if isinstance(table, nn.Embedding) and table not in new.values():
                new[table] = new.get(table) or made(table)
                setattr(owner, name, new[table])


def narrow(body: nn.Module, heads: tuple[int, ...]) -> None:
    places = placed_layers(body, "made smaller")
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
