"""The models that are served, by name, and what each can be asked; any of them is loaded again without a request noticing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bertsmith.downstream import several
from bertsmith.downstream.model import Loaded, load
from bertsmith.errors import BertsmithError, InputError, printable
from bertsmith.serving.refused import Refused
from bertsmith.tasks import kinds

Say = Callable[[str], None]
# What a model may be asked, as its endpoint is called.
PREDICT, FILL, EMBED, TAG, ANSWER, GENERATE = "predict", "fill", "embed", "tag", "answer", "generate"
ATTENTION, SIMILAR = "attention", "similar"


@dataclass(eq=False)
class Served:
    """A model under its name.  One that is loaded again is another `Served`: what was asked of the old one is answered by it."""

    name: str
    loaded: Loaded
    does: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.does = tuple(does(self.loaded))

    @property
    def kind(self) -> Any:
        return kinds.of_task(self.loaded.task)

    @property
    def hidden(self) -> dict[str, str]:
        """What no answer tells, and what stands in its place."""
        return {printable(path): self.name for path in (self.loaded.path, self.loaded.run)}

    @cached_property
    def words(self) -> Any:
        """Vectors of its words (downstream/similar.py)."""
        from bertsmith.downstream.similar import Words

        return Words(self.loaded)

    def about(self) -> dict[str, Any]:
        """What /health says of it."""
        loaded, model = self.loaded, self.loaded.recipe.model
        found = {
            "name": self.name,
            "recipe": loaded.recipe.name,
            "does": [*self.does],
            "task": loaded.task and loaded.task["kind"],
            "length": loaded.length(),
            "layers": model.layers,
            "step": loaded.path.name,
        }
        if loaded.task is not None:
            found |= {"fields": [*self.kind.fields], "pair": bool(loaded.task.get("pairs")), "explains": self.explains}
        if loaded.labels.names:
            found["labels"] = [*loaded.labels.names]
        if FILL in self.does:
            found["mask"] = loaded.tokenizer.mask_token
        return found

    @property
    def explains(self) -> bool:
        return self.loaded.task is not None and hasattr(self.kind, "leaning")


def does(loaded: Loaded) -> list[str]:
    """What it can be asked."""
    from bertsmith.downstream.fill import check_fills
    from bertsmith.downstream.infill import Infill
    from bertsmith.downstream.search import How
    from bertsmith.downstream.similar import check_words
    from bertsmith.downstream.writers import Writers

    found = []
    if loaded.task is not None:
        found.append(PREDICT)
        found += [name for name, kind in ((TAG, "tag"), (ANSWER, "qa")) if loaded.task["kind"] == kind]
    asked = {
        FILL: lambda: (check_fills(loaded), Infill(loaded) if loaded.recipe.model.decodes else None),
        GENERATE: lambda: Writers(loaded, How()),
        SIMILAR: lambda: check_words(loaded),
    }
    for name, check in asked.items():
        try:
            check()
        except InputError:
            continue
        found.append(name)
    return [*found, EMBED, ATTENTION]


class Shelf:
    """`places`: {name: MODEL}.  The first is who is asked where a request names none."""

    def __init__(self, places: dict[str, str | Path | Loaded], loading: dict[str, Any], say: Say):
        self.places, self._loading, self._say = places, loading, say
        self._served: dict[str, Served] = {}
        self._reloading = threading.Lock()

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def open(self) -> None:
        for name, place in self.places.items():
            self._served[name] = self._made(name, place)

    def named(self, name: str | None) -> Served:
        """404 naming those that there are."""
        found = next(iter(self), None) if name is None else self._served.get(name)
        if found is None:
            raise Refused(404, f"{printable(name, 80)}: no such model; there are: {', '.join(self._served)}", "model")
        return found

    def again(self, warm: Callable[[Served], None]) -> dict[str, str]:
        """{name: "" or why it could not be loaded again}; a model takes its place when it is warm, and stays where another cannot."""
        told = {}
        with self._reloading:
            for name, place in self.places.items():
                try:
                    fresh = self._made(name, place)
                    warm(fresh)
                except BertsmithError as error:
                    told[name] = str(error)
                    continue
                self._served[name] = fresh
                told[name] = ""
        return told

    def _made(self, name: str, place: str | Path | Loaded) -> Served:
        loaded = place if isinstance(place, Loaded) else load(place, say=self._say, **self._loading)
        if loaded.recipe.reads == "frames":
            raise InputError(
                f"{printable(loaded.run)}: reads sound, and what comes over HTTP is text; `predict` reads files"
            )
        if loaded.task is None and (tasks := several.tasks_of(loaded.config)):
            self._say(f"{name}: is asked as a pre-training run; {several.unnamed(loaded.run, tasks)}")
        return Served(name, loaded)
