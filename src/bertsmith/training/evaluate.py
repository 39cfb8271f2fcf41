"""Held-out evaluation on fixed masks: the same numbers whenever it is run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertsmith.data.batch import Batch
from bertsmith.errors import InputError, NumericsError
from bertsmith.nn.modules.memory import memories, memories_aside
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.precision import Precision, choose_device

Scores = dict[str, dict[str, float]]


def batch_scores(member: Any, batches: Sequence[Batch], precision: Precision) -> Iterator[Scores]:
    """{term: {loss: sum, correct, count}} of each batch, dropout off.  Bootstrap over these for intervals.

    A model with memory remembers from batch to batch, but nothing of what it was trained on, and goes on training where it was.
    """
    training = member.training
    member.eval()
    try:
        with memories_aside(member):
            for batch in batches:
                with torch.no_grad(), precision.autocast():
                    scores = member.scores(batch.to(precision.device))
                yield {term: {key: float(value) for key, value in found.items()} for term, found in scores.items()}
    finally:
        member.train(training)


def dealt_scores(member: Any, batches: Sequence[Batch], precision: Precision, world: World) -> Iterator[Scores]:
    """`batch_scores` by all processes, a batch each at a time; all of them get all scores, in order.  With memory each makes all."""
    if memories(member):
        yield from batch_scores(member, batches, precision)
        return
    for at in range(0, len(batches), world.size):
        mine = min(at + world.rank, len(batches) - 1)  # who has none left keeps step with the others
        (found,) = batch_scores(member, [batches[mine]], precision)
        yield from world.gather(found)[: len(batches) - at]


def held_out(
    member: nn.Module,
    batches: Sequence[Batch],
    precision: Precision,
    stop: Callable[[], bool] = lambda: False,
    world: World = ALONE,
    languages: Sequence[str] = (),
) -> dict | None:
    """{term: {loss, accuracy, perplexity, count}} over all of `batches`; loss in nats per prediction.  Whatever else a term scores is
    a mean over its predictions, too.

    `languages`: of each batch, where a store has several; each then has terms of its own, too, `token.de`.
    None if `stop()` turned true on the way.  NumericsError if a loss is not finite.
    """
    totals: Scores = {}
    for number, scores in enumerate(dealt_scores(member, batches, precision, world)):
        for term, found in scores.items():
            for name in (term, *(f"{term}.{language}" for language in languages[number : number + 1])):
                total = totals.setdefault(name, {})
                for key, value in found.items():
                    total[key] = total.get(key, 0.0) + value
        if stop():
            return None
    return {term: _means(term, total) for term, total in totals.items() if total["count"]}


class HeldOut:
    """Held-out batches on fixed masks, every so many steps (0: at the end alone); of a mixture those of one feed.

    `chooses`: the loss of tokens (of a member that is asked none its first) chooses the best step; `watched`: the mean of those of these languages.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        every: int,
        languages: Sequence[str] = (),
        chooses: bool = False,
        watched: Sequence[str] = (),
    ):
        self.batches, self.every, self.languages = batches, every, languages
        self.chooses, self.watched = chooses, watched

    def due(self, step: int) -> bool:
        return bool(self.every) and step % self.every == 0

    def hold(self, member: Any, precision: Precision, world: World, stop: Callable[[], bool]) -> dict | None:
        found = held_out(member, self.batches, precision, stop, world, self.languages)
        return found and {
            term: {key: value for key, value in means.items() if key != "count"} for term, means in found.items()
        }

    def said(self, line: dict) -> str:
        found = line["evaluation"].items()
        text = ", ".join(f"{term} {means['loss']:.4f} ({_beside(means)})" for term, means in found)
        return f"step {line['step']}: held-out {text}"

    def rank(self, found: dict) -> list[float] | None:
        """The newest step is what pre-training is for, unless it is to choose."""
        if not self.chooses:
            return None
        term = "token" if "token" in found else next(iter(found))
        terms = [f"{term}.{language}" for language in self.watched] or [term]
        return [-sum(found[name]["loss"] for name in terms) / len(terms)]

    def seconds(self, member: Any, precision: Precision, world: World) -> float:
        start = time.monotonic()
        held_out(member, self.batches[: world.size], precision, world=world)
        return (time.monotonic() - start) * math.ceil(len(self.batches) / world.size)


def _beside(means: dict[str, float]) -> str:
    """What a loss is held against: how much is right, or what is lost without a look at the context."""
    return f"accuracy {means['accuracy']:.1%}" if "accuracy" in means else f"the mean: {means['mean']:.4f}"


def _means(term: str, total: dict[str, float]) -> dict[str, float | int]:
    loss = total["loss"] / total["count"]
    if not math.isfinite(loss):
        raise NumericsError(
            f"held-out evaluation: {term}: loss {loss} is not finite; a lower schedule.lr helps most often"
        )
    found = {"loss": loss}
    if "correct" in total:  # of one class among several
        perplexity = math.exp(min(loss, 700.0))  # above that a double overflows
        found |= {"accuracy": total["correct"] / total["count"], "perplexity": perplexity}
    return {
        **found,
        "count": int(total["count"]),
        **{key: value / total["count"] for key, value in total.items() if key not in ("loss", "correct", "count")},
    }


def fixed_batches_of(recipe: Any, store: Any) -> list[Batch]:
    """The held-out batches of a recipe on a store; they depend on nothing else.  InputError if its layout cannot use them."""
    return held_batches(recipe, store)[0]


def held_batches(recipe: Any, store: Any) -> tuple[list[Batch], list[str]]:
    """`fixed_batches_of`, and of a store of several languages that of each batch; each language has as many tokens as another, while they last."""
    from bertsmith.data.text import check_reads, fixed_batches

    if recipe.mixture is not None:
        parts = recipe.feeds.items()
        return [replace(batch, feed=name) for name, alone in parts for batch in fixed_batches_of(alone, store)], []
    layout, training = store.laid(recipe.layout, lenient=True), recipe.training
    check_reads(layout, store.held_out)
    layout.check(store.held_out)
    options = recipe.corruption, store.vocab
    if not getattr(store.held_out, "languages", ()):
        return fixed_batches(store.held_out, layout, *options, training.held_out, training.batch), []
    parts = list(layout.usable(store.held_out))
    tokens = max(1, training.held_out // len(parts))
    found = [
        (part.language, batch)
        for part in parts
        for batch in fixed_batches(part, layout.layout, *options, tokens, training.batch)
    ]
    return [batch for _, batch in found], [language for language, _ in found]


def evaluate_run(
    path: str | Path, data: Any, *, device: str | None = None, threads: int | None = None, precision: str | None = None
) -> dict:
    """A pre-training run (its newest step) or one of its steps on the held-out documents of `data`, a Store or its folder.

    `precision` None takes the run's own, which gives the numbers of metrics.jsonl again.  Returns {step, evaluation}.
    """
    from bertsmith.config import from_dict
    from bertsmith.nn.member import blank
    from bertsmith.training.checkpoint import load_model
    from bertsmith.training.precision import threads_set
    from bertsmith.training.run import open_store
    from bertsmith.training.saving import load_weights

    state, config, where = load_model(path)
    store = open_store(data)
    if store.tokenizer.digest != config["data"]["tokenizer"]:
        raise InputError(f"{where}: was trained with another tokenizer than {store.path} holds")
    place = choose_device(device)
    policy = Precision.choose(precision or config["precision"], place)
    recipe = from_dict(config["recipe"])
    member = blank(recipe).to(place)
    load_weights(member, state, str(where))
    batches, languages = held_batches(recipe, store)
    languages = languages if len(dict.fromkeys(languages)) > 1 else []
    with policy.policy(), threads_set(threads or config["threads"]):
        return {
            "step": int(where.name.rpartition("-")[2]),
            "evaluation": held_out(member, batches, policy, languages=languages),
        }
