"""What every body of a model gives to those who read it: objectives, fine-tuning, embedding, exchange.  n tokens, m <= n read, d width.

A body's configuration is `recipe.model`; it builds the body.  Readers ask it these questions and never what it is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bertsmith.data.batch import Stream

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class BodyConfig(Protocol):
    """A frozen dataclass; `vocab`, `layers`, `width` and `dropout` are fields, so that overrides reach them in every body."""

    @property
    def vocab(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def inner(self) -> int:
        """Width of the token table."""
        ...

    @property
    def longest(self) -> int | None:
        """The most tokens that a sequence may have; None where there is no end."""
        ...

    @property
    def segments(self) -> int:
        """Rows of the segment table; 0: none."""
        ...

    @property
    def reads_segments(self) -> bool:
        """Whether segments change what it says, by a table or otherwise."""
        ...

    @property
    def asks(self) -> bool:
        """Whether it has tokens that only ask."""
        ...

    @property
    def activation(self) -> str:
        """Heads have it, too."""
        ...

    @property
    def norm(self) -> Any:
        """Kind of norm (norms.py); heads have it, too."""
        ...

    @property
    def depth(self) -> int:
        """`depth_of` the last layer."""
        ...

    def parameters(self) -> int:
        """Exact number of parameters, without heads."""
        ...

    def build(self) -> Any:
        """A Body with fresh weights from the global torch generator."""
        ...


@runtime_checkable
class Body(Protocol):
    """An `nn.Module`."""

    @property
    def config(self) -> Any:
        """Its BodyConfig."""
        ...

    @property
    def tokens(self) -> Any:
        """The token table, which heads tie themselves to."""
        ...

    def __call__(self, stream: Stream, read: Tensor | None = None, output: Any = None) -> Tensor:
        """(n, d), or (m, d) for the flat indices `read` (m,), ascending: exact, and no more is computed than these need.  `output`: the
        stream that a decoder reads, whose states these are; only a body of two stacks is given one."""
        ...

    def states(self, stream: Stream, layers: int | None = None) -> list[Tensor]:
        """The embedding and every layer's output, or those of the first `layers`, each (n, d)."""
        ...

    def depth_of(self, name: str) -> int:
        """How far up a parameter stands (its name as in `named_parameters`): 0 the embeddings, i + 1 layer i; what follows the last layer
        stands as high as it.  ValueError for a name that is none."""
        ...


def outer(model: Any, layer: int | None = None) -> int:
    """Numbers of each state that a body of this configuration gives: its width, but where it says another (`outer`); of `layer`, 0 the
    embedding, those that it says of this one (`widths`), where they are not all the same."""
    whole = getattr(model, "outer", model.width)
    return whole if layer is None else getattr(model, "widths", {}).get(layer, whole)


def texts(model: Any, hidden: Tensor, stream: Stream, skip: int = 0, mute: Tensor | None = None) -> list[Tensor]:
    """States (n, d) text by text, as a mean over a text goes by them: of a body that reads words (`worded`) one for each, however many tokens
    spell it.  Without the `skip` first tokens of each, where more are left, and without those of the ids `mute`, whether others are left or not."""
    parts = [part[min(skip, len(part) - 1) :] for part in hidden.split(stream.lengths)]
    once = model.worded(stream) if hasattr(model, "worded") else None
    if mute is not None:
        import torch

        said = ~torch.isin(torch.as_tensor(stream.tokens), mute)
        once = said if once is None else once & said
    if once is None:
        return parts
    marks = [mark[min(skip, len(mark) - 1) :] for mark in once.split(stream.lengths)]
    whole = mute is not None  # what is left, if it is nothing
    return [part[mark] if whole or mark.any() else part[:1] for part, mark in zip(parts, marks, strict=True)]


def depth_of(module: nn.Module, name: str, layers: int) -> int:
    """`Body.depth_of` where layer i is `layers.i` and what follows the last is `norm`."""
    first, _, rest = name.partition(".")
    owner, _, own = name.rpartition(".")
    try:
        known = own in module.get_submodule(owner)._parameters  # what stands there may be read as another (lowrank.py)
    except AttributeError:
        known = False
    if not known:
        raise ValueError(f"{name}: not a parameter of this body")
    return {"layers": 1 + int(rest.partition(".")[0]) if first == "layers" else 0, "norm": layers}.get(first, 0)
