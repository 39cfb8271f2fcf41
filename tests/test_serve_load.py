"""Sixty-four clients at once: each answer that of `predict`, none lost, files and memory as they were.  Minutes of it: bench/serve_load.py."""

import asyncio
import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest
from tests.test_serve_ending import started

import bertsmith

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "load.py"
SPEC = importlib.util.spec_from_file_location("load", SCRIPT)
LOAD = importlib.util.module_from_spec(SPEC)
CLIENTS = 64


@pytest.fixture(scope="module", autouse=True)
def loaded():
    import sys

    sys.modules["load"] = LOAD  # where its dataclass looks its types up
    SPEC.loader.exec_module(LOAD)
    yield
    del sys.modules["load"]


def asked(model, seconds: float, children, documents) -> None:
    texts = [line[: 20 + 37 * (i % 7)] for i, line in enumerate("\n".join(documents).split("\n")[:300])]
    known = [row["scores"] for row in bertsmith.predict(model, texts)]

    def check(number: int, body: bytes) -> str:
        (said,) = json.loads(body)["answers"]
        return "" if all(abs(said["scores"][name] - p) < 1e-5 for name, p in known[number].items()) else texts[number]

    child, port = started(children, model)
    requests = [LOAD.request("/predict", {"texts": [text]}) for text in texts]
    asyncio.run(LOAD.load(port, requests, CLIENTS, 1.5, check))
    opened, resident = len(os.listdir(f"/proc/{child.pid}/fd")), size(child.pid)
    found = asyncio.run(LOAD.load(port, requests, CLIENTS, seconds, check))
    assert {*found.statuses} == {200} and found.wrong == [] and found.lost == found.refused == 0
    assert len(found.seconds) > CLIENTS
    assert abs(len(os.listdir(f"/proc/{child.pid}/fd")) - opened) <= CLIENTS and size(child.pid) < resident + 25
    child.send(signal.SIGTERM)
    assert child.wait() == 0 and child.err == ""


def size(process: int) -> float:
    """Resident MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.fixture(scope="module")
def classifier(pretrained, tasks, tmp_path_factory):
    kind, train, dev = tasks["classify"]
    out = tmp_path_factory.mktemp("load") / "classifier"
    options = {"seed": 3, "threads": 1, "steps": 4, "set": ("batch=8", "lr=0.01")}
    bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=out, **options)
    return out


def test_every_client_gets_its_own_answers(classifier, children, documents):
    asked(classifier, 2, children, documents)


@pytest.mark.slow
def test_and_goes_on_doing_so(classifier, children, documents):
    asked(classifier, 45, children, documents)
