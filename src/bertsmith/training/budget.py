"""How long a run is: steps, tokens or minutes asked for, and what one pass over the corpus takes."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.recipe import Recipe
from bertsmith.training.checkpoint import size_estimate

SAMPLED = 2000  # steps that the mean is taken over


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training split."""

    sequences: int
    tokens: int
    longest: int
    per_step: float  # real tokens in a mean update: whole sequences, while they fit the batch

    @property
    def steps(self) -> int:
        return max(1, math.ceil(self.tokens / self.per_step))

    @classmethod
    def of(cls, recipe: Recipe, store: Any, seed: int) -> Epoch:
        """InputError if the corpus has no sequence for this layout, one that exceeds the batch, or not what the select needs."""
        recipe.layout.check(store.train)
        recipe.corruption.check(store.train)
        plan = recipe.layout.plan(store.train, store.vocab, seed, 0)
        lengths = np.asarray(plan.lengths)
        if not len(lengths):
            raise InputError(
                f"layout: no sequence can be made of the {store.train.count} training tokens; prepare more text"
            )
        batch = recipe.training.batch
        if lengths.max() > batch:
            raise InputError(
                f"training.batch: {batch} tokens are fewer than the longest sequence has ({lengths.max()}); at least that, or lower layout.length"
            )
        fills = list(_fills(lengths[plan.shuffled(0)], min(batch, plan.step or batch)))
        return cls(
            sequences=len(lengths),
            tokens=int(lengths.sum()),
            longest=int(lengths.max()),
            per_step=float(np.mean(fills)),
        )


def _fills(lengths: np.ndarray, batch: int) -> Iterator[int]:
    """Tokens of the first steps of an epoch; its remainder goes on into the next and is not counted, unless it is all there is."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    at = 0
    for number in range(SAMPLED):
        after = int(np.searchsorted(ends, ends[at] + batch, "right")) - 1
        if after >= len(lengths) and number:
            return
        yield (
            batch if after >= len(lengths) else int(ends[after] - ends[at])
        )  # an epoch within one batch: steps wrap around
        at = after
        if at >= len(lengths):
            return


def check_one(steps: int | None, tokens: int | None, minutes: float | None, epoch: Epoch | None) -> None:
    """InputError unless exactly one of the three is given, and is above 0."""
    given = {
        name: value for name, value in (("steps", steps), ("tokens", tokens), ("minutes", minutes)) if value is not None
    }
    if len(given) > 1:
        raise InputError(
            f"{' and '.join('--' + name for name in given)}: give only one of --steps, --tokens, --minutes"
        )
    for name, value in given.items():
        if not (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0):
            raise InputError(f"--{name}: {printable(repr(value))} is not a number above 0")
        if name != "minutes" and value != int(value):
            raise InputError(f"--{name}: {value} is not a whole number")
    if not given and epoch is not None:
        raise InputError(
            f"give one of --steps N, --tokens N, --minutes M; one epoch of this corpus takes --steps {epoch.steps} or --tokens {epoch.tokens}"
        )


def check_memory(recipe: Recipe, parameters: int) -> None:
    """InputError for a model whose weights, gradients and moments alone exceed the machine, before anything is allocated."""
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 16 * parameters > have:
        raise InputError(
            f"model: {parameters:,} parameters take {16 * parameters / 2**30:,.1f} GiB with gradients and moments, this machine has "
            f"{have / 2**30:,.1f}; lower model.width, model.layers or the vocabulary"
        )


def check_disk(out: Path, parameters: int, keep: int, there: int) -> None:
    """ResourceError unless `keep` + 1 saved steps fit, less the `there` that stand already."""
    place = out.absolute()
    while not place.exists():
        place = place.parent
    need, free = size_estimate(parameters) * max(1, keep + 1 - there), shutil.disk_usage(place).free
    if need > free:
        raise ResourceError(
            f"{printable(out)}: {need / 2**20:,.0f} MiB are needed for {keep + 1} saved steps, {free / 2**20:,.0f} MiB are free; free some space, or lower "
            "training.keep"
        )
