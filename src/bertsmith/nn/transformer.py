"""The Transformer, put together from parts: each slot of its configuration holds a small configuration that builds its modules.

n tokens in one flat row, m <= n of them read, d width.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bertsmith.config import require
from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.initial import Normal
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.spelling import amount

if TYPE_CHECKING:
    from bertsmith.nn.modules.transformer import Transformer


Share = Literal["none", "all", "attention", "feedforward"]
SHARED: dict[str, tuple[str, ...]] = {  # parts of a layer that all layers have in common, each with its norm
    "none": (),
    "attention": ("attention",),
    "feedforward": ("feedforward",),
    "all": ("attention", "feedforward"),
}
BYTES = 16  # training holds four float32 of each parameter: weight, gradient, two moments
MOST = 1 << 40


@dataclass(frozen=True, kw_only=True)
class OneStack:
    """Layers over one stream: encoders, and language models, whose stream says who sees whom."""

    decodes: ClassVar[bool] = False

    def build(self, model: "TransformerConfig") -> "Transformer":
        from bertsmith.nn.modules.transformer import Transformer

        return Transformer(model)

    def parameters(self, model: "TransformerConfig") -> int:
        return stack_parameters(model)

    def depth(self, model: "TransformerConfig") -> int:
        return model.layers


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Numbers that every Transformer has, and its parts; docs/design.md lists what each slot may hold."""

    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    heads: int
    hidden: int  # width between the matrices of the feed-forward part
    dropout: float = 0.1  # on embeddings, attention probabilities and what every part of a layer says
    embeddings: Any = field(default_factory=Summed)
    positions: Any = field(default_factory=Learned)
    block: Any = field(default_factory=PostNorm)
    norm: Any = field(default_factory=LayerNorm)
    attention: Any = field(default_factory=Full)
    feedforward: Any = field(default_factory=Plain)
    share: Share = "none"  # what the layers have in common (ALBERT)
    memory: Any = None  # what sequences leave for those that go on from them (Transformer-XL); null = nothing
    topology: Any = field(default_factory=OneStack)
    initial: Any = field(default_factory=Normal)  # what weights begin as

    # Where fields stand now that were the model's own before parts were slots.
    MOVED: ClassVar[dict[str, str]] = {
        "norm": "block",
        "segments": "embeddings.segments",
        "embedding": "embeddings.width",
        "embedding_norm": "embeddings.norm",
        "adaptive": "embeddings",
        "scaled": "embeddings",
        "asking": "embeddings",
        "activation": "feedforward.activation",
        "eps": "norm.eps",
        "attention_bias": "attention.bias",
        "output_dropout": "block.dropout_last",
    }

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "heads", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        for name in ("embeddings", "positions", "block", "norm", "attention", "feedforward", "topology", "initial"):
            part = getattr(self, name)
            require(is_dataclass(part), f"model.{name}: {part!r} is not a part, which a configuration class describes")
        require(self.share in SHARED, f"model.share: {self.share!r} is not one of {', '.join(SHARED)}")
        require(
            "attention" not in SHARED[self.share] or getattr(self.block, "first", True),
            f"model.share: {self.share}, but the first layer's attention has no norm that others could share; set model.block.first=true",
        )
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        if hasattr(self.block, "check"):
            self.block.check(self)
        inside = self.block.inside(self)  # which is checked as it is made, where it is another
        for part in (*((self.attention,) if inside is self else ()), self.positions, self.topology):
            if hasattr(part, "check"):
                part.check(self)
        size = self.parameters()
        require(
            size * BYTES <= MOST,
            f"model: {amount(size, 'parameter')} take {size * BYTES / MOST:,.1f} TiB in training, above the limit of 1; lower layers, width, hidden or vocab",
        )

    @property
    def inner(self) -> int:
        """Width of the token table."""
        return self.embeddings.width or self.width

    @property
    def placed(self) -> int:
        """Width of what positions are added to."""
        return getattr(self.embeddings, "placed", lambda model: model.inner)(self)

    @property
    def outer(self) -> int:
        """Numbers of each state, which heads read."""
        return self.width * getattr(self.topology, "sums", 1)

    @property
    def longest(self) -> int | None:
        """The most tokens that a sequence may have; None where positions have no end."""
        return getattr(self.positions, "length", None)

    @property
    def segments(self) -> int:
        """Rows of the segment table; 0: none."""
        return self.embeddings.segments

    @property
    def reads_segments(self) -> bool:
        """Whether segments change what it says, by a table or by positions."""
        return bool(self.segments or getattr(self.positions, "segments", False))

    @property
    def asks(self) -> bool:
        """Whether it has a vector for tokens that only ask."""
        return self.embeddings.asks

    @property
    def spreads(self) -> bool:
        """Whether some of its tokens read all, where others have a window: what reads a text says which (`Stream.wide`)."""
        return bool(getattr(self.attention, "wide", False))

    @property
    def decodes(self) -> bool:
        """Whether a second stack reads what the first one says."""
        return self.topology.decodes

    @property
    def activation(self) -> str:
        return self.feedforward.activation

    @property
    def depth(self) -> int:
        """`depth_of` the last layer."""
        return self.topology.depth(self)

    def with_segments(self, segments: int) -> "TransformerConfig":
        """The same with a table of so many; 0: none."""
        return replace(self, embeddings=replace(self.embeddings, segments=segments))

    def parameters(self) -> int:
        """Exact number of parameters, without heads."""
        return self.topology.parameters(self)

    def build(self) -> Any:
        """Fresh weights from the global torch generator."""
        return self.block.begin(self.initial.begin(self.topology.build(self)))


def stack_parameters(model: TransformerConfig, reads_source: bool = False) -> int:
    """Embeddings and layers of one stack, and what follows the last."""
    found = model.embeddings.parameters(model) + model.positions.parameters(model) + model.block.last_parameters(model)
    inside = model.block.inside(model)
    of_layer = getattr(inside.attention, "of_layer", lambda layer: inside.attention)
    sizes = {
        "attention": lambda layer: of_layer(layer).parameters(inside),
        "feedforward": lambda layer: inside.feedforward.parameters(inside),
        **({"source": lambda layer: of_layer(layer).parameters(inside)} if reads_source else {}),
    }
    for part, size in sizes.items():
        for layer in range(1 if part in SHARED[model.share] else model.layers):
            found += size(layer) + inside.block.norm_parameters(inside, layer, part)
    return found + model.layers * model.block.layer_parameters(model)
