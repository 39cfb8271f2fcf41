"""Attention over packed rows; the only file that names a backend.

n tokens of s sequences in one flat row, m <= n of them asking, h heads, e head width.  No padding is computed but in the fallback.
A token sees only its own sequence, and there what the stream's ranks and window let it see; what sees nothing gets zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.data.batch import Stream
from bertsmith.nn.modules import windowed
from bertsmith.nn.modules.padded import Pad, Unpad, alike, grid, together

varlen_attn: Any = None  # torch's packed kernel, once it was asked for

PLAIN = 512  # up to this length a CPU is faster with plain products than with torch's kernel (LOG.md, 2026-11-21)

# What a position scheme adds to the scores: queries (b, q, h, e), keys (b, k, h, e), flat indices of both (b, q), (b, k) -> (b, h, q, k).
Bias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Shares = list[
    tuple[bool, Tensor]
]  # (whether a source is read, (m, h, n) what each query takes of each token), in the order of reading
_WATCHED: ContextVar[Shares | None] = ContextVar("watched", default=None)


@contextmanager
def watched() -> Iterator[Shares]:
    """What all attention inside takes of each token, without dropout; what a cache keeps is not watched."""
    found: Shares = []
    before = _WATCHED.set(found)
    try:
        yield found
    finally:
        _WATCHED.reset(before)


class Heard(NamedTuple):
    """Of one layer, (n, h, e) each: what tokens ask by, what they are found by, and what they say; scores are q k / e ** 0.5, of those that
    `sees`, of flat indices (b, 1, q, 1) and (b, 1, 1, k) -> (b, 1 or h, q, k), says are read."""

    q: Tensor
    k: Tensor
    v: Tensor
    sees: Callable[[Tensor, Tensor], Tensor]


_HEARD: ContextVar[list[Heard] | None] = ContextVar("heard", default=None)


@contextmanager
def heard() -> Iterator[list[Heard]]:
    """What every attention inside is given, layer by layer, part of the graph where there is one; a source's and a cache's are not heard."""
    found: list[Heard] = []
    before = _HEARD.set(found)
    try:
        yield found
    finally:
        _HEARD.reset(before)


def hear(told: Callable[[], Heard]) -> None:
    """What an attention tells of itself, once for all its rows."""
    if (listening := _HEARD.get()) is not None:
        listening.append(told())


@contextmanager
def aside() -> Iterator[None]:
    """What attends inside is no layer's own attention, which is neither watched nor heard (pals.py)."""
    before = _WATCHED.set(None), _HEARD.set(None)
    try:
        yield
    finally:
        _WATCHED.reset(before[0])
        _HEARD.reset(before[1])


def watch(reads_source: bool, k: Tensor, shares: Callable[[Tensor], Tensor]) -> None:
    """`shares` of values: where each token's says which it is, what is mixed of them are the shares themselves."""
    found = _WATCHED.get()
    if found is None:
        return
    n, heads = k.shape[:2]
    with aside():
        found.append((reads_source, shares(torch.eye(n, dtype=k.dtype, device=k.device)[:, None].expand(n, heads, n))))


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
    if stream.real is None and len(q):
        hear(lambda: Heard(q, k, v, partial(sees, stream)))
        watch(False, k, lambda each: mix(q, k, each, stream, 0.0, bias, queries))
    return mix(q, k, v, stream, dropout, bias, queries)


def mix(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    stream: Stream,
    dropout: float = 0.0,
    bias: Bias | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """`attend`, unwatched: a part of what a layer reads, which says itself what all of it is."""
    if stream.real is not None:
        return _in_rectangle(q, k, v, stream, stream, dropout, bias)
    if len(q) == 0:
        return v[:0]
    if _fits_varlen(q, stream, dropout, bias, queries):
        return _varlen(q, k, v, stream, queries)
    if stream.window is not None and windowed.worth(stream):
        return _attend_near(q, k, v, stream, dropout, bias, queries)
    if queries is None and len(set(stream.lengths)) == 1:
        shape = (len(stream.lengths), stream.lengths[0])
        places = _places(stream.lengths, q.device).view(shape)
        q, k, v = (x.unflatten(0, shape) for x in (q, k, v))
        return _attend(q, k, v, stream, places, places, None, dropout, bias, all_ask=True).flatten(0, 1)
    groups = alike(stream.lengths) if q.device.type == "cpu" else together(stream.lengths)
    return _attend_in(groups, q, k, v, stream, dropout, bias, queries)


def attend_source(
    q: Tensor, k: Tensor, v: Tensor, stream: Stream, source: Stream, dropout: float = 0.0, queries: Tensor | None = None
) -> Tensor:
    """q (m, h, e) of `stream`, k and v (N, h, e) of `source` -> (m, h, e): all of sequence i sees all of the source's sequence i.

    `queries` as of `attend`.
    """
    if source.real is not None:
        return _in_rectangle(q, k, v, stream, replace(source, visibility="full", window=None), dropout)
    if len(q) == 0:
        return q
    watch(True, k, lambda each: attend_source(q, k, each, stream, source, 0.0, queries))
    counts, seen = _counts(stream, queries), replace(source, visibility="full", window=None)
    if _kernel(q, dropout):
        offsets, asked = _offsets(seen.lengths, q.device), _offsets(counts, q.device)
        q, k, v = (x.contiguous() for x in (q, k, v))
        return varlen_attn(q, k, v, asked, offsets, max(counts), max(seen.lengths), window_size=(-1, -1))
    groups = alike(seen.lengths) if q.device.type == "cpu" else together(seen.lengths)
    return _attend_in(groups, q, k, v, seen, dropout, None, None, counts)


def _in_rectangle(q, k, v, stream, source, dropout, bias=None) -> Tensor:
    """Of padded streams: rows (s l) of both are rectangles as they stand.  What each sees is read off `source`, which is `stream` but where another is read."""
    of_asks, of_keys = stream.real.shape, source.real.shape
    asks, keys = (torch.arange(shape[0] * shape[1], device=q.device).view(shape) for shape in (of_asks, of_keys))
    padding = source.real[:, None, :], ~stream.real[:, :, None]
    q, k, v = q.unflatten(0, of_asks), k.unflatten(0, of_keys), v.unflatten(0, of_keys)
    mask, blind = _seen(source, asks, keys, padding)
    added = None if bias is None else bias(q, k, asks, keys)
    return _mixed(q, k, v, mask, blind, added, dropout, True).flatten(0, 1)


def attend_padded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    stream: Stream,
    dropout: float = 0.0,
    bias: Bias | None = None,
    queries: Tensor | None = None,
) -> Tensor:
    """`attend` by padding everything to the longest: the reference in tests."""
    return _attend_in(together(stream.lengths), q, k, v, stream, dropout, bias, queries) if len(q) else q


def _attend_in(groups, q, k, v, stream, dropout, bias, queries, counts=None) -> Tensor:
    """Each group of sequences is padded to its longest: on a CPU few large products with little padding, on CUDA a single one.

    `counts`: rows of `q` that each sequence has, where `queries` do not say.
    """
    of_keys, counts = grid(stream.lengths, groups, q.device), counts or _counts(stream, queries)
    of_asks = of_keys if counts == stream.lengths else grid(counts, groups, q.device)
    q, k, v = Pad.apply(q, of_asks), Pad.apply(k, of_keys), Pad.apply(v, of_keys)
    done = []
    for ask, key in zip(of_asks.blocks, of_keys.blocks, strict=True):
        asks, keys = of_asks.rows[ask.span].view(ask.shape), of_keys.rows[key.span].view(key.shape)
        asks = asks if queries is None else queries[asks]
        padding = None
        if not (ask.full and key.full):
            # Filler queries see every key, so that no row of the softmax is empty; nobody reads them.
            real_keys, real_asks = of_keys.real[key.span].view(key.shape), of_asks.real[ask.span].view(ask.shape)
            padding = real_keys[:, None, :], ~real_asks[:, :, None]
        asking = q[ask.span].unflatten(0, ask.shape)
        seen, read = (x[key.span].unflatten(0, key.shape) for x in (k, v))
        done.append(_attend(asking, seen, read, stream, asks, keys, padding, dropout, bias).flatten(0, 1))
    return Unpad.apply(torch.cat(done) if len(done) > 1 else done[0], of_asks)


def _attend_near(q, k, v, stream, dropout, bias, queries) -> Tensor:
    """With a window, by blocks of it: each reads itself, the blocks beside it and what is wide; linear in the length."""
    if stream.sides is not None:
        asking = stream.wide if queries is None else stream.wide[queries]
        if asking.any():  # what is wide reads everything
            near, far = (~asking).nonzero()[:, 0], asking.nonzero()[:, 0]
            rows = (near, far) if queries is None else (queries[near], queries[far])
            found = [
                mix(q.index_select(0, own), k, v, seen, dropout, bias, of)
                for own, seen, of in ((near, stream, rows[0]), (far, stream.spread(), rows[1]))
            ]
            return parted(found, (near, far))
    near = _near(stream, queries)
    size, count = near.of_keys.size, len(near.used)
    padded = lambda x: Pad.apply(x, near.of_keys).view(-1, size * x.shape[1:].numel())
    blocks = lambda x: gathered(padded(x), near.beside).view(count, -1, *x.shape[1:])
    seen, read = blocks(k), blocks(v)
    if near.wide is not None:
        seen, read = (torch.cat([x, gathered(of, near.wide)], 1) for x, of in ((seen, k), (read, v)))
    asking = Pad.apply(q, near.of_asks).unflatten(0, (count, -1))
    added = None if bias is None else bias(asking, seen, near.asks, near.keys)
    said = _mixed(asking, seen, read, near.mask, near.blind, added, dropout, bias is not None)
    return Unpad.apply(said.flatten(0, 1), near.of_asks)


class _Near(NamedTuple):
    """What blocks read: B of them ask, a places in each, and each reads b."""

    of_keys: windowed.Blocks
    of_asks: windowed.Blocks | windowed.Rows
    used: Tensor  # (B,) the blocks that ask
    beside: Tensor  # (B, 3 or 2) the blocks that each reads
    wide: Tensor | None  # (B, g) flat indices of what is wide in its sequence
    asks: Tensor  # (B, a) flat indices
    keys: Tensor  # (B, b)
    mask: Tensor  # as of `_seen`
    blind: Tensor | None


def _near(stream: Stream, queries: Tensor | None) -> _Near:
    """Made once for all layers that ask everything."""
    if queries is not None:
        return _near_of(stream, queries)
    if "_near" not in stream.__dict__:
        with torch.inference_mode(False):  # it may be learned from later
            stream.__dict__["_near"] = _near_of(stream, None)
    return stream.__dict__["_near"]


def _near_of(stream: Stream, queries: Tensor | None) -> _Near:
    of_keys = windowed.blocks(stream)
    of_asks, used = (of_keys, of_keys.every) if queries is None else windowed.asked(of_keys, queries)
    beside, there, wide = of_keys.beside[used], of_keys.there[used], None
    rows = lambda x: x.view(-1, of_keys.size)[beside]
    keys = rows(of_keys.rows).flatten(1)
    real = (rows(of_keys.real) & there[..., None]).flatten(1)
    if stream.sides is not None:
        assert stream.wide is not None
        real &= ~stream.wide[keys]  # each is seen once
        wide, is_wide = (x[of_keys.sequence[used]] for x in windowed.wide(stream))
        keys, real = torch.cat([keys, wide], 1), torch.cat([real, is_wide], 1)
    asks = of_asks.rows.view(len(used), -1)
    asks = asks if queries is None else queries[asks]
    padding = real[:, None, :], ~of_asks.real.view(len(used), -1)[..., None]
    return _Near(of_keys, of_asks, used, beside, wide, asks, keys, *_seen(stream, asks, keys, padding))


def gathered(x: Tensor, rows: Tensor) -> Tensor:
    """`x[rows]` of x with any shape, as blocks.pick: backward adds in a fixed order."""
    return F.embedding(rows, x.flatten(1)).view(*rows.shape, *x.shape[1:])


def parted(found: Sequence[Tensor], rows: Sequence[Tensor]) -> Tensor:
    """What stands at `rows`, which are all there are, each once, as one."""
    order = torch.cat([*rows])
    where = torch.empty_like(order)
    where[order] = torch.arange(len(order), device=order.device)
    return torch.cat([*found]).index_select(0, where)


def _attend(q, k, v, stream, asks, keys, padding, dropout, bias, all_ask=False) -> Tensor:
    """Rectangles: q (b, q, h, e), k and v (b, k, h, e); `asks` (b, q) and `keys` (b, k) are their flat indices."""
    causal = stream.visibility == "causal" and stream.window is None and padding is None and all_ask
    plain = bias is not None or (q.device.type == "cpu" and keys.shape[1] <= PLAIN)
    mask, blind = None, None
    if causal and plain:
        mask = _before(keys.shape[1], keys.device)[:, None]
    elif not causal:
        mask, blind = _seen(stream, asks, keys, padding)
    added = None if bias is None else bias(q, k, asks, keys)
    return _mixed(q, k, v, mask, blind, added, dropout, plain, causal)


def _seen(stream: Stream, asks: Tensor, keys: Tensor, padding) -> tuple[Tensor | None, Tensor | None]:
    """(b, 1, q, k) which keys each query sees, None: all; and (b, 1, q, 1) which queries see nothing and so, for the products' sake, have
    True everywhere: some of torch's kernels make NaN of them, some a mean of everything."""
    mask = None
    if stream.visibility != "full" or stream.window is not None:
        mask = sees(stream, asks[:, :, None], keys[:, None, :])
    if padding is not None:
        real_keys, filler = padding
        mask = real_keys if mask is None else real_keys & (mask | filler)
    if mask is None:
        return None, None
    mask = mask[:, None]
    if stream.visibility == "full":
        return mask, None
    blind = ~mask.any(-1, keepdim=True)
    return mask | blind, blind


def _mixed(q, k, v, mask, blind, added, dropout, plain, causal=False) -> Tensor:
    """q (b, q, h, e), k and v (b, k, h, e) -> (b, q, h, e), by products (`plain`) or by torch's kernel."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if plain:
        mixed = _plain(q, k, v, mask, added, dropout)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)
    # Filled only now: cuDNN's backward pass takes slopes to lie in memory as what it said does, and is wrong where they do not (torch 2.11).
    mixed = mixed.transpose(1, 2)
    return mixed if blind is None else mixed.masked_fill(blind.transpose(1, 2), 0)


def _plain(q, k, v, mask, added, dropout) -> Tensor:
    """The same by products."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if added is not None:
        scores = scores + added
    if mask is not None:
        hidden = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
        scores = scores + hidden
    return F.dropout(scores.softmax(-1), dropout) @ v


def sees(stream: Stream, asks: Tensor, keys: Tensor) -> Tensor:
    """Whether each query may see each key of its own sequence; flat indices that broadcast."""
    full = stream.visibility == "full"
    seen = None if full and stream.window is not None else stream.key_rank[keys] <= stream.query_rank[asks]
    if stream.window is None:
        return seen
    apart = (stream.positions[asks] - stream.positions[keys]).abs()
    near = apart <= stream.window * stream.gap
    if stream.gap > 1:
        near &= apart % stream.gap == 0
    if stream.wide is not None:
        near |= stream.wide[asks] | stream.wide[keys]
    return near if seen is None else seen & near


def _fits_varlen(q: Tensor, stream: Stream, dropout: float, bias: Bias | None, queries: Tensor | None) -> bool:
    """The kernel knows no dropout, ranks or biases; it counts places from a sequence's end, so that subsets must see everything."""
    plain = stream.window is None or (queries is None and stream.gap == 1 and stream.sides is None)
    everything = stream.visibility == "full" and plain
    in_order = stream.visibility == "causal" and stream.window is None and queries is None
    return _kernel(q, dropout) and bias is None and (everything or in_order)


def _kernel(q: Tensor, dropout: float) -> bool:
    narrow = q.dtype in (torch.bfloat16, torch.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256
    return q.is_cuda and narrow and dropout == 0 and _has_varlen(q.device)


@lru_cache(maxsize=1)
def _loaded() -> bool:
    """Whether torch has the packed kernel: since 2.10, for CUDA only.  To import it takes as long as torch itself, which a CPU need not wait for."""
    global varlen_attn
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return True


@lru_cache(maxsize=16)
def _has_varlen(device: torch.device) -> bool:
    """From Ampere on."""
    return _loaded() and torch.cuda.get_device_capability(device) >= (8, 0)


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
    return varlen_attn(q, k, v, asked, offsets, longest, longest, window_size=window)


def operations() -> dict[Any, Callable[..., int]]:
    """{operation: a count of its floating-point operations} of the packed kernel, which torch's FlopCounterMode knows since 2.12 only.

    As torch counts its fused kernels: two products forward, five backward, where the scores are made once more.
    """
    if not _loaded():
        return {}

    def products(number: int, q: Tensor, asked: Tensor, offsets: Tensor) -> int:
        return 2 * number * q.shape[-2] * q.shape[-1] * int((asked.diff().long() * offsets.diff().long()).sum())

    def forward(q, k, v, asked, offsets, *_, **__) -> int:
        return products(2, q, asked, offsets)

    def backward(slope, q, k, v, out, sums, asked, offsets, *_, **__) -> int:
        return products(5, q, asked, offsets)

    forward._get_raw = backward._get_raw = True  # type: ignore[attr-defined]  # given tensors, not their shapes
    return {torch.ops.torch_attn._varlen_attn: forward, torch.ops.torch_attn._varlen_attn_backward: backward}


def _counts(stream: Stream, queries: Tensor | None) -> tuple[int, ...]:
    """How many of the queries each sequence has; None: all its tokens."""
    if queries is None:
        return stream.lengths
    edges = torch.searchsorted(queries, _offsets(stream.lengths, queries.device))
    return tuple(edges.diff().tolist())


# What follows from the lengths alone is made once for all layers.  Plain tensors even when first asked for in inference mode.
@lru_cache(maxsize=4)
def _offsets(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)).to(device)


@lru_cache(maxsize=4)
def _places(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.arange(sum(lengths), device=device)


@lru_cache(maxsize=4)
def _before(length: int, device: torch.device) -> Tensor:
    """(1, length, length) bool: each token sees those before it, and itself."""
    with torch.inference_mode(False):
        return torch.ones(1, length, length, dtype=torch.bool, device=device).tril_()
