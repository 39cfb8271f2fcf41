"""Several objectives over one trunk: the feed that a batch comes from says which one is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require
from bertsmith.data.batch import term_of
from bertsmith.nn.apart import module_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bertsmith.objectives.modules.mixed import MixedObjective


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is asked of one feed.  `of`: the heads of another feed's objective, in place of one of its own."""

    feed: str
    objective: Any = None
    of: str | None = None
    weight: float = 1.0  # of all of its terms in the loss


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """One part for each feed; its terms are `feed.term`.  Keys: `objective.feed_<feed>.<term>.…`."""

    parts: tuple[Part, ...]

    def __post_init__(self):
        own = {part.feed for part in self.parts if part.objective is not None}
        names = [part.feed for part in self.parts]
        require(
            bool(names) and len(set(names)) == len(names),
            f"objective.parts: {names} must be at least one, each with its own feed",
        )
        for part in self.parts:
            fits = part.of is None if part.objective is not None else part.of in own
            require(
                fits,
                f"objective.parts: {part.feed}: needs an objective, or `of` one of {', '.join(sorted(own)) or 'none'}",
            )

    def answering(self, feed: str) -> Any:
        """The objective that is asked about a feed."""
        (part,) = (part for part in self.parts if part.feed == feed)
        return part.objective if part.objective is not None else self.answering(part.of or "")

    @property
    def main(self) -> Part:
        """Of the first text: its heads are the model's own, where it is used for anything but its tasks."""
        own = [part for part in self.parts if part.objective is not None]
        return next((part for part in own if hasattr(part.objective, "heads")), own[0])

    @property
    def objective(self) -> Any:
        """What the model is asked where it is used for anything but its tasks."""
        return self.main.objective

    def alone(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if its main part were all of its objective."""
        return self.of(self.main.feed, weights)

    def of(self, feed: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a member by name, as if what is asked of one feed were all of its objective."""
        (part,) = (part for part in self.parts if part.feed == feed)
        own = f"objective.{module_of(part.of or feed)}."
        return {
            f"objective.{name.removeprefix(own)}" if name.startswith(own) else name: x
            for name, x in weights.items()
            if name.startswith(("model.", own))
        }

    def build(self, model: nn.Module) -> MixedObjective:
        from bertsmith.objectives.modules.mixed import MixedObjective

        return MixedObjective(self, model)

    def parameters(self, model: Any) -> int | None:
        """Exact number of all heads' parameters; None where one of the objectives does not count its own."""
        own = [part.objective for part in self.parts if part.objective is not None]
        sizes = [objective.parameters(model) if hasattr(objective, "parameters") else None for objective in own]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def weights(self) -> dict[str, float]:
        return {
            term_of(part.feed, term): part.weight * weight
            for part in self.parts
            for term, weight in self.answering(part.feed).weights().items()
        }
