"""Replaced tokens: a small generator guesses what was hidden, and the model judges or restores a text with its guesses in it.

m asked tokens, n tokens, d width, V vocabulary.  Nothing flows back through a guess: the generator learns by maximum likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from bertsmith.config import require
from bertsmith.data.batch import IGNORE
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from bertsmith.objectives.modules.replaced import CopyTerm, DetectTerm, Replacement


Share = Literal["none", "embeddings", "disentangled", "all"]
OWN: tuple[Share, ...] = ("none", "disentangled")  # where the generator has all its parameters to itself
HEAD = 64  # width of a generator's attention head, as in the released code


@dataclass(frozen=True, kw_only=True)
class Detect:
    """Was this token replaced?  A guess that is right is no replacement."""

    name: str = "replaced"
    weight: float = 50.0

    def build(self, model: Body) -> "DetectTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.replaced import DetectTerm

        return initialise(DetectTerm(model.config))

    def parameters(self, model: BodyConfig) -> int:
        return (outer(model) + 1) * model.width + model.width + 1

    def labels(self, written: Tensor, clean: Tensor) -> Tensor:
        return (written != clean).long().masked_fill(clean == IGNORE, IGNORE)


@dataclass(frozen=True, kw_only=True)
class Restore(Tokens):
    """Which token stood here before the generator wrote?"""

    name: str = "restored"

    def labels(self, written: Tensor, clean: Tensor) -> Tensor:
        return clean


@dataclass(frozen=True, kw_only=True)
class RestoreOrCopy(Restore):
    """The same with a gate: the share of the answer that is the token read, the rest is the vocabulary's."""

    def build(self, model: Body) -> "CopyTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.replaced import CopyTerm

        return initialise(CopyTerm(model, self))

    def parameters(self, model: BodyConfig) -> int:
        return super().parameters(model) + outer(model) + 1


@dataclass(frozen=True, kw_only=True)
class ReplacedTokens:
    """ELECTRA's two models.  `generator` and `layers`: its width and depth as shares of the model's.

    `share`: the generator has embeddings of its own ("none"), the model's (token, segment and position tables and their norm), or is
    the model ("all").  "disentangled": both have a token table, which begin alike, and the model's is the generator's and a difference that it
    learns (He et al. 2021b, arXiv:2111.09543, section 3.3): it goes where the generator's goes, and no slope of it reaches that one.
    """

    generator: float = 0.25
    layers: float = 1.0
    share: Share = "embeddings"
    weight: float = 1.0  # of the generator's own loss
    head: Any = Detect()
    pooler: Literal["tanh", "gelu", "relu"] = "gelu"  # of a summary that fine-tuning adds
    among: int | None = (
        None  # guesses are tokens below this; null: any row of the table, which then has no more rows than there are tokens
    )

    def __post_init__(self):
        for name in ("generator", "layers"):
            size = getattr(self, name)
            require(size > 0, f"objective.{name}: {size} must be above 0")
            require(
                self.share != "all" or size == 1,
                f"objective.{name}: {size}, but with share=all the generator is the model; set it to 1",
            )
        require(
            self.share != "disentangled" or self.generator == 1,
            f"objective.generator: {self.generator}, but with share=disentangled both tables are as wide; set it to 1",
        )

    def build(self, model: Body) -> "Replacement":
        from bertsmith.objectives.modules.replaced import Replacement

        return Replacement(self, model)

    def parameters(self, model: TransformerConfig) -> int | None:
        """Exact number of the heads' parameters and of those that the generator has of its own; None where the head does not count its."""
        if not hasattr(self.head, "parameters"):
            return None
        guesser = self.generator_of(model)
        heads = self.head.parameters(model) + Tokens().parameters(guesser)
        return heads + (0 if self.share == "all" else guesser.parameters() - self._shared(guesser))

    def _shared(self, guesser: TransformerConfig) -> int:
        """Of a generator's parameters those that are the model's: tables and their norm, not what leads from them to its width."""
        if self.share in OWN:
            return 0
        table, places = guesser.embeddings, guesser.positions
        leads = (guesser.inner + 1) * guesser.width if table.width else 0
        by_layer = hasattr(places, "build_layer")  # then each layer has its own
        return table.parameters(guesser) - leads + (0 if by_layer else places.parameters(guesser))

    def for_vocab(self, size: int | None) -> ReplacedTokens:
        return replace(self, among=size)

    def weights(self) -> dict[str, float]:
        return {"token": self.weight, self.head.name: self.head.weight}

    def generator_of(self, model: TransformerConfig) -> TransformerConfig:
        """The generator's shapes.  InputError where its heads do not divide its width."""
        if self.share == "all":
            return model
        require(
            isinstance(model.embeddings, Summed),
            f"model.embeddings: a generator has one table in common with its model, not {type(model.embeddings).__name__} ones",
        )
        width = max(1, round(model.width * self.generator))
        inner = None if self.share == "none" else model.inner
        return replace(
            model,
            layers=max(1, round(model.layers * self.layers)),
            width=width,
            heads=max(1, width // HEAD),
            hidden=4 * width,
            embeddings=replace(model.embeddings, width=None if inner == width else inner),
        )

    def halves(self, model: TransformerConfig) -> dict[str, tuple[TransformerConfig, Predict, dict[str, str]]]:
        """What the two are by themselves: shapes, objective, and {a name's beginning in the whole member: in that half}."""
        judge = Predict(heads=(self.head,), pooler=self.pooler)
        guess = Predict(heads=(Tokens(),), pooler=self.pooler)
        term = f"objective.{self.head.name}."
        return {
            "discriminator": (model, judge, {"model.": "model.", term: term}),
            "generator": (
                self.generator_of(model),
                guess,
                {"objective.generator.": "model.", "objective.token.": "objective.token."},
            ),
        }
