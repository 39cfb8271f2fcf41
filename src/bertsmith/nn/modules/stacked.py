"""What nn/stacked.py builds.  n rows of w words in s texts; p tokens that a part reads, d what it says of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from bertsmith.data.batch import GOES_ON, NONE, Stream
from bertsmith.nn.body import outer
from bertsmith.nn.modules.blocks import pick

if TYPE_CHECKING:
    from bertsmith.nn.stacked import Part, Stacked


class LayerMix(nn.Module):
    """A sum of layers by the softmax of a weight each, times a scale; it begins as their mean (Peters et al. 2018, equation 1)."""

    def __init__(self, layers: int):
        super().__init__()
        self.weights, self.scale = nn.Parameter(torch.zeros(layers)), nn.Parameter(torch.ones(()))

    def forward(self, states: list[Tensor]) -> Tensor:
        """Of each layer (p, d) -> (p, d)."""
        shares = self.weights.softmax(0)
        return self.scale * sum(share * state for share, state in zip(shares, states, strict=True))


class Words(NamedTuple):
    """Where words and texts stand in a flat row of a stack."""

    of: Tensor  # (n,) which word each row is of
    first: Tensor  # (s,) the first row of each text
    text: Tensor  # (n,) the text that it stands in

    @classmethod
    def of_stream(cls, stream: Stream) -> Words:
        tokens, lengths = stream.tokens, torch.tensor(stream.lengths)
        lengths = lengths.to(tokens.device)  # type: ignore[union-attr]
        first = lengths.cumsum(0) - lengths
        begins = tokens[:, -1] != GOES_ON
        begins[first] = True  # a window may begin within a word
        return cls(
            begins.cumsum(0) - 1, first, torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        )


class StackedBody(nn.Module):
    """Keys `part0.…`, `mix0.weights`, …  The parts are always in eval mode, and no gradient goes into them."""

    def __init__(self, config: Stacked):
        super().__init__()
        self.config = config
        for number, part in enumerate(config.parts):
            self.add_module(f"part{number}", part.body.build().requires_grad_(False))
            if part.mix:
                self.add_module(f"mix{number}", LayerMix(part.body.layers + 1))
        self.dropout = nn.Dropout(config.dropout)

    tokens = None  # there is no table of all parts

    @property
    def parts(self) -> list[tuple[Part, Any]]:
        """(configuration, body) of each."""
        return [(part, self.get_submodule(f"part{number}")) for number, part in enumerate(self.config.parts)]

    def train(self, mode: bool = True) -> StackedBody:
        super().train(mode)
        for _, body in self.parts:
            body.eval()
        return self

    def depth_of(self, name: str) -> int:
        """Parts stand at the bottom, their mixtures above."""
        if name not in dict(self.named_parameters()):
            raise ValueError(f"{name}: not a parameter of this body")
        return int(name.startswith("mix"))

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, width), or (m, width) for the flat indices `read` (m,)."""
        found = self.dropout(self._said(stream, embedded=False))
        return found if read is None else pick(found, read)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """What the embeddings of all parts say, and what the parts do, (n, width) each."""
        found = [self._said(stream, embedded=True)]
        return found if layers == 0 else [*found, self.dropout(self._said(stream, embedded=False))]

    def _said(self, stream: Stream, embedded: bool) -> Tensor:
        words = Words.of_stream(stream)
        sides = [
            self._side(number, part, body, stream, words, embedded) for number, (part, body) in enumerate(self.parts)
        ]
        return torch.cat(sides, 1)

    def _side(self, number: int, part: Part, body: Any, stream: Stream, words: Words, embedded: bool) -> Tensor:
        """(n, d) what a part says: of every row of a word the same, and at the first of a text what the text is as a whole; zeros where it
        reads nothing of a word or a text."""
        at = (stream.tokens[:, number] != NONE).nonzero()[:, 0]
        own = column(stream, number, at, words, part)
        if not len(at):
            return stream.tokens.new_zeros((len(stream.tokens), outer(part.body)), dtype=torch.float32)
        with torch.no_grad():
            layers = body.states(own, 0 if embedded else None) if embedded or part.mix else [body(own)]
        said = self.get_submodule(f"mix{number}")(layers) if part.mix and not embedded else layers[-1]
        count, texts = int(words.of[-1]) + 1, len(words.first)
        each = grouped(said, words.of[at], count, self.config.pieces)
        pool = {"cls": "first", "last": "last"}.get(part.pool, "mean")
        once = body.worded(own) if pool == "mean" and hasattr(body, "worded") else None
        rows = slice(None) if once is None else once  # of a word that is spelled one
        whole = grouped(said[rows], words.text[at][rows], texts, pool)
        return pick(each, words.of).index_copy(0, words.first, whole)


def column(stream: Stream, number: int, at: Tensor, words: Words, part: Part) -> Stream:
    """What part `number` reads: the rows `at` (p,) of its column, text by text."""
    lengths = words.text[at].bincount(minlength=len(words.first))
    ends = lengths.cumsum(0)
    positions = torch.arange(len(at), device=at.device) - (ends - lengths)[words.text[at]]
    rank = positions if part.causal else torch.zeros_like(positions)
    return Stream(
        tokens=stream.tokens[at, number],
        positions=positions,
        segments=stream.segments[at].clamp(max=max(part.body.segments - 1, 0)),  # type: ignore[union-attr]
        query_rank=rank,
        key_rank=rank,
        lengths=tuple(length for length in lengths.tolist() if length),
        visibility="causal" if part.causal else "full",
    )


def grouped(said: Tensor, group: Tensor, count: int, how: str) -> Tensor:
    """said (p, d), group (p,) ascending -> (count, d): the first or the last of each group, or their mean; zeros for a group of none."""
    sizes = group.bincount(minlength=count)
    ends = sizes.cumsum(0)
    if how == "mean":
        total = said.new_zeros((count, said.shape[1])).index_add(0, group, said)
        return total / sizes.clamp(min=1)[:, None].to(said.dtype)
    at = (ends - sizes if how == "first" else ends - 1).clamp(min=0, max=len(said) - 1)
    return torch.where(sizes[:, None] > 0, pick(said, at), 0.0)
