"""A body of static vectors: what it says of a token is the token's own vector wherever it stands, or one that its spelling has a part in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.data.letters import Letters
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.static import Static


@dataclass(frozen=True, kw_only=True)
class Grams:
    """Stretches of `shortest` to `longest` letters of a token have vectors, too, in `buckets` that several share; a token's vector is the mean of its own
    and of theirs (Bojanowski et al. 2017; the released code, where the paper has the sum), one that is in no vocabulary has theirs alone."""

    shortest: int = 3
    longest: int = 6
    buckets: int = 2_000_000
    entries: int = 0  # stretches of all tokens together; follows the tokenizer

    def __post_init__(self):
        require(
            0 < self.shortest <= self.longest,
            f"model.grams: {self.shortest} to {self.longest} letters: shortest must be above 0 and at most longest",
        )
        require(self.buckets > 0, f"model.grams.buckets: {self.buckets} must be above 0")


@dataclass(frozen=True, kw_only=True)
class StaticConfig:
    """It satisfies `body.BodyConfig`.  `grams`: a Grams, or None; `context`: a second table, of words as what stands around others, whose vectors are
    added where vectors are read (GloVe's W + W~)."""

    vocab: int  # follows the store's tokenizer
    width: int
    dropout: float = 0.0  # of vectors that others read
    grams: Any = None
    context: bool = False
    letters: Letters = field(default_factory=Letters)  # follow the tokenizer
    norm: Any = field(default_factory=LayerNorm)  # of heads
    layers: ClassVar[int] = 0
    longest: ClassVar[None] = None
    segments: ClassVar[int] = 0
    reads_segments: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    activation: ClassVar[str] = "gelu"  # of heads
    depth: ClassVar[int] = 0
    knows_corpus: ClassVar[bool] = True  # training/given.py
    pool: ClassVar[str] = "mean"  # of a text: no token of it knows the others
    rates: ClassVar[tuple[float, float]] = (
        0.01,
        0.1,
    )  # of tuning it, and a head alone: nothing stands between vectors and head (LOG.md)
    alone: ClassVar[bool] = True  # so that a token which is no word says nothing of a text

    def __post_init__(self):
        for name in ("vocab", "width"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        require(
            self.grams is None or not self.context,
            "model.context: of words alone; a model with model.grams has one table",
        )

    @property
    def composes(self) -> bool:
        """Whether words that no token stands for have vectors, by the characters that spell them in a text."""
        return self.grams is not None and self.letters.end > 0

    @property
    def inner(self) -> int:
        return self.width

    def parameters(self) -> int:
        rows = self.vocab * (1 + self.context) + (self.grams.buckets if self.grams else 0)
        return rows * self.width

    def for_words(self, words: Sequence[str | None]) -> StaticConfig:
        """For a vocabulary of these words; None: one without a spelling."""
        if self.grams is None:
            return self
        from bertsmith.nn.grams import entries

        return replace(self, grams=replace(self.grams, entries=entries(words, self.grams.shortest, self.grams.longest)))

    def build(self) -> Static:
        from bertsmith.nn.modules.static import Static

        return Static(self)
