"""Logs and stdout are not worth a run: where they cannot be written it goes on, and says so once."""

import os
from pathlib import Path

import pytest
from tests.runs import same, small

from bertsmith import files
from bertsmith.console import Console
from bertsmith.errors import InputError
from bertsmith.text.store import Store
from bertsmith.training.pretraining import pretrain

STEPS = 8


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def finished(short, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    pretrain(small(), short, out, steps=STEPS, seed=3)
    return out


def test_logs_that_cannot_be_written_end_no_run(finished, short, tmp_path, monkeypatch):
    real, said = files.append, []

    def refuse(descriptor, data):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(("log.txt", "speed.jsonl")):
            raise OSError(28, "No space left on device")
        real(descriptor, data)

    monkeypatch.setattr(files, "append", refuse)
    pretrain(small(), short, tmp_path / "run", steps=STEPS, seed=3, say=said.append)
    same(finished, tmp_path / "run")
    for name in ("log.txt", "speed.jsonl"):
        warning = (
            f"warning: {name} cannot be written: No space left on device; the run goes on, lines of it are missing"
        )
        assert said.count(warning) == 1


def test_a_log_that_cannot_be_opened_ends_no_run_and_still_keeps_others_out(finished, short, tmp_path):
    out, said, seen = tmp_path / "run", [], []
    (out / "log.txt").mkdir(parents=True)

    def other(step, *_):
        if step == 2:
            with pytest.raises(InputError, match="is being written by another process"):
                pretrain(small(), short, out, steps=STEPS, seed=3, resume=True)
            seen.append(step)

    pretrain(small(), short, out, steps=STEPS, seed=3, say=said.append, progress=other)
    same(finished, out)
    assert seen == [2] and "warning: log.txt cannot be written; the run goes on without it" in said


def test_events_that_cannot_be_written_end_no_run(finished, short, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", refuse)
    said = []
    pretrain(small(), short, tmp_path / "run", steps=STEPS, seed=3, tensorboard=True, say=said.append)
    same(finished, tmp_path / "run")
    assert sum("events cannot be written" in line for line in said) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_stdout_ends_no_work_but_loses_no_result_silently(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        console = Console()
        console.say("on the way")
        console.say("further")
        assert [line for line in console.warnings if "stdout cannot be written" in line] == console.warnings
        assert len(console.warnings) == 1
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(OSError, match="No space left"):
            Console(json=True).out("{}")


def test_a_large_store_says_that_it_is_being_checked(short, monkeypatch):
    said = []
    monkeypatch.setattr("bertsmith.text.store.LARGE", 1)
    Store.open(short.path, say=said.append)
    assert len(said) == 1 and said[0].startswith("checking the 0.0 GB of") and str(short.path) in said[0]
