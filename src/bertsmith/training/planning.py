"""`plan`: what a run would cost and what it would leave out, before anything is launched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from bertsmith.config import Settings, assignments_of, override
from bertsmith.data.text import Text, feed_of, texts_of
from bertsmith.errors import InputError
from bertsmith.recipe import Recipe, find
from bertsmith.spelling import amount, option
from bertsmith.text import unknown
from bertsmith.text.blend import said as blend_said
from bertsmith.training.brief import leaves, predicts, settled, too_short
from bertsmith.training.budget import Budget, Extent, check_batch
from bertsmith.training.gpus import GPUS, check_gpu
from bertsmith.training.run import open_store
from bertsmith.training.stages import unreached

if TYPE_CHECKING:
    from bertsmith.training.cost import Cost

Say = Callable[[str], None]
SOME = 0.01  # of the corpus: what a layout leaves out is said above it


def plan(
    recipe: Recipe | str,
    data: Any = None,
    *,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    set: Settings = (),
    threads: int | None = None,
    device: str | None = None,
    on: str | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """{parameters, tokens of an update, flops, seconds, activations, memory, disk, run}: of an update of `recipe`, measured on this machine or
    reckoned for a GPU (`on`); `run` is None, or {updates, tokens, flops, seconds} of at most one of `steps`, `tokens`, `minutes`.

    `data`: a store, whose rows and vocabulary count; without it full rows of random tokens.  `say` is told what the run would not see: [UNK],
    what the layout leaves out, stages that it does not reach.  InputError as of `pretrain`.
    """
    recipe, found, wanted = planned(recipe, data, steps, tokens, minutes, set, threads, device, on, say)
    from bertsmith.training import cost

    return {**vars(found), "run": cost.of_run(recipe, found, wanted) if wanted else None}


def planned(
    recipe: Recipe | str,
    data: Any,
    steps: int | None,
    tokens: int | None,
    minutes: float | None,
    set: Settings,
    threads: int | None,
    device: str | None,
    on: str | None,
    say: Say,
) -> tuple[Recipe, Cost, float]:
    """The recipe, the cost of an update, and the tokens of the whole run (0: none was named)."""
    if sum(of is not None for of in (steps, tokens, minutes)) > 1:
        raise InputError(f"plan: give only one of {option('steps')}, {option('tokens')}, {option('minutes')}")
    check_gpu(on)
    recipe = override(find(recipe), set) if isinstance(recipe, str) else replace(override(recipe, set), brief=None)
    if on is None:
        say(f"measuring an update of {recipe.name} on this machine: seconds, up to a minute for a large size")
    store = open_store(data, say) if data is not None else None
    if store is not None:
        check_batch(recipe, store.train.count, here=on is None)
        unknown.tell(store.manifest.get("account", {}).get("unknown", {"share": 0}), str(store.path), say)
    from bertsmith.training import cost  # loads torch

    @cache  # what minutes are asked of is most often what they choose
    def estimated(recipe: Recipe) -> Cost:
        return cost.estimate(recipe, store, threads=threads, device=device, gpu=on)

    def an_update(recipe: Recipe, limit: float) -> float:
        return estimated(recipe).seconds

    enough, asked = leaves(recipe), Budget(steps=steps, tokens=tokens, minutes=minutes)
    recipe = settled(recipe, assignments_of(set), asked, None, an_update, say)
    found = estimated(recipe)
    what, have = (on, GPUS[on][1] * 1e9) if on else ("this machine", cost.memory_of(device))
    for line in cost.too_much(recipe, found, have, what):
        say(line)
    per_second = found.tokens / found.seconds
    ramps = recipe.schedule.ramps
    wanted = tokens or (ramps.whole(steps) if steps else 0) * found.tokens or 60 * (minutes or 0) * per_second
    updates: float = (ramps.within if ramps.moves else float)(wanted / found.tokens) if wanted else 0.0
    if wanted and predicts(recipe):
        suffices = f"{amount(updates, 'update', form=',.0f')}: models leave the plateau of word frequencies after {enough:,} on most texts"
        for line in too_short(enough, updates, asked) or [suffices] * (enough > 0):
            say(line)
    if ramps.causal:
        say("updates of the causal beginning ask every token and take longer than was measured")
    if store is not None:
        feed = feed_of(recipe.with_vocab(store.vocab), store, seed=0)
        batch = check_batch(recipe, store.train.count, here=on is None)
        text, *_ = texts_of(feed)
        if getattr(store, "blend", ()):
            say(blend_said(store, recipe.training.smoothing))
        for line in (*batch, *few_pairs(text.layout, text.sample), *recut(text), *left_out(text)):
            say(line)
        if wanted:
            for line in unreached(feed, max(1, round(updates)), Extent.of(feed)):
                say(line)
    return recipe, found, wanted


def few_pairs(layout: Any, split: Any) -> list[str]:
    """A warning where a layout of pairs finds few of them in a split: most documents are one sentence."""
    said = layout.few(split) if hasattr(layout, "few") else ""
    layout = getattr(layout, "layout", layout)  # of one that reads languages by themselves
    way = "blank lines between documents (`prepare --documents`) make longer ones, recipes without pairs (roberta) need none"
    return [f"warning: the layout {type(layout).__name__}: {said}; {way}"] if said else []


def recut(feed: Text, epoch: int = 0) -> list[str]:
    """How much longer the text of an epoch is than the store's, where it is cut anew."""
    split, view = feed.split, feed.corruption.view(epoch)
    if getattr(feed.recut, "segmentation", None) is None:
        return []
    now = feed.recut(view)
    return [
        f"text is cut anew in every epoch: {amount(now.count, 'token')} in the first, {amount(split.count, 'token')} in the store "
        f"({now.count / split.count - 1:+.1%}); held-out text as it stands there"
    ]


def left_out(feed: Text) -> list[str]:
    """A warning where the layout leaves tokens of the corpus out of an epoch, which others do not."""
    lost, corpus = feed.left_out()
    if lost <= SOME * corpus:
        return []
    if getattr(feed.layout, "reads", "tokens") == "frames":
        return [
            f"warning: {lost:,} of {amount(corpus, 'frame')} stand behind the last whole place of an utterance and are not read"
        ]
    return [
        f"warning: the layout {type(getattr(feed.layout, 'layout', feed.layout)).__name__} leaves out {lost / corpus:.1%} of the corpus in an epoch ({lost:,} of {amount(corpus, 'token')}); "
        "FullSentences and DocSentences (roberta, spanbert) read all of it"
    ]
