"""How long a run is: steps, tokens or minutes asked for, and what one pass over the corpus takes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertsmith.data.feed import Epoch, Feed
from bertsmith.data.mixture import Mixture
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, option, setting
from bertsmith.training import machine
from bertsmith.training.checkpoint import size_estimate

SAMPLED = 2000  # steps that the mean is taken over
LENGTHS = ("steps", "tokens", "minutes")  # that a pre-training may be given
DRAWN = 20_000  # steps of a mixture that are drawn to tell how long it is


@dataclass(frozen=True, kw_only=True)
class Extent:
    """One pass over what a run reads."""

    sequences: int
    tokens: int
    longest: int
    per_step: float  # real tokens in a mean update: whole sequences, while they fit
    steps: int  # updates that it takes
    parts: tuple[float, ...] = ()  # of a mixture: tokens in a mean update of each feed

    @classmethod
    def of(cls, feed: Feed | Mixture) -> Extent:
        """InputError where the feed cannot be used.  Of a mixture: as many tokens as all of its feeds have, or those that set the pace."""
        if isinstance(feed, Mixture):
            return _together([cls.of(part) for part in feed.feeds.values()], feed)
        epoch = feed.epoch(0)
        lengths = epoch.lengths[epoch.order]
        tokens = int(lengths.sum())
        if epoch.across:
            per_step = float(np.mean(list(_fills(epoch))))
            steps = max(1, math.ceil(tokens / per_step))
        else:
            steps = epoch.steps
            per_step = tokens / steps
        longest, of = int(lengths.max()), epoch.of
        return cls(
            sequences=of * len(lengths), tokens=of * tokens, longest=longest, per_step=per_step, steps=of * steps
        )


def _together(parts: list[Extent], mixture: Mixture) -> Extent:
    shares = mixture.shares.at(1, mixture.sizes)
    shares = (shares > 0).astype(float) if mixture.each == "all" else shares
    paced = np.array([name in mixture.paced for name in mixture.feeds])
    tokens, each = sum(p.tokens for p, counts in zip(parts, paced, strict=True) if counts), [p.per_step for p in parts]
    per_step, pace = float(shares @ each), float((shares * paced) @ each)
    if not paced.all():
        tokens = round(tokens * per_step / pace)  # what the others are read meanwhile
    return Extent(
        sequences=sum(p.sequences for p in parts),
        tokens=tokens,
        longest=max(p.longest for p in parts),
        per_step=per_step,
        steps=max(1, math.ceil(tokens / per_step)),
        parts=tuple(p.per_step for p in parts),
    )


def _steps_of(tokens: int, extent: Extent, feed: Feed | Mixture) -> int:
    """Steps that read about so many tokens; of a mixture by what its first steps will draw."""
    if hasattr(feed, "steps_of"):
        return feed.steps_of(tokens)
    if not isinstance(feed, Mixture):
        return max(1, round(tokens / extent.per_step))
    each, read = dict(zip(feed.feeds, extent.parts, strict=True)), 0.0
    for step in range(1, DRAWN + 1):
        more = sum(each[name] for name in feed.reads(step))
        if read + more / 2 >= tokens:
            return max(1, step - 1)
        read += more
    return max(1, round(DRAWN * tokens / read))


def _fills(epoch: Epoch) -> Iterator[int]:
    """Tokens of the first steps of an epoch; its remainder goes on into the next and is not counted, unless it is all there is."""
    at, last = 0, len(epoch.order)
    for number in range(SAMPLED):
        after = epoch.fill(at, epoch.room)
        if after >= last and number:
            return
        if after >= last and epoch.by == "tokens":
            yield epoch.room  # an epoch within one batch: steps wrap around
            return
        yield int(epoch.tokens[after] - epoch.tokens[at])
        at = after
        if at >= last:
            return


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a run is asked to be: exactly one of these."""

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None
    epochs: float | None = None

    @property
    def given(self) -> dict[str, float]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def in_steps(self, extent: Extent, feed: Feed | Mixture) -> int | None:
        """None where minutes decide."""
        if self.tokens is not None:
            return _steps_of(self.tokens, extent, feed)
        if self.epochs is not None:
            return max(1, round(self.epochs * extent.steps))
        return None if self.steps is None else int(self.steps)

    def check(self, extent: Extent, names: tuple[str, ...] = LENGTHS) -> None:
        """InputError unless exactly one is given, and is above 0; `names`: those that a command has."""
        self.check_given(names)
        if not self.given:
            raise InputError(
                f"give one of {option('steps', like='N')}, {option('tokens', like='N')}, {option('minutes', like='M')}; one epoch of this corpus takes {option('steps', extent.steps)} or {option('tokens', extent.tokens)}"
            )

    def check_given(self, names: tuple[str, ...] = LENGTHS) -> None:
        """InputError where several are given, or one that is not above 0."""
        given = self.given
        if len(given) > 1:
            options = ", ".join(option(name) for name in names)
            raise InputError(f"{' and '.join(map(option, given))}: give only one of {options}")
        for name, value in given.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0):
                raise InputError(f"{option(name)}: {printable(repr(value))} is not a number above 0")
            if name in ("steps", "tokens") and value != int(value):
                raise InputError(f"{option(name)}: {value} is not a whole number")


LEAST = 20  # bytes that a pass holds of each token, layer and unit of width in any case: what the products read, in bfloat16
EPOCHS = 100  # that an update reads at most


def check_batch(recipe: Recipe, tokens: int, processes: int = 1, here: bool = True) -> list[str]:
    """A warning where an update reads all of the store's `tokens`.  InputError, before anything is allocated, where it reads them over and
    over, or (`here`) where one pass of it exceeds this machine."""
    training, model = recipe.training, recipe.model
    shown = f"training.batch: {training.batch:,} tokens"
    if training.batch > EPOCHS * tokens:
        raise InputError(
            f"{shown} in an update read the {tokens:,} of the store {training.batch // tokens:,} times; at most as many as the store has"
        )
    passes = training.accumulate * processes
    read = min(training.batch / passes, training.most or training.batch)
    need, have = read * LEAST * getattr(model, "layers", 1) * getattr(model, "width", 1), machine.memory()
    if here and need > have:
        fits = math.ceil(training.accumulate * need / have)
        raise InputError(
            f"{shown} take more than {need / 2**30:,.0f} GiB in a pass, this machine has {have / 2**30:,.1f}; lower it, or {setting('training.accumulate', value=fits)} or more"
        )
    if training.batch > tokens:
        return [
            f"warning: {shown} in an update are more than the {tokens:,} of the store: a smaller one makes more of them"
        ]
    return []


def check_memory(recipe: Recipe, parameters: int, learn: int) -> None:
    """InputError for a model whose weights, gradients and moments (of the parameters that `learn`) alone exceed the machine, before anything
    is allocated."""
    have, need = machine.memory(), 4 * parameters + 12 * learn
    if need > have:
        raise InputError(
            f"model: {amount(parameters, 'parameter')} take {need / 2**30:,.1f} GiB with gradients and moments, this machine has "
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
