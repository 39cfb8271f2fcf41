"""A run small enough to be made, broken off and compared hundreds of times, and what "equal" means for runs."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.config import override
from bertsmith.recipe import Recipe, find
from bertsmith.training.run import Run

SMALL = [
    "model.layers=1",
    "model.width=16",
    "model.hidden=32",
    "model.heads=2",
    "model.dropout=0.1",
    "layout.length=32",
    "training.batch=256",
    "training.checkpoint=5",
    "training.evaluate=4",
    "training.held_out=512",
]


def alike(scores: dict[str, dict[str, float]], others: dict[str, dict[str, float]]) -> bool:
    """Whether both say the same up to rounding: a calibration error adds up differences of probabilities."""
    near = lambda a, b: a.keys() == b.keys() and all(abs(a[key] - b[key]) < 1e-6 for key in a)
    return scores.keys() == others.keys() and all(near(scores[name], others[name]) for name in scores)


def fitting(recipe: Recipe, assignments: list[str]) -> list[str]:
    """Those whose fields its body has: not every body has heads."""
    known = {field.name for field in fields(recipe.model)}
    field = lambda text: text.partition("=")[0].removeprefix("model.").split(".")[0]
    return [text for text in assignments if not text.startswith("model.") or field(text) in known]


def small(*assignments: str, member: str = "bert") -> Recipe:
    recipe = find(f"{member}:tiny")
    return override(recipe, fitting(recipe, [*SMALL, *assignments]))


def command(store: Path, out: Path, *assignments: str, steps: int, workers: int = 1) -> list[str]:
    """`bertsmith pretrain` of `small(*assignments)`, as one types it."""
    options = ["--steps", str(steps), "--seed", "3", "--threads", "1", "--workers", str(workers)]
    sets = [part for assignment in (*SMALL, *assignments) for part in ("--set", assignment)]
    return ["pretrain", "bert:tiny", "--data", str(store), "--out", str(out), *options, *sets]


def tuning(model: Path, tasks: dict, name: str, out: Path, *assignments: str) -> list[str]:
    """`bertsmith finetune` on one of `tasks`, ("frozen classify" too), as one types it: three epochs, a saved step every 5 updates."""
    method, _, task = name.rpartition(" ")
    kind, train, dev = tasks[task]
    options = ["--method", method or "full", "--seed", "3", "--threads", "1", "--workers", "1"]
    given = ["epochs=3", "batch=8", "lr=0.003", "checkpoint=5", "dropout=0.1", *assignments]
    sets = [part for assignment in given for part in ("--set", assignment)]
    files = ["--train", str(train), "--dev", str(dev), "--out", str(out)]
    return ["finetune", str(model), "--task", kind, *files, *options, *sets]


class Breaking:
    """A progress callback that breaks a run off after update `at`: "stop" is a SIGTERM, which saves; "kill" leaves things as they lie."""

    def __init__(self, how: str, at: int):
        self.how, self.at = how, at

    def __call__(self, step: int, *_: object) -> None:
        if step == self.at and self.how == "kill":
            raise KeyboardInterrupt
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def lines(run: Path) -> list[dict]:
    """metrics.jsonl, but for a last line that is being written."""
    whole = (run / "metrics.jsonl").read_text().rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def same(a: Path, b: Path, state: bool = True) -> None:
    """Bit for bit: every loss, every weight and moment of the last step, and a result where there is one.

    `state`: its state.json too, which tells if a signal came before the evaluation of that step.
    """
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    if (a / "result.json").exists():
        assert (a / "result.json").read_bytes() == (b / "result.json").read_bytes()
    last = Run(a).steps()[-1]
    assert Run(b).steps()[-1] == last
    for name in ("model.safetensors", "optimizer.safetensors", *(["state.json"] if state else [])):
        assert files.sha256(Run(a).step(last) / name) == files.sha256(Run(b).step(last) / name), name


def snapshot(folder: Path) -> dict[Path, tuple[int, bytes | None]]:
    """Everything under a folder, itself included: date of the last change, and content."""
    paths = [folder, *sorted(folder.rglob("*"))]
    return {path: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in paths}


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders of ours."""
    return sorted(path.name for path in folder.rglob(".*"))


class Late(BaseException):
    """No OSError, as TimeoutError is: code that mends those must not mend this."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """`Late` if the block waits longer, be it in a system call."""

    def late(number, frame):
        raise Late(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def saved(run: Path) -> dict[str, Any]:
    """What the step that loads holds by itself."""
    from safetensors.torch import load_file

    from bertsmith.downstream.model import load

    return load_file(load(run).path / "model.safetensors")


def text(count: int = 12) -> Any:
    """Two sequences that see all of themselves."""
    import torch

    from bertsmith.data.batch import Stream

    tokens, zero = torch.arange(count), torch.zeros(count, dtype=torch.long)
    lengths = (count - 5, 5)
    places = torch.cat([torch.arange(length) for length in lengths])
    return Stream(tokens=tokens + 5, positions=places, segments=zero, query_rank=zero, key_rank=zero, lengths=lengths)
