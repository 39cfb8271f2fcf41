"""plan.json of a study: what it was begun with, and what its budget came to.  A study that goes on finds here what it must not have changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertsmith import files
from bertsmith.downstream.study.asked import LISTS, Asked
from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.training.run import differences

PLAN, FORMAT = "plan.json", 1
GROWING = ("seeds", "budgets")  # lists that may be added to
BYTES = ("train", "dev", "digest", "sources")  # whose values are digests of data


@dataclass
class Record:
    """`asked`: the study file's tree with seeds and budgets; `members`: facts by the digest of what they were asked for (members.py)."""

    asked: dict[str, Any]
    threads: int
    members: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path) -> Record | None:
        """None where no study was begun.  InputError where it is damaged."""
        data = files.plain(out / PLAN)
        if data is None:
            return None
        tree = files.unsealed(data, out / PLAN)
        files.check_format(tree, out / PLAN, FORMAT)
        return cls(asked=tree["asked"], threads=tree["threads"], members=tree["members"])

    def write(self, out: Path) -> None:
        told = {
            "format": FORMAT,
            "kind": "study",
            "asked": self.asked,
            "threads": self.threads,
            "members": self.members,
        }
        data = files.sealed(told)
        if files.plain(out / PLAN) != data:
            files.write(out / PLAN, data)


def told(asked: Asked, digest: str) -> dict[str, Any]:
    """What plan.json has of a study file, on a store."""
    tree = asked.tree
    tree["data"]["digest"] = digest
    return tree | {"seeds": list(asked.seeds), "budgets": list(asked.budgets)}


def check_same(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """InputError naming the first field in which the study would not be the one that was begun; arms, tasks, tunings, seeds and budgets may be added."""
    for name, was in old.items():
        now = new.get(name)
        if name in GROWING:
            lost = [one for one in was if one not in now]
            if lost:
                raise InputError(_changed(out, name, was, now))
        elif name in LISTS:
            for called, one in was.items():
                if called not in now:
                    raise InputError(
                        f"{printable(out)}: {name}.{printable(called)}: the study was begun with it, and it is gone; put it back, or choose another {option('out')}"
                    )
                _check(out, f"{name}.{called}", one, now[called])
        else:
            _check(out, name, was, now)


def _check(out: Path, name: str, was: Any, now: Any) -> None:
    for leaf, one, other in differences(was, now, name):
        raise InputError(_changed(out, leaf, one, other))


def _changed(out: Path, name: str, was: Any, now: Any) -> str:
    """The digest of what changed says nothing to a reader."""
    if any(part in BYTES for part in name.split(".")) and isinstance(was, str):
        said = "has other bytes than when the study began; its cells would not be of the same data"
        return f"{printable(out)}: {printable(name)}: {said}; put it back, or choose another {option('out')}"
    shown = [printable(json.dumps(one), 80) for one in (was, now)]
    return f"{printable(out)}: {printable(name)}: the study was begun with {shown[0]}, now it is {shown[1]}; use the same, or another {option('out')}"
