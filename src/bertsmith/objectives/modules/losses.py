"""Losses of classes.  m labels, c classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import IGNORE


def weighed_sum(logits: Tensor, labels: Tensor, classes: tuple[float, ...], focal: float, smoothing: float) -> Tensor:
    """objectives/losses.py says of what."""
    logits = logits.float()
    found = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing, ignore_index=IGNORE)
    right = labels.clamp(min=0)
    if focal:
        p = logits.softmax(-1).gather(1, right[:, None])[:, 0]
        found = found * (1 - p).clamp(min=1e-6) ** focal  # the slope of a power below 1 has no end at 0
    if classes:
        found = found * torch.tensor(classes, device=logits.device)[right]
    return found.masked_fill(labels == IGNORE, 0).sum()
