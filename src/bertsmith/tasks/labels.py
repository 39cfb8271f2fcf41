"""What training learned about its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

CHOSEN = ("threshold", "thresholds", "temperature")  # on the dev file: what result.json has of them
USUAL = ("mean", "scale", "nulls", "threshold")  # what every config.json says; of the others what is not their default


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What every later file must agree with: the classes or tags; the scale of the numbers; whether a question may have no answer."""

    names: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    nulls: bool = False
    numbers: bool = False  # of written targets: whether all are
    threshold: float = 0.0  # by how much the score of no answer must exceed that of the best one
    separator: str = ""  # between the labels of a row that may have several
    counted: str = ""  # how a row names the right one of its choices (offered.COUNTED)
    shares: tuple[float, ...] = ()  # (classes,) of the training rows, where what is learned begins with them
    temperature: float = 1.0  # what divides logits before they are probabilities
    thresholds: tuple[float, ...] = ()  # (classes,) the probability from which on a row has a label; () = 0.5

    def said(self) -> dict[str, Any]:
        """As config.json has it."""
        usual = Labels()
        every = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "names"}
        return {name: value for name, value in every.items() if name in USUAL or value != getattr(usual, name)}

    @classmethod
    def of_task(cls, task: Mapping[str, Any]) -> Labels:
        """The other way round."""
        found = {f.name: task[f.name] for f in fields(cls) if f.name in task}
        found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        return cls(**{**found, "names": tuple(task.get("labels", ()))})

    def chosen(self, before: Labels) -> dict[str, Any]:
        """What was chosen since `before`, for result.json."""
        return {name: getattr(self, name) for name in CHOSEN if getattr(self, name) != getattr(before, name)}
