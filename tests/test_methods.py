"""Ways to tune beside all weights and a frozen trunk: what learns, what is saved of it, and what it stands on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.runs import same, small
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.data.batch import Stream
from bertsmith.downstream import frozen
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.adapters import Adapters, brought
from bertsmith.nn.lowrank import LowRank
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.lowrank import merged
from bertsmith.objectives.layers import OverLayers
from bertsmith.objectives.supervised import Classify
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
ALONE = ("adapter", "lora", "bias", "mix")
MEMBERS = ("bert", "albert", "gpt2", "xlnet", "transformer-xl", "bart", "t5")


@pytest.fixture
def tune(pretrained, tasks):
    def run(out: Path, method: str, name: str = "classify", sets: tuple[str, ...] = (), **options) -> dict:
        kind, train, dev = tasks[name]
        options = {"seed": 3, "threads": 1, "epochs": 2, **options}
        sets = ("batch=8", "lr=0.01", "checkpoint=5", *sets)
        model = options.pop("model", pretrained)
        return bertsmith.finetune(model, task=kind, train=train, dev=dev, out=out, method=method, set=sets, **options)

    return run


@pytest.fixture(scope="module")
def runs(pretrained, tasks, tmp_path_factory):
    """{method: a run of it}, the dev file, and the model that they began with."""
    folder, (kind, train, dev) = tmp_path_factory.mktemp("methods"), tasks["classify"]
    made = {}
    for method in ALONE:
        sets = ["batch=8", "lr=0.02", "adapter.size=4"] if method == "adapter" else ["batch=8", "lr=0.02"]
        options = {"task": kind, "train": train, "dev": dev, "method": method, "epochs": 3, "threads": 1}
        made[method] = folder / method
        bertsmith.finetune(pretrained, out=made[method], set=sets, **options)
    return made, dev


def saved(run: Path) -> dict[str, torch.Tensor]:
    return load_file(load(run).path / "model.safetensors")


def text(count: int = 12) -> Stream:
    """Two sequences that see all of themselves."""
    tokens, zero = torch.arange(count), torch.zeros(count, dtype=torch.long)
    lengths = (count - 5, 5)
    places = torch.cat([torch.arange(length) for length in lengths])
    return Stream(tokens=tokens + 5, positions=places, segments=zero, query_rank=zero, key_rank=zero, lengths=lengths)


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


def test_each_method_learns_and_its_scores_come_again_after_loading(runs):
    made, dev = runs
    for method, run in made.items():
        result = json.loads((run / "result.json").read_text())
        losses = [epoch["training_loss"] for epoch in result["epochs"]]
        assert losses[-1] < losses[0], method
        assert bertsmith.evaluate(run, dev) == result["dev"]
        assert bertsmith.verify(run)["kind"] == "run"


PARTS = {
    "adapter": lambda name: "norm" in name or ".adapters." in name,
    "lora": lambda name: name.endswith((".low_in", ".low_out")),
    "bias": lambda name: name.endswith(".bias"),
    "mix": lambda name: False,
}


def test_a_step_holds_what_learned_and_the_heads_and_the_rest_is_the_bases_to_the_bit(runs, pretrained):
    base = {name: x for name, x in load(pretrained).member.state_dict().items() if name.startswith("model.")}
    for method, run in runs[0].items():
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


def test_what_learns_is_said_before_it_does(tune, tmp_path):
    said: list[str] = []
    result = tune(tmp_path / "run", "adapter", sets=("adapter.size=4",), epochs=1, say=said.append)
    count, of = result["trained"]["parameters"], result["trained"]["of"]
    line = f"seed 3: adapters, norms and head: {count:,} of {of:,} parameters ({count / of:.2%}), 8 sequences an update"
    assert sum(one.startswith(line) for one in said) == 1
    assert said.index(next(one for one in said if one.startswith(line))) < said.index(
        next(one for one in said if "training loss" in one)
    )


@pytest.mark.parametrize(
    "method, name",
    [("adapter", "classify"), ("adapter", "qa"), ("lora", "tag"), ("bias", "regress"), ("mix", "tag")],
)
def test_a_method_that_was_broken_off_ends_as_the_one_that_was_not(tune, tmp_path, method, name):
    straight = tune(tmp_path / "straight", method, name, ("tokens=64",))
    for how, at in (("stop", 2), ("kill", 6), ("stop", 3)):
        broken_off(lambda **k: tune(tmp_path / "run", method, name, ("tokens=64",), resume=True, **k), how, at)
    assert tune(tmp_path / "run", method, name, ("tokens=64",), resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_rates_by_depth_and_gradual_unfreezing_go_with_a_method(tune, tmp_path):
    sets = ("unfreeze=4", "layer_decay=0.5", 'frozen=["model.embeddings"]')
    straight = tune(tmp_path / "straight", "adapter", sets=sets)
    broken_off(lambda **k: tune(tmp_path / "run", "adapter", sets=sets, **k), "stop", 3)
    assert tune(tmp_path / "run", "adapter", sets=sets, resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    assert not any("embeddings" in name for name in saved(tmp_path / "run"))


def test_a_run_that_goes_on_wants_the_model_that_it_began_with(tune, runs, short, tmp_path):
    other = tmp_path / "other"
    bertsmith.pretrain(small("training.precision=float32"), short, other, steps=3, threads=1)
    broken_off(lambda **k: tune(tmp_path / "run", "adapter", **k), "stop", 3)
    with pytest.raises(InputError, match=r"resume=True: from\.weights: the run was begun with"):
        tune(tmp_path / "run", "adapter", model=other, resume=True)
    with pytest.raises(InputError, match=r"resume=True: adapter\.size: the run was begun with 64, now it is 8"):
        tune(tmp_path / "run", "adapter", sets=("adapter.size=8",), resume=True)


def test_several_seeds_are_saved_alone_and_the_best_is_taken(tune, tasks, tmp_path):
    result = tune(tmp_path / "runs", "lora", seeds=2, epochs=1)
    assert bertsmith.evaluate(tmp_path / "runs", tasks["classify"][2]) == next(
        r["dev"] for r in result["results"] if r["seed"] == result["best_seed"]
    )
    assert bertsmith.verify(tmp_path / "runs")["kind"] == "run"


# -- what it stands on --------------------------------------------------------------------------------------------------------------


def test_predictions_in_another_process_are_the_same_to_the_bit(runs, children, tmp_path):
    made, dev = runs
    for method in ("adapter", "lora", "mix"):
        ours = bertsmith.predict(made[method], dev, tmp_path / f"{method}.jsonl")
        theirs = tmp_path / f"{method}-other.jsonl"
        assert children.start("predict", made[method], "--input", dev, "--out", theirs).wait() == 0
        assert theirs.read_bytes() == (tmp_path / f"{method}.jsonl").read_bytes() and len(ours) == 40


def test_several_runs_over_one_base_share_its_weights_and_say_what_they_say_alone(runs, pretrained):
    made, dev = runs
    base = load(pretrained)
    before = {name: x.clone() for name, x in base.member.state_dict().items()}
    on_it = {method: load(run, base=base) for method, run in made.items()}
    table = "model.embeddings.tokens.weight"
    for method, one in on_it.items():
        assert dict(one.member.named_parameters())[table] is dict(base.member.named_parameters())[table]
        assert bertsmith.predict(one, dev) == bertsmith.predict(made[method], dev), method
    assert all(torch.equal(x, before[name]) for name, x in base.member.state_dict().items())


def test_a_base_that_is_gone_or_another_is_named_with_both_digests(runs, pretrained, short, tune, tmp_path):
    from bertsmith import files

    dev = runs[1]
    home, other = tmp_path / "home", tmp_path / "other"
    shutil.copytree(pretrained, home)
    tune(tmp_path / "run", "adapter", model=home, epochs=1)
    alone = bertsmith.predict(tmp_path / "run", dev)
    home.rename(tmp_path / "moved")
    for verb in (
        lambda **k: bertsmith.predict(tmp_path / "run", dev, **k),
        lambda **k: bertsmith.verify(tmp_path / "run", **k),
    ):
        with pytest.raises(
            InputError, match=r"home/steps/step-\d+ is not there any more; base=MODEL says where that is"
        ):
            verb()
        verb(base=tmp_path / "moved")
    assert bertsmith.predict(tmp_path / "run", dev, base=tmp_path / "moved") == alone
    bertsmith.pretrain(small("training.precision=float32"), short, other, steps=3, threads=1)
    wanted = files.sha256(load(pretrained).path / "model.safetensors")[:12]
    found = files.sha256(load(other).path / "model.safetensors")[:12]
    says = rf"run: was tuned on weights {wanted}…, .*other has weights {found}…; base=MODEL names"
    for base in (other, load(other)):
        with pytest.raises(InputError, match=says):
            load(tmp_path / "run", base=base)
    with pytest.raises(InputError, match="base=MODEL says where that is"):
        load(tmp_path / "run", base=tmp_path / "nowhere")
    with pytest.raises(InputError, match="is whole, and needs no base; leave the option out"):
        load(other, base=pretrained)


def test_a_base_that_was_damaged_is_found(runs, pretrained, tune, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(pretrained, home)
    tune(tmp_path / "run", "bias", model=home, epochs=1)
    bertsmith.verify(tmp_path / "run")
    weights = load(home).path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="was tuned on weights"):
        bertsmith.verify(tmp_path / "run")
    with pytest.raises(InputError, match="was tuned on weights"):
        load(tmp_path / "run")


def test_a_tuned_model_is_tuned_further(runs, tune, tasks, tmp_path):
    """Of low rank: merged first.  With adapters: they and all else learn; none are put into it twice."""
    made, dev = runs
    merged_ = tune(tmp_path / "merged", "full", model=made["lora"], epochs=1)
    assert not any("low_in" in name for name in saved(tmp_path / "merged"))
    assert bertsmith.evaluate(tmp_path / "merged", dev) == merged_["dev"]
    again = tune(tmp_path / "again", "adapter", model=made["lora"], epochs=1)
    assert bertsmith.evaluate(tmp_path / "again", dev) == again["dev"], "its base has a base"
    all_ = tune(tmp_path / "all", "full", model=made["adapter"], epochs=1)
    assert any(".adapters." in name for name in saved(tmp_path / "all"))
    assert bertsmith.evaluate(tmp_path / "all", dev) == all_["dev"]
    with pytest.raises(
        InputError, match=r"method='lora': .* has adapters already; tune the model that it began with, .*pretrained"
    ):
        tune(tmp_path / "twice", "lora", model=made["adapter"])


def test_every_verb_takes_it_and_an_export_merges_or_refuses(runs, tmp_path):
    pytest.importorskip("transformers")
    made, dev = runs
    assert bertsmith.embed(made["adapter"], ["one", "two"]).shape == (2, 16)
    compared = bertsmith.compare(made["adapter"], made["lora"], dev)
    assert compared["texts"] == 40
    bertsmith.export(made["lora"], tmp_path / "folder")
    theirs, ours = bertsmith.predict(tmp_path / "folder", dev), bertsmith.predict(made["lora"], dev)
    for a, b in zip(theirs, ours, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-5)
    bertsmith.export(made["bias"], tmp_path / "biases")
    with pytest.raises(InputError, match="has adapters, for which transformers has no class; method='lora' or 'full'"):
        bertsmith.export(made["adapter"], tmp_path / "no")
    with pytest.raises(InputError, match="its head reads several layers, for which transformers has no class"):
        bertsmith.export(made["mix"], tmp_path / "no")
    assert not (tmp_path / "no").exists()


# -- layers -------------------------------------------------------------------------------------------------------------------------


def test_a_mixture_begins_as_the_mean_of_the_layers_and_one_weight_is_one_layer(pretrained):
    recipe = load(pretrained).recipe
    task = OverLayers(objective=Classify(classes=2, dropout=0.0), layers=(0, 1), how="mix")
    torch.manual_seed(0)
    member = build(replace(recipe, objective=task)).eval()
    layers = torch.stack(member.model.states(text()))
    read = member.objective._read(member.model)
    assert torch.allclose(read(text()), layers.mean(0), atol=1e-6)
    assert torch.allclose(read(text(), torch.tensor([3])), layers.mean(0)[[3]], atol=1e-6)
    with torch.no_grad():
        member.objective.mix.weights.copy_(torch.tensor([40.0, 0.0]))
        member.objective.mix.scale.fill_(3.0)
        assert torch.allclose(read(text()), 3 * layers[0], atol=1e-5)
    found = member.objective.shares()
    assert found["shares"]["0"] == pytest.approx(1) and found["scale"] == 3
    assert parameters(replace(recipe, objective=task)) == sum(p.numel() for p in member.parameters())


def test_layers_side_by_side_make_a_wider_head(pretrained):
    recipe = load(pretrained).recipe
    task = OverLayers(objective=Classify(classes=2), layers=(1, 0))
    member = build(replace(recipe, objective=task)).eval()
    first, second = member.model.states(text())
    assert torch.equal(member.objective._read(member.model)(text()), torch.cat([second, first], 1))
    assert member.objective.main.label.out.weight.shape == (2, 32)
    assert parameters(replace(recipe, objective=task)) == sum(p.numel() for p in member.parameters())


@pytest.mark.parametrize("name, sets", [("classify", ()), ("classify", ("pool=cls",)), ("tag", ()), ("qa", ())])
def test_features_of_layers_that_are_kept_are_those_that_are_computed_anew(
    tune, tasks, tmp_path, monkeypatch, name, sets
):
    for method, layers in (("mix", ()), ("frozen", ("layers=[-2, -1]",))):
        held = tune(tmp_path / f"{method}-held", method, name, (*sets, *layers, "dropout=0", "precision=float32"))
        with monkeypatch.context() as patch:
            patch.setattr(frozen, "CACHE", 0)
            anew = tune(tmp_path / f"{method}-anew", method, name, (*sets, *layers, "dropout=0", "precision=float32"))
        for a, b in zip(held["epochs"], anew["epochs"], strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert bertsmith.evaluate(tmp_path / f"{method}-held", tasks[name][2]) == held["dev"]
        if method == "mix":
            assert held["layers"]["shares"].keys() == {"0", "1"}
            assert sum(held["layers"]["shares"].values()) == pytest.approx(1, abs=1e-6)
            assert held["layers"]["shares"]["0"] != 0.5 and held["layers"]["scale"] != 1, "it learned"


def test_one_layer_is_read_as_embed_gives_it(tune, tasks, pretrained, tmp_path):
    tune(tmp_path / "run", "frozen", sets=("layers=[-2]", "length=32"), epochs=1)
    made = load(tmp_path / "run")
    texts = ["the module", "a class object"]
    vectors = bertsmith.embed(pretrained, texts, layer=0, pool="mean")
    head = made.member.objective.main.label
    with torch.no_grad():
        said = head.eval()(torch.from_numpy(vectors)).softmax(-1).numpy()
    ours = [list(row["scores"].values()) for row in bertsmith.predict(tmp_path / "run", texts)]
    assert np.allclose(said, ours, atol=1e-5)


# -- members of every kind, tasks that are written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["bart", "gpt2"])
def test_a_model_that_writes_learns_by_adapters_too(member, short, tmp_path):
    recipe = small("training.precision=float32", member=member)
    bertsmith.pretrain(recipe, short, tmp_path / "model", steps=2, threads=1)
    rows = [{"text": f"the {word}", "label": "yes" if i % 2 else "no"} for i, word in enumerate(["class", "name"] * 8)]
    options = {"task": "text2text", "train": rows, "dev": [{"text": "a class", "label": "no"}], "threads": 1}
    for method in ("adapter", "lora"):
        result = bertsmith.finetune(tmp_path / "model", out=tmp_path / method, method=method, epochs=2, **options)
        again = bertsmith.evaluate(tmp_path / method, [{"text": "a class", "label": "no"}])
        assert again == result["dev"]
        trunk = {name for name in saved(tmp_path / method) if name.startswith("model.")}
        assert trunk and all(".adapters." in n or "norm" in n or ".low_" in n for n in trunk)


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
        ({"method": "lora", "sets": ('lora.parts=["query"]',)}, "lora.parts: .*some of attention, source, feedforward"),
        ({"method": "full", "sets": ("layers=[-1]",)}, "layers.*method='frozen' and method='mix' read layers"),
        ({"method": "frozen", "sets": ("layers=[2]",)}, r"layers: 2: this model has 0 \(the embedding\) to 1"),
        ({"method": "frozen", "sets": ("layers=[1, -1]",)}, r"layers: \[1, -1\]: one stands there twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_written(tune, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        tune(tmp_path / "run", options.pop("method"), sets=options.pop("sets", ()), **options)
    assert not (tmp_path / "run").exists()


def test_a_model_without_biases_has_none_to_tune(short, tmp_path):
    bertsmith.pretrain(small("training.precision=float32", member="t5"), short, tmp_path / "t5", steps=1, threads=1)
    rows = [{"text": "the class", "label": "a"}, {"text": "a name", "label": "b"}]
    options = {"task": "classify", "train": rows, "dev": rows[:1], "out": tmp_path / "run", "method": "bias"}
    with pytest.raises(InputError, match=r"method='bias': nothing of t5 is called \*\.bias"):
        bertsmith.finetune(tmp_path / "t5", **options)
    assert Run(tmp_path / "run").steps() == []


# -- cures of small tasks: fresh layers at the top, averages of weights, other losses -----------------------------------------------


def test_layers_at_the_top_begin_afresh_and_the_others_as_they_were(tune, short, tmp_path):
    recipe = small("training.precision=float32", "model.layers=3")
    bertsmith.pretrain(recipe, short, tmp_path / "model", steps=2, threads=1)
    tune(tmp_path / "run", "full", model=tmp_path / "model", sets=("reinit=2", "lr=1e-9"), epochs=1)
    before, after = saved(tmp_path / "model"), saved(tmp_path / "run")
    near = {name for name in before.keys() & after.keys() if torch.allclose(before[name], after[name], atol=1e-6)}
    matrices = {n for n in before if n.startswith("model.") and before[n].ndim > 1}
    assert matrices - near == {n for n in matrices if n.startswith(("model.layers.1.", "model.layers.2."))}
    ours, theirs = after["objective.label.pooler.dense.weight"], before["objective.pair.pooler.dense.weight"]
    assert not torch.allclose(ours, theirs, atol=1e-3), "the pooler, too"
    for options, says in (
        ({"sets": ("reinit=4",)}, "reinit: 4: bert has 3 layers; lower it"),
        ({"sets": ("reinit=1",), "method": "lora"}, "reinit.*method='lora': fresh layers at the top of a trunk"),
        ({"sets": ("reinit=1",), "scratch": True}, "reinit.*scratch=True: fresh layers"),
    ):
        with pytest.raises(InputError, match=says):
            tune(tmp_path / "no", options.pop("method", "full"), model=tmp_path / "model", **options)


def weights_at(run: Path, step: int, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(Run(run).step(step) / f"{name}.safetensors")


def test_a_moving_average_is_what_is_examined_and_saved(tune, tasks, tmp_path):
    sets = ("ema=0.9", "checkpoint=1", "precision=float32")
    seen: list[dict[str, torch.Tensor]] = []

    def look(step: int, *_: object) -> None:
        if step > 1:
            seen.append(weights_at(tmp_path / "run", step - 1, "averaged"))

    result = tune(tmp_path / "run", "full", sets=sets, epochs=1, progress=look)
    plain = tune(tmp_path / "plain", "full", sets=sets[1:], epochs=1)
    assert result["epochs"][0]["training_loss"] == plain["epochs"][0]["training_loss"], "learning knows nothing of it"
    assert result["epochs"][0]["loss"] != plain["epochs"][0]["loss"]
    name, last = "objective.label.out.weight", Run(tmp_path / "run").steps()[-1]
    assert torch.equal(
        weights_at(tmp_path / "run", last, "averaged")[f"weights.{name}"], weights_at(tmp_path / "plain", last)[name]
    )
    weights = [one[f"weights.{name}"] for one in seen] + [weights_at(tmp_path / "plain", last)[name]]
    average = weights_at(tmp_path / "run", last - 1)[name]
    share = 1 - min(0.9, (1 + last) / (10 + last))
    assert torch.allclose(
        average + share * (weights[-1] - average), weights_at(tmp_path / "run", last)[name], atol=1e-7
    )
    assert bertsmith.evaluate(tmp_path / "run", tasks["classify"][2]) == result["dev"]


def test_the_mean_of_the_last_exams_is_what_is_examined_and_saved(tune, tasks, tmp_path):
    tune(tmp_path / "plain", "full", sets=("precision=float32",), epochs=3)
    at = [9, 18, 27]
    result = tune(tmp_path / "run", "full", sets=("last=2", "precision=float32"), epochs=3)
    assert [epoch["step"] for epoch in result["epochs"]] == at
    name = "objective.label.out.weight"
    held = weights_at(tmp_path / "run", 27, "averaged")
    mean = (held[f"0.{name}"] + held[f"1.{name}"]) / 2
    assert torch.equal(weights_at(tmp_path / "run", 27)[name], mean)
    assert torch.equal(held[f"1.{name}"], weights_at(tmp_path / "plain", 27)[name]) and f"2.{name}" not in held
    assert bertsmith.evaluate(tmp_path / "run", tasks["classify"][2]) == result["dev"]


@pytest.mark.parametrize("method, sets", [("full", ("ema=0.9",)), ("full", ("last=2",)), ("adapter", ("ema=0.9",))])
def test_a_run_with_an_average_that_was_broken_off_ends_as_the_one_that_was_not(tune, tmp_path, method, sets):
    straight = tune(tmp_path / "straight", method, sets=sets, epochs=3)
    for how, at in (("stop", 4), ("kill", 8), ("stop", 9), ("stop", 3)):
        broken_off(lambda **k: tune(tmp_path / "run", method, sets=sets, epochs=3, resume=True, **k), how, at)
    assert tune(tmp_path / "run", method, sets=sets, epochs=3, resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    last = Run(tmp_path / "run").steps()[-1]
    a, b = (weights_at(tmp_path / name, last, "averaged") for name in ("straight", "run"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_losses_of_classes_are_those_of_the_papers():
    from bertsmith.objectives.losses import Weighed

    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.1, 0.2, 0.3], [0.0, 9.0, 0.0]]), torch.tensor([0, 2, -100])
    p = logits.softmax(-1)[torch.arange(2), labels[:2]]
    plain = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    assert torch.allclose(Weighed().sum(logits, labels), plain)
    assert torch.allclose(Weighed(focal=2.0).sum(logits, labels), -((1 - p) ** 2 * p.log()).sum())
    assert torch.allclose(
        Weighed(classes=(3.0, 1.0, 0.5)).sum(logits, labels), -(torch.tensor([3.0, 0.5]) * p.log()).sum()
    )
    smooth = torch.nn.functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    assert torch.allclose(Weighed(smoothing=0.1).sum(logits, labels), smooth)


def test_rare_classes_weigh_more_where_that_is_asked(tune, tmp_path):
    plain = tune(tmp_path / "plain", "full", epochs=1)
    found = {"plain": plain["epochs"][0]["training_loss"]}
    for name, sets in (
        ("balanced", ('class_weights="balanced"',)),
        ("given", ("class_weights=[1, 0]",)),
        ("focal", ("focal=2",)),
        ("smooth", ("smoothing=0.2",)),
    ):
        found[name] = tune(tmp_path / name, "full", sets=sets, epochs=1)["epochs"][0]["training_loss"]
    assert len({*found.values()}) == len(found)
    kept = json.loads((tmp_path / "balanced" / "config.json").read_text())["recipe"]["objective"]["loss"]
    assert kept["classes"] == [72 / (2 * 24), 72 / (2 * 48)]
    for name, sets, says in (
        ("classify", ("class_weights=[1, 2, 3]",), "class_weights: 3 weights for 2 classes: named, plain; one of each"),
        ("regress", ("focal=2",), "focal: of classes; task='regress' has another loss, task='classify' takes it"),
        ("classify", ("ema=0.9", "last=2"), "ema, last: are two averages of the weights; set one"),
    ):
        with pytest.raises(InputError, match=says):
            tune(tmp_path / "no", "full", name, sets)
