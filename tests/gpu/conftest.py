"""What the tests on a device share: one store, one set of tasks, and every run made once.

    BERTSMITH_TEST_DEVICE    cuda unless given; cpu runs the same code without a card, where a comparison with the CPU is trivially true
    BERTSMITH_TEST_REPORT    a file that gets one JSON line for each test as it ends: so a killed run leaves what it has
    BERTSMITH_TEST_DEADLINE  a time (seconds since 1970) from which on tests are left out, by name

They need pytest and no other part of the suite's own tools: `make gpu` runs them where those are not installed.
"""

import importlib.util
import json
import os
import time
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else torch refuses products in its deterministic mode


@pytest.fixture(scope="session")
def device() -> torch.device:
    name = os.environ.get("BERTSMITH_TEST_DEVICE", "cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")
    return torch.device(name)


@pytest.fixture
def cuda(device) -> torch.device:
    """For what is about CUDA's own kernels."""
    if device.type != "cuda":
        pytest.skip("there is nothing to see without CUDA's kernels")
    return device


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("device")


@pytest.fixture(scope="session")
def words(device, folder):
    """A store of made words, the one of tests/goldens.py; on a machine without a device it is not built.

    Where gensim is missing its names are its phrases: what runs are compared with here are others on the same store.
    """
    from tests.goldens import store

    return store(folder, "npmi" if importlib.util.find_spec("gensim") else None)


@pytest.fixture(scope="session")
def tasks(device, folder):
    """{name: (kind, training file, dev file)} in the same words."""
    from tests.goldens import tasks

    return tasks(folder)


@pytest.fixture(scope="session")
def ran(words, folder):
    """`ran("bert", "cpu", "model.dropout=0.0")`: the folder of a run of 20 updates, made when it is first asked for.

    What stays in float32 is computed without shortcuts.
    """
    from tests.gpu.runs import highest, pretrained

    made: dict[tuple, Path] = {}

    def run(name: str, device: torch.device | str, *assignments: str) -> Path:
        key = (name, str(device), *assignments)
        if key not in made:
            with highest():
                made[key] = pretrained(name, words, folder / f"run-{len(made)}", device, *assignments)
        return made[key]

    return run


@pytest.fixture(autouse=True)
def exact():
    """float32 products without shortcuts, unless a run sets its own policy; and no generator left as a test set it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def ordered(device):
    """The kernels that a run has: those that add in a fixed order."""
    from bertsmith.training.precision import in_order

    with in_order(device):
        yield


def pytest_runtest_setup(item) -> None:
    deadline = float(os.environ.get("BERTSMITH_TEST_DEADLINE", "inf"))
    if time.time() > deadline:
        pytest.skip("left out: no time left")


def pytest_runtest_logreport(report) -> None:
    path = os.environ.get("BERTSMITH_TEST_REPORT")
    if path is None or not (report.when == "call" or (report.when == "setup" and not report.passed)):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else _last_line(report)
    line = {
        "test": report.nodeid.rpartition("/")[2],
        "outcome": report.outcome,
        "seconds": round(report.duration, 2),
        "figures": dict(report.user_properties),
        "why": why,
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _last_line(report) -> str | None:
    """What an error says in short; the whole of it stands in what pytest prints."""
    if report.passed:
        return None
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr)[:600]
