"""Mentions against the entities of their sequence.  m predictions, s sequences, c candidates at most, d and w widths of tokens and entities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Stream, Target


class EntityTerm(nn.Module):
    def __init__(self, width: int, entity: int):
        super().__init__()
        self.out = nn.Linear(width, entity)

    def among(self, hidden: Tensor, target: Target, stream: Stream, model: Any) -> tuple[Tensor, Tensor]:
        """hidden (m, d) -> logits (m, c), -inf where a sequence has fewer to choose from, and labels (m,) among them."""
        owner, own, table = candidates(target, stream)
        vectors = model.vectors[table.clamp(min=0)].to(hidden.dtype)
        logits = torch.einsum("mw,mcw->mc", self.out(hidden), vectors[owner])
        none = (table < 0).index_fill(1, torch.zeros(1, dtype=torch.long, device=table.device), False)
        return logits.masked_fill(none[owner], -torch.inf), own


def candidates(target: Target, stream: Stream) -> tuple[Tensor, Tensor, Tensor]:
    """Of each question its sequence (m,) and where its answer stands among that one's candidates (m,); the candidates (s, c), ascending, -1
    where there are fewer; s sequences that are asked."""
    at, labels = target.at[:, 0], target.labels
    ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
    sequence, owner = torch.unique(torch.bucketize(at, ends, right=True), return_inverse=True)
    real = labels != IGNORE
    most = int(labels.max().clamp(min=0)) + 1
    keys, place = torch.unique(owner[real] * most + labels[real], return_inverse=True)
    each = torch.bincount(keys // most, minlength=len(sequence))
    first = each.cumsum(0) - each
    table = torch.full((len(sequence), max(1, int(each.max()))), -1, device=at.device)
    number = torch.arange(len(keys), device=at.device) - first[keys // most]
    table[keys // most, number] = keys % most
    own = torch.full_like(labels, IGNORE)
    own[real] = number[place]
    return owner, own, table
