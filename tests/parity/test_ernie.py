"""ERNIE 1.0 against transformers: its own classes, the published shape, gradients, and what is not an ERNIE 1.0."""

import json

import pytest
import torch
from tests.folders import loaded, randomised, recipe_of, theirs, tokenizer_of
from tests.parity.test_bert import packed, padded, starts
from tests.runs import small

import bertsmith
from bertsmith.data.batch import Batch, Target
from bertsmith.deploy.hf import family_of, from_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


def test_the_published_size_is_theirs():
    recipe = find("ernie1:base")
    config = hf_config(recipe)
    assert (config["model_type"], config["architectures"]) == ("ernie", ["ErnieForPreTraining"])
    shape = {key: config[key] for key in ("hidden_act", "max_position_embeddings", "layer_norm_eps", "type_vocab_size")}
    assert list(shape.values()) == ["relu", 513, 1e-5, 2]
    with torch.device("meta"):
        made = transformers.ErnieForPreTraining(transformers.AutoConfig.for_model(**config))
    assert parameters(recipe) == sum(p.numel() for p in made.parameters())
    assert model_config(config) == recipe.model


def test_gradients_of_the_loss_equal_theirs():
    recipe = recipe_of("ernie", "token+pair", 90)
    config = transformers.AutoConfig.for_model(**hf_config(recipe))
    torch.manual_seed(1)
    hf, member, stream = randomised(transformers.ErnieForPreTraining(config)), build(recipe).eval(), packed()
    member.load_state_dict(from_hf(hf.state_dict(), "ernie"))
    at, labels = torch.tensor([0, 5, 8, 17, 22, 30]), torch.tensor([7, 80, 33, 9, 89, 0])
    pairs = Target(at=starts(stream)[:, None], labels=torch.arange(len(stream.lengths)) % 2)
    batch = Batch(input=stream, targets={"token": Target(at=at[:, None], labels=labels), "pair": pairs})
    sums = member(batch)
    loss = sums["token"] / len(at) + sums["pair"] / len(pairs)
    inputs = padded(stream)
    asked, flat = torch.full_like(inputs["input_ids"], -100), torch.full((len(stream.tokens),), -100)
    flat[at] = labels
    asked[inputs["attention_mask"].bool()] = flat
    reference = hf(**inputs, labels=asked, next_sentence_label=pairs.labels).loss
    assert abs(loss - reference) < 1e-5
    loss.backward()
    reference.backward()
    other = from_hf({name: p.grad for name, p in hf.named_parameters()}, "ernie")
    for name, p in member.named_parameters():
        assert (p.grad - other[name]).abs().max() < 1e-5, name


def test_the_name_tells_an_ernie_from_a_bert_of_its_shape(tokenizer, tmp_path):
    """With GELU in an ERNIE and ReLU in a BERT, too; the functions are the same."""
    relu = bertsmith.config.override(find("bert:tiny"), ["model.feedforward.activation=relu"])
    assert [family_of(recipe).model_type for recipe in (find("ernie1-dialogue:tiny"), relu)] == ["ernie", "bert"]
    model = theirs(transformers, "ernie", "token+pair", tokenizer, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    back = bertsmith.load(tmp_path / "model")
    assert (back.recipe.name, back.recipe.model.activation) == ("ernie1", "gelu")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    opened = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "out")
    assert type(opened) is type(model) is transformers.ErnieForPreTraining and opened.config.hidden_act == "gelu"
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in opened.state_dict().items())


def test_task_types_are_refused(tokenizer, tmp_path):
    theirs(transformers, "ernie", "token", tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["use_task_id"] is False and "relu" in config["hidden_act"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "use_task_id": True}))
    with pytest.raises(InputError, match=r"ernie with use_task_id: task types .* have no place"):
        bertsmith.load(tmp_path)


def test_runs_go_out_and_folders_go_on(store, tmp_path):
    """Both members learn, one from the other's export; what they export are ERNIE's classes."""
    bertsmith.pretrain(small(member="ernie1"), store, tmp_path / "one", steps=2, threads=1)
    made = bertsmith.export(tmp_path / "one", tmp_path / "hf")
    assert made["classes"][:2] == ["ErnieForPreTraining", "ErnieForMaskedLM"]
    assert {"token", "pair", "hidden", "summary"} <= made["largest_difference"].keys()
    talks = small(member="ernie1-dialogue")
    bertsmith.pretrain(talks, store, tmp_path / "two", steps=2, threads=1, from_=tmp_path / "hf")
    assert bertsmith.export(tmp_path / "two", tmp_path / "talks")["classes"] == made["classes"]


def test_new_heads_are_made_for_an_ernie(tokenizer, tmp_path):
    bertsmith.export(loaded("ernie", "summary", tokenizer, tmp_path / "run"), tmp_path / "hf")
    bertsmith.import_(tmp_path / "hf", tmp_path / "model", new_heads=["token", "pair"])
    assert list(bertsmith.load(tmp_path / "model").member.weights()) == ["token", "pair"]
    with pytest.raises(InputError, match="new_heads='label': cannot be made for an ernie; known: pair, token"):
        bertsmith.import_(tmp_path / "hf", tmp_path / "other", new_heads=["label"])
