"""Ragged ranges in NumPy: what a loop over (begin, end) would give, without the loop."""

import numpy as np

from bertsmith.data.batch import Array


def spread(begin: Array, end: Array) -> tuple[Array, Array]:
    """The numbers of all half-open ranges, one range after the other, and which range each is of."""
    owner = np.repeat(np.arange(len(begin)), end - begin)
    return numbers(begin, end), owner


def numbers(begin: Array, end: Array) -> Array:
    """The numbers of all half-open ranges, one range after the other."""
    width = end - begin
    if (width == 1).all():
        return begin.copy()
    found = np.repeat(begin - (np.cumsum(width) - width), width)
    found += np.arange(len(found))
    return found


def within(lengths: Array) -> Array:
    """int32, 0, 1, 2, ... for each of `lengths` (s,), one after the other: places in sequences of these lengths."""
    first = (np.cumsum(lengths) - lengths).astype(np.int32)
    return np.arange(int(lengths.sum()), dtype=np.int32) - np.repeat(first, lengths)


def sums(values: Array, counts: Array) -> Array:
    """(s,) sums over neighbouring values, `counts` (s,) of them at a time."""
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    return np.diff(total[np.concatenate([[0], np.cumsum(counts)])])
