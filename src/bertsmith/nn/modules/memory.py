"""What a model keeps of the sequences that it has read, for those that go on where they stopped (Dai et al. 2019, section 3.2).

Of each column the inputs of all layers, without gradient.  n tokens read now, N with the memory before them, d width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream

Kept = dict[int, tuple[int, Tensor]]  # {column: (turn, (L, M, d))}


@dataclass(frozen=True, kw_only=True)
class Preceded:
    """A stream with places before each of its sequences, which everything in these sees and that ask nothing: at -M .. -1 where there are M."""

    stream: Stream  # (N,)
    own: Tensor  # (n,) where its tokens stand in it
    before: Tensor  # (N - n,) where the places do

    @classmethod
    def of(cls, stream: Stream, sizes: Sequence[int]) -> Preceded:
        """`sizes` (s,): how many before each sequence."""
        counts, lengths, device = np.array(sizes), np.array(stream.lengths), stream.tokens.device
        own = np.arange(lengths.sum()) + np.repeat(np.cumsum(counts), lengths)
        total = int(counts.sum()) + len(own)
        before = np.setdiff1d(np.arange(total), own, assume_unique=True)
        own_rows, rows = (torch.from_numpy(x).to(device) for x in (own, before))
        ages = np.arange(len(before)) - np.repeat(np.cumsum(counts), counts)

        def among(values: Tensor, past: Tensor | int) -> Tensor:
            wide = torch.empty(total, dtype=values.dtype, device=device)
            wide[own_rows], wide[rows] = values, past  # type: ignore[assignment]
            return wide

        wide = replace(
            stream,
            tokens=among(stream.tokens, 0),
            positions=among(stream.positions, torch.from_numpy(ages).to(device)),
            segments=among(stream.segments, 0),
            query_rank=among(stream.query_rank, 0),
            key_rank=among(stream.key_rank, 0),
            lengths=tuple((lengths + counts).tolist()),
            visibility="full" if stream.visibility == "full" else "ranks",
        )
        return cls(stream=wide, own=own_rows, before=rows)


@dataclass(frozen=True, kw_only=True)
class Past:
    """The memory that a stream finds, as tokens before each of its sequences that everything in these sees and that ask nothing."""

    stream: Stream  # (N,) with the memory
    own: Tensor  # (n,) where the tokens that are read now stand in it
    order: Tensor  # (N,) rows of [memory; tokens read now] in the order of `stream`
    states: Tensor  # (L, N - n, d)

    def before(self, layer: int, x: Tensor) -> Tensor:
        """x (n, d), the input of `layer`, with what it had there before: (N, d)."""
        return torch.cat([self.states[layer].to(x.dtype), x]).index_select(0, self.order)


class Memory:
    """Of the newest sequence of each column; `length`: tokens at most."""

    def __init__(self, length: int):
        self.length = length
        self.kept: Kept = {}
        self._written: set[int] = set()  # columns that this process has read since it began

    def state(self) -> dict[str, Tensor]:
        """{"column.turn": (L, M, d)} of the columns that this process reads."""
        return {f"{column}.{turn}": states for column, (turn, states) in self.kept.items() if column in self._written}

    def restore(self, state: dict[str, Tensor]) -> None:
        """What `state` of all processes said.  ValueError for names that are not its."""
        self.kept, self._written = {}, set()
        for name, states in state.items():
            column, _, turn = name.partition(".")
            self.kept[int(column)] = int(turn), states

    def recall(self, stream: Stream) -> Past | None:
        """None where no sequence of the stream goes on from one that is remembered."""
        if stream.thread is None:
            return None
        found = [self._left(*at) for at in zip(stream.thread.column.tolist(), stream.thread.turn.tolist(), strict=True)]
        if all(left is None for left in found):
            return None
        sizes = [0 if left is None else left.shape[1] for left in found]
        wide, device = Preceded.of(stream, sizes), stream.tokens.device
        order = torch.empty(len(wide.own) + len(wide.before), dtype=torch.long, device=device)
        order[wide.before] = torch.arange(len(wide.before), device=device)
        order[wide.own] = torch.arange(len(wide.before), len(order), device=device)
        states = torch.cat([left.to(device) for left in found if left is not None], 1)
        return Past(stream=wide.stream, own=wide.own, order=order, states=states)

    def _left(self, column: int, turn: int) -> Tensor | None:
        last, states = self.kept.get(column, (None, None))
        return states if turn > 0 and last == turn - 1 else None

    @torch.no_grad()
    def keep(self, stream: Stream, inputs: list[Tensor]) -> None:
        """`inputs`: (n or more, d) of each layer.  Of each sequence the first `stride` tokens, behind what was remembered before them."""
        if stream.thread is None:
            return
        states, thread, begin = torch.stack([x.detach()[: len(stream.tokens)] for x in inputs]), stream.thread, 0
        for column, turn, length in zip(thread.column.tolist(), thread.turn.tolist(), stream.lengths, strict=True):
            new, old = states[:, begin : begin + thread.stride], self._left(column, turn)
            both = new if old is None else torch.cat([old.to(new.device), new], 1)
            self.kept[column] = turn, both[:, -self.length :].clone()
            self._written.add(column)
            begin += length

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Another text is read inside: it finds nothing, and leaves nothing."""
        before = self.kept, self._written
        self.kept, self._written = {}, set()
        try:
            yield
        finally:
            self.kept, self._written = before


def memories(module: nn.Module) -> dict[str, Memory]:
    """All memories in a module, by the name of the part that has it."""
    return {
        name: part.memory for name, part in module.named_modules() if isinstance(getattr(part, "memory", None), Memory)
    }


def memory_state(module: nn.Module) -> dict[str, Tensor]:
    """All that this process remembers: {"part/column.turn": (L, M, d)}."""
    return {f"{name}/{key}": x for name, memory in memories(module).items() for key, x in memory.state().items()}


def restore_memory(module: nn.Module, state: dict[str, Tensor]) -> None:
    for name, memory in memories(module).items():
        own = {key.removeprefix(f"{name}/"): x for key, x in state.items() if key.startswith(f"{name}/")}
        memory.restore(own)


@contextmanager
def memories_aside(module: nn.Module) -> Iterator[None]:
    """Another text is read inside."""
    with ExitStack() as stack:
        for memory in memories(module).values():
            stack.enter_context(memory.aside())
        yield
