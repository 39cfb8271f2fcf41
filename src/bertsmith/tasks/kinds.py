"""The kinds of tasks.  A kind is one class; nothing else knows its name.

A file becomes rows, rows become sequences with places that a head reads, what the head says at the places becomes what is said of each
row, and that becomes scores and answers.  The loop of fine-tuning, `predict` and `evaluate` call these steps and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bertsmith.errors import InputError, nearest
from bertsmith.spelling import option
from bertsmith.tasks import metrics
from bertsmith.tasks.answers import Answers
from bertsmith.tasks.choice import Choice
from bertsmith.tasks.frames import Frames
from bertsmith.tasks.given import Given
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.multilabel import MultiLabel
from bertsmith.tasks.ordinal import Ordinal
from bertsmith.tasks.reading import OnLong, Reading, Wide
from bertsmith.tasks.relations import Relations, Typing
from bertsmith.tasks.sequences import Asked, Encoded
from bertsmith.tasks.tags import Tags
from bertsmith.tasks.text2text import Text2Text
from bertsmith.tasks.texts import Classes, Numbers
from bertsmith.tasks.vectors import Retrieval, Similarity


class Rows(Protocol):
    """What a file holds; `notes` are what a user should know of it."""

    path: str | Given
    counts: dict[str, int]
    notes: list[str]
    pairs: bool

    def __len__(self) -> int: ...
    def where(self, i: int) -> str: ...  # file and line
    def inputs(self) -> list[Hashable]: ...  # what the model sees of each row: equal where a row stands twice
    def picked(self, which: Sequence[int]) -> Rows: ...  # these rows alone


class Kind(Protocol):
    name: str
    units: str  # what is scored, in the plural
    long: OnLong  # what becomes of over-long texts unless --on-long says otherwise
    term: str  # of the loss
    unit: str  # what its rows are called: "rows", "sentences", "questions"
    pools: bool  # whether the head reads a sequence as a whole
    wide: Wide  # what of a sequence reads all of it, in a model with windows
    embeds: bool  # whether a vector of each text is what is learned: no head, and `tuned` and `vectors` as tasks/vectors.py has them
    hears: bool  # whether its texts may be files of sound
    roles: tuple[str, ...]  # columns of its files
    simple: bool  # whether there is a simple method beside it (`baseline`)
    writes: bool  # whether answers are written, not read off places (downstream/written_answers.py)
    settings: tuple[str, ...]  # of fine-tuning that are fields of the kind, too
    fields: tuple[str, ...]  # what a row that is given in Python may have
    pair: tuple[str, ...]  # what it is without names: one of them, or two

    def read(
        self,
        path: str | Path | Given,
        *,
        columns: Mapping[str, str] | None = None,
        header: bool = True,
        labelled: bool = True,
        pairs: bool | None = None,
        encoding: str = "utf-8",
    ) -> Any:
        """Rows of a file.  InputError naming file and line."""

    def check(self, rows: Any, part: str) -> None:
        """InputError for rows that cannot be learned from; `part` is "train" or "dev"."""

    def learn(self, rows: Any, names: tuple[str, ...] = ()) -> Labels:
        """What the training file says of its labels; `names`: all there are, where it need not hold every one."""

    def groupings(self, rows: Any) -> list[tuple[str, Sequence[Hashable]]]:
        """Keys of the rows that stay on one side when a dev set is drawn from them, the coarsest first, each with how that is said."""

    def strata(self, rows: Any) -> tuple[str, Sequence[Hashable]]:
        """How a dev set is drawn, as it is said ("by class"), and what each row counts as there."""

    def outline(self, rows: Any, labels: Labels) -> dict[str, Any]:
        """What config.json says of the labels of a file."""

    def told(self, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """Lines about the outlines of train and dev, with their "rows": what they hold, and what looks like a mistake (warnings)."""

    def targets(self, rows: Any, labels: Labels) -> Any:
        """What is true of each row, with a length.  InputError naming the line of a label that `labels` does not know."""

    def encode(self, tokenizer: Any, rows: Any, reading: Reading, pairs: bool | None = None) -> Encoded: ...

    def asked(self, encoded: Encoded, targets: Any) -> Asked: ...

    def objective(self, labels: Labels, dropout: float, pool: str) -> Any: ...

    def loss(self, encoded: Encoded, asked: Asked, values: np.ndarray) -> float:
        """The mean loss over what is asked; `values` (p, c) is what the head says at the places."""

    def said(self, encoded: Encoded, rows: Any, values: np.ndarray) -> Any:
        """What the head says at the places, (p, c), as what is said of each row."""

    def settled(self, targets: Any, said: Any, labels: Labels) -> Labels:
        """Labels with what is chosen on the dev file."""

    def best(self, labels: Labels) -> str:
        """The score of the dev file that chooses the checkpoint."""

    def score(
        self, targets: Any, said: Any, labels: Labels, seed: int = 0, resamples: int = metrics.RESAMPLES
    ) -> dict[str, metrics.Score]: ...

    def figures(self, targets: Any, said: Any, labels: Labels) -> metrics.Figures:
        """The same scores as a function of the weights of the rows: what two models are compared by."""

    def breakdown(self, targets: Any, said: Any, labels: Labels) -> dict[str, Any]:
        """{classes, confusion, majority} as breakdown.py has them; {} where there are no classes."""

    def only(self, said: Any, labels: Labels, targets: Any = None) -> Any:
        """What it says to all (a label, a number, "" for no answer) though that is not true of all; None where it tells some apart."""

    def baseline(self, rows: Mapping[str, Any], targets: Mapping[str, Any], labels: Labels) -> tuple[str, Any]:
        """What a simple method is called, and what it says of the dev rows after learning the training rows; both maps are by part.
        InputError where there is none."""

    def correct(self, targets: Any, said: Any, labels: Labels | None = None) -> np.ndarray:
        """(rows,) how right each row is: what `metrics.paired` compares."""

    def right(self, targets: Any, said: Any, labels: Labels) -> np.ndarray | None:
        """(rows,) whether each answer is wholly right: what McNemar's test counts; None where answers are not right or wrong."""

    def near(self, targets: Any, said: Any, labels: Labels) -> np.ndarray:
        """(rows,) how near to the truth each answer is, and how sure: rows where this differs most are those that changed most."""

    def stated(self, rows: Any, i: int, labels: Labels) -> dict[str, Any]:
        """{text, …, truth} of a labelled row, as its file has it."""

    def beside(self, row: dict[str, Any], a: dict[str, Any], b: dict[str, Any]) -> tuple[str, str, str]:
        """The truth of a stated row and two answers to it, with how sure each is, in a few words."""

    def answer(self, rows: Any, said: Any, labels: Labels) -> list[dict[str, Any]]:
        """{label, scores, …} for each row: what `predict` writes."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Classes(),
        MultiLabel(),
        Ordinal(),
        Numbers(),
        Choice(),
        Tags(),
        Frames(),
        Answers(),
        Text2Text(),
        Similarity(),
        Retrieval(),
        Relations(),
        Typing(),
    )
}


def kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(f"{option('task', name)}: unknown; {nearest(name, KINDS)}")
    return KINDS[name]


def of_task(task: Mapping[str, Any]) -> Kind:
    """Of what config.json says of a fine-tuning's task."""
    found: Any = kind(task["kind"])
    return found.of_task(task) if hasattr(found, "of_task") else found


SIMPLE = ("tfidf", "fasttext")  # what `--baseline` names


def simple_of(kind: Any, name: bool | str) -> Callable[..., tuple[str, Any]]:
    """The simple method that is called so; True: the first.  InputError where a kind of task has none."""
    if name is True or name == SIMPLE[0]:
        return kind.baseline
    if name not in SIMPLE:
        raise InputError(f"{option('baseline', name)}: unknown; {nearest(str(name), SIMPLE)}")
    found = getattr(kind, str(name), None)
    if found is None:
        raise InputError(f"{option('baseline', name)}: of classify alone; {option('task', kind.name)} has {SIMPLE[0]}")
    return found
