"""Whether every cell of a study can be carried out, before the first one is: each fine-tuning is prepared on a member without weights.

What a cell's verb would refuse is refused here, with the cell's name.  Returns what a fine-tuning reads, for who asks what a study costs.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertsmith.config import from_dict
from bertsmith.downstream.asked import Asked as Wanted
from bertsmith.downstream.asked import check_early
from bertsmith.downstream.finetune import finetune
from bertsmith.downstream.labelled_files import Rows
from bertsmith.downstream.methods import method_of
from bertsmith.downstream.study.asked import Asked, Task, Tuning
from bertsmith.downstream.study.members import Member
from bertsmith.downstream.toml_file import within
from bertsmith.errors import printable
from bertsmith.training.budget import Extent
from bertsmith.training.distributed import World
from bertsmith.training.given import sized
from bertsmith.training.job import silent

USUAL = {name: one.default for name, one in inspect.signature(finetune).parameters.items()}
Reads = dict[tuple[str, str, str], float]  # by member, tuning and task: tokens that a fine-tuning reads


@dataclass
class Checked:
    """Rows are read once for each task."""

    asked: Asked
    store: Any
    out: Path
    say: Any = silent

    def __post_init__(self) -> None:
        self.rows: dict[str, Rows] = {}
        for task in self.asked.tasks:
            with within(f"{self.asked.where}: task.{printable(task.name)}"):
                self.rows[task.name] = Rows.read(task.files, self.say)

    def reads(self, members: Iterable[Member]) -> Reads:
        """InputError naming the cell that cannot be carried out."""
        found: Reads = {}
        for member in members:
            loaded = self._without_weights(member)
            for tuning in self.asked.tunings:
                for task in self.asked.tasks:
                    with within(
                        f"{self.asked.where}: cell {printable(member.name)}, {printable(tuning.name)}, {printable(task.name)}"
                    ):
                        found[member.name, tuning.name, task.name] = self._prepared(member, loaded, tuning, task)
        return found

    def _prepared(self, member: Member, loaded: Any, tuning: Tuning, task: Task) -> float:
        from bertsmith.downstream.prepared import Prepared

        of = {
            name: getattr(task.files, name)
            for name in task.files.__dataclass_fields__
            if name not in ("teacher", "few")
        }
        given: Mapping[str, Any] = {**USUAL, **of, "model": loaded, "out": self.out, "members": self.asked.members}
        wanted = Wanted.of(
            {**given, "method": tuning.method, "scratch": tuning.scratch or member.scratch, **tuning.length}
        )
        wanted = wanted.but(set=[*task.set, *tuning.set])
        check_early(wanted)
        if method_of(tuning.method).still:  # features of all texts are not computed for this
            wanted = wanted.but(method="full", set=[*task.set])
        with World.join(None, 1.0) as world:
            prepared = Prepared.of(wanted, world, read=self.rows[task.name], free=True)
            return prepared.steps * Extent.of(prepared.tuning.task.feed(0)).per_step

    def _without_weights(self, member: Member) -> Any:
        from bertsmith.downstream.model import Loaded
        from bertsmith.nn.member import blank

        recipe = sized(from_dict(member.tree, self.asked.members, "recipe").with_vocab(self.store.vocab), self.store)
        while hasattr(recipe.objective, "alone"):  # of several, the one that a model is used for
            recipe = replace(recipe, objective=recipe.objective.objective, mixture=None)
        config = {"kind": "pretrain", "data": {}, "source": {"path": None, "weights": ""}}
        kept = {"tokenizer": self.store.tokenizer, "path": self.out, "kind": "pretrain", "config": config}
        return Loaded(member=blank(recipe), recipe=recipe, **kept)
