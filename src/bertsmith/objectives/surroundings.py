"""What stands before this sentence, and what behind it?  Both are written from the sentence's vector, each by a decoder of its own.

Skip-Thought (Kiros et al. 2015, arXiv:1506.06726).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.nn.beside import Beside
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.nn.gru import GATES
from bertsmith.objectives.predict import Summarised

if TYPE_CHECKING:
    from bertsmith.objectives.modules.surroundings import SurroundingsObjective

TERMS = ("previous", "next")


@dataclass(frozen=True, kw_only=True)
class Written:
    """The cross-entropy of every token of both neighbours from those before it and the vector (section 3.1).

    A decoder is a layer of gated recurrent units as wide as the vector, which reads that beside every token: equations 5 to 8, but that the
    reset gate stands behind the product, as in cuDNN's cell.  Both say tokens by one matrix.  Bodies side by side learn each by decoders
    of their own (combine-skip), and their losses are added up.
    """

    pooler: Summarised = "none"  # of the summary that the model would have: whose family it is
    vectors: ClassVar[dict[str, Any]] = {"pool": "cls", "normalise": False}  # how the model says a text's vector

    def build(self, model: Body) -> SurroundingsObjective:
        from bertsmith.objectives.modules.surroundings import SurroundingsObjective

        return SurroundingsObjective(model)

    def parameters(self, model: BodyConfig) -> int:
        return sum(map(_decoders, parts_of(model)))

    def weights(self) -> dict[str, float]:
        return dict.fromkeys(TERMS, 1.0)


def parts_of(model: Any) -> tuple[Any, ...]:
    """Configurations of the encoders that learn by themselves."""
    return model.each if isinstance(model, Beside) else (model,)


def _decoders(model: Any) -> int:
    wide = outer(model)
    return 2 * GATES * wide * (model.inner + wide + wide + 2) + (wide + 1) * model.vocab
