"""ModernBERT beside transformers': every size's numbers, configurations of both their versions, windows and rates of positions."""

import pytest
import torch
from tests.folders import randomised, recipe_of
from tests.test_sliding import stream

from bertsmith.config import override
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find, members

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("size", members()["modernbert"].sizes)
def test_every_size_has_the_tensors_of_their_class(size):
    recipe = find(f"modernbert:{size}")
    config = transformers.AutoConfig.for_model(**hf_config(recipe))
    with torch.device("meta"):
        theirs = transformers.ModernBertForMaskedLM(config)
        ours = to_hf(dict(build(recipe).named_parameters()), recipe)
    shapes = {name: p.shape for name, p in theirs.named_parameters()}
    assert {name: tensor.shape for name, tensor in ours.items()} == shapes
    assert parameters(recipe) == sum(p.numel() for p in theirs.parameters())
    assert [name for name in shapes if name.endswith("bias")] == ["decoder.bias"]


def test_their_usual_configuration_is_the_base_of_ours_once_its_rows_are_long():
    recipe = override(find("modernbert:base"), ["model.positions.theta=160000"])
    said = transformers.ModernBertConfig().to_dict()
    found = model_config(said)
    for slot in ("vocab", "layers", "width", "heads", "hidden", "embeddings", "positions", "norm", "attention"):
        assert getattr(found, slot) == getattr(recipe.model, slot), slot
    assert found.feedforward == recipe.model.feedforward and not found.block.first


SPECIAL = {f"{role}_token_id": i for i, role in enumerate(("pad", "cls", "sep", "bos", "eos"))}


def opened(**fields):
    """A ModernBERT of theirs with random weights, and ours of the same."""
    recipe = recipe_of("modernbert", "token", 50)
    recipe = override(recipe, ["model.layers=4"])
    config = transformers.AutoConfig.for_model(**{**hf_config(recipe), **SPECIAL, **fields})
    torch.manual_seed(0)
    theirs = randomised(transformers.ModernBertForMaskedLM(config))
    model = model_config(config.to_dict())
    ours = build(recipe.__class__(**{**vars(recipe), "model": model})).eval()
    ours.load_state_dict(from_hf(theirs.state_dict(), "modernbert"))
    return theirs, ours


FULL, NEAR = "full_attention", "sliding_attention"


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"local_attention": 34},
        {"layer_types": [FULL] * 4},
        {"layer_types": [NEAR] * 4, "local_attention": 6},
        {"layer_types": [FULL, NEAR, FULL, NEAR], "local_attention": 2},
        {"rope_parameters": {FULL: {"rope_theta": 160000.0}, NEAR: {"rope_theta": 300.0}}},
    ],
    ids=["usual", "wide", "all-global", "all-local", "every-second", "rates"],
)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_texts_say_what_each_says_there_alone_and_padded(fields, attention):
    theirs, ours = opened(**fields)
    theirs.set_attn_implementation(attention)
    lengths = (131, 1, 300, 77, 2)
    seen = stream(lengths)
    packed = ours.objective.logits(ours.model, seen, torch.arange(sum(lengths)))
    assert packed.isfinite().all()
    largest = max(1.0, float(packed.abs().max()))
    rows = torch.nn.utils.rnn.pad_sequence(seen.tokens.split(lengths), True)
    mask = torch.nn.utils.rnn.pad_sequence(torch.ones_like(seen.tokens).split(lengths), True)
    padded = theirs(rows, attention_mask=mask).logits[mask.bool()]
    assert (packed - padded).abs().max() <= 1e-5 * largest
    for tokens, mine in zip(seen.tokens.split(lengths), packed.split(lengths), strict=True):
        alone = theirs(tokens[None], attention_mask=torch.ones(1, len(tokens))).logits[0]
        assert (alone - mine).abs().max() <= 1e-5 * largest


def test_configurations_of_version_4_are_read_and_null_rates_are_the_global_ones():
    recipe = override(recipe_of("modernbert", "token", 50), ["model.positions.theta=160000"])
    new = hf_config(recipe)
    old = {k: v for k, v in new.items() if k not in ("layer_types", "rope_parameters")}
    assert model_config(old) == model_config(new) == model_config({**old, "reference_compile": None})
    for none in (None, -1):
        one = model_config({**old, "local_rope_theta": none}).positions
        assert one.theta == 160_000.0 and one.local is None


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"norm_bias": True}, "norm_bias: True: modernbert is read with False only"),
        ({"classifier_activation": "relu"}, "classifier_activation: 'relu'"),
        ({"layer_types": [NEAR, FULL]}, "layer_types: full_attention layers at 1: the first of every so many"),
        ({"layer_types": [FULL]}, "layer_types: .* for each of 2 layers"),
        ({"local_attention": 1}, "local_attention: 1: counts both sides"),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn", "rope_theta": 1e4}}},
            "rope_type: 'yarn': default can be read",
        ),
        ({"classifier_pooling": "max"}, "classifier_pooling: 'max': cls or mean"),
    ],
)
def test_what_is_no_modernbert_of_ours_is_refused_by_field(fields, said):
    from bertsmith.deploy.hf_config import objective_of

    config = {**hf_config(recipe_of("modernbert", "classify", 50)), **fields}
    with pytest.raises(InputError, match=said):
        objective_of(config, ("label",), 3, model_config(config).activation)


@pytest.mark.parametrize(
    "setting, said",
    [
        ("model.attention.bias=true", r"model\.attention\.bias=false"),
        ("model.block.first=true", "first=false"),
        ("model.norm.bias=true", "norm LayerNorm with bias=false"),
        ("objective.heads.0.dense_bias=true", "train with dense_bias=false"),
    ],
)
def test_what_their_class_has_not_is_named_with_the_setting_that_it_can(setting, said):
    with pytest.raises(InputError, match=said):
        hf_config(override(find("modernbert:tiny"), [setting]))
