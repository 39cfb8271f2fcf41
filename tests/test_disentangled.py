"""Disentangled attention against a loop over all pairs, and what a body of it cannot see; tables that part by a difference that learns."""

import math
from dataclasses import replace

import pytest
import torch
from tests.corpora import VOCAB
from tests.test_replaced import batch_of, member_of, recipe_of
from tests.test_transformer import TINY, stream

from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full
from bertsmith.nn.disentangled import Disentangled, Distances
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.member import build
from bertsmith.nn.modules.attention import attend, attend_padded
from bertsmith.nn.positions import Learned
from bertsmith.objectives.replaced import ReplacedTokens
from bertsmith.training.optim import build_optimizer
from bertsmith.training.precision import Precision
from bertsmith.training.step import train_step

BASE = replace(
    TINY, embeddings=Summed(segments=0), positions=Distances(buckets=4, distance=6), attention=Disentangled()
)
KINDS = {
    "both": BASE,
    "own": replace(BASE, attention=Disentangled(places="own")),
    "c2p": replace(
        BASE, attention=Disentangled(terms=("c2p",)), positions=Distances(buckets=None, distance=5, norm=False)
    ),
    "p2c": replace(BASE, attention=Disentangled(terms=("p2c",))),
}


def drawn(config, seed=0):
    torch.manual_seed(seed)
    built = config.build().double().eval()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return built


def ranked(s, rank):
    return replace(s, query_rank=rank, key_rank=rank, visibility="ranks")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [attend, attend_padded])
def test_scores_are_those_of_a_loop_over_all_pairs(kind, way):
    built, terms = drawn(KINDS[kind]), KINDS[kind].attention.terms
    s = stream(segments=0)
    s = ranked(s, torch.arange(len(s.tokens)) % 3)
    attention, places = built.layers[0].attention, built.positions
    x = torch.randn(len(s.tokens), 16, dtype=torch.double)
    q, k, v = attention.asked(x, x, s, places, None)
    found = way(q, k, v, s, bias=attention.bias(s, places))
    plain = [part.unflatten(-1, (2, 8)) for part in attention.qkv(x).chunk(3, -1)]
    table = places.table.weight if places.norm is None else places.norm(places.table.weight)
    weight, bias = (part.chunk(3) for part in (attention.qkv.weight, attention.qkv.bias))
    own = KINDS[kind].attention.places == "own"
    as_key = attention.place_k(table) if own else table @ weight[1].T + bias[1]
    as_query = attention.place_q(table) if own else table @ weight[0].T + bias[0]
    low = 0
    for length in s.lengths:
        for i in range(low, low + length):
            scores = torch.full((2, length), -torch.inf, dtype=torch.double)
            for j in range(low, low + length):
                row = places.rows(torch.tensor(i - j))
                score = (plain[0][i] * plain[1][j]).sum(-1)
                score = score + (plain[0][i] * as_key[row].view(2, 8)).sum(-1) * ("c2p" in terms)
                score = score + (plain[1][j] * as_query[row].view(2, 8)).sum(-1) * ("p2c" in terms)
                if s.key_rank[j] <= s.query_rank[i]:
                    scores[:, j - low] = score / math.sqrt(8 * (1 + len(terms)))
            wanted = torch.einsum("hk,khe->he", scores.softmax(-1), plain[2][low : low + length])
            torch.testing.assert_close(found[i], wanted)
        low += length


@pytest.mark.parametrize("kind", KINDS)
def test_reading_some_is_exact_and_no_sequence_reaches_another(kind):
    built, s = drawn(KINDS[kind]), stream(segments=0)
    everything = built(s)
    for read in ([0], [3, 4, 14, 21], list(range(22)), []):
        rows = torch.tensor(read, dtype=torch.long)
        assert (built(s, rows) - everything[rows]).abs().sum() < 1e-12
    tokens = s.tokens.clone()
    tokens[7] = (tokens[7] + 1) % TINY.vocab
    changed = (built(replace(s, tokens=tokens)) != everything).any(-1)
    assert changed[5:14].any() and not changed[:5].any() and not changed[14:].any()


def test_where_a_text_begins_changes_nothing_and_order_does():
    """No place is added to the input: what is far to the right of it, by padding on the left, is the same text."""
    built, s = drawn(BASE), stream(segments=0)
    torch.testing.assert_close(built(replace(s, positions=s.positions + 100)), built(s))
    turned = replace(s, positions=torch.cat([torch.arange(n).flip(0) for n in s.lengths]))
    assert (built(turned) - built(s)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_gather_and_of_distances_that_are_there_alone(kind, monkeypatch):
    s, gradients = stream((5, 3), segments=0), []
    for plain in (False, True):
        built = drawn(KINDS[kind])
        with monkeypatch.context() as patch:
            if plain:
                spread = lambda x, far: x.gather(-1, far[:, None].expand(-1, x.shape[1], -1, -1))
                patch.setattr("bertsmith.nn.modules.disentangled.Along.apply", spread)
            built(s, torch.tensor([1, 2, 6])).square().sum().backward()
        gradients.append({name: p.grad for name, p in built.named_parameters()})
    for name, one in gradients[0].items():
        torch.testing.assert_close(one, gradients[1][name], msg=name)
    table = gradients[0]["positions.table.weight"]
    there = torch.zeros(len(table), dtype=torch.bool)
    there[drawn(KINDS[kind]).positions.rows(torch.arange(-4, 5))] = True
    assert table[there].abs().sum() > 0 and not table[~there].any()


def test_tokens_that_stand_at_one_place_get_their_own_gradients():
    """As those that only ask do: then a key is at one distance from two queries, and backward must add up."""
    built, s = drawn(BASE), stream((6,), segments=0)
    s = replace(s, positions=torch.tensor([0, 1, 2, 3, 1, 2]))
    table = built.positions.table.weight
    found = torch.autograd.grad(built(s).square().sum(), table)[0]
    with torch.no_grad():
        for row, column in ((3, 0), (4, 5), (5, 2)):
            sums = []
            for step in (1e-6, -2e-6):
                table[row, column] += step
                sums.append(float(built(s).square().sum()))
            table[row, column] += 1e-6
            assert float(found[row, column]) == pytest.approx((sums[0] - sums[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_parts_that_need_each_other_are_refused_apart():
    with pytest.raises(InputError, match=r"model\.positions: Learned has no vectors of distances"):
        replace(BASE, positions=Learned(length=12))
    with pytest.raises(InputError, match=r"model\.attention: Full reads no vectors of distances"):
        replace(BASE, attention=Full())
    with pytest.raises(InputError, match=r"model\.positions\.distance: 129 must be above 129"):
        Distances(distance=129)
    with pytest.raises(InputError, match=r"model\.attention\.terms: \['c2p', 'c2p'\]"):
        Disentangled(terms=("c2p", "c2p"))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted(kind):
    assert KINDS[kind].parameters() == sum(p.numel() for p in KINDS[kind].build().parameters())


# -- two tables that part by a difference -------------------------------------------------------------------------------------------------

SMALL = ("model.layers=2", "training.batch=512")
TABLES = ("model.embeddings.tokens.weight", "objective.generator.embeddings.tokens.weight")


def disentangled(*sets):
    return recipe_of("deberta-v3", *SMALL, *sets)


def tables(member):
    named = dict(member.named_parameters())
    return [named[name] for name in TABLES]


def test_both_tables_begin_alike_and_are_two():
    own, other = tables(member_of(disentangled()))
    assert own is not other and torch.equal(own, other)


def test_no_slope_of_the_judge_reaches_the_generators_table_and_none_of_the_guess_the_models():
    recipe = disentangled()
    member, (_, batch) = member_of(recipe), batch_of(recipe)
    sums, (own, other) = member(batch), tables(member)
    slope = lambda term, table: torch.autograd.grad(sums[term], table, retain_graph=True, allow_unused=True)[0]
    assert slope("replaced", other) is None and slope("token", own) is None
    assert slope("replaced", own).abs().sum() > 0 and slope("token", other).abs().sum() > 0


def updated(recipe, steps, by_hand):
    """The tables after some updates; `by_hand`: of a member whose model's table is made anew of the generator's and a parameter."""
    member = member_of(recipe)
    _, batch = batch_of(recipe, 6)
    if by_hand:
        difference = torch.nn.Parameter(torch.zeros_like(tables(member)[0]))
        embedding = member.model.embeddings.tokens
        del embedding.weight
        generator = member.objective.generator.tokens
        member.objective.tables = None
        member.difference = difference
        embedding.register_forward_pre_hook(
            lambda part, _: part.__dict__.update(weight=generator.weight.detach() + difference)
        )
    optimizer = build_optimizer(member, recipe.schedule)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    for _ in range(steps):
        optimizer.zero_grad()
        sums = member(batch)
        (sums["token"] / 50 + sums["replaced"] / 10).backward()
        if by_hand:
            optimizer.step()
        else:
            with member.objective.updating():
                optimizer.step()
    other = member.objective.generator.tokens.weight.detach()
    return (other + member.difference.detach() if by_hand else tables(member)[0].detach()), other


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_updates_are_those_of_a_difference_that_is_a_parameter(decay):
    recipe = disentangled(f"schedule.weight_decay={decay}")
    found, wanted = (updated(recipe, 3, by_hand) for by_hand in (False, True))
    start = tables(member_of(recipe))[0]
    assert (wanted[0] - start).abs().max() > 0.01 and (wanted[0] - wanted[1]).abs().max() > 0.005
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=0)


def test_a_row_that_only_the_generator_moves_moves_in_both():
    """In an update of the loop: no token 7 is read, but the generator's logits have it."""
    recipe = disentangled()
    member, (_, batch) = member_of(recipe), batch_of(recipe, 6)
    (own, other), before = tables(member), [table.detach().clone() for table in tables(member)]
    counts = {name: len(target) for name, target in batch.targets.items()}
    optimizer = build_optimizer(member, recipe.schedule)
    row, _ = batch_of(recipe, 6)
    unread = next(i for i in range(VOCAB.size) if i not in row.tokens and i not in VOCAB.special)
    exact = Precision.exact(torch.device("cpu"))
    numbers = recipe.corruption(row, VOCAB, Draw(0))
    train_step(member, [numbers], counts, optimizer, precision=exact, clip=1.0, seed=0, step=1)
    moved = [table[unread] - old[unread] for table, old in zip((own, other), before, strict=True)]
    assert moved[1].abs().max() > 0
    torch.testing.assert_close(moved[0], moved[1], atol=1e-7, rtol=0)
    assert (own - other).abs().max() > 0  # of rows that were read


def test_a_narrower_generator_has_no_such_table():
    with pytest.raises(
        InputError, match=r"objective\.generator: 0\.25, but with share=disentangled both tables are as wide"
    ):
        ReplacedTokens(share="disentangled")


def test_the_generator_is_as_wide_and_half_as_deep():
    recipe = override(recipe_of("deberta-v3"), ["model.layers=6"])
    generator = recipe.objective.generator_of(recipe.model)
    assert generator == replace(recipe.model, layers=3, heads=generator.heads, hidden=generator.hidden)
    member = build(recipe)
    assert {id(p) for p in member.model.parameters()}.isdisjoint(
        {id(p) for p in member.objective.generator.parameters()}
    )
