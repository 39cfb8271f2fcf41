"""A loss whose gradient is known already, in few rows of large tables: what its `backward` leaves are sparse gradients, where no other process is to
add its own: those that travel between processes are whole.  u rows, d width."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bertsmith.nn.modules.static import Moved


class _Known(torch.autograd.Function):
    """forward(loss, table, rows, slope, table, rows, slope, …)."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parts: Tensor) -> Tensor:
        ctx.shapes = [part.shape for part in parts[::3]]
        ctx.save_for_backward(*parts[1::3], *parts[2::3])
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        found: list[Tensor | None] = [None]
        saved = ctx.saved_tensors
        many = len(saved) // 2
        for shape, rows, slope in zip(ctx.shapes, saved[:many], saved[many:], strict=True):
            values = slope * pull
            if dist.is_available() and dist.is_initialized():
                found += [values.new_zeros(shape).index_copy_(0, rows, values), None, None]
            else:
                few = torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
                found += [few, None, None]
        return tuple(found)


def known(loss: Tensor, parts: list[Moved]) -> Tensor:
    """`loss`, whose gradient in each table is what stands there."""
    return _Known.apply(loss, *(tensor for part in parts for tensor in part))
