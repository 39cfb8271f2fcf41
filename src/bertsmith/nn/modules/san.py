"""A head that reads a pair in steps (Liu et al. 2018, SAN).  s sequences, a and b tokens of their first and second texts, k steps, d width.

    s_0 = the second text, by weights that are learned;  x_i = the first text, by softmax(s_i W M_a)
    p_i = softmax(V [s_i; x_i; |s_i - x_i|; s_i x_i]);   s_i+1 = GRU(s_i, x_i)

As in the released code, a step answers before its GRU, so that one step is one bilinear look.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bertsmith.data.batch import Stream


class SanHead(nn.Module):
    """Keys `look.weight`, `lead.weight`, `memory.*` (of several steps), `out.weight`, `out.bias`."""

    pooler = None  # there is no summary

    def __init__(self, width: int, outputs: int, steps: int, drop: float, dropout: float, sep: int):
        super().__init__()
        self.steps, self.drop, self.sep = steps, drop, sep
        self.dropout = nn.Dropout(dropout)
        self.look = nn.Linear(width, 1, bias=False)
        self.lead = nn.Linear(width, width, bias=False)
        self.memory = nn.GRUCell(width, width) if steps > 1 else None
        self.out = nn.Linear(4 * width, outputs)

    def forward(self, hidden: Tensor, stream: Stream) -> Tensor:
        """hidden (n, d) -> (s, outputs): of classes the logarithm of the mean of their probabilities over the steps, of a number the mean."""
        said = self.said(hidden, stream)
        kept = self.kept(said)
        shares = said.softmax(2) if said.shape[2] > 1 else said
        mean = (shares * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log() if said.shape[2] > 1 else mean

    def said(self, hidden: Tensor, stream: Stream) -> Tensor:
        """(s, k, outputs) float32: what each step says."""
        first, second = self.texts(self.dropout(hidden), stream)
        state = _weighed(self.look(second[0])[:, :, 0], *second)
        found = []
        for step in range(self.steps):
            read = _weighed(torch.einsum("sd,sad->sa", self.lead(state), first[0]), *first)
            both = torch.cat([state, read, (state - read).abs(), state * read], 1)
            found.append(self.out(both).float())
            if self.memory is not None and step < self.steps - 1:
                state = self.memory(read, state).to(read.dtype)
        return torch.stack(found, 1)

    def kept(self, said: Tensor) -> Tensor:
        """(s, k) 1 where a step counts: all of them, while a model learns one at least of each pair."""
        rows, steps = said.shape[:2]
        if not (self.training and self.drop):
            return said.new_ones(rows, steps)
        kept = (torch.rand(rows, steps, device=said.device) >= self.drop).to(said.dtype)
        sure = torch.randint(steps, (rows, 1), device=said.device)
        return kept.scatter(1, sure, 1.0)

    def texts(self, hidden: Tensor, stream: Stream) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """((s, a, d), (s, a) where there is a token) of the first texts, up to their separator, and of the second ones, the rest."""
        lengths = list(stream.lengths)
        apart = (stream.tokens == self.sep).split(lengths)
        ends = [min(int(at.int().argmax()) + 1, len(at) - 1) if len(at) > 1 else 1 for at in apart]
        parts = hidden.split(lengths)
        firsts = [part[:end] for part, end in zip(parts, ends, strict=True)]
        seconds = [part[end:] if len(part) > end else part for part, end in zip(parts, ends, strict=True)]
        return _padded(firsts), _padded(seconds)


def _padded(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    there = [part.new_ones(len(part), dtype=torch.bool) for part in parts]
    return pad_sequence(parts, batch_first=True), pad_sequence(there, batch_first=True)


def _weighed(scores: Tensor, states: Tensor, there: Tensor) -> Tensor:
    """scores (s, a), states (s, a, d) -> (s, d): their mean by the softmax of the scores."""
    weights = scores.float().masked_fill(~there, -torch.inf).softmax(1).to(states.dtype)
    return torch.einsum("sa,sad->sd", weights, states)
