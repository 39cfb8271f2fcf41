"""What `--minutes` measures: the updates of training, not the first ones, by a clock that the test turns."""

from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace

import pytest

from bertsmith.training import trial
from bertsmith.training.distributed import ALONE


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def tried(monkeypatch, seconds, update, exam=0.0, every=0):
    """(steps for `seconds`, seconds that finding out took); `update(i)`: seconds of the i-th update."""
    clock, numbers = Clock(), count()

    def step(*_, **__):
        clock.now += update(next(numbers))

    def held(*_):
        clock.now += exam
        return exam

    made = SimpleNamespace(batches=[], counts={}, passes={})
    job = SimpleNamespace(
        feed=None,
        recipe=SimpleNamespace(schedule=SimpleNamespace(clip=1.0)),
        learner=lambda member: member,
        loader=lambda world: iter(lambda: made, None),
        seed=0,
        exam=SimpleNamespace(every=every, seconds=held) if every else None,
    )
    monkeypatch.setattr(trial, "time", clock)
    monkeypatch.setattr(trial, "train_step", step)
    monkeypatch.setattr(trial, "closing", nullcontext)
    monkeypatch.setattr(trial, "memory_said", lambda recipe: nullcontext())
    for name in ("Shared", "build_optimizer", "set_rate"):
        monkeypatch.setattr(trial, name, lambda *_: None)
    found = trial.Trial(job, object(), None, ALONE, "ddp")
    return found.steps(seconds, 0.0), clock.now


@pytest.mark.parametrize("slow", [1, 8, 20])
@pytest.mark.parametrize("later", [0.02, 0.1])
def test_slow_first_updates_do_not_shorten_the_run(slow, later, monkeypatch):
    """Twice to five times as slow, as they are on two cores, or falling little by little."""
    for update in (
        lambda i: later * (2.5 if i < slow else 1),
        lambda i: later * (1 + 4 * max(0, slow - i) / slow),
    ):
        steps, spent = tried(monkeypatch, 120, update)
        assert spent + steps * later == pytest.approx(120, rel=0.03) and spent <= 0.1 * 120


def test_a_share_of_the_minutes_finds_out_and_two_updates_do_where_one_is_longer(monkeypatch):
    steps, spent = tried(monkeypatch, 120, lambda i: 2.0 if i else 5.0)
    assert 7 <= spent <= 0.1 * 120 and spent + 2 * steps == pytest.approx(120, rel=0.02)
    steps, spent = tried(monkeypatch, 120, lambda i: 10.0 if i else 20.0)
    assert (steps, spent) == (9, 30.0)
    assert tried(monkeypatch, 10, lambda i: 100.0)[0] == 1


def test_an_update_that_stumbles_now_and_then_is_not_what_all_take(monkeypatch):
    steps, spent = tried(monkeypatch, 60, lambda i: 1.0 if i % 7 == 3 else 0.05)
    assert trial.pace([0.05, 0.05, 1.0, 0.05, 0.05]) == 0.05 and spent + 0.05 * steps == pytest.approx(60, rel=0.02)


def test_exams_take_their_part_of_the_minutes(monkeypatch):
    steps, spent = tried(monkeypatch, 100, lambda i: 0.1, exam=1.0, every=10)
    assert spent + steps * 0.1 + (steps // 10 + 1) * 1.0 == pytest.approx(100, abs=2)
