"""A stack whose upper layers read entities beside tokens (Zhang et al. 2019, "ERNIE: Enhanced Language Representation with Informative
Entities", section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from bertsmith.config import require
from bertsmith.data.batch import Vocab
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.transformer import OneStack, TransformerConfig, stack_parameters

if TYPE_CHECKING:
    from bertsmith.nn.modules.knowledge import KnowledgeTransformer


@dataclass(frozen=True, kw_only=True)
class Knowledge(OneStack):
    """`entities` of `width` numbers each, given and never learned; they follow the store.  Each of the upper layers has attention among the
    entities of a sequence, by `heads`, and one feed-forward part for both: an entity's goes with the first token of its mention.

    `plain`: layers below that read text alone; null: half of them, as in the paper, and at most all but two: what one layer is told of an
    entity, the next one tells other tokens.  The released code has five, one whose entities do not
    attend, and six more.
    """

    entities: int = 0
    width: int = 100
    heads: int = 4
    plain: int | None = None
    new: ClassVar[tuple[str, ...]] = (
        "model.layers.*.entity.*",
        "model.vectors",
    )  # weights that a stack for text alone does not have

    def check(self, model: TransformerConfig) -> None:
        """InputError for what these layers cannot be made of."""
        require(self.entities >= 0, f"model.topology.entities: {self.entities} is negative")
        require(
            self.width > 0 and self.heads > 0 and self.width % self.heads == 0,
            f"model.topology: heads ({self.heads}) must divide width ({self.width}), and both be above 0",
        )
        require(
            0 <= self.lower(model) < model.layers,
            f"model.topology.plain: {self.plain} of {model.layers} layers leave none for entities",
        )
        require(
            type(model.feedforward) is Plain and model.memory is None and model.share == "none",
            "model.topology: layers that read entities have a plain feed-forward part of their own each, and no memory",
        )

    def lower(self, model: TransformerConfig) -> int:
        """Layers that read text alone."""
        return max(0, min(model.layers // 2, model.layers - 2)) if self.plain is None else self.plain

    def for_vocab(self, vocab: Vocab) -> Knowledge:
        """With the table of what a corpus is linked to, where it is."""
        count, width = vocab.entities
        if not count:
            return self
        heads = next(heads for heads in range(min(self.heads, width), 0, -1) if width % heads == 0)
        return replace(self, entities=count, width=width, heads=heads)

    def continues(self, topology: Any) -> bool:
        """Whether the weights of a stack that reads text alone are a beginning for this."""
        return type(topology) is OneStack

    def build(self, model: TransformerConfig) -> KnowledgeTransformer:
        from bertsmith.nn.modules.knowledge import KnowledgeTransformer

        return KnowledgeTransformer(model)

    def parameters(self, model: TransformerConfig) -> int:
        """The table of entities is none."""
        width, hidden, upper = self.width, model.hidden, model.layers - self.lower(model)
        norm = model.norm.parameters(width)
        attention = 4 * width * (width + 1) + norm
        back = (hidden + 1) * width + norm  # of all but the last, whose entities nobody reads
        return stack_parameters(model) + upper * (attention + width * hidden) + (upper - 1) * back
