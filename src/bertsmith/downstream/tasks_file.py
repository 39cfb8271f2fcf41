"""tasks.toml: the tasks and texts that one model is tuned to at once (`multitask`).

    [mixture]                # may be left out
    shares = "size"          # of the updates: "size", "equal", "annealed", or {rte = 2, mrpc = 1}
    each = "one"             # an update reads one task, or "all"

    [task.rte]
    task = "classify"
    train = "rte/train.tsv"  # beside this file
    dev = "rte/dev.tsv"      # or a share of the training file, 0.1
    columns = {text = "sentence1", text2 = "sentence2"}
    head = "san"             # settings of this task alone

    [task.text]
    data = "store"           # the loss of the model's own pre-training

No torch is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from bertsmith import files
from bertsmith.config import assignments_of
from bertsmith.data.mixture import Annealed, BySize, Equal, Shares, Weighted, check_name, check_names
from bertsmith.downstream.labelled_files import Files
from bertsmith.downstream.toml_file import beside, check_keys, table_of, tree_of, within
from bertsmith.downstream.tuning import GROUPS
from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount
from bertsmith.tasks.kinds import KINDS

EACH = ("one", "all")
OF_FILES = tuple(f.name for f in fields(Files))
OF_KINDS = frozenset(name for kind in KINDS.values() for name in kind.settings)  # settings that some kinds of task have
# Settings that a task may have for itself.
OF_ONE = ("batch", "length", "stride", "dropout", "pool", "target_length", "mask_rate", *sorted(OF_KINDS))
OF_TASK, OF_TEXT = (*OF_FILES, "weight", *OF_ONE), ("data", "weight")
# Of these a mixture takes the ones of kinds that it can have: what learns vectors stands alone.
OF_MIXED = {name for kind in KINDS.values() if not kind.embeds for name in kind.settings}
OFFERED = tuple(name for name in OF_TASK if name not in OF_KINDS - OF_MIXED and name not in ("teacher", "few"))
# Keys of [mixture] by the kind of shares; "annealed" gets its epochs when the run has some.
SHARES: dict[str, tuple[type, tuple[str, ...]]] = {
    "size": (BySize, ("cap", "temperature")),
    "equal": (Equal, ()),
    "annealed": (Annealed, ("fall",)),
}
UNKNOWN = {"steps": 1, "epochs": 1}  # of what is annealed, until the run has a length


@dataclass(frozen=True, kw_only=True)
class Feeds:
    """`tasks` and `texts` (stores) by name, in the order of `names`; `weights`: what the losses of each are multiplied by; `sets`: settings
    of one task alone."""

    names: tuple[str, ...]
    tasks: Mapping[str, Files]
    texts: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    sets: Mapping[str, list[str]] = field(default_factory=dict)
    shares: Shares = field(default_factory=BySize)
    each: Literal["one", "all"] = "one"
    where: str = "multitask"  # what a message begins with

    @contextmanager
    def about(self, name: str) -> Iterator[None]:
        """Errors name the task that they are about."""
        with within(f"{self.where}: {printable(name)}"):
            yield

    def with_shares(self, shares: Any, each: Any) -> Feeds:
        """With what an option says in the place of the file."""
        found = self
        if shares is not None:
            found = replace(found, shares=named_shares(shares, {}) if isinstance(shares, str) else shares)
        return found if each is None else replace(found, each=each)


def read_tasks(path: str | Path) -> Feeds:
    """InputError naming the file and the table of what cannot be used; no rows are read yet."""
    path, where = Path(path), printable(path)
    tree = tree_of(path, "a file of tasks", "tasks.toml", ", [task.NAME] with task, train and dev")
    check_keys(tree, ("task", "mixture"), where)
    tables = tree.get("task")
    if not isinstance(tables, dict) or not tables:
        raise InputError(f"{where}: holds no task; [task.NAME] with task, train and dev is one")
    with within(f"{where}: task"):
        check_names(tables)
    tasks, texts, weights, sets = {}, {}, {}, {}
    for name, table in tables.items():
        with within(f"{where}: task.{printable(name) or repr(name)}"):
            check_name(name)
            if not isinstance(table, dict):
                raise InputError(f"{printable(repr(table), 60)} is no table; write [task.{printable(name)}]")
            both = [key for key in ("task", "train", "dev") if key in table]
            if "data" in table and {"task", "train"} & {*both}:
                raise InputError(
                    f"data, {', '.join(both)}: stand there together; a table has a text (data) or labelled rows (task, train, dev); give each its own"
                )
            known, offered = (OF_TEXT, OF_TEXT) if "data" in table else (OF_TASK, OFFERED)
            check_keys(table, known, offered=offered)
            weights[name] = _weight(table.get("weight", 1.0))
            if "data" in table:
                texts[name] = beside(path, table, "data")
                continue
            sets[name] = settings_of({key: value for key, value in table.items() if key in OF_ONE})
            tasks[name] = files_of(path, table)
    if not tasks:
        raise InputError(f"{where}: holds texts and no task; `bertsmith pretrain --from` goes on with text alone")
    with within(f"{where}: mixture"):
        shares, each = _mixture(table_of(tree.get("mixture", {}), ""), tuple(tables))
    said = {"weights": weights, "sets": sets, "shares": shares, "each": each, "where": where}
    return Feeds(names=tuple(tables), tasks=tasks, texts=texts, **said)


def named_shares(kind: str, options: Mapping[str, Any]) -> Shares:
    """InputError for shares that are none, and for an option that others have."""
    if kind not in SHARES:
        raise InputError(f"shares: {printable(repr(kind), 60)}: unknown; {nearest(kind, SHARES)}")
    made, keys = SHARES[kind]
    for key in options:
        if key not in keys:
            have = " and ".join(f'"{name}"' for name, (_, known) in SHARES.items() if key in known)
            raise InputError(f'{key}: shares = "{kind}" have none; {have} have')
    try:
        return made(**options, **(UNKNOWN if made is Annealed else {}))
    except InputError as error:  # it is named as the file has it
        raise InputError(str(error).removeprefix("mixture.")) from None


def check_apart(feeds: Feeds) -> None:
    """InputError where a dev file holds the bytes of a training file, its own or another task's."""
    digests: dict[tuple[str, str], str] = {}
    for name, given in feeds.tasks.items():
        with feeds.about(name):
            given.check_apart()
        parts = ("train",) if given.part is not None else ("train", "dev")
        paths = {part: getattr(given, part) for part in parts if isinstance(getattr(given, part), (str, Path))}
        digests |= {(name, part): files.sha256(at) for part, at in paths.items() if Path(at).is_file()}
    for (one, part), digest in digests.items():
        other = next((n for (n, p), d in digests.items() if part == "dev" and p == "train" and d == digest), None)
        if other is not None:
            raise InputError(
                f"{feeds.where}: {printable(one)}: dev holds the same bytes as train of {printable(other)}; a score on texts that were trained on says nothing"
            )


def settings_of(given: Mapping[str, Any]) -> list[str]:
    """As `--set` has them; san.steps = 3 is a table of its own in TOML."""
    flat: dict[str, Any] = {}
    for key, value in given.items():
        flat |= (
            {f"{key}.{name}": each for name, each in value.items()}
            if key in GROUPS and isinstance(value, dict)
            else {key: value}
        )
    return assignments_of(flat)


def files_of(path: Path, table: Mapping[str, Any]) -> Files:
    for key in ("task", "train", "dev"):
        if key not in table:
            more = "; a share of the training file, such as 0.1, is one, too" if key == "dev" else ""
            raise InputError(f"{key}: is missing{more}")
    given = {name: value for name, value in table.items() if name in OF_FILES}
    for name, kind, words in (("header", bool, "true or false"), ("allow_unknown", bool, "true or false")):
        if name in given and not isinstance(given[name], kind):
            raise InputError(f"{name}: {printable(repr(given[name]), 60)}: {words} is wanted")
    for name in ("task", "encoding", "on_long", "on_bad_answer", "template", "target", "metric"):
        if name in given and not isinstance(given[name], str):
            raise InputError(f"{name}: {printable(repr(given[name]), 60)}: a text is wanted")
    labels = given.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, (str, int)) for label in labels):
        raise InputError(f'labels: {printable(repr(labels), 60)}: a list is wanted, such as ["yes", "no"]')
    given["labels"] = tuple(str(label) for label in labels)
    if not isinstance(given.get("columns", ""), (str, dict)):
        table_of(given["columns"], "columns")
    if isinstance(table["dev"], bool) or not isinstance(table["dev"], (str, int, float)):
        raise InputError(f"dev: {_toml(table['dev'])}: a path is wanted, or a share of the training file, such as 0.1")
    share = isinstance(table["dev"], (int, float)) and not isinstance(table["dev"], bool)
    for part in ("train", "dev")[: 1 if share else 2]:
        given[part] = beside(path, table, part)
    return Files(**given)


def _toml(value: Any) -> str:
    """As it was written."""
    return printable(str(value).lower() if isinstance(value, bool) else repr(value), 60)


def _mixture(table: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Shares, Literal["one", "all"]]:
    known = ("shares", "each", *dict.fromkeys(key for _, keys in SHARES.values() for key in keys))
    check_keys(table, known)
    each, kind = table.get("each", "one"), table.get("shares", "size")
    if each not in EACH:
        raise InputError(f"each: {printable(repr(each), 60)}: is neither 'one' nor 'all'")
    options = {key: value for key, value in table.items() if key not in ("shares", "each")}
    if not isinstance(kind, dict):
        return named_shares(kind if isinstance(kind, str) else repr(kind), options), each
    check_keys(kind, names, "shares")
    lacks = [name for name in names if name not in kind]
    if lacks or options:
        what = f"{lacks[0]} has none" if lacks else f"{next(iter(options))} goes with shares by size"
        raise InputError(f"shares: {printable(what)}; give {amount(len(names), 'number')}, one for each task")
    for name in names:
        if isinstance(kind[name], bool) or not isinstance(kind[name], (int, float)) or not 0 <= kind[name] < math.inf:
            raise InputError(f"shares: {printable(name)} = {_toml(kind[name])}: a number above 0 is wanted")
        if kind[name] == 0:
            raise InputError(f"shares: {printable(name)} = 0: is never learned; take its table out")
    return Weighted(weights=tuple(kind[name] for name in names)), each


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InputError(
            f"weight: {printable(repr(value), 60)}: a number above 0 is wanted; leave out a task that is worth nothing"
        )
    return float(value)
