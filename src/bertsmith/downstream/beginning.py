"""What a fine-tuning begins with: the trunk of its model, its pooler, and the head where that was learned for the same labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertsmith.downstream.grown import Decoder, trunk_of
from bertsmith.downstream.labelled_files import Say
from bertsmith.downstream.methods import Method
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.tuning import FineTuning
from bertsmith.errors import InputError
from bertsmith.nn.adapters import brought
from bertsmith.nn.member import blank
from bertsmith.nn.modules.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount
from bertsmith.tasks import kinds
from bertsmith.training.checkpoint import load_step
from bertsmith.training.job import silent
from bertsmith.training.run import Run
from bertsmith.training.saving import learned_alone, load_weights, weights_of

SAME = ("kind", "labels", "pairs")  # of two tasks that have one head


@dataclass(frozen=True, kw_only=True)
class Beginning:
    loaded: Loaded
    recipe: Recipe  # of what learns
    options: FineTuning
    method: Method
    scratch: bool
    decoder: Decoder | None = None
    task: Mapping[str, Any] | None = None  # what config.json will say of it; None of several

    def start(self, whole: MemberModel, say: Say) -> dict:
        """The trunk of the model, and the pooler where there is one, in place of fresh ones; what config.json says of it."""
        if self.scratch:
            own = weights_of(whole.model).keys() - dict(whole.model.named_parameters()).keys()
            given = {
                name: x
                for name, x in self.loaded.member.model.named_buffers()
                if name in own and not brought(self.recipe.surgery, name)
            }
            load_weights(whole.model, given, str(self.loaded.path), {*given})
            return {"path": str(self.loaded.path), "weights": None}
        state = weights_of(self.loaded.member)
        trunk = trunk_of(state)
        if self.decoder is not None:
            trunk = self.decoder.weights(whole.model, trunk)
        names = [name for name in weights_of(whole.model) if name in trunk or not brought(self.recipe.surgery, name)]
        if self.options.reinit:
            names = self._below(whole, names)
            trunk = {name: x for name, x in trunk.items() if name in names}
            state = {name: x for name, x in state.items() if ".pooler." not in name}
        load_weights(whole.model, trunk, str(self.loaded.path), names)
        whole.objective.inherit(state)
        kept = not self.options.reinit and self._head(whole, state)
        if kept:
            say(
                f"the head {self.loaded.named and f'of {self.loaded.named} '}goes on: it was learned for the same labels"
            )
        name = f":{self.loaded.named}" if self.loaded.named else ""
        source = {
            "path": f"{self.loaded.path}{name}",
            "weights": self.loaded.weights,
            **({"head": True} if kept else {}),
        }
        if self.method.alone:
            source |= {"path": f"{self.loaded.path.resolve()}{name}", "needed": True}
        return source

    def _head(self, whole: MemberModel, state: Mapping[str, Any]) -> bool:
        """Whether the model's head says the same, and was put in the place of the fresh one."""
        theirs, ours = self.loaded.task, self.task
        if not theirs or not ours or any(theirs.get(name) != ours.get(name) for name in SAME):
            return False
        if kinds.kind(ours["kind"]).writes:  # its head is that of pre-training, which went along
            return False
        fresh = {f"objective.{name}": x for name, x in whole.objective.named_parameters()}
        head = {name: x for name, x in state.items() if name.startswith("objective.")}
        if not fresh or {n: x.shape for n, x in fresh.items()} != {n: x.shape for n, x in head.items()}:
            return False
        load_weights(whole.objective, {name.removeprefix("objective."): x for name, x in head.items()}, "head")
        return True

    def _below(self, whole: MemberModel, names: list[str]) -> list[str]:
        """`names` of the trunk without those of its top layers.  InputError where it has no such ones."""
        count, top = self.options.reinit, whole.model.config.depth
        found = [name for name in names if whole.model.depth_of(name) <= top - count]
        if count > whole.model.config.layers or len(found) == len(names):
            what = f"has {amount(whole.model.config.layers, 'layer')}" + (", which are one" if count <= top else "")
            raise InputError(f"reinit: {count}: {self.recipe.name} {what}; lower it")
        return found

    def restored(self, run: Run, step: int) -> MemberModel:
        """The member as a step left it."""
        member = blank(self.recipe)
        if self.method.alone:
            self.start(member, silent)
            member.kept = learned_alone(member, self.recipe.schedule)
        load_weights(member, load_step(run, step).weights, str(run.step(step)), member.kept)
        return member.to(self.loaded.device)
