"""A fine-tuning is a run like any other: it resumes, its seeds too, ends early where it is told to, and many processes share it."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.runs import lines, same, snapshot
from tests.workers import outcome, work

import bertsmith
from bertsmith.errors import InputError, Interrupted
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SETS = ["batch=8", "lr=0.003", "checkpoint=5"]


@pytest.fixture
def tune(pretrained, tasks):
    def run(out: Path, name: str = "classify", sets: tuple[str, ...] = (), **options) -> dict:
        kind, train, dev = tasks[name]
        options = {"seed": 3, "threads": 1, "epochs": 3, "on_long": "window" if name == "pairs" else None, **options}
        return bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=out, set=[*SETS, *sets], **options)

    return run


class Breaking:
    """Breaks a run off after the `at`-th update that it makes."""

    def __init__(self, how: str, at: int):
        self.how, self.left = how, at

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0 and self.how == "kill":
            raise KeyboardInterrupt
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def broken_off(run, how: str, at: int) -> None:
    with pytest.raises(KeyboardInterrupt if how == "kill" else Interrupted):
        run(progress=Breaking(how, at))


@pytest.mark.parametrize("name", ["classify", "pairs", "regress", "tag", "qa"])
def test_a_fine_tuning_that_was_broken_off_ends_as_the_one_that_was_not(tune, tmp_path, name):
    straight = tune(tmp_path / "straight", name, ("tokens=64",), epochs=2)
    for how, at in (("stop", 2), ("kill", 6), ("stop", 7), ("stop", 1)):
        broken_off(lambda **k: tune(tmp_path / "run", name, ("tokens=64",), epochs=2, resume=True, **k), how, at)
    assert tune(tmp_path / "run", name, ("tokens=64",), epochs=2, resume=True, workers=2) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    before = snapshot(tmp_path / "run")
    assert tune(tmp_path / "run", name, ("tokens=64",), epochs=2, resume=True) == straight, (
        "and again, with nothing to do"
    )
    assert snapshot(tmp_path / "run") == before


def test_seeds_that_were_broken_off_go_on_where_they_were(tune, tmp_path):
    straight = tune(tmp_path / "straight", seeds=3)
    broken_off(lambda **k: tune(tmp_path / "run", seeds=3, **k), "stop", 31)
    assert [Run(tmp_path / "run" / f"seed-{n}").steps()[-1:] for n in (3, 4, 5)] == [[27], [4], []]
    with pytest.raises(InputError, match=r"seed-3: out holds a run already, saved at step 27; resume=True goes on"):
        tune(tmp_path / "run", seeds=3)
    said: list[str] = []
    assert tune(tmp_path / "run", seeds=3, resume=True, say=said.append) == straight
    assert any("finished at step 27 already" in line for line in said)
    assert any("going on from step 4" in line for line in said)
    for number in (3, 4, 5):
        same(tmp_path / "straight" / f"seed-{number}", tmp_path / "run" / f"seed-{number}", state=False)
    assert bertsmith.load(tmp_path / "run").run.name == f"seed-{straight['best_seed']}"
    with pytest.raises(InputError, match="holds fine-tunings of several seeds"):
        tune(tmp_path / "run")


def test_what_a_resumed_fine_tuning_may_not_find_changed_is_named(tune, tasks, pretrained, tmp_path):
    broken_off(lambda **k: tune(tmp_path / "run", **k), "stop", 4)
    for options, says in (
        ({"sets": ("lr=0.1",)}, r"resume=True: lr: the run was begun with 0.003, now it is 0.1"),
        ({"seed": 4}, "resume=True: seed"),
        ({"scratch": True}, r"resume=True: task.scratch"),
        ({"name": "pairs"}, "resume=True: data.train.sha256"),
    ):
        with pytest.raises(InputError, match=says):
            tune(tmp_path / "run", resume=True, **options)
    said: list[str] = []
    tune(tmp_path / "run", resume=True, sets=("checkpoint=3",), epochs=4, say=said.append)
    assert any("steps 27 -> 36" in line for line in said)
    assert [line["step"] for line in lines(tmp_path / "run")] == list(range(1, 37))


def test_a_finished_fine_tuning_goes_on_for_more_epochs_and_its_result_is_made_anew(tune, tmp_path):
    first = tune(tmp_path / "run", epochs=1)
    second = tune(tmp_path / "run", epochs=2, resume=True)
    assert len(first["epochs"]) == 1 and len(second["epochs"]) == 2 and second["epochs"][0] == first["epochs"][0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["best"] == second["best"]


def test_the_dev_file_can_be_asked_several_times_an_epoch_and_patience_ends_a_run(tune, tmp_path):
    result = tune(tmp_path / "often", sets=("evaluations=3",), epochs=2)
    assert [(e["step"], e["epoch"]) for e in result["epochs"]] == [
        (3, 0.333), (6, 0.667), (9, 1), (12, 1.333), (15, 1.667), (18, 2),
    ]  # fmt: skip
    impatient = ("patience=2", "lr=1e-12")
    said: list[str] = []
    result = tune(tmp_path / "early", sets=impatient, epochs=30, say=said.append)
    assert len(result["epochs"]) < 30 and result["best"] == 9 * (len(result["epochs"]) - 2)
    assert any("none better: this is the end" in line for line in said)
    assert tune(tmp_path / "early", sets=impatient, epochs=30, resume=True) == result
    broken_off(lambda **k: tune(tmp_path / "run", sets=impatient, epochs=30, resume=True, **k), "kill", 11)
    assert tune(tmp_path / "run", sets=impatient, epochs=30, resume=True) == result
    same(tmp_path / "early", tmp_path / "run")


def test_how_long_may_be_said_in_steps_tokens_or_minutes(tune, tmp_path):
    assert tune(tmp_path / "steps", epochs=None, steps=4)["epochs"][-1]["step"] == 4
    tune(tmp_path / "tokens", epochs=None, tokens=1000)
    assert lines(tmp_path / "tokens")[-1]["tokens"] == pytest.approx(1000, rel=0.3)
    said: list[str] = []
    result = tune(tmp_path / "minutes", epochs=None, minutes=0.03, say=said.append)
    assert result["best"] and any("0.03 minutes are" in line for line in said)
    with pytest.raises(InputError, match="give only one of epochs, steps, tokens, minutes"):
        tune(tmp_path / "both", steps=4)
    with pytest.raises(InputError, match="epochs: 0 is not a number above 0"):
        tune(tmp_path / "none", epochs=0)


def test_a_resume_without_a_length_keeps_the_runs_own(tune, tmp_path):
    tune(tmp_path / "run", epochs=None, steps=5)
    before = snapshot(tmp_path / "run")
    tune(tmp_path / "run", epochs=None, resume=True)
    assert snapshot(tmp_path / "run") == before
    broken_off(lambda **k: tune(tmp_path / "long", epochs=5, **k), "stop", 30)
    assert tune(tmp_path / "long", epochs=None, resume=True)["epochs"][-1]["step"] == 45


def test_more_patience_goes_on_with_a_run_that_ended_early(tune, tmp_path):
    sets = ("lr=1e-12",)
    first = tune(tmp_path / "run", sets=(*sets, "patience=1"), epochs=6)
    more = tune(tmp_path / "run", sets=(*sets, "patience=3"), epochs=6, resume=True)
    assert len(more["epochs"]) == len(first["epochs"]) + 2


def struck(monkeypatch, at: int) -> None:
    """A SIGTERM while the dev file is read for the `at`-th time."""
    from bertsmith.downstream import answering

    real, calls = answering.said_at, []

    def said_at(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(answering, "said_at", said_at)


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_signal_while_the_dev_file_is_read_ends_the_command(tune, tmp_path, monkeypatch, at):
    """In the middle exam, in the last one of a seed, and while its result is made."""
    straight = tune(tmp_path / "straight", seeds=2)
    with monkeypatch.context() as patch:
        struck(patch, at)
        with pytest.raises(Interrupted, match="the same call with resume=True goes on"):
            tune(tmp_path / "run", seeds=2)
    assert not (tmp_path / "run" / "seed-4").exists()
    assert tune(tmp_path / "run", seeds=2, resume=True) == straight
    for number in (3, 4):
        same(tmp_path / "straight" / f"seed-{number}", tmp_path / "run" / f"seed-{number}")


def test_a_dev_loss_that_is_not_finite_ends_a_run_as_such(tune, tmp_path, monkeypatch):
    from bertsmith.tasks.texts import Classes

    monkeypatch.setattr(Classes, "loss", lambda *_: float("nan"))
    with pytest.raises(bertsmith.errors.NumericsError, match="dev file: label: loss nan is not finite"):
        tune(tmp_path / "run")


def test_seeds_that_are_done_stay_as_they_are_and_others_are_refused(tune, tmp_path):
    tune(tmp_path / "run", seeds=2, epochs=1)
    before = snapshot(tmp_path / "run")
    tune(tmp_path / "run", seeds=2, epochs=1, resume=True)
    assert snapshot(tmp_path / "run") == before
    with pytest.raises(InputError, match=r"seed-4: seeds=1 from seed=3|holds fine-tunings of several seeds"):
        tune(tmp_path / "run", epochs=1, resume=True)
    with pytest.raises(InputError, match="seed-3: seeds=2 from seed=5 has no such one"):
        tune(tmp_path / "run", seeds=2, seed=5, epochs=1, resume=True)
    broken_off(lambda **k: tune(tmp_path / "run", seeds=2, epochs=2, resume=True, **k), "stop", 3)
    assert not (tmp_path / "run" / "result.json").exists(), "it would speak of what is no more"


def test_out_of_memory_says_what_to_set(tune, tmp_path, monkeypatch):
    from bertsmith.training import step

    def refuse(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(step, "_backward", refuse)
    with pytest.raises(bertsmith.errors.ResourceError, match=r"set={'accumulate': 2} \(now 1\) halves"):
        tune(tmp_path / "run")


# -- parts that learn at their own rate ---------------------------------------------------------------------------------------------


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(Run(run).step(Run(run).steps()[-1]) / "model.safetensors")


def test_parts_that_are_frozen_stay_to_the_bit_and_the_others_learn(tune, pretrained, tmp_path):
    tune(tmp_path / "run", sets=('frozen=["model.embeddings", "model.positions"]',), epochs=1)
    before, after = weights(pretrained), weights(tmp_path / "run")
    still = {name for name in before.keys() & after.keys() if torch.equal(before[name], after[name])}
    trunk = {name for name in before if name.startswith("model.")}
    assert still == {name for name in trunk if name.startswith(("model.embeddings.", "model.positions."))}
    with pytest.raises(InputError, match=r"frozen: model.embedings: .* did you mean 'model.embeddings'"):
        tune(tmp_path / "other", sets=('frozen=["model.embedings"]',))


def test_layers_unfreeze_from_the_top_and_resume_to_the_bit(tune, pretrained, tmp_path):
    """One layer below the heads, the embeddings below it: with `unfreeze=9` each begins an epoch after the one above it."""
    sets = ("unfreeze=9", "layer_decay=0.5")
    before = weights(pretrained)

    def moved(out: Path) -> set[str]:
        after = weights(out)
        names = {n for n in before.keys() & after.keys() if not torch.equal(before[n], after[n])}
        return {".".join(name.split(".")[:2]) for name in names if name.startswith("model.")}

    tune(tmp_path / "straight", sets=sets)
    for steps, parts in (
        (9, set()),
        (18, {"model.layers"}),
        (27, {"model.layers", "model.embeddings", "model.positions"}),
    ):
        with pytest.raises(Interrupted) if steps < 27 else contextless():
            tune(tmp_path / "run", sets=sets, resume=True, progress=Breaking("stop", 9) if steps < 27 else contextless)
        assert moved(tmp_path / "run") == parts
    same(tmp_path / "straight", tmp_path / "run", state=False)


class contextless:
    """No expectation; called, it does nothing."""

    def __init__(self, *_: object):
        pass

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


# -- processes ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(children, pretrained, tasks, short, tmp_path_factory) -> Path:
    """What one process and two make of the same fine-tunings and of a mixture."""
    folder = tmp_path_factory.mktemp("two")
    exact = ["batch=8", "lr=0.003", "dropout=0.0", "precision=float32"]
    how = {"steps": None, "epochs": 2}

    def job(name: str, task: str, *sets: str, out: str = "", alone: bool = False, options=(), **more) -> dict:
        kind, train, dev = tasks[task]
        files = {"task": kind, "train": str(train), "dev": str(dev), **more.pop("with", {})}
        settings = {"set": [*exact, *sets], "options": {**how, **dict(options)}, "out": out or name, "alone": alone}
        return {"name": name, "model": str(pretrained), "task": files, **settings, **more}

    jobs = []
    for task in ("classify", "regress", "tag", "qa"):
        jobs += [job(f"{task}-1", task, "accumulate=2", alone=True), job(f"{task}-2", task)]
    chained = "head=lstm-crf"
    jobs += [job("chained-1", "tag", "accumulate=2", chained, alone=True), job("chained-2", "tag", chained)]
    jobs += [job("sliced-chained", "tag", chained, options={"shard": "fsdp"})]
    frozen, thawing = {"with": {"method": "frozen"}}, ("unfreeze=5", "layer_decay=0.7")
    jobs += [
        job("frozen-1", "classify", alone=True, **frozen),
        job("frozen-2", "classify", **frozen),
        job("thawing-1", "classify", "accumulate=2", *thawing, alone=True),
        job("thawing-2", "classify", *thawing),
        *(
            job(
                f"{name}-{count}",
                "classify",
                *["accumulate=2"][count - 1 :],
                alone=count == 1,
                **{"with": {"method": name}},
            )
            for name in ("adapter", "lora", "prefix")
            for count in (1, 2)
        ),
        *(
            job(f"sliced-{name}", "classify", options={"shard": "fsdp"}, **{"with": {"method": name}})
            for name in ("adapter", "lora", "prefix")
        ),
        *(
            job(
                f"{name}-{count}", "classify", *["accumulate=2"][count - 1 :], *sets, alone=count == 1, **{"with": more}
            )
            for name, sets, more in (
                ("int8", (), {"method": "int8"}),
                ("taught", ("taught.epochs=1",), {"teacher": str(folder / "classify-1")}),
            )
            for count in (1, 2)
        ),
        job("sliced-int8", "classify", options={"shard": "fsdp"}, **{"with": {"method": "int8"}}),
        job("sliced", "classify", options={"shard": "fsdp"}),
        *(job(f"sliced-{n}", "classify", f"{n}=2", options={"shard": "fsdp"}) for n in ("unfreeze", "last")),
        job("sliced-ema", "classify", "ema=0.9", options={"shard": "fsdp"}),
        job("stopped", "classify", out="mixed", stop=7),
        job("went-on", "classify", "accumulate=2", out="mixed", alone=True, options={"resume": True}),
        job("seeds", "classify", options={"seeds": 2}),
        job("missing", "classify", **{"with": {"train": "nothing.tsv"}}),
    ]
    files = {
        name: dict(zip(("task", "train", "dev"), map(str, tasks[name]), strict=True)) for name in ("classify", "tag")
    }
    mixed = {"store": "", "set": ["training.precision=float32", "model.dropout=0.0"], "options": {"steps": 12}}
    mixed["feeds"] = {"docs": str(short.path), **files}
    for each in ("one", "all"):
        options = {"steps": 12, "each": each}
        jobs += [
            {**mixed, "name": f"{each}-1", "alone": True, "options": options},
            {**mixed, "name": f"{each}-2", "options": options},
        ]
    work(children, folder, jobs)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "classify",
        "regress",
        "tag",
        "qa",
        "chained",
        "frozen",
        "thawing",
        "adapter",
        "lora",
        "prefix",
        "taught",
        "one",
        "all",
    ],
)
def test_two_processes_learn_what_one_does(two, name):
    for rank in (0, 1):
        assert outcome(two, f"{name}-2", rank)["code"] == 0, outcome(two, f"{name}-2", rank)
    ours, theirs = lines(two / f"{name}-1"), lines(two / f"{name}-2")
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert a["tokens"] == b["tokens"] and a["terms"].keys() == b["terms"].keys()
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6), a["step"]
        for term, found in a.get("evaluation", {}).items():
            assert b["evaluation"][term] == pytest.approx(found, rel=1e-5), a["step"]
    one, other = weights(two / f"{name}-1"), weights(two / f"{name}-2")
    assert all(torch.allclose(one[n], other[n], rtol=1e-4, atol=1e-6) for n in one) and one.keys() == other.keys()


@pytest.mark.parametrize("name", ["int8-2", "sliced-int8"])
def test_two_processes_find_the_ranges_that_one_finds(two, name):
    """A number between two steps of the grid may fall to either, so that losses are near and not the same."""
    for rank in (0, 1):
        assert outcome(two, name, rank)["code"] == 0, outcome(two, name, rank)
    ours, theirs = lines(two / "int8-1"), lines(two / name)
    assert theirs[0]["loss"] == pytest.approx(ours[0]["loss"], rel=1e-6)
    assert all(b["loss"] == pytest.approx(a["loss"], rel=2e-2) for a, b in zip(ours, theirs, strict=True))
    one, other = weights(two / "int8-1"), weights(two / name)
    found = [n for n in one if n.endswith((".most", ".updates"))]
    assert len(found) >= 16 and one.keys() == other.keys()
    assert all(torch.allclose(one[n].float(), other[n].float(), rtol=2e-2, atol=1e-3) for n in found)


def test_results_are_the_same_on_all_processes_and_slices_learn_alike(two):
    assert outcome(two, "classify-2", 0)["result"] == outcome(two, "classify-2", 1)["result"]
    assert outcome(two, "classify-2", 1)["said"] == []
    for name in ("", "-adapter", "-lora", "-prefix", "-chained"):
        whole = two / f"{name.removeprefix('-') or 'classify'}-1"
        for a, b in zip(lines(whole), lines(two / f"sliced{name}"), strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert weights(whole).keys() == weights(two / f"sliced{name}").keys()
    for name, they in (
        ("unfreeze", "all learn from the start"),
        ("ema", "have no average yet"),
        ("last", "have no average yet"),
    ):
        found = outcome(two, f"sliced-{name}")
        assert found["code"] == 2 and not (two / f"sliced-{name}").exists()
        said = f"shard='fsdp' with set={{'{name}': …}}: weights in slices {they}; shard='ddp' takes it"
        assert said in found["error"]
    assert "nothing.tsv: no such file" in outcome(two, "missing", 1)["error"]


def test_two_processes_train_several_seeds_one_after_the_other(two):
    found = outcome(two, "seeds", 0)["result"]
    assert found == outcome(two, "seeds", 1)["result"] and found["seeds"] == [3, 4]
    assert lines(two / "seeds" / "seed-3") == lines(two / "classify-2")


def test_two_processes_stop_together_and_one_goes_on(two):
    assert outcome(two, "stopped", 0)["code"] == outcome(two, "stopped", 1)["code"] == 143
    assert outcome(two, "went-on")["code"] == 0
    for a, b in zip(lines(two / "classify-1"), lines(two / "mixed"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6)
