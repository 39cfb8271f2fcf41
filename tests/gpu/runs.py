"""Runs of 20 updates on a device, and how far two of them are apart."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from tests.goldens import SMALL, STEPS
from tests.runs import fitting

import bertsmith
from bertsmith.config import override
from bertsmith.errors import Interrupted
from bertsmith.recipe import Recipe, find
from bertsmith.training.precision import Precision

PLAIN = ("training.evaluate=0", "training.checkpoint=10", "model.dropout=0.0")


def recipe_of(name: str, *assignments: str) -> Recipe:
    recipe = find(f"{name}:tiny")
    return override(recipe, fitting(recipe, [*SMALL, *PLAIN, *assignments]))


@contextmanager
def highest() -> Iterator[None]:
    """float32 products without shortcuts also in a run, which asks for 'medium': TF32 on a GPU."""
    choose = Precision.choose
    Precision.choose = classmethod(lambda _, asked, device: replace(choose(asked, device), matmul="highest"))
    try:
        yield
    finally:
        Precision.choose = choose


def pretrained(name: str, store, out: Path, device: torch.device | str, *assignments: str) -> Path:
    """Held-out evaluation comes after the last update only."""
    bertsmith.pretrain(recipe_of(name, *assignments), store, out, steps=STEPS, seed=5, threads=1, device=str(device))
    return out


def in_two(name: str, store, out: Path, device: torch.device | str, *assignments: str) -> Path:
    """The same run, stopped after half of its updates and gone on with."""

    def stop(step: int, *_: object) -> None:
        if step == STEPS // 2:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = recipe_of(name, *assignments)
    options = {"steps": STEPS, "seed": 5, "threads": 1, "device": str(device)}
    try:
        bertsmith.pretrain(recipe, store, out, progress=stop, **options)
    except Interrupted:
        bertsmith.pretrain(recipe, store, out, resume=True, **options)
        return out
    raise AssertionError("the run was not stopped")


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def apart(a: Path, b: Path) -> float:
    """The largest relative difference of two runs' losses."""
    pairs = list(zip(losses(a), losses(b), strict=True))
    return max(abs(x - y) / abs(y) for x, y in pairs)


def distance(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """|ours - reference| / |reference|; NaN never passes a comparison with it."""
    ours, reference = ours.detach().double().cpu(), reference.detach().double().cpu()
    return float((ours - reference).norm() / reference.norm())
