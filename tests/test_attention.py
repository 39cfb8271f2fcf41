"""Packed attention equals padded attention, whatever is visible and whoever asks."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from bertsmith.data.batch import NEVER, Stream
from bertsmith.nn.modules import attention
from bertsmith.nn.modules.attention import attend, attend_padded, operations

HEADS, HEAD = 2, 8
MIXED, EQUAL = (5, 1, 9, 4), (6, 6, 6)
SUBSET = torch.tensor([0, 2, 3, 9, 14, 17])  # of MIXED: nothing is asked of the one-token sequence


def stream(lengths, visibility="full", window=None):
    n = sum(lengths)
    places = torch.cat([torch.arange(length) for length in lengths])
    shuffled = torch.cat(
        [torch.randperm(length, generator=torch.Generator().manual_seed(length)) for length in lengths]
    )
    ranks = {"full": torch.zeros(n, dtype=torch.long), "causal": places, "ranks": shuffled}[visibility]
    plain = torch.zeros(n, dtype=torch.long)
    return Stream(
        tokens=plain,
        positions=places,
        segments=plain,
        query_rank=ranks,
        key_rank=ranks,
        lengths=lengths,
        visibility=visibility,
        window=window,
    )


def qkv(n, seed=0):
    """Double precision: what is exact on paper must be exact to 1e-12."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, n, HEADS, HEAD, generator=g, dtype=torch.double).requires_grad_()


def by_hand(q, k, v, s, queries=None):
    """One softmax at a time, straight from the rule of ranks, windows and sequences."""
    sequence = [i for i, length in enumerate(s.lengths) for _ in range(length)]
    rows = []
    for row, at in enumerate(range(len(k)) if queries is None else queries.tolist()):
        seen = [
            j
            for j in range(len(k))
            if sequence[j] == sequence[at]
            and s.key_rank[j] <= s.query_rank[at]
            and (s.window is None or abs(int(s.positions[j] - s.positions[at])) <= s.window)
        ]
        scores = torch.einsum("he,khe->hk", q[row], k[seen]) * HEAD**-0.5
        rows.append(torch.einsum("hk,khe->he", scores.softmax(-1), v[seen]))
    return torch.stack(rows)


def close(ours, theirs, rtol=1e-12):
    assert (ours - theirs).norm() <= rtol * theirs.norm()


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("visibility", ["full", "causal", "ranks"])
@pytest.mark.parametrize("lengths", [MIXED, EQUAL, (7,)])
def test_packed_equals_padded_equals_the_rule_by_hand_with_gradients(lengths, visibility, window):
    s = stream(lengths, visibility, window)
    x = qkv(sum(lengths))
    want = by_hand(*x, s)
    (slope,) = torch.autograd.grad(want.square().sum(), x)
    for way in (attend, attend_padded):
        got = way(*x, s)
        close(got, want)
        close(torch.autograd.grad(got.square().sum(), x)[0], slope)


@pytest.mark.parametrize("visibility", ["full", "causal", "ranks"])
def test_packed_equals_padded_in_float32_too(visibility):
    s = stream((50, 3, 128, 77), visibility)
    x = qkv(sum(s.lengths)).detach().float().requires_grad_()
    packed, padded = attend(*x, s), attend_padded(*x, s)
    close(packed, padded, 1e-6)
    close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (packed, padded)), 1e-6)


@pytest.mark.parametrize("visibility", ["full", "causal", "ranks"])
@pytest.mark.parametrize("window", [None, 2])
def test_a_subset_of_queries_gets_what_it_gets_among_all(visibility, window):
    s = stream(MIXED, visibility, window)
    q, k, v = qkv(sum(MIXED))
    for way in (attend, attend_padded):
        close(way(q[SUBSET], k, v, s, queries=SUBSET), attend(q, k, v, s)[SUBSET])


def test_no_queries_is_an_empty_answer():
    s = stream(MIXED)
    q, k, v = qkv(sum(MIXED))
    assert attend(q[:0], k, v, s, queries=SUBSET[:0]).shape == (0, HEADS, HEAD)


@pytest.mark.parametrize("lengths", [MIXED, EQUAL])
@pytest.mark.parametrize("visibility", ["full", "causal"])
def test_a_bias_on_the_scores_is_added_and_learns(lengths, visibility):
    s = stream(lengths, visibility)
    q, k, v = qkv(sum(lengths))
    table = torch.randn(HEADS, 2 * max(lengths), dtype=torch.double, requires_grad=True)

    def bias(q, k, asks, keys):
        apart = s.positions[asks][:, :, None] - s.positions[keys][:, None, :]
        return table[:, apart + max(lengths)].transpose(0, 1)

    packed, padded = attend(q, k, v, s, bias=bias), attend_padded(q, k, v, s, bias=bias)
    close(packed, padded)
    assert (packed - attend(q, k, v, s)).abs().max() > 0.01
    slopes = [torch.autograd.grad(out.square().sum(), table)[0] for out in (packed, padded)]
    close(*slopes)
    assert slopes[0].abs().max() > 0


@pytest.mark.parametrize("way", [attend, attend_padded])
def test_a_query_that_sees_nothing_gets_zeros_and_no_nan_gradient(way):
    s = stream(MIXED, "ranks")
    blind = s.query_rank.clone()
    blind[7] = -1
    s = dataclasses.replace(s, query_rank=blind)
    x = qkv(sum(MIXED))
    out = way(*x, s)
    assert (out[7] == 0).all()
    assert torch.autograd.grad(out.square().sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("way", [attend, attend_padded])
def test_a_key_that_is_never_seen_reaches_only_nobody(way):
    s = stream(MIXED, "ranks")
    hidden = s.key_rank.clone()
    hidden[7] = NEVER
    s = dataclasses.replace(s, key_rank=hidden)
    x = qkv(sum(MIXED))
    (slope,) = torch.autograd.grad(way(*x, s).square().sum(), x)
    assert (slope[1:, 7] == 0).all()
    assert (slope[1:, 6] != 0).any()


def test_dropout_drops_probabilities_and_keeps_the_mean():
    s = stream(MIXED)
    q, k, _ = qkv(sum(MIXED))
    ones = torch.ones_like(k)
    torch.manual_seed(0)
    drawn = torch.stack([attend(q, k, ones, s, dropout=0.5) for _ in range(400)])
    assert drawn.std() > 0.1
    assert abs(drawn.mean() - 1) < 0.03


def test_the_same_rows_give_the_same_bits_and_gradients():
    s = stream(MIXED)
    x = qkv(sum(MIXED))
    one, two = (torch.autograd.grad(attend(*x, s).square().sum(), x)[0] for _ in range(2))
    assert torch.equal(one, two)


def test_what_was_made_in_inference_mode_serves_training():
    s = stream((3, 11, 2))
    x = qkv(16)
    with torch.inference_mode():
        attend_padded(*x, s)
    assert torch.autograd.grad(attend_padded(*x, s).sum(), x)[0].isfinite().all()


def test_the_packed_kernel_counts_the_operations_of_padded_products():
    """Forward those of `attend_padded` on full rows; backward one product more, as torch counts its fused kernels."""
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = qkv(64)
    with FlopCounterMode(display=False) as counter:
        out = attend_padded(q, k, v, stream((32, 32)))
    offsets = torch.tensor([0, 32, 64], dtype=torch.int32)
    count = {operation.__name__: of for operation, of in operations().items()}
    assert count["_varlen_attn"](q, k, v, offsets, offsets, 32, 32) == counter.get_total_flops()
    backward = count["_varlen_attn_backward"](out, q, k, v, out, None, offsets, offsets, 32, 32)
    assert backward == 2.5 * counter.get_total_flops()
    asked = torch.tensor([0, 1, 5], dtype=torch.int32)
    assert count["_varlen_attn"](q[:5], k, v, asked, offsets, 32, 32) == 4 * HEADS * HEAD * 5 * 32


@pytest.mark.parametrize(("capability", "fits"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_an_older_gpu_is_not_given_the_packed_kernel(capability, fits, monkeypatch):
    asked = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, device=torch.device("cuda", 0), shape=(20, 2, 64))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    attention._has_varlen.cache_clear()
    assert attention._fits_varlen(asked, stream(MIXED), 0.0, None, None) == fits
    attention._has_varlen.cache_clear()
