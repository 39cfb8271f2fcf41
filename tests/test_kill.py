"""The kill box: runs of the command line that are killed outright, at any time, and go on as if they had not been."""

import random
from pathlib import Path

import pytest
from tests.kills import Box
from tests.runs import command

STEPS = 30
QUICK, ALL = 20, 120


@pytest.fixture(scope="module")
def box(children, store, tmp_path_factory) -> Box:
    straight = tmp_path_factory.mktemp("straight") / "run"
    return Box(children, lambda out: command(store.path, out, steps=STEPS), straight).warmed()


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
