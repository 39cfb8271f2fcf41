"""ELECTRA against transformers: both halves of one member, and its classifier, with the same random weights, both directions."""

import dataclasses

import pytest
import torch
from tests.folders import loaded, randomised, tokenizer_of
from tests.parity.test_bert import packed, padded, starts

import bertsmith
from bertsmith.config import override
from bertsmith.deploy.halves import half_of
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.deploy.hf_families import FAMILIES
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.nn.modules.member import MemberModel
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")

SMALL = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=12", "model.positions.length=12"]
# A factorised table, one of full width, and a generator whose width is the table's.
SHAPES = {"small": ["model.embeddings.width=8"], "base": [], "equal": ["model.embeddings.width=16"]}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def recipe_of(shape, vocab=90, *sets):
    return override(find("electra:tiny"), [*SMALL, *SHAPES[shape], *sets]).with_vocab(vocab)


def whole(recipe, at, tokenizer):
    """An ELECTRA run in memory, random in every tensor."""
    torch.manual_seed(0)
    model = loaded("electra", "token", tokenizer, at)
    return dataclasses.replace(model, member=randomised(build(recipe)), recipe=recipe)


def theirs(recipe):
    config = transformers.AutoConfig.for_model(**hf_config(recipe))
    return randomised(getattr(transformers, config.architectures[0])(config), 1)


def compare(member, hf, stream):
    inputs = padded(stream)
    real, logits = inputs["attention_mask"].bool(), hf(**inputs).logits
    if "label" in member.weights():
        mine, logits = member.objective.logits(member.model, stream, starts(stream)), logits
    else:
        (term,) = member.weights()
        mine, logits = member.objective.logits(member.model, stream, torch.arange(len(real[real])), term), logits[real]
        mine = mine[:, 1] if term == "replaced" else mine
    assert (mine - logits).abs().max() < 1e-5 and mine.std() > 0.03


@every_shape
@pytest.mark.parametrize(
    ("half", "named"), [("discriminator", "ElectraForPreTraining"), ("generator", "ElectraForMaskedLM")]
)
def test_both_halves_agree_both_ways(shape, half, named, documents, tmp_path):
    one = half_of(whole(recipe_of(shape), tmp_path, tokenizer_of(documents[:2])), half)
    hf = theirs(one.recipe)
    assert type(hf).__name__ == named
    missing, unexpected = hf.load_state_dict(to_hf(weights_of(one.member), one.recipe), strict=False)
    assert not unexpected and set(missing) <= {"generator_lm_head.weight"}
    hf.tie_weights()
    compare(one.member, hf, packed())

    hf = theirs(one.recipe)
    load_weights(one.member, from_hf(hf.state_dict(), "electra"), "theirs")
    compare(one.member, hf, packed())
    assert model_config(hf_config(one.recipe)) == dataclasses.replace(one.recipe.model)


@every_shape
def test_classifiers_agree_both_ways(shape):
    recipe = dataclasses.replace(recipe_of(shape), objective=Classify(classes=3, pooler="gelu"))
    model = recipe.model.build()
    member, hf = randomised(MemberModel(model, recipe.objective.build(model))), theirs(recipe)
    assert type(hf).__name__ == "ElectraForSequenceClassification"
    load_weights(member, from_hf(hf.state_dict(), "electra"), "theirs")
    compare(member, hf, packed())
    hf = theirs(recipe)
    hf.load_state_dict(to_hf(weights_of(member), recipe))
    compare(member, hf, packed())


@pytest.mark.parametrize(("size", "published"), [("small", 14), ("base", 110), ("large", 335)])
def test_discriminators_have_the_published_sizes(size, published):
    """In millions: what is kept after pre-training (README of the released code); exactly the encoders that transformers builds."""
    recipe = find(f"electra:{size}")
    recipe = dataclasses.replace(recipe, objective=recipe.objective.halves(recipe.model)["discriminator"][1])
    with torch.device("meta"):
        counted = sum(p.numel() for p in transformers.ElectraModel(theirs_config(recipe)).parameters())
    assert recipe.model.parameters() == counted
    assert counted / 1e6 == pytest.approx(published, rel=0.04)


def theirs_config(recipe):
    return transformers.AutoConfig.for_model(**hf_config(recipe))


def test_a_run_is_exported_by_halves_and_both_come_back(documents, tmp_path):
    tokenizer = tokenizer_of(documents[:20])
    run = whole(
        recipe_of("small", tokenizer.size, "model.positions.length=48", "layout.length=48"), tmp_path / "run", tokenizer
    )
    for half, auto in (("discriminator", "AutoModelForPreTraining"), ("generator", "AutoModelForMaskedLM")):
        out = tmp_path / half
        bertsmith.export(run, out, half=half)
        _, info = getattr(transformers, auto).from_pretrained(out, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        one, back = half_of(run, half), bertsmith.load(out)
        assert back.recipe.model == one.recipe.model and back.recipe.objective == one.recipe.objective
        state = weights_of(one.member)
        assert all(torch.equal(tensor, state[name]) for name, tensor in weights_of(back.member).items())
    bertsmith.export(run, tmp_path / "unsaid")
    assert (tmp_path / "unsaid" / "model.safetensors").read_bytes() == (
        tmp_path / "discriminator" / "model.safetensors"
    ).read_bytes()
    with pytest.raises(InputError, match=r"half='generator'.*has one model only"):
        half_of(loaded("bert", "token", tokenizer, tmp_path), "generator")
    with pytest.raises(InputError, match="half='judge': unknown"):
        half_of(run, "judge")


def test_a_summary_tells_the_family():
    assert {name: family.pooler for name, family in FAMILIES.items() if family.pooler != "tanh"} == {
        "deberta-v2": "gelu",
        "electra": "gelu",
        "distilbert": "relu",
        "modernbert": "transform",
        **dict.fromkeys(("gpt2", "openai-gpt"), "none"),
    }
