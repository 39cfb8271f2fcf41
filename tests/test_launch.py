"""`--processes`: which of many ends is the cause, and who says it."""

import json
import math
import signal
from types import SimpleNamespace

import pytest

from bertsmith.errors import InputError, Interrupted, Lost, NumericsError, ResourceError
from bertsmith.training import launch


def ends(**codes: tuple[int, float]) -> dict:
    """rank_0=(exit code, timestamp)."""
    return {
        int(name.removeprefix("rank_")): SimpleNamespace(exitcode=code, timestamp=at)
        for name, (code, at) in codes.items()
    }


def said(code: int, message: str, lost: bool = False) -> dict:
    return {"errorCode": code, "message": message, "lost": lost}


MISSED = said(3, "process 1 of 2 died or did not answer", lost=True)


def test_an_error_of_its_own_comes_before_what_followed_from_it():
    reports = {0: said(4, "step 3: not finite"), 1: MISSED}
    cause = launch._cause(reports, ends(rank_0=(4, 10), rank_1=(-9, 40)), 2)
    assert isinstance(cause, NumericsError) and str(cause) == "step 3: not finite"


def test_a_death_comes_before_those_who_missed_it():
    cause = launch._cause({0: MISSED}, ends(rank_0=(3, 13), rank_1=(-9, 10)), 2)
    assert isinstance(cause, Lost) and "process 1 of 2 was killed by SIGKILL (as a system short" in str(cause)
    cause = launch._cause({}, ends(rank_0=(-15, 10), rank_1=(-11, 10)), 2)
    assert str(cause).startswith("process 1 of 2 was killed by SIGSEGV;")


def test_who_did_not_heed_the_end_did_not_cause_it():
    cause = launch._cause({0: MISSED}, ends(rank_0=(3, 10), rank_1=(-9, 40)), 2)
    assert str(cause) == MISSED["message"]


def test_an_end_that_nobody_explains_is_named():
    cause = launch._cause({}, ends(rank_1=(7, 10)), 2)
    assert isinstance(cause, ResourceError) and "process 1 (exit code 7) of 2 ended early" in str(cause)


def test_a_signal_ends_with_what_process_0_made_of_it():
    assert str(launch._stopped({0: said(143, "SIGTERM: saved")}, signal.SIGTERM)) == "SIGTERM: saved"
    assert launch._stopped({0: said(3, "no space")}, signal.SIGTERM).exit_code == 3
    early = launch._stopped({}, signal.SIGINT)
    assert isinstance(early, Interrupted) and early.exit_code == 130


def test_a_worker_leaves_its_error_where_torchrun_and_the_command_look(tmp_path, monkeypatch):
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    path = tmp_path / "id_x" / "attempt_0" / "0" / "error.json"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    before = signal.getsignal(signal.SIGTERM)
    try:
        launch.report(2, "schedule.lr: wrong", lost=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert launch._reports(str(tmp_path))[0]["message"] == "schedule.lr: wrong"
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(path))
    assert failure.message["message"] == "schedule.lr: wrong" and failure.timestamp < math.inf
    assert json.loads(path.read_bytes())["message"]["errorCode"] == 2


@pytest.mark.parametrize(
    "size, rank, ours, mute", [("1", "0", 0, 0), ("2", "0", 0, 0), ("2", "1", 0, 1), ("2", "0", 1, 1)]
)
def test_process_0_speaks_unless_the_command_does(monkeypatch, size, rank, ours, mute):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv(launch.OURS, raising=False)
    if ours:
        monkeypatch.setenv(launch.OURS, "2")
    assert launch.mute() == bool(mute)


def test_processes_are_started_once_and_only_as_many_as_there_are(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launch.wanted(2) and not launch.wanted(1) and not launch.wanted(None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not launch.wanted(2) and not launch.wanted(None)
    with pytest.raises(InputError, match="--processes 4: torchrun started 2 already"):
        launch.wanted(4)
