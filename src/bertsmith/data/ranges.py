"""Ragged ranges in NumPy: what a loop over (begin, end) would give, without the loop."""

import numpy as np

from bertsmith.data.batch import Array


def spread(begin: Array, end: Array) -> tuple[Array, Array]:
    """The numbers of all half-open ranges, one range after the other, and which range each is of."""
    width = end - begin
    owner = np.repeat(np.arange(len(width)), width)
    return np.arange(len(owner)) + np.repeat(begin - (np.cumsum(width) - width), width), owner
