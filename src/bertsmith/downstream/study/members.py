"""The members of a study: each arm at each budget, as a recipe that is settled and a number of updates.

What a budget of operations or of this machine's minutes is in updates is found out once, and written down: a study that goes on measures nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from bertsmith.config import check_members, from_dict, override, to_dict
from bertsmith.data.text import feed_of
from bertsmith.downstream.study.asked import Arm, Asked
from bertsmith.downstream.toml_file import within
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe, Schedule, find
from bertsmith.training.brief import settled
from bertsmith.training.budget import Budget, Extent, check_batch, check_memory
from bertsmith.training.given import sized

Say = Callable[[str], None]
ROUNDS = 3  # of finding the tokens of operations: a short run has another batch, whose operations are others
SAVES = 5  # steps that a pre-training saves at least


@dataclass(frozen=True, kw_only=True)
class Member:
    """`flops`: of the whole pre-training; `tokens`: that it reads; `seconds`: of an update on this machine, None where nobody measured."""

    name: str
    arm: str
    line: str  # its arm without the size
    budget: float  # as it was asked for
    tree: dict[str, Any]  # its recipe, as config.json has it
    steps: int
    tokens: int
    flops: float
    parameters: int
    seconds: float | None = None
    scratch: bool = False

    @cached_property
    def loss(self) -> str:
        """What its held-out loss is a loss of: members of the same objective, corruption and rows can be compared by it, others cannot."""
        return digest({name: self.tree[name] for name in ("objective", "corruption", "layout", "mixture")})

    @property
    def said(self) -> dict[str, Any]:
        found = {name: value for name, value in asdict(self).items() if name not in ("tree", "seconds")}
        return {**found, "loss": self.loss}


def digest(tree: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of a JSON tree."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def raw(arm: Arm, members: tuple[str, ...]) -> Recipe:
    """The recipe that an arm names, with its parts and settings; of its brief fields none is chosen yet."""
    recipe = find(arm.recipe)
    for path, tree in arm.parts.items():
        part = None if tree == "null" else from_dict(tree, members, f"parts: {path}")
        recipe = _with(recipe, path.split("."), part, path)
    return override(recipe, arm.set)


def check_recipes(asked: Asked) -> None:
    """InputError for an arm that is no recipe; no torch is loaded."""
    check_members(asked.members)
    for arm in asked.arms:
        with within(f"{asked.where}: arm.{printable(arm.name)}"):
            raw(arm, asked.members)


def _with(config: Any, path: list[str], part: Any, whole: str) -> Any:
    """`config` with a part in one of its slots."""
    head, *rest = path
    if isinstance(config, tuple):
        items = [*config]
        if not head.isdecimal() or int(head) >= len(items):
            raise InputError(f"parts: {printable(whole)}: {printable(head)} is not one of 0..{len(items) - 1}")
        items[int(head)] = _with(items[int(head)], rest, part, whole) if rest else part
        return tuple(items)
    if head not in getattr(config, "__dataclass_fields__", ()):
        raise InputError(f"parts: {printable(whole)}: {type(config).__name__} has no slot {printable(head)}")
    return replace(config, **{head: _with(getattr(config, head), rest, part, whole) if rest else part})


class Reckoner:
    """From arms and budgets to members on one store.  `known`: what was found out before, by the digest of what was asked."""

    def __init__(self, asked: Asked, store: Any, threads: int, device: str | None, known: Mapping[str, Any], say: Say):
        self.asked, self.store, self.threads, self.device, self.say = asked, store, threads, device, say
        self.known, self.found, self._made = known, {}, {}

    def members(self, share: float = 1.0, clock: bool = False) -> list[Member]:
        """Of each budget, or the `share` of it.  `clock`: how long an update takes is wanted, too.  InputError naming the arm that cannot be trained."""
        budgets = [share * budget for budget in self.asked.budgets]
        if self.asked.by in ("tokens", "steps"):
            budgets = [max(1, round(budget)) for budget in budgets]
        return [self._member(arm, budget, clock) for budget in budgets for arm in self.asked.arms]

    def _member(self, arm: Arm, budget: float, clock: bool) -> Member:
        several = len(self.asked.budgets) > 1 or self.asked.halving is not None
        name = f"{arm.name}, {budget:g} {self.asked.by}" if several else arm.name
        with within(f"{self.asked.where}: arm.{printable(arm.name)}"):
            recipe = raw(arm, self.asked.members)
            wanted = {"recipe": to_dict(replace(recipe, brief=None)), "brief": to_dict(recipe.brief), "set": arm.set}
            wanted |= {"by": self.asked.by, "budget": budget, "curve": self.asked.curve, "data": self.store.digest}
            key = digest([wanted, arm.scratch])
            facts = self.found.get(key) or self.known.get(key)
            if facts is None or (clock and facts["seconds"] is None):
                facts = self._reckoned(recipe, arm, budget, clock, facts)
            self.found[key] = facts
            made = self._made.get((name, key))
            if made is None or made.seconds != facts["seconds"]:
                made = Member(name=name, arm=arm.name, line=arm.line, budget=budget, scratch=arm.scratch, **facts)
                self.check(made)
                self._made[name, key] = made
        return made

    def _reckoned(self, recipe: Recipe, arm: Arm, budget: float, clock: bool, old: Any) -> dict[str, Any]:
        if arm.scratch:  # one update, of which nothing is kept but the shapes
            recipe, steps = replace(recipe, brief=None, schedule=Schedule()), 1
            cost = self._cost(recipe, clock)
        else:
            recipe, steps, cost = self._within(recipe, [one.partition("=")[0] for one in arm.set], budget, clock)
        if old is not None:  # its time alone is new
            return {**old, "seconds": cost.seconds}
        names = {one.partition("=")[0] for one in arm.set}
        recipe = self._examined(recipe, steps, names)
        feed = feed_of(self._sized(recipe), self.store, seed=0)
        extent = Extent.of(feed)
        tokens = feed.total(steps) if hasattr(feed, "total") else steps * extent.per_step
        measured = clock or self.asked.by == "minutes"
        return {
            "tree": json.loads(json.dumps(to_dict(recipe))),
            "steps": steps,
            "tokens": round(tokens),
            "flops": 0.0 if arm.scratch else cost.flops * tokens / cost.tokens,
            "parameters": cost.parameters,
            "seconds": cost.seconds if measured else None,
        }

    def _within(self, recipe: Recipe, given: list[str], budget: float, clock: bool) -> tuple[Recipe, int, Any]:
        """The recipe as a run of that length has it, its updates, and what one of them costs."""
        by, assignments = self.asked.by, [f"{name}=" for name in given]
        if by == "steps":
            made = replace(recipe, brief=None)
            return made, int(budget), self._cost(made, clock)
        settle = lambda tokens: settled(
            recipe, assignments, Budget(tokens=max(1, round(tokens))), None, _never, _silent
        )
        if by == "tokens":
            made, tokens = settle(budget), budget
            return made, self._steps(made, tokens), self._cost(made, clock)
        clock = clock or by == "minutes"
        made = settle(1)
        for _ in range(ROUNDS):
            cost = self._cost(made, clock)
            if by == "flops" and not cost.flops:
                raise InputError(f"budget: flops: {recipe.name} multiplies no matrices; give tokens, steps or minutes")
            each = cost.flops if by == "flops" else cost.seconds / 60
            tokens = budget / each * cost.tokens
            again = settle(tokens)
            if again == made:
                break
            made = again
        return made, self._steps(made, tokens), self._cost(made, clock)

    def _steps(self, recipe: Recipe, tokens: float) -> int:
        feed = feed_of(self._sized(recipe), self.store, seed=0)
        steps = Budget(tokens=max(1, round(tokens))).in_steps(Extent.of(feed), feed)
        assert steps is not None
        return steps

    def _cost(self, recipe: Recipe, clock: bool) -> Any:
        from bertsmith.training import cost  # loads torch

        return cost.estimate(recipe, self.store, threads=self.threads, device=self.device, clock=clock)

    def _sized(self, recipe: Recipe) -> Recipe:
        return sized(recipe.with_vocab(self.store.vocab), self.store)

    def _examined(self, recipe: Recipe, steps: int, names: set[str]) -> Recipe:
        """With as many exams and saved steps as a study wants, where its settings say nothing else."""
        training, read = recipe.training, steps * recipe.training.batch
        wanted = {
            "evaluate": max(1, -(-steps // self.asked.curve)),
            "checkpoint": min(training.checkpoint, max(1, -(-steps // SAVES))),
            "held_out": min(training.held_out, max(2048, read // 100)),
        }
        return replace(
            recipe,
            training=replace(training, **{k: v for k, v in wanted.items() if f"training.{k}" not in names}),
        )

    def check(self, member: Member) -> None:
        """InputError for one that cannot be trained on this store."""
        recipe = self._sized(from_dict(member.tree, self.asked.members, "recipe"))
        check_batch(recipe, self.store.train.count)
        check_memory(recipe, member.parameters, member.parameters)
        feed = feed_of(recipe, self.store, seed=0)
        Extent.of(feed)
        if hasattr(feed, "lasts"):
            feed.lasts(member.steps)
        from bertsmith.training.optim import warmup_steps  # loads torch

        warmup_steps(recipe.schedule, member.steps)


def _never(recipe: Recipe, limit: float) -> float:
    raise AssertionError("tokens decide")


def _silent(line: str) -> None:
    """Says nothing."""
