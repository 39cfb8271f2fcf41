"""A job: a run before it is anywhere.  What is read, what learns, how it is judged; pre-training and fine-tuning differ in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.data.feed import Feed
from bertsmith.data.loader import BEGINNING, Cursor, Loader
from bertsmith.data.mixture import Mixture
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe
from bertsmith.spelling import option
from bertsmith.training.distributed import World
from bertsmith.training.exam import Exam
from bertsmith.training.log import check_tensorboard
from bertsmith.training.run import Run

if TYPE_CHECKING:
    from torch import nn

    from bertsmith.nn.modules.member import MemberModel

SHARDS = ("ddp", "fsdp")  # processes hold copies of the member, or a slice each
Progress = Callable[[int, int, float, float, float], None]


class Loss(float):
    """The loss of an update: the number that is minimised; `terms` are what it is made of (null: nothing was asked)."""

    terms: dict[str, float | None]

    def __new__(cls, loss: float, terms: dict[str, float | None]) -> Loss:
        made = super().__new__(cls, loss)
        made.terms = terms
        return made


def silent(*_: Any) -> None:
    """Says nothing."""


def check_options(shard: str, tensorboard: bool) -> None:
    """InputError for what no run can be made with."""
    if shard not in SHARDS:
        raise InputError(f"{option('shard')}: {printable(repr(shard))} is not one of {', '.join(SHARDS)}")
    if tensorboard:
        check_tensorboard()


def as_it_is(member: MemberModel) -> MemberModel:
    return member


def fresh(member: MemberModel, say: Callable[[str], None]) -> None:
    """Nothing is taken over."""


def unsaid(line: dict[str, Any]) -> list[str]:
    """Nothing."""
    return []


@dataclass(kw_only=True)
class Job:
    run: Run
    recipe: Recipe  # with the vocabulary of the text
    feed: Feed | Mixture
    seed: int
    kept: dict[str, Any]  # what config.json says of this kind: kind, data, task, …
    same: tuple[str, ...]  # dotted fields of config.json that a resumed run must find as they were
    tokenizer: bytes  # tokenizer.json
    entities: bytes | None = None  # entities.txt, of a member that reads some
    exam: Exam | None = None
    patience: int | None = None  # exams without a better rank after which the run ends early; None: never
    start: Callable[[MemberModel, Callable[[str], None]], Any] = fresh  # puts in weights; what config.json says of them
    learner: Callable[[MemberModel], nn.Module] = as_it_is  # what is run and learns; the whole member is what is saved
    trained: int | None = None  # parameters that learn, where not all do
    alone: bool = (
        False  # a step holds the heads and what learns of the trunk; the rest stands where `start` takes it from
    )
    outcome: Callable[[dict[str, Any]], list[str]] = unsaid  # what a user is told of the last line of metrics.jsonl
    share: float = 1.0  # of its updates after which it pauses, at the next exam; it goes on as any run does
    workers: int = 0
    sound: Callable[[], None] | None = None  # waits until what is read is known to be as written, where it is not yet

    def loader(self, world: World, cursor: Cursor = BEGINNING, step: int = 0) -> Loader:
        """This process's share of every step after `step`."""
        training = self.recipe.training
        return Loader(
            self.feed,
            accumulate=training.accumulate,
            most=training.most,
            cursor=cursor,
            step=step,
            workers=self.workers,
            rank=world.rank,
            world=world.size,
            stop=world.asked,
        )
