"""Stacks that read a text token by token: an embedding, and layers of cells.

It satisfies `body.BodyConfig` and builds a `body.Body`.  r numbers read, u remembered, d said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from bertsmith.config import require
from bertsmith.nn.cells import LSTM
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.initial import Uniform
from bertsmith.nn.norms import LayerNorm

if TYPE_CHECKING:
    from bertsmith.nn.modules.recurrent import Carried, WordTable

Directions = Literal["forward", "backward", "both", "apart"]


@dataclass(frozen=True, kw_only=True)
class Carry:
    """What a sequence leaves in all layers is where the one that goes on from it begins, without gradient: truncated back-propagation through
    time.  A layout of columns says which goes on from which."""

    def build(self, model: Any) -> "Carried":
        from bertsmith.nn.modules.recurrent import Carried

        return Carried()


@dataclass(frozen=True, kw_only=True)
class Locked:
    """Dropout of one mask for all times of a sequence (Gal & Ghahramani 2016), as shares of `model.dropout`: on what the first layer reads,
    between layers, on what the last one says; and on recurrent weights (Merity et al. 2018).  Zero `model.dropout` is none at all."""

    input: float = 1.0
    between: float = 1.0
    output: float = 1.0
    weights: float = 0.0

    def check(self, model: Any) -> None:
        for name, share in vars(self).items():
            rate = share * model.dropout
            require(
                0 <= rate < 1,
                f"model.noise.{name}: {share} of model.dropout ({model.dropout}) is {rate:g}, not in [0, 1)",
            )


@dataclass(frozen=True, kw_only=True)
class Words:
    """The token table alone.  `drop`: the share of its rows, of `model.dropout`, that a pass leaves out, wherever the tokens stand (Gal &
    Ghahramani 2016)."""

    drop: float = 0.0
    width: ClassVar[None] = None
    segments: ClassVar[int] = 0
    asks: ClassVar[bool] = False

    def __post_init__(self):
        require(self.drop >= 0, f"model.embeddings.drop: {self.drop} is negative")

    def build(self, model: Any) -> "WordTable":
        from bertsmith.nn.modules.recurrent import WordTable

        return WordTable(self, model)

    def parameters(self, model: Any) -> int:
        return model.vocab * model.width


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """LSTM language models, ULMFiT, ELMo, ON-LSTM, CoVe.  `hidden`: units of a cell; the last layer has `width` of them, or every layer is projected to it.

    `directions`: from the beginning of a text, from its end, both in every layer (each layer reads what both said), or two stacks apart,
    neither of which reads what the other says (ELMo).  Of two directions a state is both, one beside the other.
    """

    vocab: int  # follows the store's tokenizer
    layers: int
    width: int
    hidden: int
    dropout: float = 0.1
    embeddings: Any = field(default_factory=lambda: Summed(segments=0, norm=False))
    cell: Any = field(default_factory=LSTM)
    directions: Directions = "forward"
    residual: bool = False  # what a layer reads is added to what it says, from the second on
    noise: Any = None  # a Locked; null: plain dropout on what every layer says
    memory: Any = None  # a Carry: sequences go on from one another; null: each begins anew
    topology: Any = (
        None  # an Attentive: what writes about what the stack reads (nn/attentive.py); null: the stack alone
    )
    initial: Any = field(default_factory=Uniform)  # what tables begin as
    norm: Any = field(default_factory=LayerNorm)  # of heads
    longest: ClassVar[None] = None
    activation: ClassVar[str] = "gelu"  # of heads
    rates: ClassVar[tuple[float, float]] = (3e-3, 1e-2)  # of tuning it, and a head alone: states are small (LOG.md)

    def __post_init__(self):
        for name in ("vocab", "layers", "width", "hidden"):
            require(getattr(self, name) > 0, f"model.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.dropout < 1, f"model.dropout: {self.dropout} is not in [0, 1)")
        known = get_args(Directions)
        require(self.directions in known, f"model.directions: {self.directions!r} is not one of {', '.join(known)}")
        require(
            self.memory is None or len(self.ways) == 1,
            f"model.memory: what reads a text from its end, too ({self.directions}), cannot go on from the text before; set it to null",
        )
        require(
            not self.residual or len({units for units, _ in self.sizes}) == 1 or self.cell.narrows,
            f"model.residual: layers of {self.hidden} and {self.width} numbers cannot be added; set model.hidden={self.width}, or a projection",
        )
        for part in (self.noise, self.topology):
            if part is not None:
                part.check(self)

    @property
    def inner(self) -> int:
        return self.embeddings.width or self.width

    @property
    def placed(self) -> int:
        return self.inner

    @property
    def outer(self) -> int:
        """Numbers of each state, which heads read."""
        return self.width * len(self.ways)

    @property
    def ways(self) -> tuple[bool, ...]:
        """Of each direction whether it reads a text from its end."""
        return {"forward": (False,), "backward": (True,)}.get(self.directions, (False, True))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(units, what they say) of each layer, in one direction."""
        if self.cell.narrows:
            return [(self.hidden, self.width)] * self.layers
        return [(self.hidden, self.hidden)] * (self.layers - 1) + [(self.width, self.width)]

    @property
    def reads(self) -> list[int]:
        """Numbers that each layer reads."""
        times = len(self.ways) if self.directions == "both" else 1
        return [self.width, *(times * says for _, says in self.sizes[:-1])]

    @property
    def widths(self) -> dict[int, int]:
        """Numbers of a state of each layer that are others than those of the last."""
        every = {number: says * len(self.ways) for number, (_, says) in enumerate(self.sizes, 1)}
        return {number: width for number, width in every.items() if width != self.outer}

    @property
    def segments(self) -> int:
        return self.embeddings.segments

    @property
    def reads_segments(self) -> bool:
        return self.segments > 0

    @property
    def asks(self) -> bool:
        return self.embeddings.asks

    @property
    def decodes(self) -> bool:
        """Whether a second stack reads what this one says."""
        return self.topology is not None

    @property
    def depth(self) -> int:
        return self.layers + (self.topology.deep(self) if self.decodes else 0)

    def parameters(self) -> int:
        cells = sum(self.cell.parameters(reads, *sizes) for reads, sizes in zip(self.reads, self.sizes, strict=True))
        above = self.topology.parameters(self) if self.decodes else 0
        return self.embeddings.parameters(self) + len(self.ways) * cells + above

    def build(self) -> Any:
        """A stack, or what its topology makes of it."""
        return self.initial.begin(self.topology.build(self) if self.decodes else self.stack())

    def stack(self) -> Any:
        from bertsmith.nn.modules.recurrent import RecurrentStack

        return RecurrentStack(self)
