"""A copy of a fine-tuned model whose weights are moved, and its loss and gradient on rows that stay the same; dropout is off."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bertsmith.config import from_dict
from bertsmith.data.draw import hashed
from bertsmith.downstream.answering import BUDGET, hearing, values_of
from bertsmith.downstream.based import plain
from bertsmith.downstream.grown import trunk_of
from bertsmith.downstream.landscape import Weights
from bertsmith.downstream.model import Loaded, opened
from bertsmith.errors import InputError, printable
from bertsmith.nn.member import build
from bertsmith.nn.modules.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.tasks import kinds
from bertsmith.tasks.sequences import Asked, Encoded
from bertsmith.training.checkpoint import load_step
from bertsmith.training.run import CONFIG, Run
from bertsmith.training.saving import load_weights, weights_of

HUGE = 1e9  # stands for a loss that is not finite


@dataclass(frozen=True)
class Moving:
    member: MemberModel
    kind: kinds.Kind
    parts: dict[str, tuple[Encoded, Asked]]
    exact: Any
    start: Weights
    tuned: Weights

    @classmethod
    def of(cls, loaded: Loaded, rows: dict[str, Any], start: Weights) -> Moving:
        """`rows`: by part."""
        task = loaded.task or {}
        kind, member = kinds.of_task(task), copy.deepcopy(loaded.member).eval()
        reading = loaded.reading(
            on_long=task.get("on_long") or kind.long, stride=(task.get("settings") or {}).get("stride")
        )
        parts = {}
        for part, some in rows.items():
            encoded = kind.encode(loaded.tokenizer, some, reading, task["pairs"])
            parts[part] = encoded, kind.asked(encoded, kind.targets(some, loaded.labels))
        tuned = {name: p.detach().clone() for name, p in member.named_parameters()}
        return cls(member, kind, parts, loaded.exact, {name: start[name].to(x) for name, x in tuned.items()}, tuned)

    def loss(self, part: str) -> Callable[[Weights], float]:
        """The mean over what is asked of the rows of `part`, in float32."""
        encoded, asked = self.parts[part]

        def at(weights: Weights) -> float:
            self._put(weights)
            values = values_of(self.member, encoded, self.exact)
            assert values is not None  # nothing stops it
            mean = hearing(self.kind, self.member).loss(encoded, asked, values)
            return mean if math.isfinite(mean) else HUGE

        return at

    def gradient(self, weights: Weights) -> Weights:
        """Of the loss of the training rows."""
        encoded, asked = self.parts["train"]
        self._put(weights)
        self.member.zero_grad(set_to_none=True)
        with self.exact.policy():
            for which in encoded.by_length(BUDGET):
                batch = encoded.batch(which, asked).to(self.exact.device)
                (sum(self.member(batch).values()) / len(asked.labels)).backward()
        return {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in self.member.named_parameters()
        }

    @torch.no_grad()
    def _put(self, weights: Weights) -> None:
        for name, p in self.member.named_parameters():
            p.copy_(weights[name])


def started(loaded: Loaded, name: str, members: tuple[str, ...] = ()) -> Weights:
    """The weights that a fine-tuning began with, as it made them.  InputError where the model that it began with is gone, or another one."""
    config = loaded.config
    recipe = from_dict(config["recipe"], members, f"{printable(loaded.run / CONFIG)}: recipe")
    assert isinstance(recipe, Recipe)  # it was loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(hashed(config["seed"], "weights")[0]))
        member = build(recipe)
    source = config["from"]
    if source["weights"] is not None:
        try:
            base = plain(opened(source["path"], members=members))
            same = base.weights == source["weights"]
        except InputError:
            same = False
        if not same:
            raise InputError(
                f"{name}: {printable(source['path'])}: the model that it began with is not there any more, or is another one"
            )
        state = weights_of(base.member)
        load_weights(member.model, trunk_of(state), source["path"])
        member.objective.inherit(state)
    return _alone(recipe, {key: p.detach() for key, p in member.named_parameters()})


def weights_at(loaded: Loaded, run: Run, step: int, members: tuple[str, ...] = ()) -> Weights:
    """Of a saved step."""
    recipe = from_dict(loaded.config["recipe"], members, "recipe")
    saved = _alone(recipe, load_step(run, step).weights)
    return {name: saved[name].to(p) for name, p in loaded.member.named_parameters()}


def _alone(recipe: Any, weights: Weights) -> Weights:
    """Of an objective beside another the task's own."""
    return recipe.objective.alone(weights) if hasattr(recipe.objective, "alone") else weights
