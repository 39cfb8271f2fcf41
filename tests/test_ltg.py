"""LTG-BERT, GPT-BERT and crammed: sizes, what a layer computes, how weights begin, and what is asked one place before it stands."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.corpora import VOCAB, random_shape, split_of
from tests.test_disentangled import drawn
from tests.test_transformer import stream

from bertsmith.config import override
from bertsmith.data.ahead import Ahead
from bertsmith.data.causal import Causal, Everything
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens
from bertsmith.data.spans import NGrams
from bertsmith.errors import InputError
from bertsmith.nn.blocks import AroundNorm
from bertsmith.nn.member import build, parameters
from bertsmith.nn.norms import LayerNorm, Standard
from bertsmith.recipe import find
from bertsmith.text.layout import DocSentences
from bertsmith.text.stretches import Stretches

CORPUS = split_of(random_shape(30, 10, 10), numbered=False)
SMALL = ["model.width=16", "model.hidden=24", "model.heads=2", "model.layers=2", "model.dropout=0"]


def small(name, *sets):
    return override(find(f"{name}:tiny"), [*SMALL, *sets])


def row_of(layout, sequences=20):
    plan = layout.plan(CORPUS, VOCAB, 0, 0)
    return plan.row(plan.order[:sequences])


@pytest.mark.parametrize(
    ("name", "millions"),
    [("ltg-bert:base", 98), ("gpt-bert:base", 119), ("gpt-bert:small", 30), ("crammed:base", 120)],
)
def test_sizes_are_the_published_ones(name, millions):
    assert parameters(find(name)) / 1e6 == pytest.approx(millions, abs=0.6)


def standard(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-7).sqrt()


def weighed(layer, part, states):
    weights = getattr(layer, f"{part}_depths", torch.zeros(len(states)))
    return states[-1] + sum(weight * state for weight, state in zip(weights, states, strict=False))


@pytest.mark.parametrize("name", ["ltg-bert", "gpt-bert"])
def test_a_layer_is_what_its_paper_says(name):
    """One text, all of it visible: norms before parts and inside them, gates, one norm with weights on what LTG-BERT's attention says; behind
    each of GPT-BERT's parts a sum of all that was before."""
    built, s = drawn(small(name, "model.layers=1", "model.vocab=60").model), stream((9,), segments=0)
    layer, places = built.layers[0], built.positions
    attention, thinks = layer.attention, layer.feedforward
    x = standard(built.embeddings.tokens(s.tokens))
    entered = standard(x)
    q, k, v = (part.view(9, 2, 8) for part in attention.qkv(entered).chunk(3, -1))
    table = places.norm(places.table.weight)
    weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    far = torch.arange(9)[:, None] - torch.arange(9)[None] + 32  # one bucket each
    as_query, as_key = ((table @ weights[i].T + biases[i]).view(-1, 2, 8)[far] for i in (0, 1))
    scores = torch.einsum("qhe,khe->hqk", q, k)
    scores = scores + torch.einsum("qhe,qkhe->hqk", q, as_key) + torch.einsum("khe,qkhe->hqk", k, as_query)
    said = torch.einsum("hqk,khe->qhe", (scores / math.sqrt(3 * 8)).softmax(-1), v).flatten(1)
    if name == "gpt-bert":
        said = standard(said * F.gelu(attention.gate(entered)))
    said = attention.out(said)
    if name == "ltg-bert":
        after = layer.attention_norm.after
        said = standard(said) * after.weight + after.bias
    states = [x, x + said]
    x = weighed(layer, "attention", states)
    first, second = (standard(x) @ thinks.up.weight.T).chunk(2, -1)
    states.append(x + standard(F.gelu(first, approximate="tanh") * second) @ thinks.down.weight.T)
    x = weighed(layer, "feedforward", states)
    torch.testing.assert_close(built(s), standard(x))
    assert all(part.bias is None for part in (thinks.up, thinks.down))


def test_norms_that_learn_nothing_have_nothing():
    x = torch.randn(5, 8, dtype=torch.double)
    made = Standard(eps=1e-7).build(8)
    torch.testing.assert_close(made(x), standard(x))
    assert not [*made.parameters()] and Standard().parameters(8) == 0


def test_norms_stand_round_attention_alone_where_they_are_told_to():
    model = small("ltg-bert").model
    counts = {}
    for after in ("all", "attention"):
        changed = replace(model, block=AroundNorm(after=after, said=LayerNorm()))
        counts[after] = changed.parameters()
        assert counts[after] == sum(p.numel() for p in changed.build().parameters())
    assert counts["all"] - counts["attention"] == 2 * 2 * 16


def test_weights_begin_by_the_width_and_fall_with_the_depth():
    """Standard deviation of a normal that is cut at two sigma: 0.8796 of its own; 0.02 of that by chance."""
    model = override(
        find("ltg-bert:tiny"), ["model.layers=3", "model.width=256", "model.heads=4", "model.hidden=512"]
    ).model
    torch.manual_seed(0)
    built, wanted = model.build(), math.sqrt(2 / (5 * 256)) * 0.8796
    assert built.embeddings.tokens.weight.std().item() == pytest.approx(wanted, rel=0.02)
    for number, layer in enumerate(built.layers):
        assert layer.attention.qkv.weight.std().item() == pytest.approx(wanted, rel=0.02)
        for matrix in (layer.feedforward.up, layer.feedforward.down):
            assert matrix.weight.std().item() == pytest.approx(wanted / math.sqrt(2 * (number + 1)), rel=0.02)
        assert not layer.attention.out.bias.any()


def test_sines_have_one_factor_that_learns():
    built = drawn(small("crammed", "model.vocab=60").model)
    s = stream((9,), segments=0)
    factor = built.positions.factor
    before = built(s).detach()
    with torch.no_grad():
        factor.zero_()
    turned = replace(s, positions=s.positions.flip(0))
    torch.testing.assert_close(built(turned), built(s))  # no places at all
    assert (built(s) - before).abs().max() > 1e-3
    fresh = small("crammed").model.build().positions.factor
    assert fresh.item() == pytest.approx(16**-0.5)


# -- asked one place before -------------------------------------------------------------------------------------------------------------


def test_what_is_hidden_is_asked_for_at_the_place_before_and_is_hidden_alike():
    row = row_of(DocSentences(length=48))
    spans = NGrams(units="token", longest=3, rate=0.3)(row, Draw(0))
    ahead, here = (made(by="span")(row, spans, VOCAB, Draw(0)) for made in (Ahead, InPlace))
    assert np.array_equal(ahead.input.tokens, here.input.tokens)
    assert np.array_equal(ahead.targets["token"].at + 1, here.targets["token"].at)
    assert np.array_equal(ahead.targets["token"].labels, row.tokens[here.targets["token"].at[:, 0]])
    assert ahead.counts() == Ahead(by="span").counts(row, spans, Draw(0))


def test_a_text_that_begins_with_what_is_asked_is_refused():
    row = row_of(Stretches(length=48), 5)
    with pytest.raises(InputError, match="take a layout whose texts begin with"):
        Ahead()(row, Tokens(rate=0.9)(row, Draw(0)), VOCAB, Draw(0))


def test_no_prediction_reads_its_own_answer_in_either_view():
    """Change a token that is hidden, or that comes later: what its prediction reads stays bit for bit the same."""
    recipe = small("gpt-bert", "layout.length=48").with_vocab(VOCAB.size)
    torch.manual_seed(0)
    member, row = build(recipe), row_of(recipe.layout, 3)
    model = member.model.eval()
    for select, rewrite in (
        (recipe.corruption.select, replace(recipe.corruption.rewrite, mask=1.0, random=0.0)),
        (Everything(), Causal()),
    ):
        spans = select(row, Draw(0))
        batch = rewrite(row, spans, VOCAB, Draw(0))
        at, clean = batch.targets["token"].at[:, 0], model(batch.to("cpu").input).detach()
        for place in at[::5].tolist():
            tokens = row.tokens.copy()
            tokens[place + 1] = (tokens[place + 1] + 1) % VOCAB.size
            again = rewrite(replace(row, tokens=tokens), spans, VOCAB, Draw(0))
            assert torch.equal(model(again.to("cpu").input)[place], clean[place])


def test_both_views_have_one_head():
    recipe = find("gpt-bert:tiny")
    assert recipe.objective.weights() == {"masked.token": 1.0, "causal.token": 1.0}
    names = [name for name, _ in build(recipe.with_vocab(90)).named_parameters() if name.startswith("objective.")]
    assert {name.split(".")[1] for name in names} == {"feed_masked"}
    shares = recipe.mixture.shares.at(1, np.array([10, 10]))
    assert shares.tolist() == [15 / 16, 1 / 16]


def test_masks_are_filled_and_texts_scored_from_the_place_before(store, tmp_path):
    import bertsmith
    from bertsmith.training.pretraining import pretrain

    recipe = override(find("gpt-bert:tiny"), [*SMALL, "layout.length=64", "training.batch=512", "training.evaluate=0"])
    pretrain(recipe, store, tmp_path / "run", steps=2, threads=1)
    loaded = bertsmith.load(tmp_path / "run")
    found = bertsmith.fill(loaded, "the [MASK] of a class", top=3)["masks"][0]
    ids = loaded.tokenizer.encode(["the", "of a class"])
    vocab = loaded.vocab
    tokens = torch.tensor([vocab.cls, *ids[0][0], vocab.mask, *ids[1][0], vocab.sep])
    at = int((tokens == vocab.mask).nonzero())
    assert found["position"] == at
    s = replace(stream((len(tokens),), segments=0), tokens=tokens)
    logits = loaded.member.objective.logits(loaded.member.model, s, torch.tensor([at - 1]))
    wanted = logits.detach().double().softmax(-1)[0].topk(3)
    assert [guess["id"] for guess in found["top"]] == wanted.indices.tolist()
    assert [guess["p"] for guess in found["top"]] == pytest.approx(wanted.values.tolist(), rel=1e-5)
    (scored,) = bertsmith.score(loaded, ["the name"], each=True)["texts"][:1]
    first = loaded.tokenizer.encode(["the name"])[0][0]
    hidden = torch.tensor([vocab.cls, vocab.mask, *first[1:], vocab.sep])
    s = replace(stream((len(hidden),), segments=0), tokens=hidden)
    said = loaded.member.objective.logits(loaded.member.model, s, torch.tensor([0])).detach().double().log_softmax(-1)
    assert scored["each"][0][1] == pytest.approx(float(said[0, first[0]]), rel=1e-4)
