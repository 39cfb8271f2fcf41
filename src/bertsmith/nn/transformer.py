"""The Transformer: embeddings, positions and a stack of layers, each a slot.  n tokens in one flat row, d width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Stream
from bertsmith.nn.adaptive import Adaptive
from bertsmith.nn.blocks import ACTIVATIONS, PostNorm, fill, initialise
from bertsmith.nn.embeddings import Embeddings
from bertsmith.nn.memory import Memory
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
    adaptive: Adaptive | None = None  # token tables in clusters, for an adaptive softmax; null = one table
    share: Share = "none"  # what the layers have in common (ALBERT)
    dropout: float = 0.1  # on embeddings, attention probabilities and the output of every sublayer
    eps: float = 1e-12  # of the norms
    embedding_norm: bool = True  # a norm on the embedding
    scaled: bool = False  # token vectors by the square root of their width (Transformer-XL)
    attention_bias: bool = True  # biases of the attention's four matrices
    output_dropout: bool = False  # `dropout` on the last layer's output, too
    asking: bool = False  # a learned vector for tokens that only ask (XLNet)
    memory: int = 0  # tokens before a sequence that a layout of columns lets it see at most

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "heads", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(self.memory >= 0, f"model.memory: {self.memory} is negative; 0 = none")
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
    def inner(self) -> int:
        """Width of the token table."""
        return self.embedding or self.width

    @property
    def longest(self) -> int | None:
        """The most tokens that a sequence may have; None where positions have no end."""
        return getattr(self.positions, "length", None)

    def parameters(self) -> int:
        """Exact number of parameters, without heads."""
        inner, width = self.inner, self.width
        rows = self.segments + 2 * self.embedding_norm + self.asking
        tokens = self.adaptive.parameters(self.vocab, inner) if self.adaptive else self.vocab * inner
        embeddings = tokens + rows * inner + self.positions.parameters(self)
        project = (inner + 1) * width if self.embedding else 0
        attention = 4 * (width + self.attention_bias) * width + 2 * width
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
        self.embeddings = Embeddings(config)
        self.positions = config.positions.build(config)
        self.dropout = nn.Dropout(config.dropout if config.output_dropout else 0.0)
        self.memory = Memory(config.memory) if config.memory else None
        layer = (config.width, config.heads, config.hidden, config.activation, config.eps, config.dropout)
        own = getattr(config.positions, "build_layer", None)
        self.layers = nn.ModuleList()
        for number in range(config.layers):
            first = self.layers[0].attention.positions if number else None
            self.layers.append(PostNorm(*layer, config.attention_bias, own(config, first) if own else None))
            for part in SHARED[config.share]:
                setattr(self.layers[-1], part, getattr(self.layers[0], part))

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        return self.embeddings.tokens

    def depth_of(self, name: str) -> int:
        """How deep one of its parameters stands: 0 in the embeddings, i + 1 in layer i."""
        part, _, rest = name.partition(".")
        return int(rest.partition(".")[0]) + 1 if part == "layers" else 0

    def forward(self, stream: Stream, read: Tensor | None = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), ascending: the last layer computes only these.

        With memory, a stream of threads finds there what the sequences before its own left, and leaves what those after them will find.
        """
        inputs = []
        for x in self._states(stream, read):
            if self.memory:
                inputs.append(x)
        if self.memory:
            self.memory.keep(stream, inputs[:-1])
        return self.dropout(x[: len(stream.tokens if read is None else read)])

    def states(self, stream: Stream) -> list[Tensor]:
        """The embedding and every layer's output, each (n, d); memory is left as it is."""
        return [state[: len(stream.tokens)] for state in self._states(stream, None)]

    def _states(self, stream: Stream, read: Tensor | None) -> Iterator[Tensor]:
        """Filler included; of the last layer only the rows `read`."""
        past = self.memory.recall(stream) if self.memory else None
        x = fill(self.embeddings(stream, self.positions))
        yield x
        for number, layer in enumerate(self.layers):
            wanted = read if number + 1 == len(self.layers) else None
            if past is None:
                x = layer(x, stream, self.positions, wanted)
            else:
                seen = fill(past.before(number, x[: len(stream.tokens)]))
                x = layer(seen, past.stream, self.positions, past.own if wanted is None else past.own[wanted])
            yield x
