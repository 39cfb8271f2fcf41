"""Text as a feed whose updates change while a run goes on, as its recipe's ramps say: a text for each length of rows, of which a step reads one.

Until it is told how many steps the run `lasts`, it is behind all ramps.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from bertsmith.data.causal import Causal, Everything
from bertsmith.data.feed import Epoch
from bertsmith.data.ramps import Ramps, fewest
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.spelling import setting

ALWAYS = 1 << 40  # steps
SAMPLED = 500  # steps that a mean is taken over


class Ramped:
    """`feeds`: {"": the text as the recipe has it}, and one for each shorter length, whose order begins another epoch.  InputError for ramps that
    the recipe has no room for."""

    def __init__(self, recipe: Any, store: Any, seed: int):
        self.ramps: Ramps = recipe.schedule.ramps
        _check(self.ramps, recipe)
        self.steps: int | None = None
        self.begins: dict[str, tuple[int, int]] = {"": (len(self.ramps.lengths), 0)}
        self.feeds: dict[str, Text] = {"": Text.of(recipe, store, seed)}
        for number, (length, _) in enumerate(self.ramps.lengths):
            layout = replace(recipe.layout, length=length)
            self.feeds[str(length)] = Text.of(replace(recipe, layout=layout), store, seed)
            self.begins[str(length)] = (number, 0)
        if (self.ramps.batch < 1 or self.ramps.lengths) and self.text.epoch(0).plan.step:
            raise InputError(
                "schedule.ramps: sequences that go on from one another are read in columns, which neither batch nor lengths can change; leave both out"
            )
        self._kept: dict[tuple, Text] = {}

    @property
    def text(self) -> Text:
        """As the recipe has it."""
        return self.feeds[""]

    @property
    def layout(self) -> Any:
        return self.text.layout

    @property
    def corruption(self) -> Any:
        return self.text.corruption

    def epoch(self, number: int) -> Epoch:
        return self.text.epoch(number)

    def lasts(self, steps: int) -> None:
        self.steps = steps

    def reads(self, step: int) -> tuple[str, ...]:
        length = self.ramps.length(step, self.steps) if self.steps else None
        return ("" if length is None else str(length),)

    def room(self, step: int, room: int) -> int:
        """What step `step` takes at most, where others take `room`."""
        return room if self.steps is None else int(room * self.ramps.size(step, self.steps))

    def at(self, name: str, step: int) -> Text:
        """What makes the batches of a step of one of the feeds."""
        text = self.feeds[name]
        if self.steps is None:
            return text
        if self.ramps.reads_left(step, self.steps):
            return self._of(name, "causal", select=Everything(), rewrite=Causal())
        if self.ramps.mask_rate is None:
            return text
        rate = self.ramps.rate(text.corruption.select.rate, step, self.steps)
        return self._of(name, rate, select=replace(text.corruption.select, rate=rate))

    def _of(self, name: str, key: Any, **change: Any) -> Text:
        """The text of such a corruption, the same object for the same; few are kept."""
        if (name, key) not in self._kept:
            made = copy(self.feeds[name])
            made.corruption = replace(made.corruption, **change)
            self._kept = {**dict([*self._kept.items()][-8:]), (name, key): made}
        return self._kept[name, key]

    @cached_property
    def _means(self) -> dict[tuple[int | None, float], float]:
        return {}

    def tokens(self, size: float, length: int | None) -> float:
        """Real tokens in a mean update of this share of the batch and these rows."""
        if (length, size) not in self._means:
            epoch = self.feeds["" if length is None else str(length)].epoch(0)
            room, at, found = int(epoch.room * size), 0, []
            for _ in range(SAMPLED):
                after = epoch.fill(at, room)
                if after >= len(epoch.order):
                    break
                found.append(int(epoch.tokens[after] - epoch.tokens[at]))
                at = after
            self._means[length, size] = float(np.mean(found)) if found else float(room)
        return self._means[length, size]

    def total(self, steps: int) -> float:
        """Real tokens that a run of so many steps reads."""
        return sum(count * self.tokens(size, length) for count, size, length, _ in self.ramps.parts(steps))

    def steps_of(self, tokens: float) -> int:
        """Steps that read about so many tokens."""
        return fewest(tokens, self.total)

    def within(self, updates: float, left: float) -> int:
        """Steps that take as long as so many updates behind all ramps; one that reads from the left takes as long as `left` of them."""
        return self.ramps.within(updates, left)

    def beginning(self) -> Ramped | None:
        """What reads from the left alone, where a run begins so: for who measures it."""
        if not self.ramps.causal:
            return None
        made = copy(self)
        made.steps, made.ramps, made._kept = ALWAYS, Ramps(causal=ALWAYS), {}
        return made


def _check(ramps: Ramps, recipe: Any) -> None:
    length, batch, corruption = recipe.layout.length, recipe.training.batch, recipe.corruption
    if recipe.mixture is not None:
        raise InputError("schedule.ramps: a recipe of several feeds has a mixture's stages instead; set mixture.shares")
    if ramps.batch * batch < length:
        raise InputError(
            f"schedule.ramps.batch: {ramps.batch:g} of {batch:,} tokens cannot hold a row of {length}; at least {length / batch:.3g}"
        )
    longest = ramps.lengths[-1][0] if ramps.lengths else 0
    if longest >= length:
        raise InputError(
            f"schedule.ramps.lengths: {longest} is not below layout.length ({length}), which follows them; {setting('layout.length', value=2 * longest)} makes room"
        )
    if ramps.mask_rate is not None and not hasattr(corruption.select, "rate"):
        raise InputError(
            f"schedule.ramps.mask_rate: {type(corruption.select).__name__} has no rate that could change; leave it null"
        )
    if ramps.causal and (getattr(corruption.rewrite, "causal", False) or recipe.model.asks or _decodes(recipe)):
        raise InputError(
            f"schedule.ramps.causal: {recipe.name} does not fill masks where they stand, so it has nothing to begin before; leave it 0"
        )
    heads = getattr(recipe.objective, "heads", ())
    if ramps.causal and "token" not in [head.name for head in heads]:
        raise InputError(
            "schedule.ramps.causal: the objective has no head of tokens that could ask for the next; leave it 0"
        )


def _decodes(recipe: Any) -> bool:
    return getattr(recipe.model, "decodes", False)
