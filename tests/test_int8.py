"""Eight bits that are learned for: the grid, its ranges, a tuning on it, and what whole numbers then make of the model."""

import json
from dataclasses import replace

import pytest
import torch
from tests.runs import lines, same, saved, small, text
from tests.test_methods import MEMBERS, tiny
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.downstream import judges, smaller
from bertsmith.downstream.labelled_files import Files
from bertsmith.errors import InputError
from bertsmith.nn.compressed import Int8Aware, Int8Fixed
from bertsmith.nn.member import build
from bertsmith.nn.modules.compressed import Int8AwareEmbedding, Int8AwareLinear, Int8FixedLinear, numbers
from bertsmith.nn.modules.ranges import Range, on_grid, ranges, unnoted

pytestmark = pytest.mark.usefixtures("one_thread")


# -- the grid -----------------------------------------------------------------------------------------------------------------------


def test_numbers_stand_exactly_on_the_grid_and_their_slope_goes_straight_through():
    torch.manual_seed(0)
    x, most = torch.randn(40, 30, requires_grad=True), torch.tensor(1.5)
    made = on_grid(x, most)
    steps = (made.detach() / (most / 127)).round()
    assert torch.equal(made.detach(), steps * (most / 127)) and steps.abs().max() == 127
    assert len(made.unique()) <= 255 and torch.equal(on_grid(made, most), made)
    assert torch.equal(on_grid(-x, most), -made), "symmetric in sign"
    within = x.detach().abs() <= most
    assert ((made - x).detach().abs() <= most / 127 / 2 * (1 + 1e-5))[within].all() and not within.all()
    slope = torch.randn(40, 30)
    made.backward(slope)
    assert torch.equal(x.grad, slope), "outside of the range, too"


def test_zeros_and_what_was_never_seen_stay_as_they_are():
    zeros, x = torch.zeros(3, 4), torch.randn(3, 4)
    assert torch.equal(on_grid(zeros, zeros.abs().amax()), zeros) and torch.equal(on_grid(x, torch.tensor(0.0)), x)
    made = Int8AwareLinear(torch.nn.Linear(4, 6), 3, Int8Aware())
    with torch.no_grad():
        made._parameters["weight"][:2] = 0
    made(zeros).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())
    number, scale = numbers(made._parameters["weight"], made.most)
    assert not number[:2].any() and (scale[:2] == 1).all()


def test_a_range_is_the_first_largest_number_and_then_a_moving_average():
    one = Range(0.9999, 2)
    for value in (2.0, 4.0):
        one(torch.tensor([[value / 2, 0.0], [-value, 1.0]]))
        one(torch.tensor([[0.1, 0.2]]))
        with unnoted():
            one(torch.full((1, 2), 99.0))
        one.settle(one.found.clone())
    assert one.most.tolist() == pytest.approx([2 + (1 - 2 / 11) * 2, 1.0]) and int(one.updates) == 2
    one.eval()(torch.full((1, 2), 50.0))
    assert not one.found.any(), "what is judged is not learned from"
    exact = torch.tensor([[0.3, 0.4]])
    assert torch.equal(Range(0.9)(exact), exact), "nothing is rounded before the first update"
    assert one(torch.tensor([[50.0]]), 1, 2).item() == pytest.approx(1.0), "a part of a row has its own range"


def test_what_learned_on_the_grid_is_what_whole_numbers_say():
    torch.manual_seed(0)
    aware = Int8AwareLinear(torch.nn.Linear(24, 36), 3, Int8Aware(decay=0.0)).train()
    for _ in range(2):
        aware(torch.randn(50, 24))
        for one in ranges(aware):
            one.settle(one.found.clone())
    made = Int8FixedLinear(torch.nn.Linear(24, 36), 3)
    made.bias = aware.bias
    made.take(*numbers(aware._parameters["weight"], aware.most), aware.inside.most, aware.outside.most)
    x = 3 * torch.randn(20, 24)
    with torch.no_grad():
        one, other = aware.eval()(x), made(x)
        step = aware.outside.most.repeat_interleave(12) / 127
        steps = ((one - other) / step).round().abs()
        assert steps.max() <= 1 and steps.mean() < 0.01, "a number between two steps may fall to either"
        torch.testing.assert_close(made.weight, aware.weight)
        assert all(len(part.unique()) <= 255 for part in other.split(12, 1))
        of_q, of_kv = made.slices((12, 24))
        assert torch.equal(torch.cat([of_q(x), of_kv(x)], 1), other)
    aware.outside, made.outside = None, None
    with torch.no_grad():
        torch.testing.assert_close(made(x), aware(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("member", [*MEMBERS, "longformer", "reformer"])
def test_every_member_has_a_place_for_it(member):
    torch.manual_seed(0)
    plain = build(tiny(member))
    torch.manual_seed(0)
    aware = build(tiny(member, Int8Aware())).model.train()
    source = [text()] if aware.config.decodes else []
    call = lambda body: body(text(), output=source[0]) if source else body(text())
    said = call(plain.model.train())
    assert {n for n, _ in aware.named_parameters()} == {n for n, _ in plain.model.named_parameters()}
    for part in (aware, plain.model):
        for module in part.modules():
            module.dropout = (
                0.0 if isinstance(getattr(module, "dropout", None), float) else getattr(module, "dropout", None)
            )
    call(aware.train())
    found = ranges(aware)
    assert (found and all(one.found.all() for one in found if "wide" not in str(one))) or member == "longformer"
    for one in found:
        one.settle(one.found.clone())
    with torch.no_grad():
        near, exact = call(aware.eval()), call(plain.model.eval())
    assert said.shape == near.shape and 0 < (near - exact).abs().max() < 0.35 * exact.abs().max()
    assert not any(type(part) in (torch.nn.Embedding,) for part in aware.modules())
    assert any(isinstance(part, Int8AwareEmbedding) for part in aware.modules())


# -- a tuning -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(pretrained, tasks, tmp_path_factory):
    kind, train, dev = tasks["classify"]
    out = tmp_path_factory.mktemp("int8") / "run"
    sets = ["batch=8", "lr=0.01", "dropout=0", "checkpoint=5"]
    result = bertsmith.finetune(
        pretrained, task=kind, train=train, dev=dev, out=out, method="int8", epochs=2, set=sets, seed=3, threads=1
    )
    return out, result


def test_all_of_it_learns_and_what_is_saved_says_the_same(tuned, tasks):
    run, result = tuned
    assert result["trained"]["parameters"] == result["trained"]["of"]
    losses = [line["loss"] for line in lines(run)]
    assert sum(losses[-4:]) < sum(losses[:4])
    kept = saved(run)
    assert kept["model.layers.0.attention.qkv.outside.most"].shape == (3,)
    steps = bertsmith.load(run).path.name
    assert int(kept["model.layers.0.feedforward.up.inside.updates"]) == int(steps.removeprefix("step-"))
    again = bertsmith.evaluate(run, tasks["classify"][2])
    assert again["accuracy"]["value"] == result["dev"]["accuracy"]["value"]
    assert bertsmith.verify(run)["kind"] == "run"


def test_a_tuning_that_was_broken_off_ends_as_the_one_that_was_not(tune_by, tmp_path):
    straight = tune_by(tmp_path / "straight", "int8", sets=("tokens=64",), epochs=1)
    for how, at in (("stop", 2), ("kill", 7)):
        broken_off(
            lambda **k: tune_by(tmp_path / "run", "int8", sets=("tokens=64",), epochs=1, resume=True, **k), how, at
        )
    assert tune_by(tmp_path / "run", "int8", sets=("tokens=64",), epochs=1, resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_how_many_passes_an_update_has_does_not_change_its_ranges(pretrained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    how = {"task": kind, "train": train, "dev": dev, "method": "int8", "steps": 2, "seed": 3, "threads": 1}
    for name, more in (("one", []), ("many", ["tokens=40"])):
        sets = ["batch=8", "lr=1e-6", "dropout=0", *more]
        bertsmith.finetune(pretrained, out=tmp_path / name, set=sets, **how)
    one, many = saved(tmp_path / "one"), saved(tmp_path / "many")
    found = [name for name in one if name.endswith(".most")]
    assert len(found) >= 8
    for name in found:
        torch.testing.assert_close(many[name], one[name], rtol=2e-2, atol=1e-4)


def test_whole_numbers_say_what_was_learned(tuned, tasks, monkeypatch, tmp_path):
    monkeypatch.setattr(judges, "peak", lambda command, members: 0.0)
    run, _ = tuned
    dev = tasks["classify"][2]
    found = bertsmith.compress(run, tmp_path / "small", method="int8", dev=dev, tolerance=5)
    made, before = bertsmith.load(tmp_path / "small"), bertsmith.load(run)
    assert made.recipe.surgery == Int8Fixed(outputs=True) and found["after"]["megabytes"] < found["before"]["megabytes"]
    assert found["after"]["parameters"] == found["before"]["parameters"]
    one, other = bertsmith.predict(made, dev), bertsmith.predict(before, dev)
    assert sum(a["label"] == b["label"] for a, b in zip(one, other, strict=True)) >= 0.97 * len(one)
    with torch.no_grad():
        apart = (made.member.model(text()) - before.member.model(text())).abs()
    assert apart.mean() < 0.02
    assert json.loads((tmp_path / "small" / "config.json").read_text())["source"]["weights"] == before.weights
    with pytest.raises(InputError, match="learned its ranges as it was tuned; method='int8' takes them"):
        bertsmith.compress(run, tmp_path / "no", method="int8-static", train=tasks["classify"][1], dev=dev)
    with pytest.raises(InputError, match="whole numbers of eight bits, which do not learn"):
        bertsmith.finetune(made, task="classify", train=tasks["classify"][1], dev=dev, out=tmp_path / "no", epochs=1)
    with pytest.raises(InputError, match="has int8aware, for which transformers has no class"):
        bertsmith.export(run, tmp_path / "hf")


def test_several_tasks_learn_one_trunk_on_the_grid(pretrained, tasks, tmp_path):
    feeds = {name: Files(task=tasks[name][0], train=tasks[name][1], dev=tasks[name][2]) for name in ("classify", "tag")}
    bertsmith.multitask(pretrained, feeds, tmp_path / "run", method="int8", steps=3, set=["batch=8"], threads=1)
    one = bertsmith.load(f"{tmp_path / 'run'}:tag")
    assert one.recipe.surgery == Int8Aware() and int(one.member.model.layers[0].attention.qkv.inside.updates) == 3
    assert bertsmith.predict(one, tasks["tag"][2])


def test_a_model_that_writes_learns_on_the_grid_too(short, tmp_path):
    bertsmith.pretrain(small("training.precision=float32", member="bart"), short, tmp_path / "m", steps=2, threads=1)
    rows = [{"text": f"the {word}", "label": "yes" if i % 2 else "no"} for i, word in enumerate(["class", "name"] * 8)]
    how = {"task": "text2text", "train": rows, "dev": [{"text": "a class", "label": "no"}], "method": "int8"}
    result = bertsmith.finetune(tmp_path / "m", out=tmp_path / "run", epochs=2, threads=1, **how)
    assert bertsmith.evaluate(tmp_path / "run", how["dev"]) == result["dev"]
    assert saved(tmp_path / "run")["model.decoder.layers.0.source.kv.outside.most"].shape == (2,)


def test_static_ranges_are_the_largest_numbers_that_training_rows_bring(pretrained, tasks, tmp_path):
    from bertsmith.downstream.judges import judge_of

    kind, train, dev = tasks["classify"]
    bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=tmp_path / "run", steps=4, threads=1)
    loaded = bertsmith.load(tmp_path / "run")
    batches = judge_of(loaded, None, train, dev, print).batches()[:2]
    made = smaller.int8_static(loaded, batches)
    found: list[float] = []
    hook = loaded.member.model.layers[0].feedforward.down.register_forward_pre_hook(
        lambda _, given: found.append(float(given[0].abs().max()))
    )
    with torch.no_grad():
        for batch in batches:
            loaded.member(batch.to("cpu"))
    hook.remove()
    down = made.member.model.layers[0].feedforward.down
    assert float(down.inside) == pytest.approx(max(found), rel=0.05) and down.outside is None
    one, other = bertsmith.predict(made, dev), bertsmith.predict(loaded, dev)
    assert sum(a["label"] == b["label"] for a, b in zip(one, other, strict=True)) >= 0.95 * len(one)
    with pytest.raises(InputError, match="looks for the ranges of what is read in training rows, train=FILE"):
        bertsmith.compress(loaded, tmp_path / "no", method="int8-static", dev=dev)


def test_what_cannot_be_is_said_before_anything_is_written(tune_by, tmp_path):
    with pytest.raises(InputError, match=r"int8\.decay: 1 is not in \[0, 1\)"):
        tune_by(tmp_path / "run", "int8", sets=("int8.decay=1",))
    with pytest.raises(InputError, match=r"'int8'.*method='full' has none; method='int8' has"):
        tune_by(tmp_path / "run", "full", sets=("int8.outputs=false",))
    assert not (tmp_path / "run").exists()
    assert replace(Int8Aware(), outputs=False).still is False
