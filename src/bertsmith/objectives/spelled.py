"""What an unknown word is written like: a head that spells it, character by character, from the state that asks for it (Luong & Manning 2016, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertsmith.config import require
from bertsmith.data.letters import LETTER
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.nn.hybrid import reader

if TYPE_CHECKING:
    from bertsmith.objectives.modules.spelled import SpellingTerm


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """An LSTM of `layers` layers of `hidden` units over the characters of a word, whose layers begin from tanh of a matrix of the state's own for them
    (separate-path generation), with nothing remembered.

    `weight`: of the mean over characters.  The paper adds up both losses, which is the weight of characters of unknown words to a word.
    """

    name: str = LETTER
    weight: float = 1.0
    hidden: int = 128
    layers: int = 1

    def __post_init__(self):
        for name in ("hidden", "layers"):
            require(getattr(self, name) > 0, f"objective: {self.name}.{name}: {getattr(self, name)} must be above 0")

    def build(self, model: Body) -> "SpellingTerm":
        from bertsmith.objectives.modules.spelled import SpellingTerm

        letters = getattr(model.config, "letters", None)
        require(
            letters is not None, f"objective: {self.name}: spells words, and the model reads none; take a hybrid body"
        )
        return model.config.initial.begin(SpellingTerm(self, outer(model.config), letters))

    def parameters(self, model: BodyConfig) -> int:
        letters = model.letters  # type: ignore[attr-defined]
        network = reader(letters, self.layers, self.hidden).parameters()
        return (outer(model) + 1) * self.layers * self.hidden + network + (self.hidden + 1) * letters.symbols
