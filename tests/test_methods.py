"""Ways to tune beside all weights and a frozen trunk: what is put into a body, what learns, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.runs import alike, same, saved, small, text
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.adapters import Adapters, brought
from bertsmith.nn.lowrank import LowRank
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.lowrank import merged
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
MEMBERS = ("bert", "albert", "gpt2", "xlnet", "transformer-xl", "bart", "t5")


def tiny(member: str, surgery=None, *assignments: str):
    from bertsmith.config import override
    from bertsmith.recipe import find

    sizes = ["model.layers=2", "model.width=16", "model.hidden=32", "model.heads=2", "model.vocab=120"]
    return replace(override(find(f"{member}:tiny"), [*sizes, *assignments]), surgery=surgery)


def states(recipe, seed: int = 0, change=lambda body: None) -> torch.Tensor:
    torch.manual_seed(seed)
    body = build(recipe).model.eval()
    change(body)
    output = text() if recipe.model.decodes else None
    with torch.no_grad():
        return body(text(), output=output) if recipe.model.decodes else body(text())


# -- what is put into a body --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
def test_at_first_a_model_says_what_it_said_before(member):
    plain = states(tiny(member))
    assert torch.equal(states(tiny(member, LowRank(rank=2))), plain)
    for form in ("houlsby", "pfeiffer"):
        near = states(tiny(member, Adapters(size=3, std=1e-9, form=form)))
        assert torch.allclose(near, plain, atol=1e-5)
        assert not torch.allclose(states(tiny(member, Adapters(size=3, std=0.5, form=form))), plain, atol=1e-2)


def test_adapters_are_as_many_as_the_paper_says():
    base, m, d, layers = parameters(tiny("bert")), 3, 16, 2
    each = 2 * m * d + m + d
    assert parameters(tiny("bert", Adapters(size=m))) - base == layers * 2 * each
    assert parameters(tiny("bert", Adapters(size=m, form="pfeiffer"))) - base == layers * each
    stacks = parameters(tiny("bart", Adapters(size=m))) - parameters(tiny("bart"))
    assert stacks == layers * (2 + 3) * each, "a decoder's part that reads a source has one, too"
    albert = build(tiny("albert", Adapters(size=m))).model
    assert len({id(layer.adapters) for layer in albert.layers}) == layers, "shared layers have adapters of their own"


def test_an_adapter_stands_before_the_sum_and_pfeiffers_reads_the_sum():
    torch.manual_seed(0)
    x, said = torch.randn(4, 16), torch.randn(4, 16)
    for form in ("houlsby", "pfeiffer"):
        layer = build(tiny("bert", Adapters(size=3, std=0.5, form=form))).model.layers[0].eval()
        adapter, norm = layer.adapters["feedforward"], layer.feedforward_norm
        read = said if form == "houlsby" else norm(x + said)
        expected = norm(x + said + adapter.up(torch.nn.functional.gelu(adapter.down(read))))
        assert torch.allclose(layer.add("feedforward", x, said), expected)
    assert torch.equal(layer.add("attention", x, said), layer.attention_norm(x + said)), "pfeiffer has one in a block"


def moved(body: torch.nn.Module) -> None:
    """Updates that are no longer 0."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, weight in body.named_parameters():
            if name.endswith(".low_out"):
                weight.normal_(std=0.1)


@pytest.mark.parametrize("member", MEMBERS)
def test_updates_reach_rows_that_are_read_alone_and_merge_into_the_matrices(member):
    recipe = tiny(member, LowRank(rank=2, parts=("attention", "source", "feedforward")))
    torch.manual_seed(0)
    body = build(recipe).model.eval()
    before = body(text())
    moved(body)
    rows = torch.tensor([0, 3, 9])
    with torch.no_grad():
        whole = body(text())
        assert not torch.allclose(whole, before, atol=1e-2)
        assert torch.allclose(body(text(), rows), whole[rows], atol=1e-5)
        plain = merged(body)
        assert torch.allclose(plain(text()), whole, atol=1e-5)
    assert {n for n, _ in plain.named_parameters()} == {n for n, _ in build(tiny(member)).model.named_parameters()}
    assert plain.tokens is not body.tokens and plain.tokens.weight is body.tokens.weight if member == "bert" else True
    small_ones = [p for n, p in body.named_parameters() if brought(recipe.surgery, n)]
    assert all(min(p.shape) == 2 for p in small_ones) and small_ones


# -- what learns, and what is saved -------------------------------------------------------------------------------------------------


def test_each_method_learns_and_its_scores_come_again_after_loading(by_method):
    made, dev = by_method
    for method, run in made.items():
        result = json.loads((run / "result.json").read_text())
        losses = [epoch["training_loss"] for epoch in result["epochs"]]
        assert losses[-1] < losses[0], method
        assert alike(bertsmith.evaluate(run, dev), result["dev"])
        assert bertsmith.verify(run)["kind"] == "run"


PARTS = {
    "adapter": lambda name: "norm" in name or ".adapters." in name,
    "lora": lambda name: name.endswith((".low_in", ".low_out")),
    "prefix": lambda name: name.endswith(".prefix"),
    "pal": lambda name: "norm" in name or ".pal." in name,
    "bias": lambda name: name.endswith(".bias"),
    "mix": lambda name: False,
}


def test_a_step_holds_what_learned_and_the_heads_and_the_rest_is_the_bases_to_the_bit(by_method, pretrained):
    base = {name: x for name, x in load(pretrained).member.state_dict().items() if name.startswith("model.")}
    for method, run in by_method[0].items():
        step, whole = saved(run), load(run).member.state_dict()
        wanted = {name for name in whole if name.startswith("objective.") or PARTS[method](name)}
        assert step.keys() == wanted, method
        assert all(torch.equal(whole[name], base[name]) for name in base.keys() - wanted)
        changed = {name for name in base.keys() & wanted if not torch.equal(whole[name], base[name])}
        assert changed == base.keys() & wanted, "and all of it learned"
        result = json.loads((run / "result.json").read_text())
        assert result["trained"] == {
            "parameters": sum(x.numel() for x in step.values()),
            "of": sum(x.numel() for x in whole.values()),
        }
        moments = load_file(load(run).path / "optimizer.safetensors")
        assert {name.partition(".")[2] for name in moments} == wanted


def test_what_learns_is_said_before_it_does(tune_by, tmp_path):
    said: list[str] = []
    result = tune_by(tmp_path / "run", "adapter", sets=("adapter.size=4",), epochs=1, say=said.append)
    count, of = result["trained"]["parameters"], result["trained"]["of"]
    line = f"seed 3: adapters, norms and head: {count:,} of {of:,} parameters ({count / of:.2%}), 8 sequences an update"
    assert sum(one.startswith(line) for one in said) == 1
    assert said.index(next(one for one in said if one.startswith(line))) < said.index(
        next(one for one in said if "training loss" in one)
    )


@pytest.mark.parametrize(
    "method, name",
    [
        ("adapter", "classify"),
        ("adapter", "qa"),
        ("lora", "tag"),
        ("prefix", "tag"),
        ("pal", "regress"),
        ("bias", "regress"),
        ("mix", "tag"),
    ],
)
def test_a_method_that_was_broken_off_ends_as_the_one_that_was_not(tune_by, tmp_path, method, name):
    straight = tune_by(tmp_path / "straight", method, name, ("tokens=64",))
    for how, at in (("stop", 2), ("kill", 6), ("stop", 3)):
        broken_off(lambda **k: tune_by(tmp_path / "run", method, name, ("tokens=64",), resume=True, **k), how, at)
    assert tune_by(tmp_path / "run", method, name, ("tokens=64",), resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_rates_by_depth_and_gradual_unfreezing_go_with_a_method(tune_by, tmp_path):
    sets = ("unfreeze=4", "layer_decay=0.5", 'frozen=["model.embeddings"]')
    straight = tune_by(tmp_path / "straight", "adapter", sets=sets)
    broken_off(lambda **k: tune_by(tmp_path / "run", "adapter", sets=sets, **k), "stop", 3)
    assert tune_by(tmp_path / "run", "adapter", sets=sets, resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    assert not any("embeddings" in name for name in saved(tmp_path / "run"))


def test_a_run_that_goes_on_wants_the_model_that_it_began_with(tune_by, by_method, short, tmp_path):
    other = tmp_path / "other"
    bertsmith.pretrain(small("training.precision=float32"), short, other, steps=3, threads=1)
    broken_off(lambda **k: tune_by(tmp_path / "run", "adapter", **k), "stop", 3)
    with pytest.raises(InputError, match=r"resume=True: from\.weights: the run was begun with"):
        tune_by(tmp_path / "run", "adapter", model=other, resume=True)
    with pytest.raises(InputError, match=r"resume=True: adapter\.size: the run was begun with 64, now it is 8"):
        tune_by(tmp_path / "run", "adapter", sets=("adapter.size=8",), resume=True)


def test_several_seeds_are_saved_alone_and_the_best_is_taken(tune_by, tasks, tmp_path):
    result = tune_by(tmp_path / "runs", "lora", seeds=2, epochs=1)
    assert bertsmith.evaluate(tmp_path / "runs", tasks["classify"][2]) == next(
        r["dev"] for r in result["results"] if r["seed"] == result["best_seed"]
    )
    assert bertsmith.verify(tmp_path / "runs")["kind"] == "run"


# -- members of every kind, tasks that are written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["bart", "gpt2"])
def test_a_model_that_writes_learns_by_adapters_too(member, short, tmp_path):
    recipe = small("training.precision=float32", member=member)
    bertsmith.pretrain(recipe, short, tmp_path / "model", steps=2, threads=1)
    rows = [{"text": f"the {word}", "label": "yes" if i % 2 else "no"} for i, word in enumerate(["class", "name"] * 8)]
    options = {"task": "text2text", "train": rows, "dev": [{"text": "a class", "label": "no"}], "threads": 1}
    for method in (
        "adapter",
        "lora",
        *(["prefix", "pal"] if member == "gpt2" else ["pal"]),
    ):  # bart's decoder has no place for one
        result = bertsmith.finetune(tmp_path / "model", out=tmp_path / method, method=method, epochs=2, **options)
        again = bertsmith.evaluate(tmp_path / method, [{"text": "a class", "label": "no"}])
        assert again == result["dev"]
        trunk = {name for name in saved(tmp_path / method) if name.startswith("model.")}
        assert trunk and all(
            ".adapters." in n or "norm" in n or ".low_" in n or ".prefix" in n or ".pal." in n for n in trunk
        )


# -- what is refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, says",
    [
        ({"method": "adaptor"}, "method='adaptor': unknown; did you mean 'adapter'"),
        ({"method": "adapter", "scratch": True}, "scratch=True with method='adapter': a trunk of fresh weights that never learns"),
        ({"method": "mix", "shard": "fsdp"}, "shard='fsdp' with method='mix': only a head learns"),
        ({"method": "full", "sets": ("adapter.size=8",)}, "'adapter'.*method='full' has none; method='adapter' has"),
        ({"method": "adapter", "sets": ("adapter.size=0",)}, r"adapter\.size: 0 must be above 0"),
        ({"method": "adapter", "sets": ("adapter.sise=8",)}, "no field 'sise'; did you mean 'size'"),
        ({"method": "adapter", "sets": ("adapter=8",)}, r"is a group of fields; set one of adapter\.size"),
        ({"method": "pal", "sets": ("pal.size=5",)}, r"pal\.size: 5: the model's 2 heads must divide it; nearest: 4"),
        ({"method": "pal", "sets": ("pal.size=18",)}, r"pal\.size: 18 is more than the model's width, 16; lower it"),
        ({"method": "lora", "sets": ("lora.rank=17",)}, r"lora\.rank: 17: the model's matrices have 16 rows or columns"),
        ({"method": "adapter", "sets": ("pal.size=4",)}, "'pal'.*method='adapter' has none; method='pal' has"),
        ({"method": "pal", "scratch": True}, "scratch=True with method='pal': a trunk of fresh weights that never learns"),
        ({"method": "prefix", "sets": ("prefix.length=0",)}, r"prefix\.length: 0 must be above 0"),
        ({"method": "lora", "sets": ('lora.parts=["query"]',)}, "lora.parts: .*some of attention, source, feedforward"),
        ({"method": "full", "sets": ("layers=[-1]",)}, "layers.*method='frozen' and method='mix' read layers"),
        ({"method": "frozen", "sets": ("layers=[2]",)}, r"layers: 2: this model has 0 \(the embedding\) to 1"),
        ({"method": "frozen", "sets": ("layers=[1, -1]",)}, r"layers: \[1, -1\]: one stands there twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_written(tune_by, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        tune_by(tmp_path / "run", options.pop("method"), sets=options.pop("sets", ()), **options)
    assert not (tmp_path / "run").exists()


def test_a_model_without_biases_has_none_to_tune(short, tmp_path):
    bertsmith.pretrain(small("training.precision=float32", member="t5"), short, tmp_path / "t5", steps=1, threads=1)
    rows = [{"text": "the class", "label": "a"}, {"text": "a name", "label": "b"}]
    options = {"task": "classify", "train": rows, "dev": rows[:1], "out": tmp_path / "run", "method": "bias"}
    with pytest.raises(InputError, match=r"method='bias': nothing of t5 is called \*\.bias"):
        bertsmith.finetune(tmp_path / "t5", **options)
    assert Run(tmp_path / "run").steps() == []
