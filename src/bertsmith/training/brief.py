"""What follows from how long a run is: fields of a small size's recipe, and whether it will leave the plateau of word frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bertsmith.config import override
from bertsmith.data.batch import term_of
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, option, setting
from bertsmith.training.budget import Budget
from bertsmith.training.run import at

LEAVES = 5000  # updates that a published size wants at least; its papers warm up over 10,000 and more
FEWEST = 20  # updates below which their number says little of how long more of them take
LEARNED = 0.02  # of the loss of an utterance's mean, by which frames are known better
LEFT, ABOVE = 0.1, 0.25  # nats below and above the plateau of word frequencies within which a model is on it
MEASURED = 0.03  # of the minutes: what finding out about an update's time may take


def settled(
    recipe: Recipe,
    given: list[str],
    asked: Budget,
    old: dict[str, Any] | None,
    seconds: Callable[[Recipe, float], float],
    say: Callable[[str], None],
) -> Recipe:
    """`recipe` with the fields that follow its budget, for good.

    `given`: what the user set, which stays; `old`: config.json of the run that is gone on with, whose fields are taken; `seconds` measures an
    update of a recipe, in as many seconds at most as it is told.  `--steps` keeps the recipe as it stands.
    """
    brief, plain = recipe.brief, replace(recipe, brief=None)
    if brief is None:
        return recipe
    names = {assignment.partition("=")[0] for assignment in given}
    if old is not None:
        return _with(plain, {name: at(old["recipe"], name) for name in brief.fields(recipe, 1)}, names)
    if asked.tokens is not None:
        return _said(plain, brief.fields(recipe, asked.tokens), names, amount(asked.tokens, "token"), say)
    if asked.minutes is None:
        for line in as_it_stands(recipe, names, asked.steps):
            say(line)
        return plain
    first = _with(plain, brief.fields(recipe, 1), names)
    tokens = 60 * asked.minutes * first.training.batch / seconds(first, MEASURED * 60 * asked.minutes)
    about = f"{amount(asked.minutes, 'minute', form='g')}, about {tokens / 1e6:.1f} million tokens"
    return _said(plain, brief.fields(recipe, tokens), names, about, say)


def as_it_stands(recipe: Recipe, names: set[str], steps: int | None = None) -> list[str]:
    """What is said where `--steps`, or no length at all, keeps a recipe that `--tokens` and `--minutes` would make a brief one.
    `names`: fields that the user set."""
    if recipe.brief is None:
        return []
    read = (steps or 0) * recipe.training.batch
    made = _with(recipe, recipe.brief.fields(recipe, max(1, read)), names)
    if made == recipe:
        return []
    shape = lambda of: f"rows of {of.layout.length}, {of.training.batch:,} tokens an update"
    asked = option("steps", steps) if steps else "no length given"
    other = option("tokens", read) if steps else f"{option('tokens')} or {option('minutes')}"
    return [f"{asked}: {shape(recipe)}, as the recipe stands; {other} would take {shape(made)} in a short run"]


def _said(recipe: Recipe, fields: dict[str, Any], names: set[str], what: str, say: Callable[[str], None]) -> Recipe:
    made = _with(recipe, fields, names)
    if made != recipe:
        chosen = (
            f"rows of {made.layout.length}, {amount(made.training.batch, 'token')} an update, rate {made.schedule.lr:g}"
        )
        say(f"{what}: {chosen}; {setting('layout.length', 'training.batch', 'schedule.lr')} choose others")
    return made


def _with(recipe: Recipe, fields: dict[str, Any], names: set[str]) -> Recipe:
    """A rate belongs to its batch: who sets one keeps the recipe's other."""
    if names & {"training.batch", "schedule.lr"}:
        fields = {name: value for name, value in fields.items() if name == "layout.length"}
    return override(recipe, {name: value for name, value in fields.items() if name not in names})


def predicts(recipe: Recipe) -> bool:
    """Whether it is asked for tokens of a text, whose loss waits on a plateau."""
    terms = [term.rpartition(".")[2] for term in recipe.objective.weights()]
    return recipe.reads == "tokens" and "token" in terms


def leaves(recipe: Recipe) -> int:
    """Updates after which it has left the plateau on most texts; 0 of a member that is asked no tokens, and meets none."""
    if not predicts(recipe):
        return 0
    return recipe.brief.leaves if recipe.brief else LEAVES


def too_short(enough: int, steps: float, asked: Budget) -> list[str]:
    """A warning before a run of fewer updates than it takes to leave the plateau, with what would leave it.  `steps` need not be whole."""
    if steps >= enough:
        return []
    (name, value), *_ = asked.given.items()
    form = ",.0f" if steps >= 100 else ",.3g"
    few = f"warning: {amount(steps, 'update is', 'updates are', form)} few: models leave the plateau after {enough:,} or more on most texts; this one may end on it"
    if steps < FEWEST:  # too rough to be multiplied
        return [f"{few}; a smaller size or batch makes more of them in the same time"]
    more = math.ceil(value * enough / steps)
    return [f"{few}; {option(name, more)} has as many, a smaller size or batch makes more of them in the same time"]


def kept(rewrite: Any) -> float:
    """The share of the asked tokens that stay as they are: their answer can be read off.  `rewrite`: a configuration, or its JSON."""
    of = rewrite.get if isinstance(rewrite, Mapping) else partial(getattr, rewrite)
    mask = of("mask", None)
    return 0.0 if not isinstance(mask, float) else max(0.0, round(1 - mask - of("random", 0.0), 9))


def learned(loss: float, entropy: float, copied: float) -> tuple[float, str]:
    """How far a loss of held-out tokens is below what word frequencies and the tokens that stayed (`copied`: their share) give, and that
    number in words.  A model learns to copy long before it reads the context."""
    plateau = (1 - copied) * entropy
    said = f"the unigram entropy ({entropy:.3f})"
    if copied:
        said = f"{plateau:.3f}, which word frequencies give with the {copied:.0%} of the asked tokens that stay as they are (unigram entropy {entropy:.3f})"
    return plateau - loss, said


def foreseen(known: Mapping[str, float]) -> str:
    """What is said of a loss before it is there; `known`: a store's prospects."""
    if "mean_frame_loss" in known:
        return f"who says the mean of each utterance everywhere loses {known['mean_frame_loss']:.4f} on these frames, by absolute differences"
    entropy = known["unigram_entropy"]
    return (
        f"unigram entropy of this corpus: {entropy:.4f} nats (perplexity {math.exp(entropy):,.1f}); the token loss falls to this plateau, "
        "waits, and leaves it once the model has learned more than frequencies"
    )


def concluded(line: dict[str, Any], known: Mapping[str, float], copied: float, feed: str = "") -> list[str]:
    """What a run has learned beyond a store's prospects (`known`), by the last line of metrics.jsonl; nothing without a held-out loss."""
    if "mean_frame_loss" in known:
        return _of_frames(line.get("evaluation", {}).get("frames"))
    return outcome(line, known["unigram_entropy"], copied, feed)


def outcome(line: dict[str, Any], entropy: float, copied: float, feed: str = "") -> list[str]:
    """What a run has learned beyond frequencies, by the last line of metrics.jsonl; nothing without a loss of held-out tokens (of `feed`)."""
    loss = line.get("evaluation", {}).get(term_of(feed, "token"), {}).get("loss")
    if loss is None:
        return []
    below, plateau = learned(loss, entropy, copied)
    if below >= LEFT:
        return [f"held-out token loss {loss:.3f}: {below:.2f} nats below {plateau}"]
    where = (
        "has not learned how frequent words are yet"
        if loss > entropy + ABOVE
        else "ended on the plateau of word frequencies"
    )
    return [
        f"warning: held-out token loss {loss:.3f} against {plateau}: the run {where}; more updates ({option('minutes')}, {option('steps')}) leave it, or smaller "
        f"ones ({setting('training.batch')}) and a smaller size"
    ]


def _of_frames(found: dict[str, float] | None) -> list[str]:
    if not found:
        return []
    loss, mean = found["loss"], found["mean"]
    if loss < (1 - LEARNED) * mean:
        return [
            f"held-out frame loss {loss:.3f}: {1 - loss / mean:.0%} below {mean:.3f}, which the mean of each utterance gives"
        ]
    return [
        f"warning: held-out frame loss {loss:.3f} against {mean:.3f}, which the mean of each utterance gives: nothing of the neighbours is "
        f"learned yet; more updates ({option('minutes')}, {option('steps')}) may"
    ]
