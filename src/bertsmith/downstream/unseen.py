"""Whether a model learned rows that another, which it teaches or begins, is scored on: told by the digests in config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertsmith.downstream.compare import Side
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option

Sources = Mapping[
    str, Any
]  # {train, dev}: {sha256, …} as config.json has them under `data`; of a run of several tasks {feeds}


def learned(theirs: Sources, ours: Sources) -> bool:
    """Whether a model with `theirs` learned dev rows of `ours`.  A share or a fold that both hold out was learned by neither."""
    train, dev = ours["train"], ours["dev"]
    for part in _each(theirs):
        digest = (part.get("train") or {}).get("sha256")
        if "share" not in dev and "fold" not in dev:
            found = digest == dev["sha256"]
        else:  # its digest is that of the numbers of the rows in the training file
            found = digest == train["sha256"] and (part.get("dev") or {}).get("sha256") != dev["sha256"]
        if found:
            return True
    return False


def check_teachers(teachers: tuple[Any, ...], ours: Sources) -> None:
    """InputError for a teacher that learned what the student is scored on: its answers would tell."""
    for teacher in teachers:
        side = Side.of(teacher)
        if side.data and learned(side.data, ours):
            dev = ours["dev"]
            way = f"; one that was tuned with the same {option('dev', dev['share'])} did not" if "share" in dev else ""
            raise InputError(
                f"{option('teacher', side.name)}: learned {_of(ours)}, whose scores would say nothing{way}"
            )


def check_folds(folds: int, train: str, teachers: tuple[Any, ...], model: Mapping[str, Any]) -> None:
    """InputError for a teacher, or a MODEL (by what its config.json says of its data), that learned the file (by its digest) whose rows are all asked in turn."""
    sides = [(option("teacher", side.name), side.data or {}) for side in map(Side.of, teachers)]
    for name, data in (*sides, *((printable(name), data) for name, data in model.items())):
        if any((part.get("train") or {}).get("sha256") == train for part in _each(data)):
            raise InputError(
                f"{option('folds', folds)} with {name}: it learned the same file, the rows of every fold among them, and scores would say nothing; "
                "take a model of other rows"
            )


def _each(data: Sources) -> Iterator[Mapping[str, Any]]:
    yield data
    yield from (data.get("feeds") or {}).values()


def _of(ours: Sources) -> str:
    of_train = "share" in ours["dev"] or "fold" in ours["dev"]
    return "rows of the training file that are dev rows here" if of_train else "the dev file"
