"""Threads: sequences that are read one after another, each of which goes on where the one before it in its column stopped.  NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Thread:
    """Where s sequences stand in their columns; a model with memory looks up what the turn before left there."""

    column: np.ndarray  # (s,) int64
    turn: np.ndarray  # (s,) int64: 0 begins a text, which nothing stands before
    backward: np.ndarray  # (s,) bool: the text is read from its end
    stride: int  # the next turn begins this many tokens further on: these, and not what follows, are kept in memory

    def __getitem__(self, which: slice | np.ndarray) -> "Thread":
        return Thread(
            column=self.column[which], turn=self.turn[which], backward=self.backward[which], stride=self.stride
        )

    @classmethod
    def join(cls, threads: Sequence["Thread | None"]) -> "Thread | None":
        """All of them, one after the other.  They come from one layout: all or none are there, with one stride."""
        found = [thread for thread in threads if thread is not None]
        if not found:
            return None
        fields = {name: np.concatenate([getattr(t, name) for t in found]) for name in ("column", "turn", "backward")}
        return cls(**fields, stride=found[0].stride)
