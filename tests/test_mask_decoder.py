"""The decoder that asks with places: by hand, of every body that it takes, what it cannot read, and what it is refused."""

import json
import math
from dataclasses import replace

import pytest
import torch
from tests.corpora import VOCAB, random_shape, split_of
from tests.test_transformer import stream

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import Batch, Target
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.nn.positions import Learned
from bertsmith.objectives.alongside import Alongside
from bertsmith.objectives.distilled import Distilled
from bertsmith.objectives.mask_decoder import MaskDecoder
from bertsmith.objectives.predict import Tokens
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import find

SMALL = ["model.width=16", "model.hidden=24", "model.heads=2", "model.layers=2", "model.dropout=0"]
CORPUS = split_of(random_shape(30, 10, 10), numbered=False)
BODIES = ["deberta", "deberta-v3", "roberta", "modernbert", "ltg-bert", "crammed", "albert"]


def decoding(name="deberta", *sets, **changes):
    recipe = override(find(f"{name}:tiny"), [*SMALL, *sets]).with_vocab(VOCAB.size)
    whole = replace(recipe.model.embeddings, width=None)
    asked = {"heads": (Tokens(),), "positions": Learned(length=128), **changes}
    return replace(recipe, model=replace(recipe.model, embeddings=whole), objective=MaskDecoder(**asked))


def member_of(recipe, seed=0):
    """With weights far from where they begin, in double precision."""
    torch.manual_seed(seed)
    member = build(recipe).double().eval()
    with torch.no_grad():
        for weight in member.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return member


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_decoder_is_what_the_released_code_computes(times):
    """Asked by what stands below the last layer and its place, then by what that said; read is what stands below, without places."""
    member, s = member_of(decoding(times=times)), stream((9,), segments=0)
    body, objective = member.model, member.objective
    below, layer, read = body.states(s)[-2], body.layers[-1], torch.tensor([2, 3, 7])
    attention, norm = layer.attention, torch.nn.functional.layer_norm
    (of_q, of_k, of_v), biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
    keys, values = ((below @ w.T + b).view(9, 2, 8) for w, b in ((of_k, biases[1]), (of_v, biases[2])))
    rows = read[:, None] - torch.arange(9)[None] + 512  # one for every distance
    as_key, as_query = (
        m(body.positions.table.weight).view(-1, 2, 8)[rows] for m in (attention.place_k, attention.place_q)
    )
    said = (below + objective.positions.table.weight[:9])[read]
    for _ in range(times):
        q = (said @ of_q.T + biases[0]).view(3, 2, 8)
        scores = torch.einsum("qhe,khe->hqk", q, keys) + torch.einsum("qhe,qkhe->hqk", q, as_key)
        scores = (scores + torch.einsum("khe,qkhe->hqk", keys, as_query)) / math.sqrt(3 * 8)
        mixed = torch.einsum("hqk,khe->qhe", scores.softmax(-1), values).flatten(1)
        said = norm(said + attention.out(mixed), (16,), *layer.attention_norm.parameters(), eps=1e-7)
        said = norm(said + layer.feedforward(said), (16,), *layer.feedforward_norm.parameters(), eps=1e-7)
    wanted = objective.token.logits(said, body)
    torch.testing.assert_close(objective.logits(body, s, read), wanted)
    assert (objective.token.logits(body(s)[read], body) - wanted).abs().max() > 1e-2  # and not what the last layer says


@pytest.mark.parametrize("name", BODIES)
def test_every_body_is_decoded_the_same_asked_for_some_or_all(name):
    member, s = member_of(decoding(name)), stream(segments=0)
    everything = member.objective.logits(member.model, s, torch.arange(len(s.tokens)))
    for at in ([0], [3, 4, 14, 21], [21, 5, 0]):
        found = member.objective.logits(member.model, s, torch.tensor(at))
        torch.testing.assert_close(found, everything[torch.tensor(at)])
    tokens = s.tokens.clone()
    tokens[7] = (tokens[7] + 1) % VOCAB.size
    changed = member.objective.logits(member.model, replace(s, tokens=tokens), torch.arange(len(s.tokens)))
    moved = (changed - everything).abs().amax(-1) > 1e-12
    assert moved[5:14].any() and not moved[:5].any() and not moved[14:].any()


def test_places_are_known_to_the_decoder_and_to_nothing_below_it():
    member, s = member_of(decoding()), stream(segments=0)
    later, at = replace(s, positions=s.positions + 20), torch.arange(len(s.tokens))
    torch.testing.assert_close(member.model(later), member.model(s))
    asked = member.objective.logits(member.model, later, at) - member.objective.logits(member.model, s, at)
    assert asked.abs().amax(-1).min() > 1e-3


def test_no_prediction_reads_its_own_answer():
    recipe = decoding("deberta", "layout.length=48")
    plan = recipe.layout.plan(CORPUS, VOCAB, 0, 0)
    row, member = plan.row(plan.order[:6]), member_of(recipe)
    batch = recipe.corruption(row, VOCAB, Draw(0))
    at = batch.targets["token"].at[:, 0]
    hidden = at[batch.input.tokens[at] == VOCAB.mask]
    clean = member.objective.logits(member.model, batch.to("cpu").input, torch.from_numpy(at))
    assert len(hidden) > 8
    for place in hidden[::3].tolist():
        tokens = row.tokens.copy()
        tokens[place] = (tokens[place] + 1) % VOCAB.size
        again = recipe.corruption(replace(row, tokens=tokens), VOCAB, Draw(0)).to("cpu").input
        said = member.objective.logits(member.model, again, torch.from_numpy(at))
        assert torch.equal(said[at == place], clean[at == place])


def test_both_passes_teach_the_last_layer_and_places_that_were_asked():
    """What the last layer says of tokens that nobody asks for is not made, so that its slope is that of the decoder alone."""
    member, s = member_of(decoding()), stream((9, 5), segments=0)
    target = Target(at=torch.tensor([[2], [11]]), labels=torch.tensor([3, 4]))
    member(Batch(input=s, targets={"token": target}))["token"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in member.model.layers[-1].parameters())
    rows = member.objective.positions.table.weight.grad.abs().sum(1).nonzero()[:, 0]
    assert rows.tolist() == [2]  # the third token of either text


@pytest.mark.parametrize("name", BODIES)
def test_parameters_are_counted(name):
    recipe = decoding(name)
    assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


def test_the_published_encoder_has_these_parameters_but_for_biases_of_keys():
    """138,601,728 in transformers' DebertaModel, where keys of tokens and of distances have none."""
    assert find("deberta:base").model.parameters() == 138_601_728 + 12 * 2 * 768


def test_beside_a_task_it_reads_the_text_as_it_does_alone():
    recipe = decoding()
    both = replace(recipe, objective=Alongside(objective=Classify(classes=2), auxiliary=recipe.objective))
    member = member_of(both)
    target = Target(at=torch.tensor([[1], [12]]), labels=torch.tensor([3, 4]))
    label = Target(at=torch.tensor([[0], [9]]), labels=torch.tensor([0, 1]))
    batch = Batch(input=stream((9, 5), segments=0), targets={"token": target, "label": label})
    torch.testing.assert_close(member(batch)["token"], member.objective.auxiliary(member.model, batch)["token"])


def test_bodies_whose_last_layer_cannot_be_asked_again_are_refused():
    for name in ("t5", "transformer-xl", "reformer", "gpt-bert", "elmo"):
        recipe = find(f"{name}:tiny")
        with pytest.raises(InputError, match=r"objective: MaskDecoder applies the last layer again, .*; one stack"):
            parameters(replace(recipe, objective=MaskDecoder(heads=(Tokens(),))))
    narrow = find("albert:tiny")
    with pytest.raises(InputError, match=r"model\.embeddings\.width: \d+, but MaskDecoder adds places"):
        parameters(replace(narrow, objective=MaskDecoder(heads=(Tokens(),))))


def test_what_it_cannot_be_is_told():
    with pytest.raises(InputError, match=r"objective\.times: 0 must be above 0"):
        MaskDecoder(heads=(Tokens(),), times=0)
    with pytest.raises(InputError, match="'positions' is the decoder's own name"):
        MaskDecoder(heads=(Tokens(name="positions"),))
    with pytest.raises(
        InputError,
        match=r"layout\.length: 513 is more than the objective's 512 positions; .*objective\.positions\.length",
    ):
        override(find("deberta:base"), ["layout.length=513"])
    with pytest.raises(InputError, match="objective: MaskDecoder: a student reads a text once"):
        Distilled(objective=find("deberta:tiny").objective)


def test_a_run_fills_masks_and_its_encoder_is_exported(store, tmp_path):
    pytest.importorskip("transformers")
    sets = ["model.positions.distance=48", "layout.length=48", "training.batch=512", "training.evaluate=0"]
    made = override(find("deberta:tiny"), [*SMALL, *sets])
    bertsmith.pretrain(made, store, tmp_path / "run", steps=4, threads=1)
    loaded = bertsmith.load(tmp_path / "run")
    found = bertsmith.fill(loaded, "the [MASK] of a class", top=3)["masks"][0]
    ids = loaded.tokenizer.encode(["the", "of a class"])
    tokens = torch.tensor([loaded.vocab.cls, *ids[0][0], loaded.vocab.mask, *ids[1][0], loaded.vocab.sep])
    s = replace(stream((len(tokens),), segments=0), tokens=tokens)
    objective = loaded.member.objective
    said = objective.logits(loaded.member.model, s, torch.tensor([found["position"]])).detach().softmax(-1)[0].topk(3)
    assert [guess["id"] for guess in found["top"]] == said.indices.tolist()
    heard = []
    bertsmith.export(tmp_path / "run", tmp_path / "hf", say=heard.append)
    assert "its token head stays here: transformers has no class whose head reads through a MaskDecoder" in heard[0]
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == ["DebertaV2Model"] and config["share_att_key"] is False
    again = bertsmith.load(tmp_path / "hf").member.model
    torch.testing.assert_close(again(s), loaded.member.model(s), rtol=1e-5, atol=1e-6)
