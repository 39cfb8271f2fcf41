"""Which tokens stand together where none sees further than a window: blocks as long as it, each beside the one before and the one behind.

n tokens of s sequences, B blocks of `size` places, m <= n of them asking.  With a window of w places a token's own block and the two beside
it hold all that it sees, so that scores are 3 w for each token and not its sequence's length.  With gaps, every gap-th token of a sequence
is a sequence by itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertsmith.data.batch import Stream

LEAST = 16  # places of a block: narrower windows make products too small
SAVED = 0.75  # of the scores of whole sequences, at most, that blocks may come to


class Rows(NamedTuple):
    """A padded row, as `padded.Pad` reads it."""

    rows: Tensor  # (p,) the flat row at each place
    real: Tensor  # (p,) False where that is filler
    places: Tensor  # (n,) where each flat row stands


class Blocks(NamedTuple):
    rows: Tensor  # (B size,)
    real: Tensor
    places: Tensor  # (n,)
    beside: Tensor  # (B, 3 or 2) the blocks that each reads; itself where there is none
    there: Tensor  # (B, 3 or 2) whether there is one
    sequence: Tensor  # (B,) whose block it is
    every: Tensor  # (B,) 0, 1, …
    size: int


def size_of(stream: Stream) -> int:
    return max(stream.window or 0, LEAST)


def worth(stream: Stream) -> bool:
    """Whether blocks are less to compute than whole sequences; they go by where tokens stand in the row."""
    size = size_of(stream)
    of = np.array(stream.lengths)
    padded = stream.gap * size * -(-of // (stream.gap * size))
    return 3 * size * int(padded.sum()) < SAVED * int((of**2).sum()) and stream.consecutive


def blocks(stream: Stream) -> Blocks:
    sides = (-1, 0) if stream.visibility == "causal" else (-1, 0, 1)
    return cut(stream.lengths, size_of(stream), sides, stream.tokens.device, stream.gap)


# Made once for all layers; plain tensors even when first asked for in inference mode.
@lru_cache(maxsize=8)
def cut(
    lengths: tuple[int, ...],
    size: int,
    sides: tuple[int, ...],
    device: torch.device,
    gap: int = 1,
    wraps: bool = False,
) -> Blocks:
    """Sequences in blocks of `size` places, each beside those `sides` of it; `wraps`: before the first stands the last, and behind that the
    first, where a sequence has more than one."""
    of = np.array(lengths)
    begins, parts = np.cumsum(of) - of, np.minimum(gap, of)
    owner = np.repeat(np.arange(len(of)), parts)  # of each part
    first = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    tokens = -(-(of[owner] - first) // gap)
    count = -(-tokens // size)
    part = np.repeat(np.arange(len(owner)), count)  # of each block
    nth = np.arange(len(part)) - np.repeat(np.cumsum(count) - count, count)
    place = nth[:, None] * size + np.arange(size)
    real = place < tokens[part, None]
    rows = np.where(real, (begins[owner] + first)[part, None] + gap * place, 0)
    places = np.empty(of.sum(), np.int64)
    places[rows[real]] = np.flatnonzero(real)
    every, side = np.arange(len(part)), np.array(sides)
    of_part, aside = count[part, None], nth[:, None] + side
    there = (aside >= 0) & (aside < of_part) | (wraps & (of_part > 1))
    beside = every[:, None] + np.where(there, aside % of_part - nth[:, None], 0)
    arrays = rows.ravel(), real.ravel(), places, beside, there, owner[part], every
    with torch.inference_mode(False):
        return Blocks(*(torch.from_numpy(x).to(device) for x in arrays), size=size)


def asked(of: Blocks, queries: Tensor) -> tuple[Rows, Tensor]:
    """The flat indices `queries` (m,) by blocks, and the numbers of those that have any; `Rows` counts queries."""
    where = of.places[queries]
    order = where.argsort()
    used, counts = torch.unique_consecutive(where[order] // of.size, return_counts=True)
    longest = -(-int(counts.max()) // 8) * 8
    nth = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    slots = torch.arange(len(used), device=order.device).repeat_interleave(counts) * longest + nth
    rows, places = order.new_zeros(len(used) * longest), torch.empty_like(order)
    rows[slots], places[order] = order, slots
    real = torch.zeros(len(rows), dtype=torch.bool, device=order.device)
    real[slots] = True
    return Rows(rows, real, places), used


def wide(stream: Stream) -> tuple[Tensor, Tensor]:
    """(s, g) the flat indices of what is wide in each sequence, g at most, and where there is one."""
    assert stream.sides is not None
    rows, device = stream.sides[1], stream.tokens.device
    ends = torch.tensor(stream.lengths, device=device).cumsum(0)
    owner = torch.searchsorted(ends, rows, right=True)
    counts = torch.bincount(owner, minlength=len(ends))
    there = torch.arange(int(counts.max()), device=device) < counts[:, None]
    table = rows.new_zeros(there.shape)
    table[there] = rows
    return table, there
