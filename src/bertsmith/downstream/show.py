"""Show: what the model will see, example by example, and whether the rates that the recipe asks for are met.

`show` yields the objects of `show --json` (the last is the summary); `printed` the same for people, a line of the terminal at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.audio.store import FrameStore
from bertsmith.config import Settings, assignments_of, override
from bertsmith.downstream import frames
from bertsmith.downstream.examples import lines, split_of
from bertsmith.downstream.marks import text
from bertsmith.errors import InputError
from bertsmith.recipe import Recipe, find
from bertsmith.spelling import an, option
from bertsmith.text import unknown
from bertsmith.text.store import Store
from bertsmith.training.brief import as_it_stands
from bertsmith.training.planning import few_pairs
from bertsmith.training.run import open_store

__all__ = ["lines", "meanings", "printed", "show", "split_of", "text"]


def show(
    recipe: str | Recipe,
    data: str | Path | Store | None = None,
    *,
    text: str | Path | None = None,
    tokenizer: str | Path | None = None,
    n: int = 3,
    seed: int = 0,
    epoch: int = 0,
    set: Settings = (),
    model: str | Path | None = None,
    feed: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[dict[str, Any]]:
    """The first `n` examples of an epoch and the summary, from a store, or from a text file with a tokenizer.

    The summary counts [UNK] over the sources; above 1 % that is said, with the characters of the whole text that have no entry.
    `feed`: of a recipe that reads several, which (None: the main one).
    `model`: a run whose generator writes over what is hidden; the replacements then stand under `targets.replaced`.  InputError for a
    run or a recipe without a generator.
    """
    asked = _Asked.of(recipe, data, text, tokenizer, set, model, feed)
    return asked.found(n, seed, epoch, say)


def printed(recipe: str | Recipe, data: str | Path | Store | None = None, **options: Any) -> Iterator[str]:
    """What `show` finds, with its options, as text with marks."""
    where = {name: options.pop(name, None) for name in ("text", "tokenizer", "model", "feed")}
    settings = options.pop("set", ())
    asked = _Asked.of(recipe, data, where["text"], where["tokenizer"], settings, where["model"], where["feed"])
    return asked.printed(**options)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    recipe: Recipe
    data: Any  # a store, or the place of one; None: `source` is read with `tokenizer`
    source: Any
    tokenizer: Any
    writer: Any  # the model whose generator writes, or None
    notes: tuple[str, ...]  # what is said first

    @classmethod
    def of(
        cls, recipe: Any, data: Any, source: Any, tokenizer: Any, set: Settings, model: Any, feed: str | None = None
    ) -> _Asked:
        named = isinstance(recipe, str)  # else somebody made it as it is to be
        recipe = override(find(recipe) if named else recipe, set)
        fields = {assignment.partition("=")[0] for assignment in assignments_of(set)}
        notes = tuple(as_it_stands(recipe, fields)) if named else ()
        if feed is None and recipe.mixture is not None:
            others = ", ".join(name for name in recipe.mixture.names if name != recipe.mixture.main)
            notes += (f"{recipe.name} reads several; this is {recipe.mixture.main}; {option('feed')}: {others}",)
        recipe = recipe.alone(feed)
        if (data is None) == (source is None) or (source is None) != (tokenizer is None):
            raise InputError(
                f"show: needs either {option('data', like='STORE')}, or {option('text', like='FILE')} and {option('tokenizer', like='DIR')}"
            )
        writer = None if model is None else _writer(model, recipe)
        return cls(recipe=recipe, data=data, source=source, tokenizer=tokenizer, writer=writer, notes=notes)

    def found(self, n: int, seed: int, epoch: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
        with self._store() as store:
            if isinstance(store, FrameStore):
                yield from frames.lines(self.recipe, store, n, seed, epoch)
            else:
                yield from self._examples(store, n, seed, epoch, say)

    def printed(
        self, n: int = 3, seed: int = 0, epoch: int = 0, say: Callable[[str], None] = lambda line: None
    ) -> Iterator[str]:
        with self._store() as store:
            if isinstance(store, FrameStore):
                yield from frames.printed(self.recipe, store, n, seed, epoch)
                return
            found = self._examples(store, n, seed, epoch, say)
            yield from text(found, meanings(self.recipe), store.tokenizer.people)

    def _examples(
        self, store: Store, n: int, seed: int, epoch: int, say: Callable[[str], None]
    ) -> Iterator[dict[str, Any]]:
        for line in self.notes:
            say(line)
        yield from _of_store(self.recipe, store, n, seed, epoch, self.writer, say)

    @contextmanager
    def _store(self) -> Iterator[Any]:
        """A text is read as `prepare` reads it, so that what is shown is what would be trained on."""
        if self.source is None:
            yield open_store(self.data)
            return
        from bertsmith.text.prepare import prepare

        with tempfile.TemporaryDirectory(prefix="bertsmith-show-") as folder:
            out = Path(folder) / "store"
            prepare([str(self.source)], str(out), tokenizer=str(self.tokenizer), holdout=0, allow_unknown=True)
            yield Store.open(out, verify=False)


def _writer(model: str | Path, recipe: Recipe) -> Any:
    """The model of --model; InputError where it, or the recipe, has no use for one."""
    relatives = f"only ELECTRA and its relatives have one; leave {option('model')} out"
    if getattr(recipe.corruption.rewrite, "term", None) is None:
        raise InputError(f"{option('model', model)}: {recipe.name} has no generator that writes; {relatives}")
    from bertsmith.downstream.model import load

    loaded = load(model)
    if not hasattr(loaded.member.objective, "written"):
        raise InputError(f"{option('model', model)}: {an(loaded.recipe.name)} has no generator; {relatives}")
    return loaded


def _of_store(
    recipe: Recipe, store: Store, n: int, seed: int, epoch: int, writer: Any, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    layout = store.laid(recipe.layout, recipe.training.smoothing, portions=recipe.training.shares)
    lost = (0, 0)
    for line in few_pairs(layout, store.train):
        say(line)
    recut = store.recut(recipe.segmentation, seed)
    for line in lines(recipe, store.train, store.vocab, store.tokenizer, n, seed, epoch, writer, layout, recut):
        if "summary" in line:
            lost = line["summary"]["tokens"]["unknown"], line["summary"]["tokens"]["text"]
        yield line
    known = store.manifest.get("account", {}).get("unknown", {}).get("commonest", {})
    # Where the corpus has few, nobody has looked for them.
    unknown.tell(unknown.counted(lost[0], lost[1], lambda: known or None), "the examples", say)


def meanings(recipe: str | Recipe, set: Settings = ()) -> tuple[str, ...]:
    """What each label of a pair says in this recipe."""
    recipe = find(recipe) if isinstance(recipe, str) else recipe
    recipe = override(recipe, set)
    return getattr(recipe.layout, "pairs", None) or getattr(recipe.corruption.rewrite, "pairs", ())
