"""Many processes over gloo: they learn what one does, speak and end as one, and leave what any number can go on from."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.runs import SMALL, command, lines, same
from tests.workers import environment, outcome, work

from bertsmith.training.distributed import World
from bertsmith.training.run import Run

PLAIN = ["training.precision=float32", "model.dropout=0.0"]
TWICE = "training.accumulate=2"
FEW = ["training.batch=64", "training.accumulate=8"]  # two or three sequences in eight rows
FEWER = ["training.batch=64", "training.accumulate=4"]  # the same rows on two processes
NO_MEMORY = "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"


def job(store, name: str, *sets: str, **rest) -> dict:
    return {"name": name, "store": str(store.path), "set": [*PLAIN, *sets], **rest}


@pytest.fixture(scope="module")
def two(children, store, tmp_path_factory) -> Path:
    """What one process and two make of the same commands: a folder of runs and outcomes."""
    folder = tmp_path_factory.mktemp("two")
    fsdp, again = {"shard": "fsdp"}, {"resume": True}
    few, short = {"steps": 6}, {"steps": 12}
    jobs = [
        job(store, "one", alone=True),
        job(store, "one-twice", TWICE, alone=True),
        job(store, "ddp"),
        job(store, "fsdp", options=fsdp),
        job(store, "one-few", *FEW, alone=True, options=few),
        job(store, "ddp-few", *FEWER, options=few),
        job(store, "one-dropout", TWICE, "model.dropout=0.1", alone=True, options=few),
        job(store, "ddp-dropout", "model.dropout=0.1", options=few),
        job(store, "one-short", alone=True, options=short),
        job(store, "broken-off", out="mixed", stop=5, options=short),
        job(store, "on-one", out="mixed", stop=6, options={**short, **again}, alone=True),
        job(store, "on-fsdp", out="mixed", stop=10, options={**short, **again, **fsdp}),
        job(store, "on-ddp", out="mixed", options={**short, **again}),
        job(store, "ddp-short", options=short),
        job(store, "exact-1", out="exact", stop=7, options=short),
        job(store, "exact-2", out="exact", options={**short, **again}),
        job(store, "minutes", options={"steps": None, "minutes": 0.02}),
        job(store, "taken", out="one"),
        job(store, "other-seed", by_rank={"1": {"seed": 4}}),
        job(store, "diverged", "schedule.lr=1e30", "schedule.warmup=0"),
        job(store, "memory", trouble={"rank": 1, "module": "step", "name": "_backward", "at": 3, "words": NO_MEMORY}),
    ]
    work(children, folder, jobs)
    return folder


def weights(run: Path, kind: str = "model") -> dict:
    return load_file(Run(run).step(Run(run).steps()[-1]) / f"{kind}.safetensors")


def alike(one: Path, other: Path, loss: float = 1e-6, weight: float = 1e-4) -> None:
    """The issue's bounds: each loss within `loss` of itself, each weight and moment within `weight`."""
    ours, theirs = lines(one), lines(other)
    assert [line["tokens"] for line in ours] == [line["tokens"] for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=loss), a["step"]
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=10 * loss), a["step"]
        for term, found in a.get("evaluation", {}).items():
            assert b["evaluation"][term]["loss"] == pytest.approx(found["loss"], rel=loss), a["step"]
    for kind in ("model", "optimizer"):
        a, b = weights(one, kind), weights(other, kind)
        assert a.keys() == b.keys() and a
        for name, tensor in a.items():
            assert (tensor - b[name]).abs().max() <= weight, name


@pytest.fixture(scope="module")
def more(children, store, tmp_path_factory) -> Path:
    """As `two`: what takes longer."""
    folder, fsdp = tmp_path_factory.mktemp("more"), {"shard": "fsdp"}
    jobs = [
        job(store, "one", alone=True),
        job(store, "ddp-twice", TWICE),
        job(store, "fsdp-twice", TWICE, options=fsdp),
        job(store, "one-few", *FEW, alone=True, options={"steps": 10}),
        job(store, "fsdp-few", *FEWER, options={"steps": 10, **fsdp}),
        job(store, "fsdp", options=fsdp),
        job(store, "exact-1", out="exact", stop=7, options=fsdp),
        job(store, "exact-2", out="exact", options={"resume": True, **fsdp}),
    ]
    work(children, folder, jobs)
    return folder


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(two, name):
    alike(two / "one", two / name)
    assert len(lines(two / name)) == 50


def test_two_processes_are_one_that_takes_twice_as_many_micro_batches(two):
    """To the bit: each process computes what the one would compute next, and a sum of two has one order."""
    assert (two / "ddp" / "metrics.jsonl").read_bytes() == (two / "one-twice" / "metrics.jsonl").read_bytes()
    ours, theirs = weights(two / "ddp"), weights(two / "one-twice")
    assert all((tensor == theirs[name]).all() for name, tensor in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp-twice", "fsdp-twice"])
def test_micro_batches_are_added_up_before_processes_are(more, name):
    alike(more / "one", more / name)


def test_a_process_without_a_sequence_keeps_step(two):
    alike(two / "one-few", two / "ddp-few")


@pytest.mark.slow
def test_a_slice_without_a_sequence_keeps_step(more):
    alike(more / "one-few", more / "fsdp-few")


def test_dropout_is_drawn_by_row_whoever_computes_it(two):
    alike(two / "one-dropout", two / "ddp-dropout")


def test_a_step_goes_on_with_one_process_or_two_whole_or_in_slices(two):
    for name, step in (("broken-off", 5), ("on-one", 6), ("on-fsdp", 10)):
        for rank in (0,) if name == "on-one" else (0, 1):
            found = outcome(two, name, rank)
            assert found["code"] == 143 and f"step-{step:08d}" in found["error"]
    assert outcome(two, "on-ddp")["code"] == 0
    alike(two / "one-short", two / "mixed")
    said = "\n".join(outcome(two, "on-one")["said"])
    assert "warning: processes: was 2, is 1: the losses go on, but not bit for bit" in said
    manifest = json.loads((Run(two / "mixed").step(12) / "manifest.json").read_text())
    assert (manifest["environment"]["processes"], manifest["environment"]["shard"]) == (2, "ddp")


def test_the_same_number_of_processes_resumes_bit_for_bit(two):
    same(two / "ddp-short", two / "exact")


@pytest.mark.slow
def test_the_same_number_of_slices_resumes_bit_for_bit(more):
    same(more / "fsdp", more / "exact")


def test_minutes_become_the_same_steps_on_all(two):
    first, second = (outcome(two, "minutes", rank)["result"]["steps"] for rank in (0, 1))
    assert first == second == len(lines(two / "minutes")) >= 1


def test_process_0_alone_speaks(two):
    assert outcome(two, "ddp", 0)["said"] and not outcome(two, "ddp", 1)["said"]
    assert any("2 processes (ddp)" in line for line in outcome(two, "ddp")["said"])
    config = Run(two / "ddp").config()
    assert (config["processes"], config["shard"]) == (2, "ddp")


def test_an_error_of_one_is_the_error_of_all(two):
    for rank in (0, 1):
        found = outcome(two, "taken", rank)
        assert found["code"] == 2 and "holds a run already" in found["error"]
        found = outcome(two, "other-seed", rank)
        assert found["code"] == 2 and found["error"].startswith("process 1: seed: 4 here, 3 at process 0")
        found = outcome(two, "diverged", rank)
        assert found["code"] == 4 and "nothing was updated; examples (epoch:example) 0:" in found["error"]


def test_memory_that_runs_out_on_one_ends_all_and_is_named_by_all(two):
    own, other = outcome(two, "memory", 1), outcome(two, "memory", 0)
    assert own["code"] == other["code"] == 3
    assert own["error"].startswith("step 3: out of memory at")
    assert other["error"] == f"process 1: {own['error']}"


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_a_head_that_nobody_asks_keeps_its_weights(children, store, tmp_path, shard):
    """As in one process: no gradient, so neither decay nor moments."""
    jobs = [
        job(store, "one", unasked=True, alone=True, options={"steps": 5}),
        job(store, "two", unasked=True, options={"steps": 5, "shard": shard}),
    ]
    work(children, tmp_path, jobs)
    assert outcome(tmp_path, "one")["code"] == 0, outcome(tmp_path, "one")
    alike(tmp_path / "one", tmp_path / "two")
    name = "objective.summary.pooler.dense.weight"
    assert (weights(tmp_path / "one")[name] == weights(tmp_path / "two")[name]).all()
    assert not weights(tmp_path / "two", "optimizer")[f"exp_avg.{name}"].any()


def test_one_process_needs_no_others():
    world = World()
    assert world.gather(1) == [1] and world.tell("x") == "x" and world.first and not world.asked()


# ---------------------------------------------------------------- the command


def start(store, out: Path, *more: str, steps: int = 100_000, **variables: str) -> subprocess.Popen:
    sets = ("training.evaluate=0", "training.precision=float32")
    arguments = [*command(store.path, out, *sets, steps=steps), "--processes", "2", "--resume", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "bertsmith", *arguments],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def updated(run: Path, process: subprocess.Popen, seconds: float = 90) -> int:
    """Waits until updates have been added and one is saved; how many there are."""
    size, until = lengths(run), time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        if lengths(run) > max(size, 5):
            return lengths(run)
        time.sleep(0.05)
    raise TimeoutError(f"no update within {seconds} s")


def lengths(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def workers(agent: int) -> dict[int, tuple[int, int]]:
    """{rank: (process id, restarts so far)}."""
    found = {}
    for pid in subprocess.run(["pgrep", "-P", str(agent)], capture_output=True, text=True).stdout.split():
        try:
            text = Path(f"/proc/{pid}/environ").read_text()
        except OSError:
            continue  # gone
        names = dict(part.split("=", 1) for part in text.split("\0") if "=" in part)
        if "RANK" in names:
            found[int(names["RANK"])] = (int(pid), int(names["TORCHELASTIC_RESTART_COUNT"]))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")
def test_the_command_says_who_died_and_ends(store, tmp_path):
    out = tmp_path / "run"
    process = start(store, out)
    updated(out, process)
    os.kill(workers(process.pid)[1][0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert said == (
        "bertsmith: error: process 1 of 2 was killed by SIGKILL (as a system short of memory does); "
        "the same command with --resume goes on\n"
    )


@pytest.mark.slow
def test_the_command_saves_when_told_and_goes_on(store, tmp_path):
    out = tmp_path / "run"
    process = start(store, out)
    updated(out, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    stands = Run(out).steps()[-1]
    assert process.returncode == 143 and stands == lengths(out)
    assert said == (
        f"bertsmith: error: SIGTERM: saved {Run(out).step(stands)}; the same command with --resume goes on\n"
    )
    process = start(store, out)
    assert updated(out, process) > stands
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_json_is_all_of_stdout(store, tmp_path):
    process = start(store, tmp_path / "run", "--json", steps=6)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(printed)["steps"] == 6
    warnings = said.splitlines()
    assert warnings[0].startswith("bertsmith: warning: 6 updates are few: ")
    assert all(line.startswith("bertsmith: warning: ") for line in warnings) and len(warnings) == len(set(warnings))


@pytest.mark.slow
def test_a_mistake_of_all_is_one_line(store, tmp_path):
    arguments = command(store.path, tmp_path / "run", "schedule.warmup=90", steps=5)
    done = subprocess.run(
        [sys.executable, "-m", "bertsmith", *arguments, "--processes", "2"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout.count("\n") <= 4
    assert done.stderr.startswith("bertsmith: error: schedule.warmup: ") and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_process_that_stops_answering_is_named(store, tmp_path):
    process = start(store, tmp_path / "run", "--timeout", "5")
    updated(tmp_path / "run", process)
    stopped = workers(process.pid)[1][0]
    os.kill(stopped, signal.SIGSTOP)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3
    assert said.startswith("bertsmith: error: process 1 of 2 died or did not answer") and said.count("\n") == 1


@pytest.mark.slow
def test_workers_whose_launcher_was_killed_save_and_end(store, tmp_path):
    out = tmp_path / "run"
    process = start(store, out)
    updated(out, process)
    orphans = [pid for pid, _ in workers(process.pid).values()]
    process.kill()
    process.communicate()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in orphans):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert Run(out).steps()[-1] == lengths(out)


@pytest.mark.slow
def test_bfloat16_keeps_the_bound(children, store, tmp_path):
    half = {"set": [*PLAIN, "training.precision=bfloat16"]}
    jobs = [
        {**job(store, "one", alone=True), **half},
        {**job(store, "ddp"), **half},
        {**job(store, "fsdp", options={"shard": "fsdp"}), **half},
    ]
    work(children, tmp_path, jobs)
    for name in ("ddp", "fsdp"):
        alike(tmp_path / "one", tmp_path / name, loss=2e-2, weight=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_three_processes_resume_bit_for_bit(children, store, tmp_path, shard):
    """Where more than two numbers are added, their order shows."""
    options = {"shard": shard}
    jobs = [
        job(store, "one", alone=True),
        job(store, "straight", options=options),
        job(store, "first", out="run", stop=7, options=options),
        job(store, "second", out="run", options={**options, "resume": True}),
    ]
    work(children, tmp_path, jobs, processes=3)
    same(tmp_path / "straight", tmp_path / "run")
    alike(tmp_path / "one", tmp_path / "straight")


@pytest.mark.slow
def test_killed_workers_come_back_and_leave_no_trace(store, tmp_path):
    """torchrun restarts them; `--resume` is all that they need."""
    sets = [part for text in (*SMALL, "training.precision=float32") for part in ("--set", text)]
    arguments = ["pretrain", "bert:tiny", "--data", str(store.path), "--steps", "400", "--threads", "1", *sets]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "bertsmith", *arguments]
    straight, run = tmp_path / "straight", tmp_path / "run"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment()}
    assert subprocess.run([*torchrun, "--out", str(straight)], **quiet, timeout=120).returncode == 0

    at = torchrun.index("-m", 3)
    again = [*torchrun[:at], "--max-restarts", "3", *torchrun[at:], "--out", str(run), "--resume"]
    process, draw = subprocess.Popen(again, **quiet), random.Random(0)
    for kill in range(3):
        until = time.monotonic() + 90
        while [restarts for _, restarts in workers(process.pid).values()] != [kill, kill]:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        updated(run, process)
        time.sleep(draw.uniform(0, 0.2))
        os.kill(workers(process.pid)[draw.randrange(2)][0], signal.SIGKILL)
    assert process.wait(180) == 0
    same(straight, run)
