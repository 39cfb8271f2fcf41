"""The kill box: runs of the command line that are killed outright, at any time, and go on as if they had not been."""

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.children import Child, Children
from tests.runs import command, leftovers, same, tuning

from bertsmith.downstream.verify import _run
from bertsmith.training.checkpoint import verify_run
from bertsmith.training.run import Run

STEPS, INTERVAL = 30, 5
QUICK, ALL = 20, 120
TUNED = ("classify", "tag", "qa", "frozen classify", "adapter classify")


@dataclass
class Box:
    """One reference, and the account of all kills."""

    children: Children
    command: Callable[[Path], list[str]]  # of a run in a folder
    straight: Path
    seconds: float = 0.0  # that the uninterrupted run took
    kills: int = 0
    saving: int = 0  # of them came while a step was being written or removed
    unsaved: int = 0  # of them came before anything was saved
    lost: list[int] = field(default_factory=list)  # updates that each kill cost

    def start(self, out: Path) -> Child:
        return self.children.start(*self.command(out), "--resume")

    def warmed(self) -> "Box":
        for out in (
            self.straight.with_name(f"warm-{self.straight.name}"),
            self.straight,
        ):  # the second is not the one that warms up
            begun = time.monotonic()
            child = self.start(out)
            assert child.wait() == 0, child.err
            self.seconds = time.monotonic() - begun
        return self

    def survive(self, out: Path, draw: random.Random, aimed: bool) -> None:
        """One to three kills, each followed by a look at what lies there; then the run is finished and compared."""
        planned, kills = draw.randint(1, 3), 0
        while kills < planned:
            child = self.start(out)
            self._strike(child, out, draw, aimed)
            if child.kill() == 0:  # it was faster
                if kills:
                    break
                shutil.rmtree(out)
                continue
            kills += 1
            self._look(out)
        self.kills += kills
        assert self.start(out).wait() == 0
        same(self.straight, out)
        assert Run(out).steps() == Run(self.straight).steps() and not leftovers(out)

    def _strike(self, child: Child, out: Path, draw: random.Random, aimed: bool) -> None:
        """Wait for a random time, or for one of the saves to begin and then for some of it."""
        if not aimed:
            time.sleep(draw.uniform(0, 1.1 * self.seconds))
            return
        for _ in range(draw.randint(1, 4)):
            known = half_written(out)
            while child.running() and half_written(out) <= known:
                pass
        time.sleep(draw.uniform(0, 0.004))

    def _look(self, out: Path) -> None:
        """Nothing that cannot be read, and never more lost than one interval."""
        run = Run(out)
        self.saving += bool(half_written(out))
        newest = run.steps()[-1] if run.steps() else 0
        if newest:
            verify_run(_run(out))
            assert len(os.listdir(out / "steps")) <= 3  # two are kept, one may be on its way in or out
        self.unsaved += newest == 0
        metrics = out / "metrics.jsonl"
        written = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
        self.lost.append(written - newest)
        assert written - newest <= INTERVAL, f"{written} updates were written, and step {newest} is the newest"


def half_written(out: Path) -> set[str]:
    """Steps that are being written or removed at this moment."""
    try:
        return {name for name in os.listdir(out / "steps") if name.startswith(".")}
    except FileNotFoundError:
        return set()


@pytest.fixture(scope="module")
def box(children, store, tmp_path_factory) -> Box:
    straight = tmp_path_factory.mktemp("straight") / "run"
    return Box(children, lambda out: command(store.path, out, steps=STEPS), straight).warmed()


@pytest.fixture
def tuned(children, pretrained, tasks, tmp_path) -> Callable[[str], Box]:
    def made(name: str) -> Box:
        return Box(children, lambda out: tuning(pretrained, tasks, name, out), tmp_path / "straight" / name).warmed()

    return made


def test_a_sample_of_killed_runs_ends_as_if_never_killed(box, tmp_path):
    survive_all(box, tmp_path, seed=1, runs=QUICK)
    assert box.saving >= 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_killed_run_ends_as_if_never_killed(box, tmp_path, capsys):
    survive_all(box, tmp_path, seed=2, runs=ALL)
    with capsys.disabled():
        print(
            f"\n{ALL} runs of {box.seconds:.2f} s survived {box.kills} kills, {box.saving} of them while a step was written or "
            f"removed, {box.unsaved} before the first was saved; updates lost: mean {sum(box.lost) / len(box.lost):.1f}, most {max(box.lost)}"
        )
    assert box.kills >= ALL and box.saving >= ALL // 6


def survive_all(box: Box, folder: Path, seed: int, runs: int) -> None:
    for number in range(runs):
        box.survive(folder / str(number), random.Random(f"{seed} {number}"), aimed=number % 3 == 0)


@pytest.mark.parametrize("name", TUNED)
def test_a_sample_of_killed_fine_tunings_ends_as_if_never_killed(tuned, tmp_path, name):
    survive_all(tuned(name), tmp_path, seed=3, runs=3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_killed_fine_tuning_ends_as_if_never_killed(tuned, tmp_path, capsys):
    for name in TUNED:
        box = tuned(name)
        survive_all(box, tmp_path / name, seed=4, runs=15)
        with capsys.disabled():
            print(
                f"\n{name}: 15 runs of {box.seconds:.2f} s survived {box.kills} kills, {box.saving} of them while a step was written "
                f"or removed, {box.unsaved} before the first was saved; updates lost: most {max(box.lost)}"
            )
        assert box.kills >= 15
