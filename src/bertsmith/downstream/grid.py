"""The grid of a search: values of settings, and of what else a fine-tuning is asked for, and the trials that they make."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np

from bertsmith.config import assignments_of
from bertsmith.data.draw import hashed
from bertsmith.downstream.asked import Asked, check_early
from bertsmith.downstream.methods import method_of
from bertsmith.downstream.tuning import ALIASES, GROUPS, LENGTHS, FineTuning, settings
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option, setting
from bertsmith.tasks.reading import ON_LONG

ARGUMENTS = ("epochs", "steps", "method", "on_long")  # of finetune that a search may go over; all else are settings
Search = Mapping[str, Iterable[Any]] | Iterable[str]
Grid = dict[str, tuple[Any, ...]]
Trial = dict[str, Any]  # {name: value}


def parsed(search: Search) -> Grid:
    """`["lr=1e-5,3e-5", "epochs=2,3"]`, or the same as {name: values}.  InputError for a name that is none, and for a list that is empty or
    has a value twice."""
    found: Grid = {}
    for name, given in _pairs(search):
        if name not in _known():
            raise InputError(f"{option('search', like=printable(name))}: no such setting; {nearest(name, _known())}")
        values = tuple(given)
        if not values:
            raise InputError(
                f"{option('search', like=name)}: no values; write them with commas between, such as lr=1e-5,3e-5"
            )
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None or name in found:
            raise InputError(
                f"{option('search', like=name)}: {shown(twice) if name not in found else name} stands twice"
            )
        found[name] = values
    if not found:
        raise InputError(f"{option('search')}: no settings; lr=1e-5,3e-5 is a list of them")
    return found


def trials(grid: Grid, most: int | None, seed: int) -> list[Trial]:
    """Every combination, the last name's values changing first, or `most` of them drawn by `seed`, in the same order."""
    every = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if most is not None and most < 2:
        raise InputError(f"{option('trials', most)}: expected a number from 2")
    if len(every) < 2:
        raise InputError(
            f"{option('search')}: one trial alone, {said(every[0])}, leaves nothing to choose; give a setting two values"
        )
    if most is None or most >= len(every):
        return every
    drawn = np.argsort(hashed(seed, "trials", np.arange(len(every))), kind="stable")[:most]
    return [every[i] for i in sorted(drawn.tolist())]


def tried(asked: Asked, trial: Trial) -> Asked:
    """What a trial asks for.  InputError for what is asked for beside the search, too."""
    beside = {one.partition("=")[0] for one in assignments_of(asked.set)}
    for name in trial:
        if ALIASES.get(name, name) in {ALIASES.get(one, one) for one in beside}:
            raise InputError(f"{option('search', like=name)}: {setting(name)} is given as well; take one of the two")
    lengths = [name for name in LENGTHS if getattr(asked, name) is not None]
    if lengths and trial.keys() & {"epochs", "steps"}:
        raise InputError(
            f"{option('search', like=next(name for name in trial if name in LENGTHS))}: {option(lengths[0])} is given as well; take one of the two"
        )
    own = {name: value for name, value in trial.items() if name in ARGUMENTS}
    sets = {name: value for name, value in trial.items() if name not in ARGUMENTS}
    return asked.but(**own, set=[*assignments_of(asked.set), *assignments_of(sets)])


def check(asked: Asked, grid: Grid, every: Iterable[Trial]) -> None:
    """InputError for a value that its setting does not take, or a method does not have."""
    for name, values in grid.items():
        for value in values:
            one = tried(asked, {name: value})
            with within(name):
                if name in ("method", "on_long") and not isinstance(value, str):
                    raise InputError(f"{printable(repr(value), 40)} is not a name")
                if name == "on_long" and value not in ON_LONG:
                    raise InputError(f"{value}: unknown; {nearest(value, ON_LONG)}")
                settings(one.set)
                one.budget.check_given(LENGTHS)
                method_of(one.method)
    for trial in every:
        with within(typed(trial)):
            check_early(tried(asked, trial))


@contextmanager
def within(what: str) -> Iterator[None]:
    """Errors name the search, and what of it they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{option('search', like=what)}: {error}") from None


def typed(trial: Trial) -> str:
    """`lr=3e-05 epochs=2`."""
    return " ".join(f"{name}={shown(value)}" for name, value in trial.items())


def said(trial: Trial) -> str:
    """`lr 3e-05, epochs 2`."""
    return ", ".join(f"{name} {shown(value)}" for name, value in trial.items())


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _pairs(search: Search) -> list[tuple[str, list[Any]]]:
    if isinstance(search, Mapping):
        return [
            (str(name), [values] if isinstance(values, str) or not isinstance(values, Iterable) else [*values])
            for name, values in search.items()
        ]
    found = []
    for one in [search] if isinstance(search, str) else search:
        name, equals, text = str(one).partition("=")
        if not equals or not name:
            raise InputError(
                f"{option('search', like=printable(one))}: expected field=value,value, such as lr=1e-5,3e-5"
            )
        found.append((name, _values(text)))
    return found


def _values(text: str) -> list[Any]:
    """What stands between commas, as `--set` reads it; commas inside brackets part nothing."""
    try:
        return json.loads(f"[{text}]")
    except ValueError:
        parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise InputError(f"{option('search', like=printable(text))}: a value is empty; 1e-5,3e-5 are two")
    return [_value(part) for part in parts]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _known() -> list[str]:
    usual = FineTuning()
    groups = [f"{group}.{f.name}" for group in GROUPS for f in fields(getattr(usual, group))]
    own = (f.name for f in fields(FineTuning) if f.name not in GROUPS)
    return [*dict.fromkeys((*own, *ALIASES, *groups, *ARGUMENTS))]


def rungs(count: int, eta: int) -> list[tuple[float, int]]:
    """(share of its updates, how many trials come so far), the last (1, …): successive halving (Jamieson & Talwalkar 2016), the inner loop
    of Hyperband (Li et al. 2018, algorithm 1)."""
    if eta < 2:
        raise InputError(
            f"{option('eta', eta)}: of so many trials one goes on; expected a number from 2, 2 or 3 are usual"
        )
    last = 0
    while eta ** (last + 1) <= count:
        last += 1
    return [(float(eta) ** (rung - last), max(1, count // eta**rung)) for rung in range(last + 1)]


def summary(grid: Grid, every: list[Trial]) -> str:
    """`6 trials of lr 1e-05, 3e-05, 0.0001 x epochs 2, 3`."""
    of = " x ".join(f"{name} {', '.join(map(shown, values))}" for name, values in grid.items())
    total = int(np.prod([len(values) for values in grid.values()]))
    drawn = f", drawn from {total:,}" if total > len(every) else ""
    return f"{amount(len(every), 'trial')}{drawn} of {of}"
