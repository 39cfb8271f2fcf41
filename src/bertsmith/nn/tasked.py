"""Embeddings that are told which task a text is read for: what segments number is a segment and a task (ERNIE 2.0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.tasked import TaskedEmbeddings


@dataclass(frozen=True, kw_only=True)
class Tasked:
    """Token, segment, position and task, a norm on the sum, dropout (Sun et al. 2020, section 4.2).

    Segment s of task t is number s + 2 t of a stream (`Corruption.task`); who tells nothing is task 0's, fine-tuning is (any task will do).
    """

    tasks: int = 7
    segments: ClassVar[int] = 2
    width: ClassVar[None] = None
    asks: ClassVar[bool] = False
    norm: ClassVar[bool] = True

    def __post_init__(self):
        require(1 <= self.tasks <= 120, f"model.embeddings.tasks: {self.tasks} is not from 1 to 120")

    def build(self, model: Any) -> TaskedEmbeddings:
        from bertsmith.nn.modules.tasked import TaskedEmbeddings

        return TaskedEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        return (model.vocab + self.segments + self.tasks) * model.inner + model.norm.parameters(model.inner)
