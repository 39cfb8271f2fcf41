"""Cross-entropy of many rows of logits, some at a time on a CPU.  m rows, V classes.

torch's own makes four tables of (m, V) numbers in float32 on the way there and back, which no cache holds; here a block of rows goes all
the way, and its log-probabilities are made once more for the slopes.  The same operations on each row: the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import IGNORE

CELLS = 1 << 18  # of a block: a megabyte of float32
MANY = 1 << 21  # cells from which on blocks are worth their calls


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits (m, V) -> (m,) float32, 0 where a label is IGNORE."""
    narrow = logits.dtype in (torch.float32, torch.bfloat16)
    if narrow and logits.device.type == "cpu" and logits.requires_grad and logits.numel() >= MANY:
        return _Blocks.apply(logits, labels)
    return F.cross_entropy(logits, labels, reduction="none").float()


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels)
        rows = max(1, CELLS // logits.shape[1])
        blocks = zip(logits.split(rows), labels.split(rows), strict=True)
        return torch.cat([F.cross_entropy(some.float(), asked, reduction="none") for some, asked in blocks])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        logits, labels = ctx.saved_tensors
        rows = max(1, CELLS // logits.shape[1])
        asked, at = -slope.masked_fill(labels == IGNORE, 0)[:, None], labels.clamp(min=0)[:, None]
        found, block = torch.empty_like(logits), logits.new_zeros(rows, logits.shape[1], dtype=torch.float32)
        for into, some, of, place in zip(*(x.split(rows) for x in (found, logits, asked, at)), strict=True):
            said = some.float().log_softmax(-1)
            above = block[: len(some)].scatter_(1, place, of)
            into.copy_(torch._log_softmax_backward_data(above, said, -1, torch.float32))
            above.scatter_(1, place, 0)
        return found, None
