"""Several objectives over one trunk: the feed that a batch comes from says which one is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bertsmith.config import require
from bertsmith.data.batch import Batch, term_of


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

    def build(self, model: nn.Module) -> MixedObjective:
        return MixedObjective(self, model)

    def weights(self) -> dict[str, float]:
        return {
            term_of(part.feed, term): part.weight * weight
            for part in self.parts
            for term, weight in self.answering(part.feed).weights().items()
        }


def module_of(feed: str) -> str:
    """How the heads of a feed are called among a module's parts, whose own names a feed may have ("train")."""
    return f"feed_{feed}"


class MixedObjective(nn.Module):
    def __init__(self, config: Mixed, model: nn.Module):
        super().__init__()
        self.config = config
        for part in config.parts:
            if part.objective is not None:
                self.add_module(module_of(part.feed), part.objective.build(model))

    def of(self, feed: str) -> Any:
        """The objective of one feed, its terms under their own names."""
        (part,) = (part for part in self.config.parts if part.feed == feed)
        return self.get_submodule(module_of(part.of or feed))

    @property
    def columns(self) -> dict[str, int]:
        return {
            term_of(part.feed, term): count
            for part in self.config.parts
            for term, count in getattr(self.of(part.feed), "columns", {}).items()
        }

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """{feed.term: sum of its losses} of the batch's own feed."""
        return {term_of(batch.feed, term): value for term, value in self.of(batch.feed)(model, batch).items()}

    def scores(self, model: nn.Module, batch: Batch) -> dict[str, dict[str, float]]:
        found = self.of(batch.feed).scores(model, batch)
        return {term_of(batch.feed, term): value for term, value in found.items()}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Each part takes over what it can of a pre-trained member's state dict: its own heads, or a pooler.  The names used."""
        used: list[str] = []
        for part in self.children():
            if hasattr(part, "inherit"):
                used += part.inherit(state)
                continue
            own = part.state_dict()
            found = {name: f"objective.{name}" for name in own if f"objective.{name}" in state}
            part.load_state_dict({name: state[theirs] for name, theirs in found.items()}, strict=False)
            used += found.values()
        return tuple(used)


def of_main(weights: dict[str, Tensor], mixed: Mixed) -> dict[str, Tensor]:
    """Weights of a member by name, as if its main part were all of its objective."""
    main = f"objective.{module_of(mixed.main.feed)}."
    return {
        f"objective.{name.removeprefix(main)}" if name.startswith(main) else name: x
        for name, x in weights.items()
        if name.startswith(("model.", main))
    }
