"""study.toml: which members are compared, at which cost, and by which tasks.

    [data]
    store = "store"                # beside this file; or sources = ["text.txt"], with the options of `prepare`

    [budget]                       # of each pre-training: one of flops, tokens, steps, minutes (of this machine, fixed once); or a list of them
    flops = 1e13

    [runs]                         # may be left out
    seeds = 3                      # or [0, 1, 2]
    sizes = ["tiny"]               # of arms that name none

    [[arm]]
    name = "masks"
    recipe = "roberta"             # or "roberta:tiny"
    set = {"training.batch" = 1024}
    grid = {"corruption.select.rate" = [0.15, 0.3]}
    parts = {"corruption.select" = {type = "bertsmith.data.noise:Tail"}}   # as config.json writes them

    [[task]]
    name = "news"
    task = "classify"              # and what a table of tasks.toml has
    train = "news/train.tsv"
    dev = "news/dev.tsv"

    [[tuning]]                     # how models are read on the tasks; one, method full, unless any stands here
    name = "adapters"
    method = "adapter"

No torch is loaded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertsmith.config import assignments_of
from bertsmith.downstream.grid import shown
from bertsmith.downstream.methods import method_of
from bertsmith.downstream.study.asked import LISTS, Arm, Asked, Halving, Task, Tuning, shares_of
from bertsmith.downstream.tasks_file import EACH, OF_FILES, OF_ONE, files_of, settings_of
from bertsmith.downstream.toml_file import beside, check_keys, table_of, tree_of, within
from bertsmith.downstream.tuning import settings
from bertsmith.errors import InputError, printable
from bertsmith.spelling import an

BUDGETS = ("flops", "tokens", "steps", "minutes")
KEEP = ("models", "all")
PREPARED = (
    "tokenizer",
    "lowercase",
    "strip_accents",
    "normalise",
    "chinese",
    "language",
    "documents",
    "lines",
    "field",
)
PREPARED += (
    "holdout",
    "workers",
    "tokenizer_sample",
    "phrases",
    "entities",
    "clean",
    "encoding",
    "capitals",
    "smoothing",
)
OF_TABLES = {
    "data": ("store", "sources", *PREPARED),
    "budget": BUDGETS,
    "runs": ("seeds", "sizes", "threads", "curve", "held_out", "keep", "members"),
    "arm": ("name", "recipe", "set", "grid", "parts", "scratch"),
    "task": ("name", *OF_FILES, *OF_ONE),
    "tuning": ("name", "method", "set", "epochs", "steps", "tokens", "scratch", "shares", "each"),
    "halving": ("eta", "rounds"),
    "slurm": None,  # submitit's own parameters
    "ray": None,  # those of ray.init
}


def read_study(path: str | Path) -> Asked:
    """InputError naming the file, the table and the key of what cannot be used; no store and no rows are read yet."""
    path, where = Path(path), printable(path)
    tree = tree_of(path, "a file of a study", "study.toml", "; `bertsmith study --template roberta-tables` prints one")
    check_keys(tree, tuple(OF_TABLES), where)
    with within(where):
        for name in ("data", "budget", "arm"):
            if name not in tree:
                raise InputError(f"holds no {'[[arm]]' if name == 'arm' else f'[{name}]'}; a study has one")
        lists = {name: _named(tree.get(name, []), name) for name in LISTS}
        tables = {name: table_of(tree.get(name, {}), name) for name in OF_TABLES if name not in LISTS}
        for name, table in tables.items():
            if OF_TABLES[name] is not None:
                check_keys(table, OF_TABLES[name], name)
        sizes = _sizes(tables["runs"].get("sizes", []))
        arms = [arm for name, table in lists["arm"].items() for arm in _arms(name, table, sizes)]
        _check_apart([arm.name for arm in arms], "arm")
        tasks = tuple(_task(path, name, table) for name, table in lists["task"].items())
        tunings = tuple(_tuning(name, table) for name, table in lists["tuning"].items()) or (Tuning(name="full"),)
        by, budgets = _budget(tables["budget"])
        made = Asked(
            where=where,
            **_data(path, tables["data"]),
            by=by,
            budgets=budgets,
            arms=tuple(arms),
            tasks=tasks,
            tunings=tunings,
            halving=_halving(tables["halving"]) if "halving" in tree else None,
            slurm=tables["slurm"],
            ray=tables["ray"],
            **_runs(tables["runs"]),
        )
        _check(made)
    return made


def _check(made: Asked) -> None:
    if not made.tasks and any(arm.scratch for arm in made.arms):
        raise InputError("arm: scratch: fresh weights are read on tasks alone, and there is no [[task]]")
    if any(one.shares for one in made.tunings) and len(made.tasks) < 2:
        raise InputError("tuning: shares: several tasks are tuned together, and there are fewer than two; leave it out")
    if made.halving and len(made.budgets) > 1:
        raise InputError("halving: begins with shares of one budget, and there are several; give one")
    if made.halving and made.by == "minutes":
        raise InputError("halving: shares of minutes would be measured apart; give flops, tokens or steps")
    if made.halving and len(made.arms) < made.halving.eta:
        raise InputError(
            f"halving: of {made.halving.eta} arms one goes on, and there are {len(made.arms)}; leave it out"
        )
    together = any(one.shares for one in made.tunings)
    for task in made.tasks:
        with within(f"task.{printable(task.name)}"):
            task.files.check_apart()
            if together and task.set:
                raise InputError(
                    f"{printable(task.set[0])}: tasks that are tuned together have no settings of their own here; give them to [[tuning]]"
                )


def _named(given: Any, name: str) -> dict[str, dict[str, Any]]:
    """Tables of a list, each by its name."""
    if not isinstance(given, list):
        raise InputError(f"{name}: is {an(type(given).__name__)}; write [[{name}]], one for each")
    found: dict[str, dict[str, Any]] = {}
    for number, table in enumerate(given, 1):
        called = table_of(table, f"{name} {number}").get("name", table.get("recipe"))
        if not isinstance(called, str) or not called:
            raise InputError(f"{name} {number}: name: is missing, or no text")
        _check_apart([*found, called], name)
        with within(f"{name}.{printable(called)}"):
            check_keys(table, OF_TABLES[name])
        found[called] = table
    return found


def _check_apart(names: list[str], of: str) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise InputError(f"{of}.{printable(twice)}: stands there twice; give each a name of its own")


def _arms(name: str, table: dict[str, Any], sizes: list[str]) -> Iterator[Arm]:
    """Of each size and each value of its grid one."""
    with within(f"arm.{printable(name)}"):
        recipe = table.get("recipe")
        if not isinstance(recipe, str):
            raise InputError("recipe: is missing; a member is wanted, such as bert:tiny")
        grid = table_of(table.get("grid", {}), "grid")
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"grid: {printable(key)}: a list of values is wanted, such as [0.15, 0.3]")
        sets, parts = table_of(table.get("set", {}), "set"), table_of(table.get("parts", {}), "parts")
        scratch = _flag(table, "scratch")
        if ":" not in recipe and not sizes:
            raise InputError(
                f"recipe: {printable(recipe)} names no size; write {printable(recipe)}:tiny, or sizes in [runs]"
            )
        for size in sizes if ":" not in recipe else [""]:
            for values in itertools.product(*grid.values()):
                chosen = dict(zip(grid, values, strict=True))
                varied = "".join(f" {key.rpartition('.')[2]}={shown(value)}" for key, value in chosen.items())
                yield Arm(
                    name=f"{name}{':' * bool(size)}{size}{varied}",
                    line=f"{name}{varied}",
                    recipe=f"{recipe}:{size}" if size else recipe,
                    set=tuple(_assigned({**sets, **chosen})),
                    parts=parts,
                    scratch=scratch,
                )


def _assigned(sets: Mapping[str, Any]) -> list[str]:
    """As `--set` has them: a text as it stands, so that "null" is null."""
    plain = {name: value for name, value in sets.items() if isinstance(value, str)}
    other = {name: value for name, value in sets.items() if name not in plain}
    return [*(f"{name}={value}" for name, value in plain.items()), *assignments_of(other)]


def _task(path: Path, name: str, table: dict[str, Any]) -> Task:
    with within(f"task.{printable(name)}"):
        own = settings_of({key: value for key, value in table.items() if key in OF_ONE})
        settings(own)
        return Task(name=name, files=files_of(path, table), set=tuple(own))


def _tuning(name: str, table: dict[str, Any]) -> Tuning:
    with within(f"tuning.{printable(name)}"):
        method, given, each = (table.get(key) for key in ("method", "shares", "each"))
        length = {key: _positive(table[key], key) for key in ("epochs", "steps", "tokens") if key in table}
        if len(length) > 1:
            raise InputError(f"{' and '.join(length)}: give only one of them")
        sets = _assigned(table_of(table.get("set", {}), "set"))
        settings(sets)
        method_of(method or "full")
        shares = {"by": given} if isinstance(given, str) else given and table_of(given, "shares")
        if shares:
            shares_of(shares)
        if each is not None and (each not in EACH or not shares):
            raise InputError(f"each: {printable(repr(each), 40)}: one or all is wanted, beside shares")
        how = {"length": length, "scratch": _flag(table, "scratch"), "shares": shares, "each": each}
        return Tuning(name=name, method=method or "full", set=tuple(sets), **how)


def _data(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    with within("data"):
        if ("store" in table) == ("sources" in table):
            raise InputError("give one of store (a folder that `bertsmith prepare` wrote) and sources (text)")
        options = {name: value for name, value in table.items() if name in PREPARED}
        if "store" in table:
            if options:
                raise InputError(f"{next(iter(options))}: is for sources; the store is prepared already")
            return {"store": beside(path, table, "store"), "sources": (), "prepared": {}}
        sources = table["sources"] if isinstance(table["sources"], list) else [table["sources"]]
        if not sources or not all(isinstance(one, str) and one for one in sources):
            raise InputError("sources: paths are wanted")
        found = [one if one.startswith("hf:") else str(path.parent / one) for one in sources]
        return {"store": None, "sources": tuple(found), "prepared": options}


def _budget(table: dict[str, Any]) -> tuple[str, tuple[float, ...]]:
    with within("budget"):
        if len(table) != 1:
            raise InputError(f"give one of {', '.join(BUDGETS)}")
        ((by, value),) = table.items()
        values = value if isinstance(value, list) else [value]
        if not values:
            raise InputError(f"{by}: a number above 0 is wanted, or several")
        found = sorted(_positive(one, by) for one in values)
        if len({*found}) < len(found):
            raise InputError(f"{by}: a number stands there twice")
        if by in ("tokens", "steps") and any(one != int(one) for one in found):
            raise InputError(f"{by}: whole numbers are wanted")
        return by, tuple(found)


def _runs(table: dict[str, Any]) -> dict[str, Any]:
    with within("runs"):
        found: dict[str, Any] = {"seeds": _seeds(table.get("seeds", 1))}
        for name in ("threads", "curve", "held_out"):
            if name in table:
                found[name] = int(_positive(table[name], name))
        if table.get("keep", "models") not in KEEP:
            raise InputError(f"keep: {printable(repr(table['keep']), 40)}: one of {', '.join(KEEP)} is wanted")
        members = table.get("members", [])
        if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
            raise InputError("members: a list of modules is wanted")
        return {**found, "keep": table.get("keep", "models"), "members": tuple(members)}


def _seeds(given: Any) -> tuple[int, ...]:
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return tuple(range(given))
    whole = isinstance(given, list) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in given)
    if not whole or not given or len({*given}) < len(given):
        raise InputError(
            f"seeds: {printable(repr(given), 60)}: how many is wanted, or a list of different numbers from 0"
        )
    return tuple(given)


def _sizes(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
        raise InputError(f'runs: sizes: {printable(repr(given), 60)}: a list is wanted, such as ["tiny", "mini"]')
    return given


def _halving(table: dict[str, Any]) -> Halving:
    with within("halving"):
        found = {name: int(_positive(table[name], name)) for name in table}
        if found.get("eta", 2) < 2:
            raise InputError("eta: of so many members one goes on; expected a number from 2")
        return Halving(**found)


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"{name}: {printable(repr(value), 60)}: a number above 0 is wanted")
    return value


def _flag(table: Mapping[str, Any], name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"{name}: {printable(repr(value), 60)}: true or false is wanted")
    return value
