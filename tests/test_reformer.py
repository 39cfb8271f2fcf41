"""Hashed attention against full attention and against the union of its rounds; layers that are undone against plain ones."""

import math
from dataclasses import replace

import pytest
import torch
from tests.test_sliding import stream

from bertsmith.config import from_dict, override, to_dict
from bertsmith.errors import InputError
from bertsmith.nn.axial import Axial
from bertsmith.nn.blocks import PostNorm, PreNorm
from bertsmith.nn.chunks import ByLayer, Chunks
from bertsmith.nn.feedforward import Chunked, Plain
from bertsmith.nn.hashed import Hashed
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules import windowed
from bertsmith.nn.modules.attention import watched
from bertsmith.nn.modules.hashed import _buckets, _rotation
from bertsmith.nn.relative import Relative
from bertsmith.nn.reversible import Reversible
from bertsmith.nn.transformer import OneStack, TransformerConfig
from bertsmith.objectives.layers import OverLayers
from bertsmith.objectives.predict import Pair, Predict, Summary, TokenClasses, Tokens
from bertsmith.objectives.supervised import Classify, Regress, Span, Tag
from bertsmith.recipe import find

LENGTHS = (45, 5, 70)
N = sum(LENGTHS)


def model(seed=0, **fields):
    fields = {"positions": Axial(rows=12, columns=10), "block": PreNorm(), "dropout": 0.0, "layers": 2, **fields}
    torch.manual_seed(seed)
    built = TransformerConfig(vocab=50, width=16, heads=2, hidden=24, **fields).build()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return built


def attention(**how):
    return model(attention=Hashed(**how), layers=1).eval().layers[0].attention


def heads(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(N, 2, 8, generator=g) for _ in "qv"]


def dense(qk, v, seen):
    """Every token reads those that `seen` (h, n, n) lets it, itself only where there is no other."""
    k = qk / qk.norm(dim=-1, keepdim=True)
    scores = torch.einsum("qhe,khe->hqk", qk, k) - 1e5 * torch.eye(N)
    return torch.einsum("hqk,khe->qhe", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)


def same(lengths=LENGTHS):
    of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    return (of[:, None] == of)[None]


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_one_chunk_is_full_attention_with_shared_queries_in_any_number_of_rounds(causal):
    (qk, v), seen = heads(), stream(LENGTHS, causal=causal)
    visible = same() & (torch.ones(N, N).tril().bool() if causal else torch.ones(N, N).bool())
    for rounds in (1, 3):
        part = attention(rounds=rounds, chunk=70)
        assert torch.allclose(part.mixed(qk, v, seen, part.sorted(qk, seen), 0.0), dense(qk, v, visible), atol=1e-5)


@torch.no_grad()
def test_rounds_together_say_what_the_union_of_all_that_they_let_meet_says():
    (qk, v), seen = heads(), stream(LENGTHS)
    for rounds in (1, 2, 5, 60):
        part = attention(rounds=rounds, chunk=8)
        orders = part.sorted(qk, seen)
        blocks = windowed.cut(LENGTHS, 8, (-1, 0), qk.device)
        chunk = blocks.places[orders.argsort(-1)] // 8
        apart = chunk[..., :, None] - chunk[..., None, :]
        union = (((apart == 0) | (apart == 1)) & same()).any(0)
        assert torch.allclose(part.mixed(qk, v, seen, orders, 0.0), dense(qk, v, union), atol=1e-5)
        assert rounds < 60 or torch.equal(union, same().expand_as(union))  # and so it is full attention


def test_like_tokens_meet_more_often():
    part, g = attention(rounds=64, chunk=8), torch.Generator().manual_seed(1)
    one = torch.randn(2, 8, generator=g)
    met = []
    for angle in (0.2, 0.8, 1.5):
        other = torch.randn(2, 8, generator=g)
        other -= (other * one).sum(-1, keepdim=True) / (one * one).sum(-1, keepdim=True) * one
        turned = math.cos(angle) * one + math.sin(angle) * other * one.norm(dim=-1, keepdim=True) / other.norm(
            dim=-1, keepdim=True
        )
        row = torch.stack([one, turned])
        buckets = part._hash(row, _buckets((64,), 8)[0], (2,), 0)
        met.append(float((buckets[..., 0] == buckets[..., 1]).float().mean()))
    assert met[0] > met[1] > met[2]


@torch.no_grad()
def test_sequences_in_one_row_are_what_they_are_alone_and_what_is_read_what_it_is_of_all():
    body, seen = model(attention=Hashed(rounds=2, chunk=8)).eval(), stream(LENGTHS)
    whole, begin = body(seen), 0
    for length, rows in zip(LENGTHS, whole.split(LENGTHS), strict=True):
        alone = replace(stream((length,)), tokens=seen.tokens[begin : begin + length])
        assert torch.allclose(body(alone), rows, atol=1e-5)
        begin += length
    read = torch.tensor([0, 44, 46, 100])
    assert torch.allclose(body(seen, read), whole[read], atol=1e-6)
    with watched() as found:
        body(seen)
    assert [shares.shape for _, shares in found] == [(N, 2, N)] * 2
    assert all(torch.allclose(shares.sum(-1), torch.ones(()), atol=1e-5) for _, shares in found)


def test_hashes_are_the_seeds_and_grow_less_than_the_text():
    one, longer = (_rotation((3, 0, 0), columns, (2, 8, 4), torch.device("cpu")) for columns in (3, 9))
    assert torch.equal(one, longer[:3])
    assert not torch.equal(one, _rotation((4, 0, 0), 3, (2, 8, 4), torch.device("cpu")))
    first, second = _buckets((64, 640, 64 * 1024), 64)
    assert first.tolist() == [2, 20, 46] and second.tolist() == [1, 1, 46]
    assert first[2] * second[2] >= 2 * 1024


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_slopes_of_layers_that_are_undone_are_those_of_plain_ones(dropout):
    body = model(topology=Reversible(), attention=Hashed(rounds=2, chunk=8), layers=3, dropout=dropout).train()
    seen, slopes, said = stream(LENGTHS), [], []
    for undone in (True, False):
        torch.manual_seed(7)
        body.zero_grad()
        hidden = body(seen) if undone else list(body._states(seen, None))[-1][:N]
        (hidden * torch.arange(16.0)).sum().backward()
        said.append(hidden.detach())
        slopes.append({name: p.grad.clone() for name, p in body.named_parameters()})
    if not dropout:
        assert torch.allclose(*said, atol=1e-6)
        for name, slope in slopes[0].items():
            assert torch.allclose(slope, slopes[1][name], atol=2e-4 * max(1.0, float(slope.abs().max()))), name
    else:  # `states` draw in the same order, but for the last dropout
        near = [float((slopes[0][name] - slopes[1][name]).norm() / slopes[1][name].norm()) for name in slopes[0]]
        assert max(near) < 1e-3


def test_what_training_holds_does_not_grow_with_the_layers():
    held = {}
    for topology in (Reversible(), OneStack()):
        for layers in (2, 6):
            body, kept = model(topology=topology, layers=layers).train(), []
            with torch.autograd.graph.saved_tensors_hooks(
                lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x
            ):
                hidden = body(stream(LENGTHS))
            assert hidden.requires_grad
            held[type(topology), layers] = sum(kept)
    assert held[Reversible, 6] <= held[Reversible, 2]
    assert held[OneStack, 6] > 2 * held[OneStack, 2]


def test_a_feed_forward_part_by_chunks_is_the_whole_and_holds_less():
    whole, parts = (model(feedforward=part).train() for part in (Plain(), Chunked(rows=7)))
    parts.load_state_dict(whole.state_dict())
    slopes, held = [], []
    for body in (whole, parts):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.numel()) or x, lambda x: x):
            hidden = body(stream(LENGTHS))
        hidden.square().sum().backward()
        slopes.append({name: p.grad for name, p in body.named_parameters()})
        held.append(sum(kept))
    assert all(torch.allclose(slopes[0][name], slopes[1][name], atol=1e-4) for name in slopes[0])
    assert held[1] < held[0]


def test_positions_of_a_grid_are_all_different_and_end():
    body = model(attention=Hashed(chunk=8)).eval()
    table = body.positions.embed(torch.zeros(120, 16), stream((120,)))
    assert len(torch.unique(table, dim=0)) == 120
    with pytest.raises(InputError, match="121 tokens is longer than the model's 120 positions"):
        body(stream((121,)))


def test_its_parameters_are_counted_and_what_does_not_fit_is_refused():
    body = model(topology=Reversible(), attention=Hashed(), feedforward=Chunked())
    assert body.config.parameters() == sum(p.numel() for p in body.parameters())
    with pytest.raises(InputError, match="Relative adds to scores, which hashed attention does not know"):
        model(attention=Hashed(), positions=Relative(segments=False))
    with pytest.raises(InputError, match="PreNorm is wanted"):
        model(topology=Reversible(), block=PostNorm())
    for field in ("attention.rounds=0", "attention.chunk=0", "feedforward.rows=0", "positions.rows=0"):
        with pytest.raises(InputError, match="must be above 0"):
            override(find("reformer:tiny"), [f"model.{field}"])


@pytest.mark.parametrize(
    "head",
    [
        Predict(heads=(Tokens(), Pair(), TokenClasses(name="capital"))),
        Predict(heads=(Tokens(transform=False, tied=False, bias=False), Summary())),
        Classify(classes=3, pool="concat"),
        Regress(pool="attention"),
        Tag(classes=3, head="lstm-crf"),
        Span(),
        OverLayers(objective=Classify(classes=3), layers=(1, 2), how="side"),
        OverLayers(objective=Regress(), layers=(0, 2), how="mix"),
    ],
)
def test_heads_read_both_sums_where_these_stand_side_by_side(head):
    recipe = find("reformer:tiny")
    small = replace(model().config, positions=Axial(rows=16, columns=8), topology=Reversible(ends="concatenated"))
    recipe = replace(recipe, model=small, objective=head)
    member = build(recipe).eval()
    assert parameters(recipe) == sum(p.numel() for p in member.parameters())
    seen = stream(LENGTHS)
    states = member.model.states(seen)
    assert [state.shape for state in states] == [(N, 32)] * 3
    assert torch.allclose(states[-1], member.model(seen), atol=1e-6)
    said = member.objective.logits(member.model, seen, torch.tensor([0, 45, 50]))
    assert len(said) == 3 and said.isfinite().all()


def test_a_table_of_one_sum_is_not_read_by_two():
    recipe = find("reformer:tiny")
    recipe = override(recipe, ["model.topology.ends=concatenated", "objective.heads.0.transform=false"])
    with pytest.raises(InputError, match="states of 256 numbers, and the token table has rows of 128"):
        build(recipe)
    with pytest.raises(InputError, match="expected 'averaged' or 'concatenated', got 'summed'"):
        override(recipe, ["model.topology.ends=summed"])


@torch.no_grad()
def test_a_token_reads_its_chunk_and_those_beside_it():
    (q, k), v = heads(), heads(1)[0]
    place = torch.cat([torch.arange(length) for length in LENGTHS]) // 8
    apart, many = place[:, None] - place[None], torch.tensor(LENGTHS).repeat_interleave(torch.tensor(LENGTHS))
    last = ((many - 1) // 8)[:, None]
    for before, after, wraps in ((1, 0, False), (1, 1, False), (0, 2, False), (1, 0, True)):
        part = model(attention=Chunks(chunk=8, before=before, after=after, wraps=wraps)).layers[0].attention
        sees = same() & (apart <= before) & (apart >= -after)
        sees |= same() & wraps & (place[:, None] == 0) & (place[None] == last) & (last > 0)
        scores = torch.einsum("qhe,khe->hqk", q, k) / 8**0.5
        wanted = torch.einsum("hqk,khe->qhe", scores.masked_fill(~sees, -torch.inf).softmax(-1), v)
        assert torch.allclose(part.mixed(q, k, v, stream(LENGTHS), 0.0), wanted, atol=1e-5), (before, after, wraps)


def test_each_layer_may_have_an_attention_of_its_own():
    parts = (Chunks(chunk=8), Hashed(chunk=8, head=4))
    body = model(attention=ByLayer(parts=parts), layers=3)
    assert [type(layer.attention).__name__ for layer in body.layers] == [
        "ChunkAttention",
        "HashedAttention",
        "ChunkAttention",
    ]
    assert body.config.parameters() == sum(p.numel() for p in body.parameters())
    assert from_dict(to_dict(body.config)) == body.config
    with pytest.raises(InputError, match=r"but model\.attention\.parts are 2 kinds"):
        model(attention=ByLayer(parts=parts), share="all")
    with pytest.raises(InputError, match="Relative adds to scores, which attention by chunks does not know"):
        model(attention=Chunks(), positions=Relative(segments=False))
