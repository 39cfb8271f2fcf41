"""Attention over packed rows; the only file that names a backend.

n tokens of s sequences in one flat row, m <= n of them asking, h heads, e head width.  No padding is computed but in the fallback.
A token sees only its own sequence, and there what the stream's ranks and window let it see; what sees nothing gets zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import Stream

try:  # since torch 2.10; CUDA only
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None

# What a position scheme adds to the scores: flat indices of queries (b, q) and keys (b, k) -> (b, h, q, k).
Bias = Callable[[Tensor, Tensor], Tensor]


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    stream: Stream,
    dropout: float = 0.0,
    bias: Bias | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """q (m, h, e), k and v (n, h, e) -> (m, h, e); scores are scaled by e ** -0.5.

    `queries` (m,): the flat indices, ascending, that the rows of `q` stand for; None: all n.  Exact for every subset.
    """
    if len(q) == 0:
        return q
    if _fits_varlen(q, stream, dropout, bias, queries):
        return _varlen(q, k, v, stream, queries)
    if queries is None and len(set(stream.lengths)) == 1:
        shape = (len(stream.lengths), stream.lengths[0])
        places = _places(stream.lengths, q.device).view(shape)
        q, k, v = (x.unflatten(0, shape) for x in (q, k, v))
        return _attend(q, k, v, stream, places, places, None, dropout, bias, all_ask=True).flatten(0, 1)
    if q.device.type == "cpu":
        return _one_by_one(q, k, v, stream, dropout, bias, queries)
    return attend_padded(q, k, v, stream, dropout, bias, queries)


def attend_padded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    stream: Stream,
    dropout: float = 0.0,
    bias: Bias | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """`attend` by padding and a mask: the reference in tests, and the way on CUDA where the varlen kernel does not serve."""
    if len(q) == 0:
        return q
    counts = stream.lengths if queries is None else _counts(stream, queries)
    ask_rows, ask_real, ask_flat = _grid(tuple(counts), q.device)
    key_rows, key_real, _ = _grid(stream.lengths, q.device)
    asks = ask_rows if queries is None else queries[ask_rows]
    # Filler queries see every key, so that no row of the softmax is empty; their outputs are not read.
    padding = key_real[:, None, :], ~ask_real[:, :, None]
    out = _attend(q[ask_rows], k[key_rows], v[key_rows], stream, asks, key_rows, padding, dropout, bias)
    return out.flatten(0, 1)[ask_flat]


def _one_by_one(q, k, v, stream, dropout, bias, queries) -> Tensor:
    """One call for each sequence: nothing is padded, and the CPU kernel needs no mask."""
    lengths = stream.lengths
    counts = lengths if queries is None else _counts(stream, queries)
    keys = _places(lengths, q.device).split(lengths)
    asks = keys if queries is None else queries.split(counts)
    parts = zip(
        q.split(counts), k.split(lengths), v.split(lengths), asks, keys, strict=True
    )  # split: its backward is one copy
    return torch.cat(
        [
            _attend(qi[None], ki[None], vi[None], stream, ask[None], key[None], None, dropout, bias, queries is None)[0]
            for qi, ki, vi, ask, key in parts
            if len(qi)
        ]
    )


def _attend(q, k, v, stream, asks, keys, padding, dropout, bias, all_ask=False) -> Tensor:
    """Rectangles: q (b, q, h, e), k and v (b, k, h, e); `asks` (b, q) and `keys` (b, k) are their flat indices."""
    causal = stream.visibility == "causal" and stream.window is None and bias is None and padding is None and all_ask
    mask = None
    if not causal and (stream.visibility != "full" or stream.window is not None):
        mask = sees(stream, asks[:, :, None], keys[:, None, :])
    if padding is not None:
        real_keys, filler = padding
        mask = real_keys.expand(-1, q.shape[1], -1) if mask is None else real_keys & (mask | filler)
    mask = mask if mask is None else mask[:, None]
    if bias is not None:
        added = bias(asks, keys).to(q.dtype)
        mask = added if mask is None else added.masked_fill(~mask, -torch.inf)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal).transpose(1, 2)


def sees(stream: Stream, asks: Tensor, keys: Tensor) -> Tensor:
    """Whether each query may see each key of its own sequence; flat indices that broadcast."""
    seen = stream.key_rank[keys] <= stream.query_rank[asks]
    if stream.window is not None:
        seen = seen & ((stream.positions[asks] - stream.positions[keys]).abs() <= stream.window)
    return seen


def _fits_varlen(q: Tensor, stream: Stream, dropout: float, bias: Bias | None, queries: Tensor | None) -> bool:
    """The kernel knows no dropout, ranks or biases; it counts places from a sequence's end, so that subsets must see everything."""
    everything = stream.visibility == "full" and (stream.window is None or queries is None)
    in_order = stream.visibility == "causal" and stream.window is None and queries is None
    kernel = varlen_attn is not None and q.is_cuda and q.dtype in (torch.bfloat16, torch.float16)
    return (
        kernel
        and q.shape[-1] % 8 == 0
        and q.shape[-1] <= 256
        and dropout == 0
        and bias is None
        and (everything or in_order)
    )


def _varlen(q, k, v, stream, queries) -> Tensor:
    offsets = _offsets(stream.lengths, q.device)
    asked = offsets if queries is None else torch.searchsorted(queries, offsets, out_int32=True)
    longest = max(stream.lengths)
    window = (
        (-1, 0)
        if stream.visibility == "causal"
        else (-1, -1)
        if stream.window is None
        else (stream.window, stream.window)
    )
    return varlen_attn(
        q.contiguous(), k.contiguous(), v.contiguous(), asked, offsets, longest, longest, window_size=window
    )


def _counts(stream: Stream, queries: Tensor) -> list[int]:
    """How many of the queries each sequence has."""
    edges = torch.searchsorted(queries, _offsets(stream.lengths, queries.device))
    return edges.diff().tolist()


# What follows from the lengths alone is made once for all layers.  Plain tensors even when first asked for in inference mode.
@lru_cache(maxsize=4)
def _offsets(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)).to(device)


@lru_cache(maxsize=4)
def _places(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(sum(lengths), device=device)


@lru_cache(maxsize=8)
def _grid(counts: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(s, longest) flat indices (filler: 0), (s, longest) whether they are real, and where the real ones stand in the flat grid."""
    lengths = np.array(counts)
    column = np.arange(lengths.max())
    real = column < lengths[:, None]
    rows = np.where(real, np.cumsum(lengths)[:, None] - lengths[:, None] + column, 0)
    with torch.inference_mode(False):
        return tuple(torch.from_numpy(x).to(device) for x in (rows, real, np.flatnonzero(real)))
