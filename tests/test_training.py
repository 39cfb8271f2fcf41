"""Pre-training: what stands in a run, and that interruption, accumulation and evaluation change none of it."""

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.runs import lines, same, small, snapshot

from bertsmith.config import from_dict
from bertsmith.errors import Interrupted, NumericsError, ResourceError
from bertsmith.training.evaluate import evaluate_run
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run
from bertsmith.training.step import out_of_memory

STEPS = 12


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def straight(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    pretrain(small(), store, out, steps=STEPS, seed=3)
    return out


def send(number: int, at: int):
    """A progress callback that sends this process a signal after update `at`."""
    return lambda step, *_: step == at and os.kill(os.getpid(), number)


def test_a_line_for_every_update_and_nothing_that_depends_on_the_clock(straight):
    found = lines(straight)
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    for line in found:
        assert set(line) - {"evaluation"} == {"step", "loss", "lr", "grad_norm", "tokens", "terms"}
        assert line["loss"] == sum(value for value in line["terms"].values() if value is not None)
    assert [line["step"] for line in found if "evaluation" in line] == [4, 8, 12]
    assert set(found[-1]["evaluation"]["token"]) == {"loss", "accuracy", "perplexity"}
    assert all(a["tokens"] < b["tokens"] for a, b in itertools.pairwise(found))
    assert sum(b["tokens"] - a["tokens"] <= 256 for a, b in itertools.pairwise(found)) == STEPS - 1


def test_config_rebuilds_the_run(straight, store):
    config = Run(straight).config()
    assert from_dict(config["recipe"]) == replace(small(), brief=None).with_vocab(store.vocab.size)
    assert (config["steps"], config["seed"], config["data"]["digest"]) == (STEPS, 3, store.digest)
    assert (straight / "tokenizer.json").read_bytes() == (store.path / "tokenizer.json").read_bytes()


def test_the_same_command_gives_the_same_bytes(straight, store, tmp_path):
    pretrain(small(), store, tmp_path / "again", steps=STEPS, seed=3)
    same(straight, tmp_path / "again")


def test_another_seed_gives_other_losses(straight, store, tmp_path):
    pretrain(small(), store, tmp_path / "other", steps=2, seed=4)
    assert lines(tmp_path / "other")[0]["loss"] != lines(straight)[0]["loss"]


def test_three_interruptions_leave_no_trace(straight, store, tmp_path):
    out = tmp_path / "run"
    for number, at in ((signal.SIGTERM, 2), (signal.SIGINT, 3), (signal.SIGTERM, 7)):
        with pytest.raises(Interrupted) as caught:
            pretrain(small(), store, out, steps=STEPS, seed=3, resume=True, progress=send(number, at))
        assert caught.value.exit_code == 128 + number
        assert Run(out).steps()[-1] == at
    pretrain(small(), store, out, steps=STEPS, seed=3, resume=True)
    same(straight, out)


def test_a_signal_during_the_last_evaluation_is_made_good_on_resume(straight, store, tmp_path):
    out = tmp_path / "run"
    for at in (4, STEPS):  # both are evaluated; the signal comes between the update and its evaluation
        with pytest.raises(Interrupted):
            pretrain(small(), store, out, steps=STEPS, seed=3, resume=True, progress=send(signal.SIGTERM, at))
        assert len(lines(out)) == at - 1
    result = pretrain(small(), store, out, steps=STEPS, seed=3, resume=True)
    assert (out / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert result["evaluation"] == lines(straight)[-1]["evaluation"]
    before = snapshot(out)
    pretrain(small(), store, out, steps=STEPS, seed=3, resume=True)
    assert snapshot(out) == before


def test_resuming_a_finished_run_changes_no_file(straight, store):
    before = snapshot(straight)
    assert pretrain(small(), store, straight, steps=STEPS, seed=3, resume=True)["steps"] == STEPS
    assert snapshot(straight) == before


KILLED = """
import os, signal, sys
import torch
from tests.runs import small
from bertsmith.text.store import Store
from bertsmith.training.pretraining import pretrain

def progress(step, *_):
    if step == 7:
        for _ in range(int(sys.argv[4])):
            os.kill(os.getpid(), int(sys.argv[3]))

pretrain(small(), Store.open(sys.argv[1]), sys.argv[2], steps=int(sys.argv[6]), seed=3, threads=int(sys.argv[5]), progress=progress)
"""


@pytest.mark.parametrize("number, times, code", [(signal.SIGKILL, 1, -9), (signal.SIGTERM, 2, 143)])
def test_a_run_killed_outright_goes_on_from_its_last_step(straight, store, tmp_path, number, times, code):
    root, out = Path(__file__).resolve().parents[1], tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(store.path),
        str(out),
        str(int(number)),
        str(times),
        str(torch.get_num_threads()),
        str(STEPS),
    ]
    assert subprocess.run(command, env=environment, timeout=120).returncode == code
    assert Run(out).steps() == [5]
    with open(out / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 8, "lo')  # a line that the end of the process cut
    pretrain(small(), store, out, steps=STEPS, seed=3, resume=True)
    same(straight, out)


def test_an_accumulated_update_equals_one_big_batch(store, tmp_path):
    for accumulate in (1, 4):
        recipe = small("training.precision=float32", "model.dropout=0.0", f"training.accumulate={accumulate}")
        pretrain(recipe, store, tmp_path / str(accumulate), steps=4)
    for one, four in zip(lines(tmp_path / "1"), lines(tmp_path / "4"), strict=True):
        assert one["tokens"] == four["tokens"]
        for name, value in one["terms"].items():
            assert four["terms"][name] == pytest.approx(value, rel=1e-6)
        assert four["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-5)


def test_evaluation_gives_the_same_numbers_whenever_it_is_run(straight, store):
    found = evaluate_run(straight, store)
    again = evaluate_run(Run(straight).step(STEPS), store)
    assert found == again and found["step"] == STEPS
    logged = lines(straight)[-1]["evaluation"]
    assert {
        term: {k: v for k, v in means.items() if k != "count"} for term, means in found["evaluation"].items()
    } == logged


def test_evaluating_more_often_changes_no_update(straight, store, tmp_path):
    pretrain(small("training.evaluate=1"), store, tmp_path / "often", steps=STEPS, seed=3)
    often = [{k: v for k, v in line.items() if k != "evaluation"} for line in lines(tmp_path / "often")]
    assert often == [{k: v for k, v in line.items() if k != "evaluation"} for line in lines(straight)]


def test_what_to_expect_is_said_first(store, tmp_path):
    said = []
    pretrain(small(), store, tmp_path / "run", steps=1, say=said.append)
    text = "\n".join(said)
    assert said[2].startswith(f"unigram entropy of this corpus: {store.unigram_entropy():.4f} nats")
    for word in ("parameters", "thread", "tokens an update", "1 step,", "to go"):
        assert word in text
    assert all(line in (tmp_path / "run" / "log.txt").read_text() for line in said)


def test_minutes_become_steps_before_the_first_step(store, tmp_path):
    result = pretrain(small(), store, tmp_path / "timed", minutes=0.02, seed=3)
    config = Run(tmp_path / "timed").config()
    assert config["steps"] == result["steps"] == len(lines(tmp_path / "timed")) >= 1
    pretrain(small(), store, tmp_path / "counted", steps=result["steps"], seed=3)
    same(tmp_path / "timed", tmp_path / "counted")


def test_tokens_become_steps(store, tmp_path):
    result = pretrain(small(), store, tmp_path / "run", tokens=1000)
    assert (
        abs(lines(tmp_path / "run")[-1]["tokens"] - 1000) < 256
        and result["tokens"] == lines(tmp_path / "run")[-1]["tokens"]
    )


def test_a_loss_that_is_not_finite_stops_before_the_update(store, tmp_path):
    recipe = small("training.checkpoint=1", "schedule.warmup=0")
    recipe = replace(recipe, schedule=replace(recipe.schedule, lr=1e30))
    with pytest.raises(
        NumericsError, match=r"step \d+: not finite: loss .*gradient norm .*nothing was updated; examples .*0:\d+"
    ) as caught:
        pretrain(recipe, store, tmp_path / "run", steps=STEPS)
    assert caught.value.exit_code == 4
    written, saved = lines(tmp_path / "run"), Run(tmp_path / "run").steps()
    assert len(written) == saved[-1] < STEPS


def test_going_on_from_another_run_starts_with_its_weights(straight, store, tmp_path):
    pretrain(small(), store, tmp_path / "on", steps=1, seed=3, from_=straight)
    fresh, warm = lines(straight)[0], lines(tmp_path / "on")[0]
    assert warm["tokens"] == fresh["tokens"] and warm["loss"] != fresh["loss"]
    assert Run(tmp_path / "on").config()["from"]["step"] == f"step-{STEPS:08d}"


def test_what_cannot_change_what_is_learned_may_change_on_resume(straight, store, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        pretrain(small(), store, out, steps=STEPS, seed=3, progress=send(signal.SIGTERM, 6))
    pretrain(small("training.keep=3", "training.checkpoint=2"), store, out, steps=STEPS, seed=3, resume=True)
    assert (straight / "metrics.jsonl").read_bytes() == (out / "metrics.jsonl").read_bytes()
    assert Run(out).steps() == [8, 10, 12]


def test_more_steps_on_resume_says_that_the_schedule_depends_on_them(store, tmp_path):
    pretrain(small(), store, tmp_path / "run", steps=3, seed=3)
    said = []
    pretrain(small(), store, tmp_path / "run", steps=6, seed=3, resume=True, say=said.append)
    assert any(line.startswith("warning: steps 3 -> 6: the schedule depends on them") for line in said)
    assert len(lines(tmp_path / "run")) == 6 and Run(tmp_path / "run").config()["steps"] == 6


def test_out_of_memory_names_what_to_set(store, tmp_path, monkeypatch):
    from bertsmith.training import step

    def refuse(*_, **__):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
        )

    monkeypatch.setattr(step, "_backward", refuse)
    with pytest.raises(ResourceError, match=r"step 1: out of memory at \d+ tokens.*'training.accumulate': 2"):
        pretrain(small(), store, tmp_path / "run", steps=2)
    assert out_of_memory(MemoryError()) and not out_of_memory(RuntimeError("shape mismatch"))


def test_tensorboard_events_on_request(store, tmp_path):
    pytest.importorskip("tensorboard")
    pretrain(small(), store, tmp_path / "run", steps=1, tensorboard=True)
    assert list((tmp_path / "run" / "events").iterdir())
