"""Layers that read token by token: what nn/cells.py builds.  n tokens of s sequences, r numbers in, u remembered, d said.

Rows stand by time: the first token of every sequence, then the second of those that have one, ...; the longest sequence first.  `sizes`: how
many rows each time has (a CPU tensor, descending), as torch packs sequences.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from bertsmith.nn.cells import LSTM, OrderedNeurons

State = tuple[Tensor, Tensor]  # what is said (s, d) and what is remembered (s, u)


class Cell(nn.Module):
    """Weights of `gates` numbers for each token, named as torch's are; fresh ones are uniform within 1 / sqrt(u)."""

    def __init__(self, gates: int, reads: int, units: int, says: int, drop: float):
        super().__init__()
        self.units, self.says, self.drop = units, says, drop
        self.weight_ih = nn.Parameter(torch.empty(gates, reads))
        self.weight_hh = nn.Parameter(torch.empty(gates, says))
        self.bias_ih = nn.Parameter(torch.empty(gates))
        self.bias_hh = nn.Parameter(torch.empty(gates))

    def begin(self) -> None:
        for weight in self.parameters():
            nn.init.uniform_(weight, -(self.units**-0.5), self.units**-0.5)

    def fresh(self, sequences: int, like: Tensor) -> State:
        """Nothing said, nothing remembered."""
        return like.new_zeros(sequences, self.says), like.new_zeros(sequences, self.units)

    def recurrent(self) -> Tensor:
        """The recurrent weights of this pass: some are left out, the same ones at all times (Merity et al. 2018, section 2)."""
        return F.dropout(self.weight_hh, self.drop, self.training)

    def forward(
        self, x: Tensor, sizes: Tensor, state: State | None = None, stride: int | None = None
    ) -> tuple[Tensor, State]:
        """x (n, r) -> what is said (n, d), and the state of each sequence behind its last token, or behind the first `stride`."""
        state, recurrent = self.fresh(int(sizes[0]), x) if state is None else state, self.recurrent()
        if stride is None or stride >= len(sizes):
            return self.read(x, sizes, state, recurrent)
        edge = int(sizes[:stride].sum())
        said, left = self.read(x[:edge], sizes[:stride], state, recurrent)
        on = left[0][: int(sizes[stride])], left[1][: int(sizes[stride])]
        return torch.cat([said, self.read(x[edge:], sizes[stride:], on, recurrent)[0]]), left

    def read(self, x: Tensor, sizes: Tensor, state: State, recurrent: Tensor) -> tuple[Tensor, State]:
        """`forward` from a state, by the recurrent weights of the pass."""
        at = 0
        coming = F.linear(x, self.weight_ih, self.bias_ih + self.bias_hh)
        said, over = [], []
        state = (state[0].to(coming.dtype), state[1].to(coming.dtype))
        for size in sizes.tolist():
            if size < len(state[0]):
                over.append((state[0][size:], state[1][size:]))
                state = state[0][:size], state[1][:size]
            state = self.step(coming[at : at + size] + F.linear(state[0], recurrent), state)
            said.append(state[0])
            at += size
        ends = [state, *reversed(over)]
        return torch.cat(said), (torch.cat([end[0] for end in ends]), torch.cat([end[1] for end in ends]))

    def step(self, gates: Tensor, state: State) -> State:
        """What is said and remembered at a time: gates (s, g) before their activations."""
        raise NotImplementedError


class LSTMCell(Cell):
    def __init__(self, part: LSTM, reads: int, units: int, says: int, drop: float):
        super().__init__(4 * units, reads, units, says, drop)
        self.weight_hr = nn.Parameter(torch.empty(says, units)) if part.projection else None
        self.clip = part.clip
        self.begin()
        if part.forget:
            with torch.no_grad():
                self.bias_ih[units : 2 * units].fill_(part.forget)
                self.bias_hh[units : 2 * units].zero_()

    def read(self, x: Tensor, sizes: Tensor, state: State, recurrent: Tensor) -> tuple[Tensor, State]:
        """torch's own kernel computes it, but where there is a limit."""
        if self.clip:
            return super().read(x, sizes, state, recurrent)
        weights = [self.weight_ih, recurrent, self.bias_ih, self.bias_hh]
        weights += [] if self.weight_hr is None else [self.weight_hr]
        begin = state[0][None].to(x.dtype), state[1][None].to(x.dtype)
        with scattered(x.device):
            y, h, c = torch._VF.lstm(x, sizes, begin, weights, True, 1, 0.0, self.training, False)  # type: ignore[attr-defined]
        return y, (h[0], c[0])

    def step(self, gates: Tensor, state: State) -> State:
        i, f, g, o = gates.chunk(4, 1)
        remembered = limited(f.sigmoid() * state[1] + i.sigmoid() * g.tanh(), self.clip)
        said = o.sigmoid() * remembered.tanh()
        return said if self.weight_hr is None else limited(F.linear(said, self.weight_hr), self.clip), remembered


@contextmanager
def scattered(device: torch.device) -> Iterator[None]:
    """cuDNN says at every call that weights would be read faster in one piece; those of a pass may have been dropped out, and are none."""
    if device.type == "cpu":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        yield


def limited(x: Tensor, most: float) -> Tensor:
    return x.clamp(-most, most) if most else x


class OrderedCell(Cell):
    """Gates in the order of the released code: master input, master forget, then output, cell, input, forget.

    `heard`: while it is a list, how much is forgotten of each sequence at each time is added to it: the mean of the master forget gate's
    complement, (s,), which is the distance between a token and the one before it.
    """

    heard: list[Tensor] | None = None

    def __init__(self, part: OrderedNeurons, reads: int, units: int, says: int, drop: float):
        self.masters, self.chunk = part.masters(units), part.chunk
        super().__init__(4 * units + 2 * self.masters, reads, units, says, drop)
        self.begin()

    def master(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """(s, u / chunk) each: how much of every level is written, falling, and how much is kept, rising (equations 9 and 10)."""
        write, keep = gates[:, : 2 * self.masters].chunk(2, 1)
        return 1 - cumax(write), cumax(keep)

    def step(self, gates: Tensor, state: State) -> State:
        write, keep = self.master(gates)
        if self.heard is not None:
            self.heard.append(1 - keep.mean(1))
        write, keep = (x.repeat_interleave(self.chunk, 1) for x in (write, keep))
        o, g, i, f = gates[:, 2 * self.masters :].chunk(4, 1)
        both = write * keep
        f, i = f.sigmoid() * both + (keep - both), i.sigmoid() * both + (write - both)
        remembered = f * state[1] + i * g.tanh()
        return o.sigmoid() * remembered.tanh(), remembered


def cumax(x: Tensor) -> Tensor:
    """The sums of a softmax from its first number on: a soft step from 0 to 1 (equation 6)."""
    return x.softmax(-1).cumsum(-1)
