"""What a decoder reads and is asked for: the tokens of its side, each from those before it.  m asked tokens, s sequences."""

import numpy as np

from bertsmith.data.batch import Array, Stream, Target
from bertsmith.data.ranges import within


def shifted(tokens: Array, lengths: Array, start: int) -> Array:
    """(m,) what stands before each token of its sequence; before the first, `start`."""
    before = np.empty_like(tokens)
    before[1:] = tokens[:-1]
    first = np.cumsum(lengths) - lengths
    before[first[lengths > 0]] = start
    return before


def decoded(read: Array, asked: Array, lengths: Array, positions: Array | None = None) -> tuple[Stream, Target]:
    """The side of a decoder that reads `read` (m,) and is asked for `asked` (m,) in the same places, from left to right; `lengths` (s,).

    `positions` (m,): where the tokens that it reads stand; None: from 0 on in each sequence.
    """
    place = within(lengths)
    stream = Stream(
        tokens=read,
        positions=place if positions is None else positions,
        segments=np.zeros(len(read), np.uint8),
        query_rank=place,
        key_rank=place,
        lengths=tuple(lengths.tolist()),
        visibility="causal",
    )
    return stream, Target(at=np.arange(len(read))[:, None], labels=asked.astype(np.int64))
