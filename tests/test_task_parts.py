"""A trunk that learns beside what is put into it, and parts of the body that each of several tasks has for itself."""

import json
import subprocess
import sys

import pytest
import torch
from tests.runs import Breaking, lines, same, saved, small
from tests.test_multitask import file_of, tune

import bertsmith
from bertsmith.data.mixture import Weighted
from bertsmith.errors import InputError, Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = ("batch=8", "lr=0.003", "checkpoint=5")
PAL = {"method": "pal", "set": (*FAST, "pal.size=4")}


@pytest.fixture(scope="module")
def given(tasks) -> dict:
    """{name: keys of its table}."""
    return {name: dict(zip(("task", "train", "dev"), tasks[name], strict=True)) for name in ("classify", "regress")}


@pytest.fixture(scope="module")
def many(pretrained, short, given, tmp_path_factory):
    """(run, result) of two tasks with projected attention layers of their own, and text."""
    folder = tmp_path_factory.mktemp("many")
    file = file_of(folder, {**given, "text": {"data": short.path}}, shares="equal")
    return folder / "run", tune(pretrained, file, folder / "run", epochs=2, **PAL)


@pytest.mark.parametrize("method", ["pal", "adapter"])
def test_a_trunk_that_learns_too_is_saved_whole(tune_by, pretrained, tasks, tmp_path, method):
    said: list[str] = []
    result = tune_by(
        tmp_path / "run", method, sets=(f"{method}.trunk=true", f"{method}.size=4"), epochs=1, say=said.append
    )
    assert result["trained"]["parameters"] == result["trained"]["of"]
    words = {"pal": "projected attention layers", "adapter": "adapters"}[method]
    assert any(line.startswith(f"seed 3: all weights, with {words}, ") for line in said)
    loaded = bertsmith.load(tmp_path / "run")
    assert saved(tmp_path / "run").keys() == loaded.member.state_dict().keys() - {
        name for name in loaded.member.state_dict() if ".layers.1." in name and name not in saved(tmp_path / "run")
    }, "what layers share stands under one name"
    before = bertsmith.load(pretrained).member.model.layers[0].feedforward.up.weight
    assert not torch.equal(before, loaded.member.model.layers[0].feedforward.up.weight)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "needed" not in config["from"] and config["task"]["settings"][method]["trunk"] is True
    kind, train, dev = tasks["classify"]
    bertsmith.finetune(tmp_path / "run", task=kind, train=train, dev=dev, out=tmp_path / "on", steps=1, threads=1)
    assert method in " ".join(saved(tmp_path / "on")), "it is tuned further with what was put into it"


def test_every_task_has_layers_of_its_own_and_text_has_none(many, pretrained):
    run, result = many
    step, plain = saved(run), bertsmith.load(pretrained).member
    own = {feed: [name for name in step if f".apart.feed_{feed}." in name] for feed in ("classify", "regress", "text")}
    assert len(own["classify"]) == len(own["regress"]) == 4 + 2 * plain.model.config.layers and not own["text"]
    sizes = sum(step[name].numel() for name in (*own["classify"], *own["regress"]))
    assert result["trained"]["parameters"] == result["trained"]["of"] == sum(x.numel() for x in step.values())
    assert sizes == 2 * sum(step[name].numel() for name in own["classify"])
    one, other = (bertsmith.load(f"{run}:{name}").member.model for name in ("classify", "regress"))
    names = [name for name, _ in one.named_parameters()]
    alike = [name for name in names if torch.equal(one.get_parameter(name), other.get_parameter(name))]
    assert {name for name in names if ".pal." in name} == {*names} - {*alike}, "and all else in common"
    whole = bertsmith.load(run)
    assert whole.recipe.surgery is None and not any("pal" in name for name in whole.member.state_dict())
    assert bertsmith.fill(run, "a [MASK] word", top=1)["masks"], "the run itself has the heads of its text"


def test_a_task_is_scored_and_answered_by_its_own_layers_in_any_process(many, given, children, tmp_path):
    run, result = many
    for name, keys in given.items():
        found = bertsmith.evaluate(f"{run}:{name}", keys["dev"])
        assert {score: s["value"] for score, s in found.items()} == pytest.approx(
            {score: s["value"] for score, s in result["tasks"][name]["dev"].items()}, abs=1e-6
        )
        assert bertsmith.predict(f"{run}:{name}", keys["dev"], out=tmp_path / f"{name}.here")
        there = children.start("predict", f"{run}:{name}", "--input", keys["dev"], "--out", tmp_path / f"{name}.there")
        assert there.wait() == 0
        assert (tmp_path / f"{name}.here").read_bytes() == (tmp_path / f"{name}.there").read_bytes()


def test_a_task_goes_on_alone_with_its_layers_and_is_not_exported(many, given, tmp_path):
    run, _ = many
    keys = given["classify"]
    bertsmith.finetune(f"{run}:classify", **keys, out=tmp_path / "on", threads=1, steps=1, set=(*FAST, "lr=1e-30"))
    before, after = bertsmith.load(f"{run}:classify").member, bertsmith.load(tmp_path / "on").member
    for name, tensor in before.state_dict().items():
        assert torch.allclose(tensor, after.state_dict()[name], atol=1e-6), name
    with pytest.raises(
        InputError, match=r"run: has pals, for which transformers has no class; method='lora' or 'full'"
    ):
        bertsmith.export(f"{run}:classify", tmp_path / "folder", to="hf")
    with pytest.raises(InputError, match=r"method='pal': .*run has pals already; tune the model that it began with"):
        bertsmith.finetune(f"{run}:classify", **keys, out=tmp_path / "x", method="pal")


@pytest.mark.parametrize("each", ["one", "all"])
def test_it_resumes_to_the_bit(pretrained, given, tmp_path, each):
    file = file_of(tmp_path / "file", given, shares="annealed", each=each)
    tune(pretrained, file, tmp_path / "straight", epochs=2, **PAL)
    last = lines(tmp_path / "straight")[-1]["step"]
    for how, at in (("kill", 3), ("stop", last // 2)):
        with pytest.raises(KeyboardInterrupt if how == "kill" else Interrupted):
            tune(pretrained, file, tmp_path / "broken", epochs=2, resume=True, progress=Breaking(how, at), **PAL)
    tune(pretrained, file, tmp_path / "broken", resume=True, epochs=2, **PAL)
    same(tmp_path / "straight", tmp_path / "broken")


def test_the_layers_of_one_task_learn_nothing_from_another(pretrained, given, tmp_path):
    for steps in (1, 4):
        file = file_of(tmp_path / f"file{steps}", given)
        tune(pretrained, file, tmp_path / f"run{steps}", steps=steps, shares=Weighted(weights=(1, 0)), **PAL)
    one, four = (bertsmith.load(f"{tmp_path}/run{steps}:regress").member.state_dict() for steps in (1, 4))
    own = [name for name in one if ".pal." in name]
    assert own and all(torch.equal(one[name], four[name]) for name in own)
    assert not torch.equal(one["model.layers.0.attention.out.weight"], four["model.layers.0.attention.out.weight"])
    one, four = (bertsmith.load(f"{tmp_path}/run{steps}:classify").member.state_dict() for steps in (1, 4))
    assert not any(torch.equal(one[name], four[name]) for name in own if name.endswith("up.weight"))


def test_tasks_over_a_trunk_that_stays_have_what_is_put_into_it_in_common(pretrained, given, tmp_path):
    file = file_of(tmp_path / "file", given)
    sets = (*FAST, "pal.size=4", "pal.trunk=false")
    tune(pretrained, file, tmp_path / "run", steps=2, method="pal", set=sets)
    assert any(".pal." in name for name in saved(tmp_path / "run")) and not any(
        "apart" in n for n in saved(tmp_path / "run")
    )
    sets = (*FAST, "adapter.size=4", "adapter.trunk=true")
    tune(pretrained, file, tmp_path / "own", steps=2, method="adapter", set=sets)
    own = [name for name in saved(tmp_path / "own") if ".apart.feed_classify." in name]
    assert own and all(".adapters." in name for name in own), "adapters of each task, too"
    assert len(bertsmith.predict(f"{tmp_path}/own:classify", given["classify"]["dev"])) > 0


def test_tasks_that_are_written_read_and_write_by_their_own(short, given, tmp_path):
    """A language model keeps what it read; its answers are those of the task alone."""
    bertsmith.pretrain(small("training.precision=float32", member="gpt2"), short, tmp_path / "gpt2", steps=2, threads=1)
    keys = given["classify"]
    written = {**keys, "task": "text2text", "metric": "exact"}
    file = file_of(tmp_path / "file", {"written": written, "other": {**written, "target": "it is {label}"}})
    found = tune(tmp_path / "gpt2", file, tmp_path / "run", steps=4, **{**PAL, "set": (*PAL["set"], "lr=0.05")})
    for name in ("written", "other"):
        again = bertsmith.evaluate(f"{tmp_path}/run:{name}", keys["dev"])
        assert again["exact"]["value"] == found["tasks"][name]["dev"]["exact"]["value"]


def test_two_processes_with_slices_learn_the_same(pretrained, given, tmp_path):
    file = file_of(tmp_path / "file", given)
    sets = ["batch=8", "dropout=0", "precision=float32", "pal.size=4"]
    tune(pretrained, file, tmp_path / "one", steps=3, method="pal", set=sets)
    asked = ["multitask", str(pretrained), str(file), "--out", str(tmp_path / "two"), "--steps", "3", "--seed", "3"]
    asked += ["--method", "pal", "--threads", "1", "--processes", "2", "--shard", "fsdp"]
    asked += [part for one in sets for part in ("--set", one)]
    done = subprocess.run([sys.executable, "-m", "bertsmith", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses, shared = ([line["loss"] for line in lines(tmp_path / name)] for name in ("one", "two"))
    assert shared == pytest.approx(losses, rel=1e-6)
