"""Padding where attention needs it: sequences in groups of about one length, each group a rectangle.

n tokens in one flat row, p >= n places of the rectangles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ALIKE = 0.8  # sequences are computed together on a CPU when the shortest has this share of the longest's length
STEP = 32  # groups are padded to a multiple: oneDNN compiles each product for its shape; few shapes are a third faster
Groups = tuple[tuple[int, ...], ...]  # of sequences


class Block(NamedTuple):
    span: slice  # of the padded rows
    shape: tuple[int, int]  # sequences, longest
    full: bool  # nothing in it is filler


class Grid(NamedTuple):
    blocks: tuple[Block, ...]
    rows: Tensor  # (p,): the flat row at each padded place
    real: Tensor  # (p,): False where that is filler
    places: Tensor  # (n,): where each flat row stands


class Pad(torch.autograd.Function):
    """Flat rows (n, …) to padded places (p, …).  Each row stands at one place, so that backward gathers and adds nothing."""

    @staticmethod
    def forward(ctx, x, grid):
        ctx.grid = grid
        return x.index_select(0, grid.rows)

    @staticmethod
    def backward(ctx, slope):
        return slope.index_select(0, ctx.grid.places), None


class Unpad(torch.autograd.Function):
    """Padded places (p, …) back to flat rows (n, …)."""

    @staticmethod
    def forward(ctx, x, grid):
        ctx.grid = grid
        return x.index_select(0, grid.places)

    @staticmethod
    def backward(ctx, slope):
        return slope.new_zeros(len(ctx.grid.rows), *slope.shape[1:]).index_copy_(0, ctx.grid.places, slope), None


# What follows from the lengths alone is made once for all layers.  Plain tensors even when first asked for in inference mode.
@lru_cache(maxsize=4)
def together(lengths: tuple[int, ...]) -> Groups:
    return (tuple(range(len(lengths))),)


@lru_cache(maxsize=4)
def alike(lengths: tuple[int, ...]) -> Groups:
    """Sequences in groups of about one length, the longest first."""
    groups: list[list[int]] = []
    padded = _round_up(np.array(lengths))
    for i in np.argsort(-padded, kind="stable").tolist():
        if groups and padded[i] >= ALIKE * padded[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return tuple(map(tuple, groups))


def _round_up(lengths):
    return -(-lengths // STEP) * STEP


@lru_cache(maxsize=8)
def grid(counts: tuple[int, ...], groups: Groups, device: torch.device) -> Grid:
    """Where `counts[i]` rows of each sequence go when each group is padded to (a little over) its longest.  Filler stands for row 0."""
    starts, rows, real, blocks, done = np.cumsum(counts) - counts, [], [], [], 0
    for group in map(list, groups):
        own = np.array(counts)[group]
        longest = max(1, _round_up(own.max()))
        is_real = np.arange(longest) < own[:, None]
        rows.append(np.where(is_real, starts[group][:, None] + np.arange(longest), 0).ravel())
        real.append(is_real.ravel())
        blocks.append(Block(slice(done, done + is_real.size), is_real.shape, bool(is_real.all())))
        done += is_real.size
    rows, real = np.concatenate(rows), np.concatenate(real)
    places = np.empty(sum(counts), np.int64)
    places[rows[real]] = np.flatnonzero(real)
    with torch.inference_mode(False):
        return Grid(tuple(blocks), *(torch.from_numpy(x).to(device) for x in (rows, real, places)))
