"""An encoder that was trained becomes a Longformer: what it was on short texts, longer, and a model like any other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.folders import LENGTH, loaded, recipe_of, tokenizer_of

import bertsmith
from bertsmith.errors import InputError
from bertsmith.tasks.sequences import encode

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


def states(model, texts, length):
    reading = replace(model.reading(), length=length)
    stream = encode(model.tokenizer, texts, None, reading)
    with torch.no_grad():
        return model.member.model(stream.batch(np.arange(len(stream))).input.to("cpu"))


@pytest.mark.parametrize(
    ("family", "head"), [("bert", "token+pair"), ("roberta", "token"), ("bert", "classify"), ("roberta", "qa")]
)
def test_it_says_what_it_said_of_short_texts_and_reads_long_ones(family, head, tokenizer, documents, tmp_path):
    bertsmith.export(loaded(family, head, tokenizer, tmp_path / "run"), tmp_path / "old")
    old = bertsmith.load(tmp_path / "old")
    result = bertsmith.convert(tmp_path / "old", tmp_path / "long", length=200)
    assert result["window"] == LENGTH // 2 and result["largest_difference"] < 1e-5
    new = bertsmith.load(tmp_path / "long")
    assert new.recipe.name == "longformer" and new.length() == 200 and new.recipe.model.longest == 200
    short = LENGTH // 2
    texts = documents[:5]
    assert torch.allclose(states(new, texts, short), states(old, texts, short), atol=1e-5)
    assert len(states(new, [" ".join(documents[:40])], 200)) == 200
    of_old, of_new = (x.member.model.positions.table.weight for x in (old, new))
    assert torch.equal(of_new[:LENGTH], of_old) and torch.equal(of_new[LENGTH : 2 * LENGTH], of_old)
    attention = new.member.model.layers[1].attention
    assert torch.equal(attention.wide.weight, attention.qkv.weight)
    assert (new.task or {}).get("kind") == (old.task or {}).get("kind")
    assert new.reading().wide == {"classify": "first", "qa": "question"}.get(head, "none")


def test_it_is_exported_and_its_head_goes_on(tokenizer, tmp_path):
    for family, head, named in (
        ("bert", "token+pair", "LongformerForMaskedLM"),
        ("bert", "qa", "LongformerForQuestionAnswering"),
    ):
        bertsmith.export(loaded(family, head, tokenizer, tmp_path / f"{head}-run"), tmp_path / f"{head}-old")
        bertsmith.convert(tmp_path / f"{head}-old", tmp_path / head, length=100)
        bertsmith.export(tmp_path / head, tmp_path / f"{head}-out")
        config = json.loads((tmp_path / f"{head}-out" / "config.json").read_text())
        assert config["architectures"] == [named] and config["type_vocab_size"] == 2
        assert config["attention_window"] == [LENGTH, LENGTH] and config["max_position_embeddings"] == 101
        bertsmith.convert(tmp_path / f"{head}-out", tmp_path / f"{head}-longer", length=150)
        assert bertsmith.load(tmp_path / f"{head}-longer").recipe.model.attention.window == LENGTH // 2


def test_a_run_that_was_trained_becomes_one_that_trains_on(pretrained, short, tmp_path):
    bertsmith.convert(pretrained, tmp_path / "long", length=200, window=8)
    bertsmith.pretrain("longformer", short, tmp_path / "on", steps=2, from_=tmp_path / "long", threads=1)
    assert bertsmith.load(tmp_path / "on").recipe.model.attention.window == 8
    with pytest.raises(InputError, match="holds a model already"):
        bertsmith.convert(pretrained, tmp_path / "long", length=300)
    bertsmith.convert(pretrained, tmp_path / "long", length=300, force=True)
    assert bertsmith.load(tmp_path / "long").length() == 300


def test_what_cannot_become_one_is_told_in_a_line(tokenizer, tmp_path):
    old = loaded("bert", "token", tokenizer, tmp_path / "run")
    refused = {
        "length=48: .* reads 48 tokens already": {"length": LENGTH},
        "length=0: must be above 0": {"length": 0},
        "window=0: must be above 0": {"length": 100, "window": 0},
        "to.*reformer.*unknown": {"length": 100, "to": "reformer"},
    }
    for said, options in refused.items():
        with pytest.raises(InputError, match=said):
            bertsmith.convert(old, tmp_path / "out", **options)
    others = {
        ("xlnet", "token"): "positions of another kind",
        ("gpt2", "token"): "does not see both sides of a token",
        ("albert", "token"): "only layers as BERT and RoBERTa have them",
        ("bart", "token"): "no encoder alone",
    }
    for (family, head), said in others.items():
        with pytest.raises(InputError, match=said):
            bertsmith.convert(loaded(family, head, tokenizer, tmp_path / family), tmp_path / "out", length=2000)
    assert not (tmp_path / "out").exists()


def test_what_no_text_taught_begins_as_what_it_did(short, tiny, tmp_path):
    recipe = tiny("longformer", "model.attention.window=8", "training.evaluate=0")
    bertsmith.pretrain(recipe, short, tmp_path / "run", steps=2, threads=1)
    body = bertsmith.load(tmp_path / "run").member.model
    assert all(torch.equal(layer.attention.wide.weight, layer.attention.qkv.weight) for layer in body.layers)


def test_recipes_of_longer_ones_keep_what_was_hidden_and_how(tokenizer):
    from bertsmith.deploy.convert import longer

    old = recipe_of("bert", "token+pair", tokenizer.size)
    new = longer(old, LENGTH, 100, 8)
    assert new.corruption == old.corruption and new.layout.length == 100
    assert [head.name for head in new.objective.heads] == ["token", "summary"]


@pytest.mark.parametrize(("task", "wide"), [("qa", "question"), ("classify", "first"), ("tag", "none")])
def test_a_task_says_which_tokens_read_all_and_their_matrices_learn(task, wide, pretrained, tune_by, tasks, tmp_path):
    bertsmith.convert(pretrained, tmp_path / "long", length=300, window=4)
    tune_by(tmp_path / "tuned", "full", task, sets=("length=300",), model=tmp_path / "long")
    model = bertsmith.load(tmp_path / "tuned")
    assert model.reading().wide == wide and model.length() == 300
    before = bertsmith.load(tmp_path / "long").member.model.layers[0].attention.wide.weight
    moved = not torch.equal(model.member.model.layers[0].attention.wide.weight, before)
    assert moved == (wide != "none")
    said = bertsmith.predict(tmp_path / "tuned", tasks[task][2])
    assert said and bertsmith.evaluate(tmp_path / "tuned", tasks[task][2])
