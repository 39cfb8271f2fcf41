"""What nn/gru.py builds.  n tokens of s texts, m <= n of them read, d width, h hidden of one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.gru import GATES
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.drawn import orthogonal
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.gru import Gru

BOUND = 0.1  # fresh weights are uniform between -BOUND and that (Kiros et al. 2015, section 3.1)


class Packing(NamedTuple):
    """How texts of a flat row are read side by side, a place of each at a time, the longest first."""

    into: Tensor  # (n,) flat index of each packed place
    out: Tensor  # (n,) packed place of each flat index
    sizes: Tensor  # (t,) texts that have a place t, on the CPU

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """`lengths` (s,) of texts that stand one behind the other, none of them 0."""
        ends = lengths.cumsum(0)
        rank = torch.empty_like(lengths)
        rank[lengths.argsort(descending=True, stable=True)] = torch.arange(len(lengths), device=lengths.device)
        place = torch.arange(int(ends[-1]), device=lengths.device) - (ends - lengths).repeat_interleave(lengths)
        into = (place * len(lengths) + rank.repeat_interleave(lengths)).argsort()
        out = torch.empty_like(into)
        out[into] = torch.arange(len(into), device=into.device)
        return cls(into, out, place.bincount().cpu())

    @classmethod
    def of_stream(cls, stream: Stream) -> Packing:
        """The same packing for all that read the stream."""
        if "_packing" not in stream.__dict__:
            device = stream.tokens.device  # type: ignore[union-attr]
            stream.__dict__["_packing"] = cls.of(torch.tensor(stream.lengths, device=device))
        return stream.__dict__["_packing"]


def begun(part: nn.Module) -> nn.Module:
    """Fresh weights: matrices between states orthogonal, all others and tables uniform, biases 0."""
    for name, weight in part.named_parameters():
        if ".weight_hh" in f".{name}":
            orthogonal(weight, GATES)
        elif "bias" in name.rpartition(".")[2]:
            nn.init.zeros_(weight)
        else:
            nn.init.uniform_(weight, -BOUND, BOUND)
    return part


def run(gru: nn.GRU, x: Tensor, packing: Packing) -> Tensor:
    """(n, e) -> (n, h), or (n, 2 h) from both sides; each text by itself, from zeros."""
    x = x.to(gru.weight_hh_l0.dtype)
    packed = PackedSequence(pick(x, packing.into), packing.sizes)
    return pick(gru(packed)[0].data, packing.out)


class GruLayer(nn.Module):
    def __init__(self, model: Gru, entering: int):
        super().__init__()
        self.gru = nn.GRU(entering, model.hidden, bidirectional=model.sides == 2)
        wide = model.sides * model.hidden
        self.project = nn.Linear(wide, model.width) if wide != model.width else None

    def forward(self, x: Tensor, packing: Packing, ends: tuple[Tensor, Tensor] | None) -> Tensor:
        """(n, e) -> (n, d).  `ends`: where texts begin and end; there what is said from the left is said at the beginning."""
        said = run(self.gru, x, packing)
        if ends is not None:
            first, last = ends
            left, right = said[:, : self.gru.hidden_size], said[:, self.gru.hidden_size :]
            said = torch.cat([left.index_copy(0, first, pick(left, last)), right], 1)
        return said if self.project is None else self.project(said)


class GruStack(nn.Module):
    """A body.  Only the last layer's first token speaks for the whole text: those below it are read in order."""

    def __init__(self, config: Gru):
        super().__init__()
        self.config = config
        self.embeddings = config.embeddings.build(config)
        self.layers = nn.ModuleList(
            GruLayer(config, config.width if number else config.entering) for number in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        begun(self)

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        return self.embeddings.tokens

    def depth_of(self, name: str) -> int:
        return depth_of(self, name, self.config.layers)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,)."""
        x = self.states(stream)[-1]
        return x if read is None else pick(x, read)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The embedding, which ends in zeros where it is narrower, and every layer's output, or those of the first `layers`; (n, d) each."""
        packing, count = Packing.of_stream(stream), len(self.layers)
        x = self.embeddings(stream, Position())
        found = [F.pad(x, (0, self.config.width - x.shape[1]))]
        for number, layer in enumerate(self.layers[: count if layers is None else layers]):
            ends = _ends(stream) if self.config.whole and number + 1 == count else None
            x = self.dropout(layer(x, packing, ends))
            found.append(x)
        return found


def _ends(stream: Stream) -> tuple[Tensor, Tensor]:
    """(s,) flat indices of the first and of the last token of each text."""
    lengths = torch.tensor(stream.lengths, device=stream.tokens.device)  # type: ignore[union-attr]
    last = lengths.cumsum(0) - 1
    return last - lengths + 1, last
