"""DeBERTa against transformers' DebertaV2: every kind of it that is read, both directions; sizes; what a run is exported as; folders that are refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import loaded, randomised, recipe_of, theirs, tokenizer_of
from tests.parity.test_bodies import check, packed, padded, real

import bertsmith
from bertsmith.deploy.halves import half_of
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.deploy.hf_deberta import DEBERTA_OLD
from bertsmith.errors import InputError
from bertsmith.nn.disentangled import Disentangled, Distances
from bertsmith.nn.member import build
from bertsmith.nn.modules.disentangled import DistanceTable
from bertsmith.objectives.predict import Predict, Tokens, Trunk
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")

KINDS = {
    "version 3": (Distances(buckets=16, distance=32), Disentangled()),
    "published": (Distances(), Disentangled()),
    "matrices of its own": (Distances(buckets=16, distance=32), Disentangled(places="own")),
    "every distance": (Distances(buckets=None, distance=24, norm=False), Disentangled(places="own")),
    "tokens ask": (Distances(buckets=None, distance=24), Disentangled(terms=("c2p",))),
    "distances ask": (Distances(buckets=8, distance=12, norm=False), Disentangled(terms=("p2c",))),
    "distances ask by matrices of their own": (
        Distances(buckets=8, distance=24),
        Disentangled(terms=("p2c",), places="own"),
    ),
}


def shape(kind="version 3", objective=None):
    recipe, (positions, attention) = recipe_of("deberta-v2", "token", 90), KINDS[kind]
    model = dataclasses.replace(recipe.model, positions=positions, attention=attention, width=32, heads=4)
    return dataclasses.replace(recipe, model=model, objective=objective or Trunk(pooler="gelu"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_agrees_both_ways(kind):
    """Texts of up to 40 tokens, beyond the last distance of most; read whole and in part."""
    recipe = shape(kind)
    hf = randomised(transformers.DebertaV2Model(transformers.AutoConfig.for_model(**hf_config(recipe))))
    member, stream = build(recipe).eval(), packed((7, 40, 3, 25))
    load_weights(member, from_hf(hf.state_dict(), "deberta-v2"), "theirs")
    assert recipe.model.parameters() == sum(p.numel() for p in hf.parameters())
    tokens, mask = padded(stream)
    with torch.no_grad():
        check(member.model(stream), real(hf(tokens, attention_mask=mask).last_hidden_state, mask), member.model, stream)

    other = randomised(transformers.DebertaV2Model(hf.config), 5)
    member = randomised(build(recipe), 2)
    other.load_state_dict(to_hf(weights_of(member), recipe), strict=True)
    with torch.no_grad():
        check(
            member.model(stream), real(other(tokens, attention_mask=mask).last_hidden_state, mask), member.model, stream
        )
    assert model_config(hf_config(recipe)) == recipe.model


@pytest.mark.parametrize(("buckets", "distance"), [(256, 512), (32, 128), (16, 32), (8, 700)])
def test_buckets_are_those_of_transformers_and_of_the_released_code(buckets, distance):
    """The latter computes in float64, by NumPy; far beyond the last distance, too."""
    import numpy as np
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    away = np.arange(-1500, 1501)
    half = buckets // 2
    far = np.where((away < half) & (away > -half), half - 1, np.abs(away))
    wide = np.ceil(np.log(far / half) / np.log((distance - 1) / half) * (half - 1)) + half
    released = np.where(far <= half, away, wide * np.sign(away)).astype(int)
    there = make_log_bucket_position(torch.from_numpy(away), buckets, distance).long().numpy()
    table = DistanceTable(Distances(buckets=buckets, distance=distance), recipe_of("deberta-v2", "none", 90).model)
    mine = table.rows(torch.from_numpy(away)).numpy()
    for other in (released, there):
        assert np.array_equal(mine, np.clip(other + buckets, 0, 2 * buckets - 1))


# [calc] in the published counts: the encoder without heads.
SIZES = {"xsmall": 70_682_112, "small": 141_304_320, "base": 183_831_552, "large": 434_012_160}


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_the_published_ones_to_the_parameter(size):
    recipe = find(f"deberta-v3:{size}")
    one = dataclasses.replace(recipe, objective=Trunk(pooler="gelu"))
    with torch.device("meta"):
        counted = sum(p.numel() for p in transformers.DebertaV2Model(theirs_config(one)).parameters())
    assert recipe.model.parameters() == counted == SIZES[size]


def theirs_config(recipe):
    return transformers.AutoConfig.for_model(**hf_config(recipe))


def test_texts_longer_than_the_last_distance_are_finite_and_theirs():
    recipe = shape("published")
    member, stream = randomised(build(recipe)), packed((700, 3))
    hf = transformers.DebertaV2Model(theirs_config(recipe)).eval()
    hf.load_state_dict(to_hf(weights_of(member), recipe))
    tokens, mask = padded(stream)
    with torch.no_grad():
        mine, other = member.model(stream), real(hf(tokens, attention_mask=mask).last_hidden_state, mask)
    assert mine.isfinite().all() and (mine - other).abs().max() < 1e-5


def whole(tokenizer, at):
    """A deberta-v3 run in memory, random in every tensor."""
    recipe = find("deberta-v3:tiny")
    small = recipe_of("deberta-v2", "token", tokenizer.size)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(small.model, layers=4), layout=small.layout)
    model = loaded("deberta-v2", "token", tokenizer, at)
    return dataclasses.replace(model, member=randomised(build(recipe)), recipe=recipe)


@pytest.mark.usefixtures("few_texts")
def test_a_run_is_exported_as_its_encoder_with_the_table_that_was_learned_or_as_its_generator(documents, tmp_path):
    tokenizer, said = tokenizer_of(documents[:20]), []
    run = whole(tokenizer, tmp_path / "run")
    bertsmith.export(run, tmp_path / "out", say=said.append)
    assert any("its replaced head stays here" in line for line in said)
    hf, info = transformers.AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and hf.config.num_hidden_layers == 4
    table = weights_of(run.member)["model.embeddings.tokens.weight"]
    assert torch.equal(hf.embeddings.word_embeddings.weight, table)
    bertsmith.export(run, tmp_path / "generator", half="generator")
    hf, info = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "generator", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and hf.config.num_hidden_layers == 2
    own = run.member.objective.generator.tokens.weight
    assert torch.equal(hf.deberta.embeddings.word_embeddings.weight, own) and not torch.equal(own, table)
    back = bertsmith.load(tmp_path / "out")
    one = half_of(run, None)
    assert back.recipe.model == one.recipe.model and back.recipe.objective == one.recipe.objective == Trunk(
        pooler="gelu"
    )


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


@pytest.fixture
def folder(tokenizer, tmp_path):
    theirs(transformers, "deberta-v2", "token", tokenizer, tmp_path / "hf")
    return tmp_path / "hf"


def change(folder, **fields):
    tree = {**json.loads((folder / "config.json").read_text()), **fields}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in tree.items() if value is not ...}))


def test_config_json_as_the_published_ones_have_it(folder):
    wanted = bertsmith.load(folder).recipe.model
    change(
        folder,
        pos_att_type="p2c|c2p",
        legacy=...,
        conv_kernel_size=...,
        pooler_hidden_act=...,
        pooler_hidden_size=...,
        pooler_dropout=...,
    )
    assert bertsmith.load(folder).recipe.model == wanted
    change(folder, norm_rel_ebd="Layer_Norm", pos_att_type=["c2p", "p2c"], max_relative_positions=512)
    assert bertsmith.load(folder).recipe.model == wanted


def test_a_token_head_under_its_newer_names_and_one_that_tells_replaced_tokens(folder, tmp_path):
    """As the weights of version 3 are published: `lm_predictions`, and `mask_predictions` beside."""
    model, state = bertsmith.load(folder), load_file(folder / "model.safetensors")
    back = {there: name for name, there in DEBERTA_OLD.items()}
    for name in [*state]:
        for there, newer in back.items():
            if name.startswith(there):
                state[newer + name.removeprefix(there)] = state.pop(name)
    state |= {"mask_predictions.classifier.weight": torch.zeros(1, 16), "mask_predictions.dense.bias": torch.zeros(16)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    said = []
    again = bertsmith.load(folder, say=said.append)
    assert any("mask_predictions, which tells replaced tokens" in line for line in said)
    assert all(
        torch.equal(tensor, again.member.state_dict()[name]) for name, tensor in model.member.state_dict().items()
    )
    assert again.recipe.objective == Predict(heads=(Tokens(),), pooler="gelu")
    found = bertsmith.import_(folder, tmp_path / "model")
    assert found["classes"] == ["DebertaV2ForMaskedLM", "DebertaV2Model"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size: 3: deberta-v2 is read with 0 only"),
        ({"position_biased_input": True}, "position_biased_input: True: deberta-v2 is read with False only"),
        ({"position_biased_input": ...}, "position_biased_input: True: a deberta-v2 is read with False only"),
        ({"relative_attention": ...}, "relative_attention: False: a deberta-v2 is read with True only"),
        ({"type_vocab_size": 2}, "type_vocab_size: 2: deberta-v2 is read with 0 only"),
        ({"embedding_size": 8}, "embedding_size: 8: a deberta-v2 is read with 16 only"),
        ({"pos_att_type": "c2p|p2p"}, r"pos_att_type: 'c2p\|p2p': c2p and p2c, or one of them, can be read"),
        ({"pos_att_type": None}, "pos_att_type: None: c2p and p2c"),
        ({"norm_rel_ebd": "batch_norm"}, "norm_rel_ebd: batch_norm: layer_norm or none can be read"),
        ({"pooler_hidden_act": "silu"}, "pooler_hidden_act: 'silu': gelu, tanh, relu can be read"),
        ({"share_att_key": "yes"}, "share_att_key: 'yes' is neither true nor false"),
        ({"share_att_key": False}, "pos_key_proj.weight is missing"),
        ({"position_buckets": "many"}, "position_buckets: 'many' is not a whole number"),
        ({"model_type": "deberta"}, "model_type 'deberta' cannot be read; version 1 has one matrix"),
    ],
)
def test_what_is_not_done_here_is_refused_in_one_line(folder, fields, said):
    change(folder, **fields)
    with pytest.raises(InputError, match=said):
        bertsmith.load(folder)
