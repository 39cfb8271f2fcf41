"""ModernBERT at work: what its windows hide, what its positions are, how it begins, and its head before every head."""

import json
import math
from dataclasses import replace

import pytest
import torch
from tests.runs import small
from tests.test_sliding import stream

import bertsmith
from bertsmith.config import override
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.member import build
from bertsmith.objectives.supervised import Classify, Regress, Span, Tag
from bertsmith.recipe import find


def body(*settings):
    torch.manual_seed(0)
    sizes = ["model.width=16", "model.heads=2", "model.hidden=24", "model.vocab=60"]
    return build(override(find("modernbert:tiny"), [*sizes, *settings])).model.eval()


@torch.no_grad()
def test_what_is_beyond_all_windows_changes_nothing_and_what_is_in_them_does():
    layers, window = 3, 4
    local = body(f"model.layers={layers}", "model.attention.every=null", f"model.attention.window={window}")
    seen = stream((80, 30))
    before = local(seen)
    for at in (40, 90):
        tokens = seen.tokens.clone()
        tokens[at] = 1 + tokens[at] % 5
        moved = (local(replace(seen, tokens=tokens)) != before).any(1).nonzero()[:, 0]
        first, end = (0, 80) if at < 80 else (80, 110)
        near = lambda far, first=first, end=end, at=at: {i for i in range(first, end) if abs(i - at) <= far}
        assert near(window) <= {*moved.tolist()} <= near(layers * window)


@torch.no_grad()
def test_texts_that_all_stand_further_on_say_the_same_and_the_rate_of_global_layers_moves_them_alone():
    one = body("model.layers=4", "model.attention.window=4")
    seen = stream((40, 7))
    moved = replace(seen, positions=seen.positions + 100)
    assert torch.allclose(one(seen), one(moved), atol=2e-5)
    states = body("model.layers=4", "model.attention.window=4", "model.positions.theta=10").states(seen)
    same = [torch.equal(a, b) for a, b in zip(one.states(seen), states, strict=True)]
    assert same == [True, False, False, False, False]  # the first layer is global
    local = [body("model.layers=2", "model.attention.every=null", f"model.positions.theta={x}") for x in (10, 1e4)]
    assert torch.equal(local[0](seen), local[1](seen))


def test_no_parameter_is_a_bias_but_that_of_the_token_table():
    member = build(find("modernbert:tiny").with_vocab(100))
    assert [name for name, _ in member.named_parameters() if "bias" in name] == ["objective.token.bias"]


def test_fresh_matrices_that_add_to_the_sum_are_smaller_by_twice_the_layers():
    """Megatron's (Warner et al. 2024, appendix A.2): 0.02, cut at two deviations, outputs over the root of 2 L."""
    torch.manual_seed(0)
    member = build(override(find("modernbert:17m"), ["model.vocab=100"]))
    layer = {name.removeprefix("layers.3."): p for name, p in member.model.named_parameters()}
    usual = 0.02 * 0.8796  # of a normal that is cut at two deviations
    for name, wanted in (
        ("attention.qkv.weight", usual),
        ("feedforward.up.weight", usual),
        ("attention.out.weight", usual / 14**0.5),
        ("feedforward.down.weight", usual / 14**0.5),
    ):
        weight = layer[name]
        assert abs(weight.std().item() / wanted - 1) < 0.02, name
        assert weight.abs().max() <= 0.04 * wanted / usual + 1e-9


def test_dropout_stands_on_what_attention_says_and_nowhere_else():
    base = find("modernbert:base").model
    assert base.dropout == 0 and base.block.dropout_mixed == 0.1
    torch.manual_seed(0)
    one = body("model.block.dropout_mixed=0.5").train()
    seen = stream((9,))
    assert not torch.equal(one(seen), one(seen))
    assert {type(part).__name__ for part in one.modules() if getattr(part, "p", 0)} == {"Dropout"}
    assert sum(getattr(part, "p", 0) > 0 for part in one.modules()) == one.config.layers
    with pytest.raises(bertsmith.InputError, match=r"model\.block\.dropout_mixed: 1 is not in"):
        PreNorm(dropout_mixed=1)


@pytest.mark.parametrize(
    "objective",
    [
        Classify(classes=3, pooler="transform"),
        Regress(pooler="transform", pool="mean"),
        Tag(classes=4, pooler="transform"),
        Tag(classes=4, pooler="transform", head="crf"),
        Span(pooler="transform"),
    ],
)
def test_the_head_before_every_head_is_the_token_heads(objective):
    recipe = small(member="modernbert").with_vocab(100)
    torch.manual_seed(0)
    state = build(recipe).state_dict()
    made = objective.build(build(recipe).model)
    assert sum(p.numel() for p in made.parameters()) == objective.parameters(recipe.model)
    assert set(made.inherit(state)) == {"objective.token.dense.weight", "objective.token.norm.weight"}
    head = made.get_submodule(next(iter(objective.weights())))
    assert torch.equal(head.pooler.dense.weight, state["objective.token.dense.weight"])
    other = build(small(member="roberta").with_vocab(100)).state_dict()
    assert made.inherit({name: x for name, x in other.items() if "norm" not in name}) == ()


def test_a_folder_of_theirs_is_gone_on_with_and_tuned(store, tmp_path):
    pytest.importorskip("transformers")
    recipe = small(member="modernbert")
    bertsmith.pretrain(recipe, store, tmp_path / "run", steps=4, threads=1)
    bertsmith.export(tmp_path / "run", tmp_path / "hf")
    bertsmith.pretrain(recipe, store, tmp_path / "on", steps=2, from_=tmp_path / "hf", threads=1)
    rows = [{"text": f"{word} of a list", "label": word} for word in ("yes", "no")] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = []
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows[:6])))
    options = {"train": tmp_path / "rows.jsonl", "dev": tmp_path / "dev.jsonl", "threads": 1, "say": said.append}
    bertsmith.finetune(tmp_path / "hf", task="classify", out=tmp_path / "tuned", set=["epochs=1"], **options)
    bertsmith.export(tmp_path / "tuned", tmp_path / "classifier")
    config = json.loads((tmp_path / "classifier" / "config.json").read_text())
    assert config["architectures"] == ["ModernBertForSequenceClassification"]
    assert [row["label"] for row in bertsmith.predict(tmp_path / "classifier", tmp_path / "rows.jsonl")] == [
        row["label"] for row in bertsmith.predict(tmp_path / "tuned", tmp_path / "rows.jsonl")
    ]


def test_rows_grow_by_another_rate_of_positions_in_layers_that_see_all(store, tmp_path):
    """As docs/members.md has it: from a run at 10,000 everywhere to longer rows at 160,000 in global layers; a width cannot be another."""
    recipe = small("model.layers=4", member="modernbert")
    bertsmith.pretrain(recipe, store, tmp_path / "run", steps=3, threads=1)
    before = [layer.attention.positions.theta for layer in bertsmith.load(tmp_path / "run").member.model.layers]
    said, longer = [], ["layout.length=96", "model.positions.theta=160000"]
    options = {"steps": 2, "from_": tmp_path / "run", "threads": 1, "say": said.append}
    bertsmith.pretrain("modernbert", store, tmp_path / "long", set=longer, **options)
    after = bertsmith.load(tmp_path / "long")
    assert before == [1e4] * 4
    assert [layer.attention.positions.theta for layer in after.member.model.layers] == [16e4, 1e4, 1e4, 16e4]
    assert "model.positions.theta: it learned with 10000.0, and goes on with 160000.0" in said
    row = after.recipe.layout.plan(store.train, store.vocab, 0, 0)
    assert max(row.row(row.order[:40]).lengths) > recipe.layout.length
    lines = [json.loads(line) for line in (tmp_path / "long" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in lines)
    with pytest.raises(bertsmith.InputError, match=r"model\.width: it has 16, the recipe 20"):
        bertsmith.pretrain("modernbert", store, tmp_path / "wide", set=["model.width=20"], **options)


@pytest.mark.parametrize(
    ("size", "first", "whole", "warm", "grows"),
    [("base", 768, 4608, 3e9, 50e9), ("large", 448, 4928, 2e9, 10e9), ("17m", 768, 4608, 4e9, 125e9)],
)
def test_updates_grow_by_the_first_ones_size_for_as_many_tokens_as_published(size, first, whole, warm, grows):
    recipe = find(f"modernbert:{size}")
    ramps, batch = recipe.schedule.ramps, recipe.training.batch
    sizes = [round(ramps.size(step, 10**6) * batch / 1024) for step in range(1, int(ramps.batch_until) + 2)]
    assert sorted({*sizes}) == list(range(first, whole + 1, first)) and sizes[-1] == whole == batch // 1024
    assert sum(sizes[:-1]) * 1024 == pytest.approx(grows, rel=1e-3)
    counts = [sizes[:-1].count(rows) for rows in sorted({*sizes[:-1]})]
    assert max(counts) - min(counts) <= 1
    assert sum(sizes[: int(recipe.schedule.warmup)]) * 1024 == pytest.approx(warm, rel=1e-3)
