"""A padded batch as a stream: what graphs are traced of, whose batch and length are of any size.  s sequences of l places, n = s l.

Everything else of a model reads it as it reads any stream; attention knows it by `real` (attention.py).  Lengths, which graphs do not know, are not there: what
goes by them has a way of its own here, or cannot be traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bertsmith.data.batch import Stream


@dataclass(frozen=True, kw_only=True)
class Rectangle(Stream):
    """`real` (s, l) bool: where no filler stands, which is behind the texts."""

    real: Any  # type: ignore[misc]

    @classmethod
    def of(cls, tokens: Tensor, real: Tensor, segments: Tensor | None = None, causal: bool = False) -> Rectangle:
        """tokens, segments (s, l) int64."""
        places = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape).flatten()
        rank = places if causal else torch.zeros_like(places)
        return cls(
            tokens=tokens.flatten(),
            positions=places,
            segments=torch.zeros_like(places) if segments is None else segments.flatten(),
            query_rank=rank,
            key_rank=rank,
            lengths=(),
            visibility="ranks" if causal else "full",
            real=real,
        )

    @property
    def reach(self) -> tuple[int, int]:  # type: ignore[override]
        longest = self.real.shape[1]
        return 1 - longest, longest - 1

    @property
    def consecutive(self) -> bool:  # type: ignore[override]
        """Ways that are for bands of one length are not for graphs."""
        return False

    @property
    def sides(self) -> None:  # type: ignore[override]
        return None
