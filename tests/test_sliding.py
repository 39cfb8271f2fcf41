"""Windows by blocks, with gaps and with tokens that read everything, against full masks; longer sequences cost in proportion."""

from dataclasses import replace

import pytest
import torch

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full, Local, Sliding
from bertsmith.nn.modules import windowed
from bertsmith.nn.modules.attention import attend, attend_padded, watched
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig

LENGTHS = (131, 5, 300, 77)


def stream(lengths=LENGTHS, window=None, gap=1, wide=(), causal=False):
    n = sum(lengths)
    places = torch.cat([torch.arange(length) for length in lengths])
    zeros = torch.zeros(n, dtype=torch.long)
    marks = zeros.bool()
    marks[list(wide)] = True
    rank = places if causal else zeros
    return Stream(
        tokens=torch.randint(5, 50, (n,), generator=torch.Generator().manual_seed(0)),
        positions=places,
        segments=zeros,
        query_rank=rank,
        key_rank=rank,
        lengths=tuple(lengths),
        visibility="causal" if causal else "full",
        window=window,
        gap=gap,
        wide=marks if wide else None,
    )


def heads(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 2, 8, generator=g, requires_grad=True) for _ in "qkv"]


WIDE = (0, 3, 131, 136, 137, 300, 435)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("window", "gap"), [(3, 1), (20, 1), (4, 3)])
@pytest.mark.parametrize("wide", [(), WIDE])
def test_blocks_say_what_full_masks_say_and_so_do_their_slopes(window, gap, wide, causal):
    seen = stream(window=window, gap=gap, wide=wide, causal=causal)
    assert windowed.worth(seen)
    q, k, v = heads(sum(LENGTHS))
    for queries in (None, torch.tensor([0, 1, 130, 133, 136, 200, 300, 301, 435, 440, 512])):
        asked = q if queries is None else q[queries]
        mine = attend(asked, k, v, seen, queries=queries)
        other = attend_padded(asked, k, v, seen, queries=queries)
        assert torch.allclose(mine, other, atol=2e-6)
        slope = lambda said: torch.autograd.grad((said * torch.arange(8.0)).sum(), (q, k, v), retain_graph=True)
        slopes = [slope(said) for said in (mine, other)]
        assert all(torch.allclose(a, b, atol=2e-4) for a, b in zip(*slopes, strict=True))


def test_a_bias_of_positions_is_added_by_blocks_too():
    seen, (q, k, v) = stream(window=9), heads(sum(LENGTHS))
    far = lambda q, k, asks, keys: seen.apart(asks[:, None, :, None], keys[:, None, None, :]) * torch.ones(1, 2, 1, 1)
    assert torch.allclose(attend(q, k, v, seen, bias=far), attend_padded(q, k, v, seen, bias=far), atol=2e-6)


def model(attention, **fields):
    fields = {"layers": 2, "positions": Learned(length=512), **fields}
    torch.manual_seed(0)
    built = TransformerConfig(
        vocab=50, width=16, heads=2, hidden=24, dropout=0.0, attention=attention, **fields
    ).build()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return built.eval()


def like(body, other):
    """`other` with the weights of `body`, and matrices of wide tokens that are the ordinary ones."""
    state = body.state_dict()
    state |= {name.replace("qkv", "wide"): x for name, x in state.items() if ".qkv." in name}
    other.load_state_dict(state)
    return other


@torch.no_grad()
def test_a_window_over_all_is_full_attention():
    full = model(Full())
    for attention in (Sliding(window=300), Sliding(window=300, gaps=(1, 1))):
        assert torch.allclose(like(full, model(attention))(stream()), full(stream()), atol=1e-5)


@torch.no_grad()
def test_where_every_token_is_wide_and_reads_by_the_ordinary_matrices_it_is_full_attention():
    full = model(Full())
    sliding = like(full, model(Sliding(window=4)))
    everything = stream(wide=range(sum(LENGTHS)))
    assert torch.allclose(sliding(everything), full(stream()), atol=1e-5)
    assert (sliding(stream()) - full(stream())).abs().max() > 0.1


@torch.no_grad()
def test_wide_tokens_read_by_matrices_of_their_own_and_are_read_by_the_ordinary_ones():
    sliding = model(Sliding(window=4), layers=1)
    seen = stream(wide=WIDE)
    before = sliding(seen)
    sliding.layers[0].attention.wide.weight.add_(0.3)
    moved = (sliding(seen) != before).any(1).nonzero()[:, 0].tolist()
    assert moved == sorted(WIDE)
    sliding.layers[0].attention.qkv.weight.add_(0.1)
    assert not torch.equal(sliding(seen)[sorted(WIDE)[0] + 1], before[sorted(WIDE)[0] + 1])


@torch.no_grad()
def test_a_token_reaches_as_far_as_the_windows_of_all_layers_together():
    for attention, reach in (
        (Sliding(window=5), 10),
        (Sliding(windows=(3, 7)), 10),
        (Sliding(window=3, gaps=(1, 4)), 15),
    ):
        body = model(attention)
        seen = stream((200,))
        tokens = seen.tokens.clone()
        tokens[90] += 1
        moved = (body(replace(seen, tokens=tokens)) != body(seen)).any(1).nonzero()[:, 0]
        assert (int(moved.min()), int(moved.max())) == (90 - reach, 90 + reach)


@torch.no_grad()
@pytest.mark.parametrize("gapped", [0, 1, 2])
def test_what_is_read_of_a_layer_is_what_it_says_of_all(gapped):
    body, read = model(Sliding(window=4, gaps=(1, 2), gapped=gapped)), torch.tensor([0, 2, 3, 131, 200, 435, 512])
    for seen in (stream(wide=WIDE), stream(), stream(wide=(1,))):
        assert torch.allclose(body(seen, read), body(seen)[read], atol=1e-5)


@torch.no_grad()
def test_sequences_in_one_row_are_what_they_are_alone():
    body, seen = model(Sliding(window=4, gaps=(2, 1))), stream(wide=WIDE)
    whole, begin = body(seen).split(LENGTHS), 0
    for length, rows in zip(LENGTHS, whole, strict=True):
        own = [i - begin for i in WIDE if begin <= i < begin + length]
        alone = replace(stream((length,), wide=own), tokens=seen.tokens[begin : begin + length])
        assert torch.allclose(body(alone), rows, atol=1e-5)
        begin += length


@torch.no_grad()
def test_shares_of_wide_tokens_and_of_others_are_watched_together():
    body, seen = model(Sliding(window=4, gaps=(1, 3), gapped=1)), stream(wide=WIDE)
    with watched() as found:
        body(seen)
    assert len(found) == 2
    for _, shares in found:
        assert shares.shape == (sum(LENGTHS), 2, sum(LENGTHS))
        assert torch.allclose(shares.sum(-1), torch.ones(()), atol=1e-5)
        assert (shares[1] > 0).sum(-1).tolist()[0] == 6  # itself, what is wide beside it, and four behind
        assert int((shares[0] > 0).sum(-1)[0]) == 131


def test_scores_that_are_held_grow_with_the_length_and_not_its_square():
    sizes = {}
    for length in (512, 1024, 2048):
        of = windowed.blocks(stream((length,), window=32))
        sizes[length] = of.beside.numel() * of.size**2
    assert sizes[2048] == 2 * sizes[1024] == 4 * sizes[512]
    many = stream((400, *[7] * 60), window=64)
    assert not windowed.worth(many)  # short ones would be filler for the most part


def test_its_parameters_are_counted():
    for attention in (Sliding(), Sliding(bias=False), Local(window=3)):
        body = model(attention)
        assert body.config.parameters() == sum(p.numel() for p in body.parameters())


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"model\.attention.window: 0 must be above 0"):
        Sliding(window=0)
    with pytest.raises(InputError, match=r"model\.attention.gaps: 0 must be above 0"):
        Sliding(gaps=(1, 0))
    with pytest.raises(InputError, match=r"model\.attention.gapped: 3 of 2 heads"):
        model(Sliding(gaps=(1, 2), gapped=3))
