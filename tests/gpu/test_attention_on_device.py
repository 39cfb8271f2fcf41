"""Attention on the device against the padded reference in float64, whatever is visible, whoever asks, in every type and head width.

Inputs are rounded to the type before the reference reads them: what is compared is the kernel, not the rounding of its inputs.
"""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from tests.gpu.runs import distance

from bertsmith.data.batch import Stream
from bertsmith.nn.modules import attention
from bertsmith.nn.modules.attention import attend, attend_padded
from bertsmith.nn.relative import Relative

pytestmark = pytest.mark.gpu
HEADS = 3
MIXED, EQUAL, LONG = (5, 128, 1, 77, 33), (64, 64, 64), (512, 130, 7)
# A product of bfloat16 is good to 2^-8 = 0.004, a sum of them is better; gradients pass two more of these.
NEAR = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 1e-2}
SLOPES = 2  # of NEAR


def stream(lengths, visibility="full", window=None, device="cpu") -> Stream:
    n, draw = sum(lengths), torch.Generator().manual_seed(1)
    places = torch.cat([torch.arange(length) for length in lengths])
    shuffled = torch.cat([torch.randperm(length, generator=draw) for length in lengths])
    plain = torch.zeros(n, dtype=torch.long)
    ranks = {"full": plain, "causal": places, "ranks": shuffled}[visibility]
    segments = torch.cat([(torch.arange(length) > length // 2).long() for length in lengths])
    made = Stream(
        tokens=plain,
        positions=places,
        segments=segments,
        query_rank=ranks,
        key_rank=ranks,
        lengths=lengths,
        visibility=visibility,
        window=window,
    )
    return made.to(device)


def qkv(lengths, head, dtype, device, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, sum(lengths), HEADS, head, generator=g).to(device, dtype).requires_grad_()


def subset(lengths, device) -> torch.Tensor:
    """A fifth of the places, none of the last sequence's, as the places that a loss asks for."""
    g = torch.Generator().manual_seed(2)
    asked = torch.rand(sum(lengths), generator=g) < 0.2
    asked[sum(lengths[:-1]) :] = False
    asked[0] = True
    return asked.nonzero()[:, 0].to(device)


def both(way, x, s, queries=None, bias=None):
    """(what it says, its gradient by x) for a loss that weighs every number differently."""
    q = x[0] if queries is None else x[0][queries]
    out = way(q, x[1], x[2], s, bias=bias, queries=queries)
    weigh = torch.sin(torch.arange(out.numel(), device=out.device, dtype=torch.float64)).view(out.shape)
    return out, torch.autograd.grad((out.double() * weigh).sum(), x)[0]


def check(x, s, record_property, queries=None):
    out, slope = both(attend, x, s, queries)
    reference = x.detach().double().requires_grad_()
    want, steep = both(attend_padded, reference, s, queries)
    far = distance(out, want), distance(slope, steep)
    record_property("apart", far)
    assert far[0] <= NEAR[x.dtype]
    assert far[1] <= SLOPES * NEAR[x.dtype]


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("visibility", ["full", "causal", "ranks"])
@pytest.mark.parametrize("asked", ["all", "subset"])
@pytest.mark.parametrize("lengths", [MIXED, EQUAL, LONG], ids=["mixed", "equal", "long"])
def test_packed_is_padded_is_the_reference(lengths, asked, visibility, window, dtype, device, record_property):
    s = stream(lengths, visibility, window, device)
    x = qkv(lengths, 64, dtype, device)
    check(x, s, record_property, subset(lengths, device) if asked == "subset" else None)


@pytest.mark.parametrize("head", [8, 32, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("visibility", ["full", "causal"])
def test_every_head_width(head, visibility, device, record_property):
    s = stream(MIXED, visibility, device=device)
    check(qkv(MIXED, head, torch.bfloat16, device), s, record_property)


@pytest.mark.parametrize(("visibility", "window"), [("full", None), ("causal", None), ("full", 20)])
def test_the_packed_kernel_runs_where_it_can(visibility, window, cuda, monkeypatch):
    called, kernel = [], attention._varlen
    monkeypatch.setattr(attention, "_varlen", lambda *given: called.append(1) or kernel(*given))
    attend(*qkv(MIXED, 64, torch.bfloat16, cuda), stream(MIXED, visibility, window, cuda))
    assert called


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [MIXED, EQUAL], ids=["mixed", "equal"])
def test_dropout_drops_probabilities_keeps_the_mean_and_is_drawn_from_the_seed(lengths, dtype, device, record_property):
    s = stream(lengths, device=device)
    q, k, _ = qkv(lengths, 64, dtype, device).detach()
    ones = torch.ones_like(k)

    def drawn(seed):
        torch.manual_seed(seed)
        return attend(q, k, ones, s, dropout=0.5).float()

    many = torch.stack([drawn(seed) for seed in range(200)])
    record_property("mean", float(many.mean()))
    assert many.std() > 0.1
    assert abs(float(many.mean()) - 1) < 0.02
    assert torch.equal(drawn(7), drawn(7))
    assert not torch.equal(drawn(7), drawn(8))


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("ahead", [True, False], ids=["full", "causal"])
@pytest.mark.parametrize("lengths", [MIXED, EQUAL], ids=["mixed", "equal"])
def test_relative_positions_are_added_and_learn(lengths, ahead, dtype, device, record_property):
    """The layer in the type that it trains in against the same layer in float64 on the CPU."""
    torch.manual_seed(0)
    model = SimpleNamespace(width=HEADS * 32, heads=HEADS, dropout=0.0)
    exact = Relative(segments=True, ahead=ahead).build_layer(model, 0, None).double()
    layer = Relative(segments=True, ahead=ahead).build_layer(model, 0, None)
    layer.load_state_dict({name: x.float() for name, x in exact.state_dict().items()})
    layer.to(device, dtype)
    exact.load_state_dict({name: x.double().cpu() for name, x in layer.state_dict().items()})
    visibility = "full" if ahead else "causal"
    x = qkv(lengths, 32, dtype, device)
    found = []
    for part, given, way, place in (
        (layer, x, attend, device),
        (exact, x.detach().double().cpu().requires_grad_(), attend_padded, "cpu"),
    ):
        s = stream(lengths, visibility, device=place)
        moved = torch.stack([part.rotate(given[0], given[1], s)[0], given[1], given[2]])
        out = way(*moved, s, bias=part.bias(s))
        weigh = torch.sin(torch.arange(out.numel(), device=out.device, dtype=torch.float64)).view(out.shape)
        slopes = torch.autograd.grad((out.double() * weigh).sum(), [given, *part.parameters()])
        found.append([out, *slopes])
    far = [distance(ours, want) for ours, want in zip(*found, strict=True)]
    record_property("apart", far)
    # Scores are sums of three products here, and gradients of the few shared vectors sums over all places; sines are of float32.
    assert all(value <= max(1e-6, 5 * NEAR[dtype]) for value in far)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [MIXED, EQUAL], ids=["mixed", "equal"])
def test_a_query_that_sees_nothing_gets_zeros_and_no_nan_gradient(lengths, dtype, device):
    s = stream(lengths, "ranks", device=device)
    blind = s.query_rank.clone()
    blind[7] = -1
    s = dataclasses.replace(s, query_rank=blind)
    x = qkv(lengths, 64, dtype, device)
    out, slope = both(attend, x, s)
    assert (out[7] == 0).all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("visibility", ["full", "causal", "ranks"])
@pytest.mark.parametrize("lengths", [(128, 100), (512, 300), (512, 512)], ids=["128", "mixed 512", "equal 512"])
def test_the_same_rows_give_the_same_bits_and_gradients(lengths, visibility, dropout, ordered, device, record_property):
    """What a resumed run rests on; many heads and sequences, so that there is something to race."""
    lengths = lengths * 8
    s, x = stream(lengths, visibility, device=device), qkv(lengths, 64, torch.bfloat16, device)
    found = []
    for _ in range(4):
        torch.manual_seed(3)
        out = attend(*x, s, dropout=dropout)
        found.append((out.detach(), torch.autograd.grad(out.float().square().sum(), x)[0]))
    record_property("gradients apart", max(distance(slope, found[0][1]) for _, slope in found[1:]))
    assert all(torch.equal(out, found[0][0]) for out, _ in found[1:]), "the outputs differ"
    assert all(torch.equal(slope, found[0][1]) for _, slope in found[1:]), "the gradients differ"


def test_no_queries_is_an_empty_answer(device):
    x, s = qkv(MIXED, 64, torch.bfloat16, device), stream(MIXED, device=device)
    none = torch.zeros(0, dtype=torch.long, device=device)
    assert attend(x[0][:0], x[1], x[2], s, queries=none).shape == (0, HEADS, 64)
