"""A stack of cells over a flat row of sequences (see nn/recurrent.py).  n tokens of s sequences, m <= n of them read, d width.

Inside, rows stand by time (cells.py), in the order that a direction reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.nn.body import depth_of
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.cells import State
from bertsmith.nn.modules.memory import Memory
from bertsmith.nn.modules.positions import Position

if TYPE_CHECKING:
    from bertsmith.nn.recurrent import Recurrent, Words


@dataclass(frozen=True, kw_only=True)
class ByTime:
    """Where the tokens of a flat row stand when they are read time by time."""

    order: np.ndarray  # (s,) sequences, the longest first
    sizes: Tensor  # (T,) how many have a token at each time; on the CPU
    rows: Tensor  # (n,) flat index of each row
    back: Tensor  # (n,) row of each flat index
    turned: Tensor  # (n,) row of the token that stands as far from the end as this one does from the beginning

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> ByTime:
        size = np.array(lengths, np.int64)
        order = np.argsort(-size, kind="stable")
        sequence = np.repeat(np.arange(len(size)), size)
        begin = np.cumsum(size) - size
        place = np.arange(len(sequence)) - begin[sequence]
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        rows = np.lexsort((rank[sequence], place))
        back = np.empty_like(rows)
        back[rows] = np.arange(len(rows))
        turned = back[(begin + size - 1)[sequence] - place][rows]
        sizes = torch.from_numpy(np.bincount(place))
        on = (torch.from_numpy(x).to(device) for x in (rows, back, turned))
        return cls(order=order, sizes=sizes, **dict(zip(("rows", "back", "turned"), on, strict=True)))

    @cached_property
    def of_sequence(self) -> Tensor:
        """(n,) the sequence of each row, in `order`."""
        first = torch.repeat_interleave(self.sizes.cumsum(0) - self.sizes, self.sizes)
        return (torch.arange(len(self.rows)) - first).to(self.rows.device)


class Carried(Memory):
    """The newest state of every column, all layers in a row: {column: (turn, (1, 1, numbers))}."""

    def __init__(self) -> None:
        super().__init__(1)

    def found(self, stream: Stream, order: np.ndarray) -> list[Tensor | None] | None:
        """What each sequence, in `order`, goes on from; None where none does."""
        if stream.thread is None:
            return None
        column, turn = stream.thread.column[order].tolist(), stream.thread.turn[order].tolist()
        found = [self._left(*at) for at in zip(column, turn, strict=True)]
        return None if all(left is None for left in found) else found

    def left(self, stream: Stream, order: np.ndarray, states: Tensor) -> None:
        """`states` (s, numbers) of the sequences in `order`."""
        assert stream.thread is not None
        thread = stream.thread
        for column, turn, row in zip(thread.column[order].tolist(), thread.turn[order].tolist(), states, strict=True):
            self.kept[column] = turn, row.detach().clone()[None, None]
            self._written.add(column)


class WordTable(nn.Module):
    def __init__(self, part: Words, model: Recurrent):
        super().__init__()
        self.tokens = nn.Embedding(model.vocab, model.width)
        self.drop = part.drop * model.dropout

    def forward(self, stream: Stream, positions: Position) -> Tensor:
        """(n, d)."""
        x = self.tokens(stream.tokens)
        if not self.training or self.drop == 0:
            return x
        kept = F.dropout(x.new_ones(self.tokens.num_embeddings), self.drop)
        return x * kept[stream.tokens, None]


class RecurrentStack(nn.Module):
    """Layer i in direction k is `layers.i.k`."""

    keeps = False  # its layers keep no keys and values
    together = True  # a layer is its directions, each a slice by itself (training/shard.py)

    def __init__(self, config: Recurrent):
        super().__init__()
        self.config = config
        self.embeddings = config.embeddings.build(config)
        self.positions = Position()
        self.memory = config.memory.build(config) if config.memory else None
        drop = config.noise.weights * config.dropout if config.noise else 0.0
        self.layers = nn.ModuleList(
            nn.ModuleList(config.cell.build(reads, units, says, drop) for _ in config.ways)
            for reads, (units, says) in zip(config.reads, config.sizes, strict=True)
        )

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        return self.embeddings.tokens

    def depth_of(self, name: str) -> int:
        return depth_of(self, name, self.config.layers)

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), ascending.  With memory, a stream of threads goes on from what it finds there."""
        return self.said(stream, read)[1]

    def said(self, stream: Stream, read: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the last layer says, before dropout and behind it."""
        by = ByTime.of(stream.lengths, stream.tokens.device)
        stop = len(by.rows) if read is None else self._needed(by, read)
        threaded = self.memory is not None and stream.thread is not None
        if threaded:
            stop = max(stop, int(by.sizes[: stream.thread.stride].sum()))
        left: list[State] = []
        *_, (raw, said) = self._layers(stream, by, stop, self._begin(stream, by), left)
        if threaded:
            self.memory.left(stream, by.order, torch.cat([part for state in left for part in state], 1))
        return self._flat(raw, by, read), self._flat(said, by, read)

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The embedding, once for each direction, and every layer's output, or those of the first `layers`; memory is left as it is."""
        by = ByTime.of(stream.lengths, stream.tokens.device)
        made = self._layers(stream, by, len(by.rows), self._begin(stream, by), [])
        return [self._flat(said, by, None) for _, said in islice(made, None if layers is None else layers + 1)]

    def after(self, stream: Stream, begin: list[State] | None = None) -> tuple[Tensor, list[State]]:
        """What is said (s, d) behind the last token of every sequence, and the states of all layers; `begin`: those that the sequences go on
        from.  Of a stack that reads from the beginning alone."""
        by = ByTime.of(stream.lengths, stream.tokens.device)
        order = torch.from_numpy(by.order).to(stream.tokens.device)
        back = order.argsort()
        begin = None if begin is None else [(said[order], remembered[order]) for said, remembered in begin]
        left: list[State] = []
        *_, (_, said) = self._layers(stream, by, len(by.rows), begin, left)
        ends = torch.tensor(stream.lengths, device=order.device).cumsum(0) - 1
        return self._flat(said, by, ends), [(state[0][back], state[1][back]) for state in left]

    def going_on(self, stream: Stream, begin: list[State]) -> Tensor:
        """What is said (n, d) at every token of sequences that begin from the states `begin` of all layers.  Of a stack that reads from the
        beginning alone."""
        by = ByTime.of(stream.lengths, stream.tokens.device)
        order = torch.from_numpy(by.order).to(stream.tokens.device)
        begin = [(said[order], remembered[order]) for said, remembered in begin]
        *_, (_, said) = self._layers(stream, by, len(by.rows), begin, [])
        return self._flat(said, by, None)

    def distances(self, stream: Stream, layer: int) -> Tensor:
        """(n,) how much `layer`, from 1, forgets at each token; of ordered neurons that read from the beginning or from the end."""
        cell: Any = self.layers[layer - 1][0]  # type: ignore[index]
        cell.heard = []
        try:
            self.states(stream, layer)
            heard = torch.cat(cell.heard)[:, None]
        finally:
            cell.heard = None
        by = ByTime.of(stream.lengths, stream.tokens.device)
        return self._flat([heard], by, None)[:, 0]

    def with_ends(self, stream: Stream) -> tuple[Tensor, list[State]]:
        """What the last layer says (n, d), and what every layer ends with (s, ·), the directions side by side, each behind what it reads last."""
        by = ByTime.of(stream.lengths, stream.tokens.device)
        left: list[State] = []
        *_, (_, said) = self._layers(stream, by, len(by.rows), None, left)
        back = torch.from_numpy(np.argsort(by.order)).to(stream.tokens.device)
        count = len(self.config.ways)
        layers = [left[at : at + count] for at in range(0, len(left), count)]
        return self._flat(said, by, None), [
            (torch.cat([way[0] for way in ways], 1)[back], torch.cat([way[1] for way in ways], 1)[back])
            for ways in layers
        ]

    def _needed(self, by: ByTime, read: Tensor) -> int:
        """Rows up to the last time that is read: behind it nothing is computed.  All of them, where a text is read from its end, too."""
        if len(self.config.ways) > 1 or not len(read):
            return len(by.rows)
        row = by.back[read] if not self.config.ways[0] else by.turned[by.back[read]]
        times = by.sizes.cumsum(0)
        return int(times[torch.searchsorted(times, int(row.max()), right=True)])

    def _layers(
        self, stream: Stream, by: ByTime, stop: int, begin: list[State] | None, left: list[State]
    ) -> Iterator[tuple[list[Tensor], ...]]:
        """(what is said, the same behind dropout) of the embedding and every layer: of each direction the first `stop` rows, in the order
        that it reads them.  `begin`: the state of each layer that the sequences, in `by.order`, go on from; `left` is given the state of each layer, behind a thread's stride or the last token."""
        config, noise = self.config, self.config.noise
        flat = self.embeddings(stream, self.positions)
        rows = [by.rows[by.turned[:stop] if backward else slice(stop)] for backward in config.ways]
        x = [pick(flat, own) for own in rows]
        said = [self._dropped(way, by, noise.input) if noise else way for way in x]
        yield x, said
        sizes = by.sizes[: int(torch.searchsorted(by.sizes.cumsum(0), stop)) + 1]
        stride = stream.thread.stride if self.memory is not None and stream.thread is not None else None
        for number, cells in enumerate(self.layers):
            read = said
            if number and config.directions == "both":
                over = [pick(way, by.turned) for way in said]
                read = [torch.cat([said[0], over[1]], 1), torch.cat([over[0], said[1]], 1)]
            x = []
            for cell, way, own in zip(cells, read, said, strict=True):
                y, state = cell(way, sizes, None if begin is None else begin[number], stride)
                x.append(y + own if config.residual and number else y)
                left.append(state)
            last = number + 1 == config.layers
            share = 1.0 if noise is None else noise.output if last else noise.between
            said = [self._dropped(y, by, share) for y in x]
            yield x, said

    def _begin(self, stream: Stream, by: ByTime) -> list[State] | None:
        """Of each layer what the sequences, in `by.order`, go on from."""
        found = None if self.memory is None else self.memory.found(stream, by.order)
        if found is None:
            return None
        sizes = [size for units, says in self.config.sizes for size in (says, units)]
        empty = torch.zeros(sum(sizes))
        rows = [(empty if left is None else left.flatten()).to(stream.tokens.device) for left in found]
        parts = torch.stack(rows).split(sizes, 1)
        return list(zip(parts[::2], parts[1::2], strict=True))

    def _dropped(self, x: Tensor, by: ByTime, share: float) -> Tensor:
        """One mask for all times of a sequence, where noise is locked."""
        rate = share * self.config.dropout
        if not self.training or rate == 0:
            return x
        if self.config.noise is None:
            return F.dropout(x, rate)
        mask = F.dropout(x.new_ones(len(by.order), x.shape[1]), rate)
        return x * pick(mask, by.of_sequence[: len(x)])

    def _flat(self, ways: list[Tensor], by: ByTime, read: Tensor | None) -> Tensor:
        """Directions side by side, as the text stands: (n, d), or (m, d)."""
        rows = by.back if read is None else by.back[read]
        turned = [
            pick(x, by.turned[rows] if backward else rows) for x, backward in zip(ways, self.config.ways, strict=False)
        ]
        return turned[0] if len(turned) == 1 else torch.cat(turned, 1)
