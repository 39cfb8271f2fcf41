"""Labelled rows of a Hugging Face data set: `hf:NAME[:CONFIG[:SPLIT]]`, through the library `datasets`, its cache included.

NAME is one of the hub (`glue`, `user/name`), or a folder (with a `/` or a `.` in front, or one that is there): what `save_to_disk` wrote, or
files of data with a README.  `hf:imdb:test` is a split where the data set has no such configuration; without a split that of the part:
train, validation.  A SPLIT may be a slice, `train[:1000]`.  Columns are known by the names that data sets usually have; classes are their names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.tasks.given import Given, source
from bertsmith.text.hub import alone

HUB = "hf:"
WAY = "; without a network what the library has in its cache is read, or hf:FOLDER of save_to_disk"
SPLITS = {"train": ("train",), "dev": ("validation", "dev", "valid", "test"), "input": ("test", "validation", "train")}
# What data sets call the columns of a task.
PAIRS = (
    ("text", "text2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("anchor", "positive"),
    ("query", "answer"),
)
TEXTS = ("text", "sentence", "tokens", "words", "content", "review", "review_body", "tweet", "title", "sentence1")
LABELS = (
    "label",
    "labels",
    "ner_tags",
    "tags",
    "pos_tags",
    "score",
    "similarity_score",
    "stars",
    "rating",
    "star_rating",
)


def named(
    value: Any, part: str, columns: Mapping[str, str], kind: Any, lacking: bool = False, labelled: bool = True
) -> Any:
    """Rows of a data set where `value` names one, or else `value`.  `columns`: names that the user gives; `lacking`: whether rows may have no
    label; `labelled`: whether they are asked for.  InputError naming the way out."""
    if not isinstance(value, str) or not value.startswith(HUB):
        return value
    data, name = _split(value, part)
    roles = _roles(name, list(data.column_names), columns, kind.fields, labelled)
    made = {role: _values(data, column) for role, column in roles.items()}
    _check_labels(name, made.get("label"), lacking or not labelled)
    rows = [{columns.get(role, role): values[i] for role, values in made.items()} for i in range(len(data))]
    found = source(rows, name, columns, fields=kind.fields, pair=kind.pair)
    notes = tuple(f"{role} {column}" for role, column in roles.items() if role != column)
    assert isinstance(found, Given)
    return replace(found, origin=name, notes=(f"{name}: columns: {', '.join(notes)}",) if notes else ())


def _split(value: str, part: str) -> tuple[Any, str]:
    """The rows of a split, and the whole name of it."""
    whole, bracket, rows = value.removeprefix(HUB).partition("[")
    name, *rest = whole.split(":")
    rest[-1:] = [rest[-1] + bracket + rows] if rest else []
    if not name or len(rest) > 2:
        raise InputError(f"{printable(value)}: expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
    config, split = [*rest, "", ""][:2]
    with _library(value) as datasets:
        folder = name if name.startswith(("/", ".", "~")) or os.path.isdir(name) else None
        if folder is not None and not os.path.isdir(os.path.expanduser(folder)):
            raise InputError(f"{printable(value)}: {printable(folder)}: no such folder")
        if folder is not None and _saved(Path(folder).expanduser()):
            found, split = datasets.load_from_disk(os.path.expanduser(folder)), split or config
            config = ""
        else:
            found, config, split = _loaded(datasets, os.path.expanduser(name) if folder else name, config, split)
    wanted, _, slice_ = split.partition("[")
    if hasattr(found, "column_names") and not isinstance(found, Mapping):
        if split and str(getattr(found, "split", None)) != wanted:
            raise InputError(f"{printable(value)}: holds one split; leave {printable(split)} out")
        return found, value
    there = [*found]
    wanted = wanted or next((one for one in SPLITS.get(part, ()) if one in there), "")
    if wanted not in there:
        missing = f"no split {printable(wanted)}" if wanted else f"no split for {part}"
        raise InputError(f"{printable(value)}: {missing}; it has {', '.join(map(printable, there))}")
    rows = found[wanted]
    if slice_:
        rows = rows.select(range(len(rows))[_slice(slice_, value)])
    return rows, f"{HUB}{name}:{config}:{split or wanted}"


def _loaded(datasets: Any, name: str, config: str, split: str) -> tuple[Any, str, str]:
    try:
        return datasets.load_dataset(name, config or None), config, split
    except ValueError:
        if not config or split:
            raise
    try:
        return datasets.load_dataset(name), "", config
    except ValueError:
        return datasets.load_dataset(name, config), config, split  # its error is the one to tell


def _saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _slice(text: str, value: str) -> slice:
    try:
        first, colon, last = text.removesuffix("]").partition(":")
        if not (colon and text.endswith("]")):
            raise ValueError
        return slice(int(first) if first else None, int(last) if last else None)
    except ValueError:
        raise InputError(f"{printable(value)}: expected a slice of rows such as train[:1000]") from None


@contextmanager
def _library(value: str) -> Iterator[Any]:
    """`datasets`, quiet where nobody watches.  What it raises becomes one line."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"{printable(value)}: needs the library datasets; pip install 'bertsmith[hub]'") from None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        with alone():
            yield datasets
    except InputError:
        raise
    except Exception as error:  # the hub's errors have no common class
        first = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2]) or type(error).__name__
        way = (
            "" if isinstance(error, ValueError) else WAY
        )  # of a configuration or a split the library says which there are
        raise InputError(f"{printable(value)}: cannot be loaded: {printable(first, 300)}{way}") from None


def _roles(
    name: str, there: list[str], columns: Mapping[str, str], fields: tuple[str, ...], labelled: bool
) -> dict[str, str]:
    """{role: the column that has it}, of the roles that a task's rows may have."""
    found = {role: columns[role] for role in fields if role in columns}
    for role, column in found.items():
        if column not in there:
            raise InputError(
                f"{option('columns', f'{role}={printable(column)}')}: {name} has {', '.join(map(printable, there))}"
            )
    found |= {role: role for role in fields if role in there and role not in found}
    pair = next((pair for pair in PAIRS if {*pair} <= {*there}), None)
    if pair and "text2" in fields and not {"text", "text2"} & found.keys():
        found |= {"text": pair[0], "text2": pair[1]}
    for role, usual in (("text", TEXTS), ("label", LABELS)):
        column = next((one for one in usual if one in there and one not in found.values()), None)
        if role in fields and role not in found and column:
            found[role] = column
    missing = next((role for role in fields[:1] if role not in found), None)
    if missing or (labelled and "label" in fields and "label" not in found):
        role = missing or "label"
        raise InputError(
            f"{name}: no column that is known as {role}: it has {', '.join(map(printable, there))}; {option('columns', f'{role}=NAME')} says which"
        )
    return {role: found[role] for role in fields if role in found}


def _values(data: Any, column: str) -> list[Any]:
    """Classes as their names; what has no label (-1) as None."""
    name = _namer((getattr(data, "features", None) or {}).get(column))
    return [name(value) for value in data[column]]


def _namer(feature: Any) -> Callable[[Any], Any]:
    names = getattr(feature, "names", None)
    if names:
        return lambda value: None if value is None or value < 0 else names[value]
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    if getattr(inner, "names", None):
        each = _namer(inner)
        return lambda values: [each(value) for value in values]
    return lambda value: value


def _check_labels(name: str, labels: list[Any] | None, lacking: bool) -> None:
    without = sum(value is None for value in labels or ())
    if without and not lacking:
        every = "no row has a label" if without == len(labels or ()) else f"{without:,} rows have no label"
        raise InputError(f"{name}: {every} (-1), as in the test splits of benchmarks; take another split")
