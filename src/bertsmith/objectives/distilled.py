"""What a teacher says of a text beside what a student is asked about it: distillation in pre-training.

DistilBERT (Sanh et al. 2019), TinyBERT (Jiao et al. 2020) and MiniLMv2 (Wang et al. 2021) are weights of these terms.  S and T layers of
student and teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.errors import InputError
from bertsmith.nn.body import BodyConfig
from bertsmith.objectives.predict import Predict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.objectives.modules.distilled import DistilledObjective

LED = "led"
STATES = ("hidden", "features", "means", "variances")  # terms of states, which a matrix brings to one width
LAYERS = (*STATES, "attention", "shares")  # terms that each layer has


@dataclass(frozen=True, kw_only=True)
class Distilled:
    """The terms of `objective` times `own`, and terms of what a teacher makes of the same batch, each with a weight; of weight 0 it is not asked.

    `soft`: how far the student's tokens are from the teacher's at `temperature`, times its square (Hinton et al. 2015), at all tokens or at
    those that are asked.  `cosine`: 1 - the cosine of the last hidden states.  `hidden`: squared differences of hidden states, the embedding's
    and each layer's, layer i from layer i T / S, through one matrix where the teacher is wider or narrower.  `attention`: the same of scores
    before their softmax.  `relations`: how far queries, keys and values of the last layer stand to one another otherwise than the teacher's
    do, over `split` heads (MiniLMv2).  `features`: squared differences of the layers' states, each with mean 0 and deviation 1; `means`,
    `variances`: of what that leaves out, squared and absolute ones; `shares`: how far what tokens take of one another is from what the
    teacher's take, head by head (MobileBERT).

    `Schedule.stages` asks those of layers (`LAYERS`) one layer after another, and the others after them; all of layers where none of these
    has a weight.  Who learns without a teacher learns `objective` alone.  Keys: those of `objective`, and `objective.led`.
    """

    objective: Any
    own: float = 2.0
    soft: float = 5.0
    cosine: float = 1.0
    hidden: float = 0.0
    attention: float = 0.0
    relations: float = 0.0
    features: float = 0.0
    means: float = 0.0
    variances: float = 0.0
    shares: float = 0.0
    temperature: float = 2.0
    at: Literal["all", "asked"] = "all"  # where `soft` is asked
    split: int | None = None  # heads of relations; null: as many as the student's attention has
    layer: int | None = None  # of the teacher, that relations are taken from; null: its last
    # The student's weights: the teacher's, of layers far from one another; its embedding and heads alone; none of it.
    begin: Literal["spread", "around", "fresh"] = "spread"
    teacher: int | None = None  # its width, where it is not the student's and hidden states are compared

    TERMS: ClassVar[tuple[str, ...]] = (
        *("soft", "cosine", "hidden", "attention", "relations"),
        *("features", "means", "variances", "shares"),
    )

    def __post_init__(self):
        require(
            isinstance(self.objective, Predict),
            f"objective: {type(self.objective).__name__}: a student reads a text once and is asked by heads over it (bert, roberta, "
            "spanbert, gpt2, …); a generator's guesses and vectors have no teacher",
        )
        for name in ("own", *self.TERMS):
            require(getattr(self, name) >= 0, f"objective.{name}: {getattr(self, name)} is negative")
        require(self.temperature > 0, f"objective.temperature: {self.temperature} must be above 0")
        require(self.split is None or self.split > 0, f"objective.split: {self.split} must be above 0")

    @property
    def heads(self) -> tuple[Any, ...]:
        return self.objective.heads

    @property
    def pooler(self) -> str:
        return self.objective.pooler

    @property
    def terms(self) -> dict[str, float]:
        """What is asked of the teacher."""
        return {name: getattr(self, name) for name in self.TERMS if getattr(self, name)}

    @property
    def everywhere(self) -> tuple[str, ...]:
        return tuple(name for name in self.terms if name not in self.again)

    @property
    def again(self) -> tuple[str, ...]:
        return ("soft",) if self.soft and self.at == "asked" else ()

    @property
    def of_layers(self) -> tuple[str, ...]:
        return tuple(name for name in self.terms if name in LAYERS)

    def asked(self, stage: int | None) -> tuple[str, ...]:
        """Of the teacher, at the stage of a layer, after all stages (0), and where there are none."""
        predicting = tuple(name for name in self.terms if name not in LAYERS)
        if stage is None or not (stage or self.own or predicting):
            return tuple(self.terms)
        return self.of_layers if stage else predicting

    def build(self, model: nn.Module) -> DistilledObjective:
        from bertsmith.objectives.modules.distilled import DistilledObjective

        return DistilledObjective(self, model)

    def parameters(self, model: BodyConfig) -> int | None:
        heads = self.objective.parameters(model)
        return None if heads is None else heads + (model.width + 1) * (self.teacher or 0)

    def weights(self) -> dict[str, float]:
        return {**{term: self.own * weight for term, weight in self.objective.weights().items()}, **self.terms}

    def alone(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if there had been no teacher."""
        return {name: x for name, x in weights.items() if not name.startswith(f"objective.{LED}.")}

    def taught_by(self, teacher: Any, student: Any) -> Distilled:
        """For a student's model and a teacher's recipe.  InputError where this teacher does not answer what is asked of it."""
        theirs, who = teacher.model, f"teacher {teacher.name}"
        require(
            bool(self.terms),
            f"objective: asks nothing of a teacher: {', '.join(self.TERMS)} are all 0; give one a weight",
        )
        if self.soft and "token" not in _terms(teacher.objective):
            raise InputError(
                f"{who}: says no tokens, which soft asks for; a model with a token head is wanted, or objective.soft=0"
            )
        return replace(self, teacher=led_by(self, theirs, student, who, "objective"))


def led_by(terms: Any, theirs: Any, student: Any, who: str, where: str) -> int | None:
    """The width of a teacher's states that a student's are turned into, where both are compared and differ.  `terms`: a configuration with
    their weights, set as `where`.  InputError where these two bodies have nothing to compare."""
    if terms.cosine and theirs.width != student.width:
        raise InputError(
            f"{who}: its states are {theirs.width} wide and the student's {student.width}, so that cosine compares nothing; set "
            f"{where}.cosine=0, and {where}.hidden or {where}.relations in its place"
        )
    for name in ("attention", "shares", "relations"):
        if getattr(terms, name, 0) and not (hasattr(theirs, "heads") and hasattr(student, "heads")):
            raise InputError(f"{name}: teacher and student need attention; set {where}.{name}=0")
    heads = next((name for name in ("attention", "shares") if getattr(terms, name, 0)), None)
    if heads and theirs.heads != student.heads:
        raise InputError(
            f"{who}: has {theirs.heads} heads of attention and the student {student.heads}, so that no score has another's place; set "
            f"model.heads={theirs.heads}, or {where}.{heads}=0 (relations have heads of their own)"
        )
    split = terms.split or getattr(student, "heads", 1)
    if terms.relations and (theirs.width % split or student.width % split):
        raise InputError(
            f"{where}.split: {split} does not divide {theirs.width} and {student.width}, which teacher and student are wide"
        )
    if terms.relations and terms.layer is not None and not 1 <= terms.layer <= theirs.layers:
        raise InputError(f"{where}.layer: {terms.layer}: {who} has layers 1 to {theirs.layers}")
    compared = any(getattr(terms, name, 0) for name in STATES)
    return theirs.width if compared and theirs.width != student.width else None


def check_one_stack(where: str, *models: Any) -> None:
    """InputError for bodies that are read otherwise than once, layer after layer."""
    if any(getattr(one, "decodes", False) or getattr(one, "memory", None) or one.asks for one in models):
        raise InputError(f"{where}: teacher and student are one stack without memory each; one of them is not")


def _terms(objective: Any) -> dict[str, float]:
    return objective.weights() if isinstance(objective, Predict) else {}


def spread(student: int, teacher: int) -> list[int]:
    """The layers of a teacher that a student begins with, the first and the last among them: 0, 2, 4, 7, 9, 11 of 12, as DistilBERT's."""
    if student == 1:
        return [0]
    return [int(i * (teacher - 1) / (student - 1) + 0.5) for i in range(student)]


def beside(student: int, teacher: int) -> list[int]:
    """(student + 1,) the teacher's state that each of the student's is compared with, of the embedding first: TinyBERT's uniform map."""
    return [int(i * teacher / student + 0.5) for i in range(student + 1)]
