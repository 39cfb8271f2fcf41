"""Encode once, then apply heads: the objective of BERT, RoBERTa and their neighbours.

m predictions of a term, n tokens, V vocabulary.  Losses are sums; whoever trains divides by counts taken before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.body import Body, BodyConfig, outer
from bertsmith.nn.feedforward import ACTIVATIONS

# The activation of the summary between a sequence's state and its classes; state: the classes read the state itself, none: without a bias;
# transform: dense without bias, GELU and norm, which stand before the classes of tokens, too (ModernBERT).
Summarised = Literal["tanh", "gelu", "relu", "state", "none", "transform"]

if TYPE_CHECKING:
    from bertsmith.objectives.modules.predict import (
        ClassTerm,
        ClusteredTerm,
        PairTerm,
        Prediction,
        SummaryTerm,
        TokenTerm,
    )


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Which token stood here?  Over the whole vocabulary, by the model's token table or, not `tied`, one of its own.

    `scaled`: states are divided by the root of their width, as a table whose rows are that long wants it (T5).  `wide`: what is asked of the
    table stays as wide as the model, and what a narrower table lacks is a table of the head's own (MobileBERT).  `dense_bias`: of the transform.
    """

    name: str = "token"
    transform: bool = True  # dense, activation and norm before the table
    weight: float = 1.0
    activation: str | None = None  # of the transform; None: the model's
    bias: bool = True  # one for each token of the vocabulary
    tied: bool = True
    scaled: bool = False
    wide: bool = False
    norm: Any = None  # kind of the transform's; None: the model's
    dense_bias: bool = True

    def __post_init__(self):
        require(
            self.tied or not self.wide, f"objective: {self.name}.wide: only beside the model's own table; set tied=true"
        )
        known = ", ".join(ACTIVATIONS)
        require(
            self.activation is None or self.activation in ACTIVATIONS,
            f"objective: {self.name}.activation: {self.activation!r} is not one of {known}, or null for the model's",
        )

    def build(self, model: Body) -> "TokenTerm":
        from torch import nn

        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.predict import TokenTerm

        require(
            not self.tied or isinstance(model.tokens, nn.Embedding),
            "model.embeddings: tokens in clusters, or frames, but the objective asks over one table; take embeddings that have one, or tied=false",
        )
        wide = outer(model.config)
        require(
            self.transform or not self.tied or wide == model.config.width,
            f"objective: {self.name}: states of {wide} numbers, and the token table has rows of {model.config.inner}; transform=true stands "
            "between them, or tied=false makes a table for them",
        )
        return initialise(TokenTerm(model, self))

    def parameters(self, model: BodyConfig) -> int:
        rows = self.rows(model)
        read = outer(model) + self.dense_bias
        dense = read * rows + (self.norm or model.norm).parameters(rows) if self.transform else 0
        own = rows - model.inner if self.tied else model.inner if self.transform else outer(model)
        return dense + (self.bias + own) * model.vocab

    def rows(self, model: BodyConfig) -> int:
        """Numbers of a row of all tables together."""
        return max(model.width, model.inner) if self.wide else model.inner


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """Which token stood here?  By an adaptive softmax over the clusters of the model's token table."""

    name: str = "token"
    weight: float = 1.0

    def build(self, model: Body) -> "ClusteredTerm":
        from bertsmith.objectives.modules.predict import ClusteredTerm

        config = model.config
        require(
            isinstance(config.embeddings, Adaptive),
            "model.embeddings: one table, but the objective asks by clusters; take adaptive embeddings",
        )

        return ClusteredTerm(config.embeddings, config.vocab, config.inner)

    def parameters(self, model: Any) -> int:
        further = len(model.embeddings.shapes(model.vocab, model.inner)) - 1
        return further * (model.inner + 1) + model.vocab


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How do the two segments relate?  Read off [CLS] through the pooler."""

    name: str = "pair"
    classes: int = 2
    weight: float = 1.0
    pooler: Summarised = "tanh"

    def __post_init__(self):
        require(self.classes > 1, f"objective: {self.name}.classes: {self.classes} is below 2")

    def build(self, model: Body) -> "PairTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.predict import PairTerm

        config = model.config
        made = {"pooler": self.pooler, "read": outer(config), "norm": config.norm}
        return initialise(PairTerm(config.width, self.classes, **made))

    def parameters(self, model: BodyConfig) -> int:
        from bertsmith.objectives.supervised import sequence_parameters

        return sequence_parameters(model, self.classes, self.pooler)


@dataclass(frozen=True, kw_only=True)
class TokenClasses:
    """Of which class is this token?  A linear layer over its state."""

    name: str
    classes: int = 2
    weight: float = 1.0

    def __post_init__(self):
        require(self.classes > 1, f"objective: {self.name}.classes: {self.classes} is below 2")

    def build(self, model: Body) -> "ClassTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.predict import ClassTerm

        return initialise(ClassTerm(outer(model.config), self.classes))

    def parameters(self, model: BodyConfig) -> int:
        return (outer(model) + 1) * self.classes


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A pooler by itself, as encoders are published: no layout asks for it, and fine-tuning takes it over."""

    name: str = "summary"
    weight: float = 0.0

    def build(self, model: Body) -> "SummaryTerm":
        from bertsmith.nn.modules.blocks import initialise
        from bertsmith.objectives.modules.predict import SummaryTerm

        return initialise(SummaryTerm(model.config.width, outer(model.config)))

    def parameters(self, model: BodyConfig) -> int:
        return (outer(model) + 1) * model.width


@dataclass(frozen=True, kw_only=True)
class Also:
    """A further term that another's head answers: other places, the same question."""

    name: str
    of: str = "token"
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """No head at all: an encoder that was published without one."""

    heads: ClassVar[tuple[Any, ...]] = ()
    pooler: Summarised = "tanh"

    def build(self, model: Body) -> "Prediction":
        from bertsmith.objectives.modules.predict import Prediction

        return Prediction(self, model)

    def weights(self) -> dict[str, float]:
        return {}

    def parameters(self, model: BodyConfig) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Each head is a term, asked where the batch has a target of its name.

    `pooler`: the activation of a summary that fine-tuning adds; BERT's is tanh, ELECTRA's gelu, GPT has none.
    """

    heads: tuple[Any, ...]
    pooler: Summarised = "tanh"

    def __post_init__(self):
        names = [head.name for head in self.heads]
        require(
            bool(names) and len(set(names)) == len(names),
            f"objective.heads: {names} must be at least one, each with its own name",
        )
        for head in self.heads:
            of = getattr(head, "of", head.name)
            require(of in names, f"objective.heads: {head.name}.of: {of!r} is none of {', '.join(names)}")

    def build(self, model: Body) -> "Prediction":
        from bertsmith.objectives.modules.predict import Prediction

        return Prediction(self, model)

    def weights(self) -> dict[str, float]:
        return {head.name: head.weight for head in self.heads}

    def parameters(self, model: BodyConfig) -> int | None:
        """Exact number of the heads' parameters; None where one of them does not count its own."""
        own = [head for head in self.heads if getattr(head, "of", head.name) == head.name]
        counted = all(hasattr(head, "parameters") for head in own)
        return sum(head.parameters(model) for head in own) if counted else None
