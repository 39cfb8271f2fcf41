"""A run that was broken off, wherever and however often, and the run that was not: the same bytes."""

import itertools
import json
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import Breaking, command, leftovers, lines, same, small, snapshot

from bertsmith import cli
from bertsmith.data import loader
from bertsmith.data.text import Text
from bertsmith.errors import InputError, Interrupted, ResourceError
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training import budget
from bertsmith.training.pretraining import pretrain
from bertsmith.training.run import Run

STEPS = 20
WORKERS, ACCUMULATE, PRECISION = (0, 1, 4), (1, 4), ("float32", "bfloat16")
# (how, after which update): "stop" is a SIGTERM, which saves; "kill" leaves things as they lie.  Steps 5, 10, 15 are saved, 4, 8, … evaluated.
BROKEN_OFF = {
    "three times in one epoch": [("stop", 2), ("stop", 3), ("kill", 6)],
    "across the end of an epoch": [("stop", 7), ("stop", 8), ("kill", 11), ("stop", 14)],
    "during an evaluation": [("stop", 4), ("kill", 8), ("stop", 16)],
    "before the first checkpoint": [("kill", 1), ("kill", 4), ("stop", 1)],
    "at the last step": [("kill", STEPS), ("stop", STEPS)],
}


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_cases_come_where_their_names_say(short):
    """An epoch of 7 to 9 updates ends between the interruptions of its case; 4, 8, 16 and the last step are evaluated."""
    assert 7 <= budget.Extent.of(Text.of(small().with_vocab(short.vocab.size), short, 3)).steps <= 9


class Cell:
    """One place of the matrix: a run, and the ways to break it off."""

    def __init__(self, store: Store, folder: Path, workers: int, accumulate: int, precision: str):
        self.store, self.folder, self.workers = store, folder, workers
        self.recipe = small(f"training.accumulate={accumulate}", f"training.precision={precision}")
        self.straight = folder / "straight"
        self.run(self.straight)

    def run(self, out: Path, **options) -> None:
        pretrain(self.recipe, self.store, out, steps=STEPS, seed=3, workers=self.workers, resume=True, **options)

    def check(self, name: str) -> None:
        out = self.folder / name.replace(" ", "-")
        for how, at in BROKEN_OFF[name]:
            with pytest.raises(KeyboardInterrupt if how == "kill" else Interrupted):
                self.run(out, progress=Breaking(how, at))
            saved = Run(out).steps()
            assert (saved[-1] if saved else 0) == (at if how == "stop" else at - 1 - (at - 1) % 5 if at > 5 else 0)
        self.run(out)
        same(self.straight, out, state=("stop", STEPS) not in BROKEN_OFF[name])


SAMPLE = [(1, 1, "float32", name) for name in BROKEN_OFF]
SAMPLE += [(4, 4, "bfloat16", name) for name in ("three times in one epoch", "during an evaluation")]


@pytest.mark.parametrize("workers, accumulate, precision, name", SAMPLE)
def test_a_sample_of_the_matrix(short, tmp_path, workers, accumulate, precision, name):
    Cell(short, tmp_path, workers, accumulate, precision).check(name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_matrix(short, tmp_path, capsys):
    cells = 0
    for accumulate, precision in itertools.product(ACCUMULATE, PRECISION):
        metrics = set()
        for workers in WORKERS:
            folder = tmp_path / f"{workers}-{accumulate}-{precision}"
            cell = Cell(short, folder, workers, accumulate, precision)
            for name in BROKEN_OFF:
                cell.check(name)
                cells += 1
            metrics.add((cell.straight / "metrics.jsonl").read_bytes())
        assert len(metrics) == 1, "the number of workers changed what was learned"
    with capsys.disabled():
        print(f"\n{cells} cells of the resume matrix, all bit for bit what the uninterrupted run of the cell is")


# -- signals ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def straight(children, short, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    child = children.start(*command(short.path, out, steps=STEPS), "--resume")
    assert child.wait() == 0, child.err
    return out


def interrupted(children, store: Store, straight: Path, out: Path, draw: random.Random) -> int:
    """Up to three signals after random updates, then the rest; returns how many of them found a run at work."""
    caught = 0
    for _ in range(3):
        child = children.start(*command(store.path, out, steps=STEPS), "--resume")
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        after = draw.randint(0, STEPS - 1)
        while child.running() and (not (out / "metrics.jsonl").exists() or len(lines(out)) < after):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.01))
        child.send(number)
        code = child.wait(30)
        assert code in (0, 128 + number, -number), child.err
        if code == 0:
            break
        steps = Run(out).steps()
        if "saved" in child.err and steps and code > 0:
            caught += 1
            assert 0 <= steps[-1] - len(lines(out)) <= 1  # one more where the line waits for its evaluation
            assert str(Run(out).step(steps[-1])) in child.err and not leftovers(out / "steps")
    child = children.start(*command(store.path, out, steps=STEPS), "--resume")
    assert child.wait() == 0, child.err
    same(straight, out, state=False)
    return caught


def test_signals_save_within_a_step(children, short, straight, tmp_path):
    caught = [interrupted(children, short, straight, tmp_path / f"{n}", random.Random(n)) for n in range(4)]
    assert sum(caught) >= 2


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_signals_at_any_time_save_within_a_step(children, short, straight, tmp_path, capsys):
    caught = [interrupted(children, short, straight, tmp_path / f"{n}", random.Random(100 + n)) for n in range(70)]
    with capsys.disabled():
        print(
            f"\n{sum(caught)} signals during {len(caught)} runs: saved within a step, exit 130 or 143, resumed exactly"
        )
    assert sum(caught) >= 70


class Hanging:
    """Stands in for `Loader._prepare`: each step is prepared by itself, and the third never comes."""

    def __init__(self, monkeypatch):
        real, self.count, self.end = loader.Loader._prepare, itertools.count(1), threading.Event()

        def prepare(itself, block):
            if next(self.count) == 3:
                self.end.wait()
            return real(itself, block)

        monkeypatch.setattr(loader.Loader, "_prepare", prepare)
        monkeypatch.setattr(loader, "BLOCK", 1)


@pytest.fixture
def hanging(monkeypatch):
    made = Hanging(monkeypatch)
    yield made
    made.end.set()


def test_a_signal_while_data_is_waited_for_saves(short, tmp_path, hanging):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    wait = lambda step, *_: timer.start() if step == 2 else None
    with pytest.raises(Interrupted, match=r"SIGTERM: saved .*step-00000002"):
        pretrain(small(), short, tmp_path / "run", steps=STEPS, workers=1, progress=wait)
    assert Run(tmp_path / "run").steps() == [2]


def test_a_worker_that_hangs_ends_the_run(short, tmp_path, hanging, monkeypatch):
    monkeypatch.setattr(loader, "PATIENCE", 0.5)
    with pytest.raises(ResourceError, match=r"nothing came within 0\.5 seconds") as caught:
        pretrain(small(), short, tmp_path / "run", steps=STEPS, workers=1)
    assert caught.value.exit_code == 3
    assert len(lines(tmp_path / "run")) == 2


# -- who may go on, and with what ---------------------------------------------------------------------------------------------------


def test_two_runs_never_write_to_one_folder_and_a_dead_one_is_followed(children, short, tmp_path):
    out = tmp_path / "run"
    first = children.start(*command(short.path, out, "training.checkpoint=3", steps=5000))
    while first.running() and not Run(out).steps():
        time.sleep(0.01)
    second = children.start(*command(short.path, out, "training.checkpoint=3", steps=5000), "--resume")
    assert second.wait() == 2
    assert second.err.startswith("bertsmith: error: ") and f"is being written by process {first.pid}" in second.err
    assert first.kill() == -signal.SIGKILL
    third = children.start(*command(short.path, out, "training.checkpoint=3", steps=5000), "--resume")
    saved = Run(out).steps()[-1]
    while third.running() and Run(out).steps()[-1] <= saved + 3:
        time.sleep(0.01)
    third.send(signal.SIGTERM)
    assert third.wait() == 143
    numbers = [line["step"] for line in lines(out)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > saved


def test_a_run_that_another_process_finished_meanwhile_is_not_begun_again(short, tmp_path, monkeypatch):
    """It takes time to check a large store: what was seen of the folder before may no longer be so."""
    out, real = tmp_path / "run", budget.check_disk

    def meanwhile(*arguments):
        monkeypatch.setattr(budget, "check_disk", real)
        pretrain(small(), short, out, steps=3)
        return real(*arguments)

    monkeypatch.setattr(budget, "check_disk", meanwhile)
    with pytest.raises(InputError, match="another process wrote here meanwhile"):
        pretrain(small(), short, out, steps=3, resume=True)
    assert Run(out).steps() == [3] and len(lines(out)) == 3


@pytest.fixture(scope="module")
def finished(short, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert cli.run(command(short.path, out, steps=STEPS)) == 0
    return out


def test_a_finished_run_is_left_as_it_is(finished, short, capsys):
    before = snapshot(finished)
    assert cli.run([*command(short.path, finished, steps=STEPS), "--resume", "--json"]) == 0
    assert snapshot(finished) == before
    out, err = capsys.readouterr()
    assert json.loads(out)["loss"] == lines(finished)[-1]["loss"]
    assert [line for line in err.splitlines() if "leaves out" not in line] == []


@pytest.mark.parametrize(
    "field, value",
    [
        ("model.heads", "4"),
        ("model.dropout", "0.0"),
        ("layout.length", "24"),
        ("corruption.select.rate", "0.2"),
        ("schedule.lr", "0.01"),
        ("schedule.warmup", "0.2"),
        ("training.batch", "512"),
        ("training.held_out", "1024"),
        ("training.precision", "float32"),
    ],
)
def test_a_configuration_that_changed_is_named(finished, short, capsys, field, value):
    refused(finished, command(short.path, finished, f"{field}={value}", steps=STEPS), capsys, field)


def test_data_seed_and_tokenizer_that_changed_are_named(finished, short, store, documents, tmp_path, capsys):
    arguments = command(short.path, finished, steps=STEPS)
    arguments[arguments.index("--seed") + 1] = "4"
    refused(finished, arguments, capsys, "seed")
    refused(finished, command(store.path, finished, steps=STEPS), capsys, "data.tokenizer")
    (tmp_path / "text.txt").write_text("\n\n".join(text[:2500] for text in documents[13:26]) + "\n", encoding="utf-8")
    prepare([str(tmp_path / "text.txt")], tmp_path / "other", tokenizer=str(short.path), holdout=0.2)
    refused(finished, command(tmp_path / "other", finished, steps=STEPS), capsys, "data.digest")
    refused(finished, command(short.path, finished, steps=STEPS - 1), capsys, "--steps")


def refused(run: Path, arguments: list[str], capsys, field: str) -> None:
    before = snapshot(run)
    capsys.readouterr()
    assert cli.run([*arguments, "--resume"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"bertsmith: error: {run}: --resume: ") and err.count("\n") == 1 and field in err
    assert snapshot(run) == before


def test_fewer_kept_steps_on_resume_are_few_from_the_start(short, tmp_path):
    out, seen = tmp_path / "run", []
    recipe = small("training.keep=5", "training.checkpoint=1")
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, short, out, steps=8, progress=Breaking("kill", 7))
    assert Run(out).steps() == [2, 3, 4, 5, 6]
    fewer = replace(recipe, training=replace(recipe.training, keep=2))
    count = lambda *_: seen.append(len(list((out / "steps").iterdir())))
    pretrain(fewer, short, out, steps=8, resume=True, progress=count)
    assert max(seen) == 2 and Run(out).steps() == [7, 8]
