"""A teacher of pre-training: read whole by every process, asked in every pass, saved by none; config.json has its place and its digest.

A student begins with the teacher's own weights where its shapes allow, of layers that are spread over the teacher's depth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bertsmith import files
from bertsmith.config import from_dict
from bertsmith.deploy import folder
from bertsmith.errors import InputError
from bertsmith.objectives.distilled import LAYERS, Distilled, check_one_stack, spread
from bertsmith.recipe import Recipe, find, members
from bertsmith.spelling import amount, option, setting
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import MODEL, load_model
from bertsmith.training.run import TOKENIZER, Run, at
from bertsmith.training.start import SEGMENTS, SIZE, recipe_for

if TYPE_CHECKING:
    from torch import Tensor

    from bertsmith.nn.modules.member import MemberModel

POSITIONS = "model.positions.table.weight"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    path: str
    recipe: Recipe
    weights: dict[str, Tensor]
    digest: Any  # SHA-256 of the weights; of each file of a folder of Hugging Face format
    tokenizer: Any

    @classmethod
    def read(cls, teacher: str | os.PathLike, say: Callable[[str], None]) -> Teacher:
        """A pre-training run, a step in one, an import or a folder of Hugging Face format.  InputError for anything else."""
        path = folder.located(teacher)
        if folder.is_foreign(path):
            found = folder.read(path)
            recipe, weights, digest, tokenizer = found.recipe, found.weights, found.sha256, found.tokenizer
        else:
            weights, config, step = load_model(path, say)
            recipe, digest = from_dict(config["recipe"], where=option("teacher", teacher)), files.sha256(step / MODEL)
            tokenizer = Tokenizer.load(step.parent.parent / TOKENIZER)
        while hasattr(recipe.objective, "alone"):
            weights = recipe.objective.alone(weights)
            recipe = replace(recipe, objective=recipe.objective.objective)
        return cls(path=os.fspath(teacher), recipe=recipe, weights=weights, digest=digest, tokenizer=tokenizer)

    @property
    def said(self) -> dict[str, Any]:
        """What config.json says of it."""
        return {"path": self.path, "weights": self.digest}

    def student(self, name: str, from_: str | os.PathLike | None) -> Recipe:
        """`recipe_for(name, from_)`; a member without a size takes the teacher's shapes, and half of its layers."""
        if from_ is not None or name not in members():
            recipe = recipe_for(name, from_)
        elif getattr(find(f"{name}:{SIZE}").objective, "begin", None) == "around":
            recipe = self._beside(name)
        else:
            recipe, theirs = find(f"{name}:{SIZE}"), self.recipe.model
            half = replace(theirs, layers=(theirs.layers + 1) // 2, dropout=recipe.model.dropout)
            half = half.with_segments(recipe.model.segments) if hasattr(half, "with_segments") else half
            length = min(recipe.layout.length, half.longest or recipe.layout.length)
            recipe = replace(recipe, model=half, layout=replace(recipe.layout, length=length))
        return asking(recipe)

    def _beside(self, name: str) -> Recipe:
        """The size of a member that has this teacher's embedding and layers.  InputError where none has."""
        theirs, sizes = self.recipe.model, members()[name].sizes
        for size in sizes:
            model = find(f"{name}:{size}").model
            if (model.width, model.layers) == (theirs.width, getattr(theirs, "layers", 0)):
                return find(f"{name}:{size}")
        said = ", ".join(f"{name}:{size}" for size in sizes)
        raise InputError(
            f"{option('teacher', self.path)}: {amount(getattr(theirs, 'layers', 0), 'layer')} of width {theirs.width}, and no {name} has so many; name one: {said}"
        )

    def taught(self, recipe: Recipe, store: Any) -> Recipe:
        """A student's recipe, asked what this teacher can answer.  InputError where the two do not read alike."""
        recipe = at_once(recipe) if _none_asked(recipe) else recipe
        recipe = asking(recipe)
        model, theirs = recipe.model, self.recipe.model
        if recipe.schedule.stages is not None and not recipe.objective.of_layers:
            raise InputError(
                f"schedule.stages: nothing compares layers, which would learn one after another; give one of {', '.join(LAYERS)} a weight: "
                f"{setting('objective.features', value=1)}"
            )
        where = option("teacher", self.path)
        if recipe.schedule.stages is not None and getattr(model, "share", "none") != "none":
            raise InputError(
                f"schedule.stages: model.share={model.share}: layers of the same weights cannot learn one after another; {setting('model.share', value='none')}"
            )
        check_one_stack(where, model, theirs)
        if self.tokenizer.reading != store.tokenizer.reading:
            raise InputError(
                f"{where}: its tokenizer is not the store's; prepare the text again with {option('tokenizer', self.path)}"
            )
        if theirs.longest is not None and recipe.layout.length > theirs.longest:
            raise InputError(
                f"{where}: reads {amount(theirs.longest, 'token')} at most; {setting('layout.length', value=theirs.longest)}"
            )
        numbered = max(model.segments, getattr(recipe.corruption.rewrite, "segments", 0)) if model.segments else 0
        if 0 < theirs.segments < numbered:
            raise InputError(f"{where}: has {amount(theirs.segments, 'segment')}, and the student's text {numbered}")
        return replace(recipe, objective=recipe.objective.taught_by(self.recipe, model))

    def begins(self, member: MemberModel, recipe: Recipe, say: Callable[[str], None]) -> dict[str, Any] | None:
        """Put the student's first weights in; what config.json says of where they come from.  InputError where shapes differ."""
        if recipe.objective.begin == "fresh":
            return None
        import torch

        from bertsmith.training.saving import weights_of

        depth, around = getattr(self.recipe.model, "layers", 0), recipe.objective.begin == "around"
        layers = [] if around else spread(recipe.model.layers, depth)
        theirs, new = self._alone(recipe), []
        with torch.no_grad():
            for name, own in weights_of(member).items():
                if around and name.startswith("model.layers."):
                    continue
                given = theirs.get(_renumbered(name, layers))
                if name == POSITIONS and given is not None:
                    given = given[: len(own)]
                if given is None and name.startswith("objective."):
                    new.append(name.split(".")[1])
                elif given is None or given.shape != own.shape:
                    has = "has none" if given is None else f"has {list(given.shape)}"
                    raise InputError(
                        f"{option('teacher', self.path)}: {name}: {has}, the student {list(own.shape)}; a student that begins with a "
                        f"teacher's weights has its shapes ({recipe.name} without a size); {setting('objective.begin', value='fresh')} begins anew"
                    )
                else:
                    own.copy_(given)
        which = (
            f"layers {', '.join(map(str, layers))} of the teacher's {depth}"
            if layers
            else "the teacher's embedding and heads"
        )
        say(f"the student begins with {which}")
        for head in dict.fromkeys(new):
            say(f"the {head} head is fresh")
        return {"teacher": self.digest, "layers": layers}

    def _alone(self, recipe: Recipe) -> dict[str, Tensor]:
        """Its weights; where the student tells no segments apart, the row of the first is part of every position."""
        folded = dict(self.weights)
        if self.recipe.model.segments and not recipe.model.segments and POSITIONS in folded:
            folded[POSITIONS] = folded[POSITIONS] + folded.pop(SEGMENTS)[0]
        return folded

    def teaches(self, member: MemberModel, place: Any) -> MemberModel:
        """The student `member`, whose objective asks this teacher, on the device `place`, from now on."""
        from bertsmith.nn.member import blank
        from bertsmith.objectives.modules.distilled import Teacher as Asked
        from bertsmith.training.saving import load_weights

        student: Any = member.objective
        if student.teacher is None:
            teacher = blank(self.recipe)
            load_weights(teacher, self.weights, self.path)
            student.teacher = Asked(teacher.to(place))
        return member


def teacher_of(teacher: str | os.PathLike | None, run: Run, resume: bool, say: Callable[[str], None]) -> Teacher | None:
    """The one that is named, or that the run, which is gone on with, had."""
    config = run.config() if resume and teacher is None else None
    named = teacher if config is None else at(config, "data.teacher.path")
    return None if named is None else Teacher.read(named, say)


def asking(recipe: Recipe) -> Recipe:
    """A member of any kind as a student: as DistilBERT is taught, where its own objective does not say how."""
    own = recipe.objective
    return recipe if isinstance(own, Distilled) else replace(recipe, objective=Distilled(objective=own))


def untaught(recipe: Recipe) -> Recipe:
    """A recipe without a teacher, whose layers have nothing to learn from one after another.  InputError where that is asked of no student."""
    if recipe.schedule.stages is None or _none_asked(recipe):
        return at_once(recipe)
    if not isinstance(recipe.objective, Distilled):
        raise InputError(
            f"schedule.stages: layers learn one after another of a teacher; {option('teacher', like='MODEL')} names one"
        )
    return at_once(recipe)


def at_once(recipe: Recipe) -> Recipe:
    """Without stages."""
    return replace(recipe, schedule=replace(recipe.schedule, stages=None))


def _none_asked(recipe: Recipe) -> bool:
    return recipe.schedule.stages is not None and not recipe.schedule.stages.until


def unasked(recipe: Recipe) -> list[str]:
    """What is said of a student without a teacher."""
    if not isinstance(recipe.objective, Distilled):
        return []
    return [
        f"warning: {recipe.name} has no teacher ({option('teacher', like='MODEL')} names one): it learns from the text alone, as fresh weights do"
    ]


def _renumbered(name: str, layers: list[int]) -> str:
    """A student's tensor as the teacher calls the one that it begins with."""
    parts = name.split(".")
    return ".".join([*parts[:2], str(layers[int(parts[2])]), *parts[3:]]) if parts[:2] == ["model", "layers"] else name
