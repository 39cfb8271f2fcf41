"""Which sentences stand beside this one?  Two encoders say a vector of every sentence of an update, and neighbours are told from the others.

Quick-Thought (Logeswaran & Lee 2018, arXiv:1803.02893).  The loss is of all sentences of an update together, in however many passes and
processes it is made (training/together.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.beside import Beside
from bertsmith.nn.body import Body, BodyConfig
from bertsmith.objectives.predict import Summarised

if TYPE_CHECKING:
    from bertsmith.objectives.modules.context import InContextObjective

SENTENCE = "sentence"  # the term
ITSELF = ("zero", "never")


@dataclass(frozen=True, kw_only=True)
class Context:
    """The cross-entropy of a softmax over the sentences of the update, whose scores are products of what the first body of the model says of
    the sentence and the second of a candidate; all sentences of the document within `window` share what is right (section 3).

    `itself`: the score of a sentence as its own neighbour: zero, as the released code has it, or never.
    """

    window: int = 1
    itself: Literal["zero", "never"] = "zero"
    pooler: Summarised = "none"  # of the summary that the model would have: whose family it is
    joint: ClassVar[bool] = True
    vectors: ClassVar[dict[str, Any]] = {"pool": "cls", "normalise": False}  # how the model says a text's vector

    def __post_init__(self):
        require(self.window > 0, f"objective.window: {self.window} must be above 0")
        require(self.itself in ITSELF, f"objective.itself: {self.itself!r} is neither {' nor '.join(ITSELF)}")

    def build(self, model: Body) -> InContextObjective:
        from bertsmith.objectives.modules.context import InContextObjective

        check_two(model.config)
        return InContextObjective(self)

    def parameters(self, model: BodyConfig) -> int:
        check_two(model)
        return 0

    def weights(self) -> dict[str, float]:
        return {SENTENCE: 1.0}


def check_two(model: Any) -> None:
    widths = [body.width for body in model.each] if isinstance(model, Beside) else []
    require(
        len(widths) == 2 and widths[0] == widths[1],
        "model: two encoders side by side are wanted, one of a sentence and one of what stands beside it (nn/beside.py), of one width",
    )
