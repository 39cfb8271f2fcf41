"""Which tokens of targets are hidden, so that what can see both sides learns to write them.  s targets of m tokens in all."""

from __future__ import annotations

import numpy as np

from bertsmith.data.batch import Array
from bertsmith.data.draw import arranged, counted
from bertsmith.data.ranges import within


def hidden_of(sizes: Array, rate: float) -> Array:
    """(s,) how many tokens of targets of `sizes` (s,) tokens are hidden: that share of each, one at least."""
    return np.where(sizes > 0, np.maximum(1, np.rint(sizes * rate)), 0).astype(np.int64)


def hidden(keys: Array, sizes: Array, rate: float) -> Array:
    """(m,) bool: which tokens are hidden; the same ones for the same `keys` (s,).  An end is a token like any other."""
    owner = np.repeat(np.arange(len(sizes)), sizes)
    first = within(sizes) < hidden_of(sizes, rate)[owner]
    found = np.zeros(len(owner), bool)
    found[arranged(counted(keys, sizes), owner)[first]] = True
    return found
