"""Words by a table, and where there is no entry by the characters that spell them (Luong & Manning 2016, arXiv:1604.00788, section 4).

A stream holds a word that is spelled as a mark and its characters (data/letters.py).  Layers read words; every token of a word has its state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.data.letters import Letters
from bertsmith.nn.recurrent import Recurrent, Words

if TYPE_CHECKING:
    from bertsmith.nn.modules.hybrid import ComposedEmbeddings


def reader(letters: Letters, layers: int, hidden: int) -> Recurrent:
    """An LSTM that reads characters from the left, each a vector as wide as it is."""
    return Recurrent(vocab=letters.symbols, layers=layers, width=hidden, hidden=hidden, dropout=0.0, embeddings=Words())


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A word that the vocabulary has is a row of the table; of one that is spelled it is what an LSTM of `layers` layers, as wide
    as the model, says behind the last of the characters, which it reads from the left (section 4.2).

    A word of more than `longest` characters loses its end.
    """

    layers: int = 1
    longest: int = 24
    width: ClassVar[None] = None
    segments: ClassVar[int] = 0
    asks: ClassVar[bool] = False

    def __post_init__(self):
        for name in ("layers", "longest"):
            require(getattr(self, name) > 0, f"model.embeddings.{name}: {getattr(self, name)} must be above 0")

    def build(self, model: Any) -> "ComposedEmbeddings":
        from bertsmith.nn.modules.hybrid import ComposedEmbeddings

        return ComposedEmbeddings(self, model)

    def parameters(self, model: Any) -> int:
        return model.vocab * model.width + reader(model.letters, self.layers, model.width).parameters()


@dataclass(frozen=True, kw_only=True)
class Hybrid(Recurrent):
    """A recurrent stack that reads words, of a stream in which some are spelled.  With `embeddings` that compose nothing (`Words`) all words that are
    spelled are the mark, one vector; of a tokenizer without characters it is the plain stack."""

    letters: Letters = field(default_factory=Letters)  # follow the tokenizer

    def __post_init__(self):
        super().__post_init__()
        require(
            self.memory is None and self.topology is None,
            "model.memory: a model that reads words goes on from no sequence; set model.memory=null and model.topology=null",
        )

    @property
    def composes(self) -> bool:
        """Whether words that no token stands for have vectors, by the characters that spell them in a text."""
        return isinstance(self.embeddings, Composed) and self.letters.end > 0

    def stack(self) -> Any:
        from bertsmith.nn.modules.hybrid import WordStack

        return WordStack(self)
