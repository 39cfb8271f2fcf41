"""The Transformer: embeddings, positions and a stack of layers, each a slot.  n tokens in one flat row, d width."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Stream
from bertsmith.nn.blocks import ACTIVATIONS, PostNorm, fill, initialise
from bertsmith.nn.embeddings import Embeddings
from bertsmith.nn.positions import Learned

Share = Literal["none", "all", "attention", "feedforward"]
SHARED: dict[str, tuple[str, ...]] = {  # parts of a layer that all layers have in common, each with its norm
    "none": (),
    "attention": ("attention", "attention_norm"),
    "feedforward": ("feedforward", "feedforward_norm"),
    "all": ("attention", "attention_norm", "feedforward", "feedforward_norm"),
}
BYTES = 16  # training holds four float32 of each parameter: weight, gradient, two moments
MOST = 1 << 40


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    heads: int
    hidden: int  # width between the two matrices of the feed-forward part
    segments: int = 2  # 0: no segment embedding
    positions: Any = field(default_factory=Learned)
    norm: Literal["post"] = "post"
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    embedding: int | None = None  # width of a factorised token table; null = `width`
    share: Share = "none"  # what the layers have in common (ALBERT)
    dropout: float = 0.1  # on embeddings, attention probabilities and the output of every sublayer
    eps: float = 1e-12  # of the norms

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "heads", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(self.segments >= 0, f"model.segments: {self.segments} is negative; 0 = no segment embedding")
        require(
            self.embedding is None or self.embedding > 0,
            f"model.embedding: {self.embedding} must be above 0, or null for the width",
        )
        below = self.width // self.heads * self.heads
        near = min((w for w in (below, below + self.heads) if w), key=lambda w: abs(w - self.width))
        require(
            self.width % self.heads == 0,
            f"model: heads ({self.heads}) must divide width ({self.width}); nearest width: {near}",
        )
        require(
            self.activation in ACTIVATIONS,
            f"model.activation: {self.activation!r} is not one of {', '.join(ACTIVATIONS)}",
        )
        require(self.share in SHARED, f"model.share: {self.share!r} is not one of {', '.join(SHARED)}")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        require(self.eps > 0, f"model.eps: {self.eps} must be above 0")
        size = self.parameters()
        require(
            size * BYTES <= MOST,
            f"model: {size:,} parameters take {size * BYTES / MOST:,.1f} TiB in training, above the limit of 1; lower layers, width, hidden or vocab",
        )

    @property
    def longest(self) -> int | None:
        """The most tokens that a sequence may have; None where positions have no end."""
        return getattr(self.positions, "length", None)

    def parameters(self) -> int:
        """Exact number of parameters, without heads."""
        inner, width = self.embedding or self.width, self.width
        embeddings = (self.vocab + self.segments + 2) * inner + self.positions.parameters(inner, self.heads)
        project = (inner + 1) * width if self.embedding else 0
        attention = 4 * (width + 1) * width + 2 * width
        feedforward = 2 * self.hidden * width + self.hidden + width + 2 * width
        times = {part: 1 if part in SHARED[self.share] else self.layers for part in ("attention", "feedforward")}
        return embeddings + project + times["attention"] * attention + times["feedforward"] * feedforward

    def build(self) -> "Transformer":
        """Fresh weights from the global torch generator."""
        return initialise(Transformer(self))


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        inner = config.embedding or config.width
        self.embeddings = Embeddings(
            config.vocab, config.width, config.segments, config.embedding, config.eps, config.dropout
        )
        self.positions = config.positions.build(inner, config.heads)
        layer = (config.width, config.heads, config.hidden, config.activation, config.eps, config.dropout)
        self.layers = nn.ModuleList()
        for _ in range(config.layers):
            self.layers.append(PostNorm(*layer))
            for part in SHARED[config.share]:
                setattr(self.layers[-1], part, getattr(self.layers[0], part))

    @property
    def tokens(self) -> nn.Embedding:
        """The token table, which heads tie themselves to."""
        return self.embeddings.tokens

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), ascending: the last layer computes only these."""
        x = fill(self.embeddings(stream, self.positions))
        *before, last = self.layers
        for layer in before:
            x = layer(x, stream, self.positions)
        return last(x, stream, self.positions, read)[: len(stream.tokens if read is None else read)]

    def states(self, stream: Stream) -> list[Tensor]:
        """The embedding and every layer's output, each (n, d)."""
        states = [fill(self.embeddings(stream, self.positions))]
        for layer in self.layers:
            states.append(layer(states[-1], stream, self.positions))
        return [state[: len(stream.tokens)] for state in states]
