"""What an adaptation bought: the numbers before and after, a table, and sentences that say so where it did not help."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bertsmith.downstream import surprise
from bertsmith.downstream.surprise import Said, above, below
from bertsmith.spelling import amount
from bertsmith.tasks import metrics, paired

NAMES = {"domain": "new text", "task": "texts of the task", "old": "old text"}


def tell_texts(texts: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """How near the new texts are to the old one, and what new words there are."""
    for name, near in texts["similarity"].items():
        say(f"{NAMES[name]} and {NAMES['old']}: {near['words']:.1%} of their {near['of']:,} commonest words in common")
    words = texts.get("new_words")
    if words and "saved_tokens" in words:
        share = words["saved_tokens"] / max(1, words["sample_tokens"])
        say(f"{amount(words['tokens'], 'new token')}: the words of the new text take {share:.1%} fewer")


def of(
    texts: Mapping[str, Any],
    stages: Mapping[str, Any],
    before: Mapping[str, Said],
    after: Mapping[str, Said],
    task: Mapping[str, Any] | None,
    seed: int,
) -> dict[str, Any]:
    """What adapt.json says, but for what was asked.

    {stages, texts, similarity, perplexity: {text: before}, bits_per_byte: {text: {before, after, difference}}, forgetting, task, helped, says};
    `helped`: {text, task: whether the whole interval is on the good side of 0}."""
    bits = {name: surprise.held_against(before[name], after[name], seed) for name in texts["texts"]}
    near = {name: {**found, "perplexity": _perplexities(before, name)} for name, found in texts["similarity"].items()}
    counts = {
        name: {"documents": one["documents"], "held_out": one["held_out"], "passages": len(one["passages"])}
        for name, one in texts["texts"].items()
    }
    helped = {name: below(found["difference"]) for name, found in bits.items() if name != "old"}
    if task is not None:
        helped["score"] = above(task["difference"][task["chosen_by"]])
    found = {
        "stages": dict(stages),
        "texts": counts,
        **({"new_words": texts["new_words"]} if "new_words" in texts else {}),
        "similarity": near,
        "asked_by": next(iter(before.values()))["method"],
        "bits_per_byte": bits,
        "forgetting": bits["old"]["difference"] if "old" in bits else None,
        "task": task,
        "helped": helped,
    }
    return {**found, "says": [*says(found)]}


def _perplexities(before: Mapping[str, Said], name: str) -> dict[str, float]:
    """Of the model before, on a new text and on the old one: how much the first surprises it more."""
    return {which: surprise.perplexity(before[which]) for which in (name, "old")}


def says(found: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each text and for the task; the last one, where something did not help, says so of the whole."""
    if "head" in found["stages"]:
        many = amount(found["stages"]["head"]["best"], "update")
        yield f"before is the trunk as it was under a fresh head of {many}: what that head went on learning counts as a gain"
    for name, bits in found["bits_per_byte"].items():
        if name != "old":
            yield _of_text(NAMES[name], bits)
    if found["forgetting"] is not None:
        yield _forgotten(found["forgetting"])
    else:
        yield "what was forgotten was not measured: no text of the old domain was given"
    task = found["task"]
    if task is not None:
        by = task["chosen_by"]
        yield paired.said("the task after", "before", task["difference"][by], by)
    failed = [
        NAMES.get(name, f"score of {task and task['task']}") for name, good in found["helped"].items() if not good
    ]
    if failed:
        yield f"it did not help: {' and '.join(failed)} no better than before; keep the model as it was, or give more text or a longer run"


def _of_text(name: str, bits: Mapping[str, Any]) -> str:
    difference = bits["difference"]
    if below(difference):
        share = -difference["value"] / bits["before"]["value"]
        return f"{name}: {-difference['value']:.4f} bits a byte fewer than before ({share:.1%})"
    if above(difference):
        return f"{name}: {difference['value']:.4f} bits a byte more than before"
    return f"{name}: before and after cannot be told apart: difference {metrics.said(difference)} bits a byte"


def _forgotten(difference: Mapping[str, float]) -> str:
    if above(difference):
        return f"forgotten: {difference['value']:.4f} bits a byte more on the old text"
    if below(difference):
        return f"nothing is forgotten: {-difference['value']:.4f} bits a byte fewer on the old text"
    return f"nothing is forgotten that can be seen: difference {metrics.said(difference)} bits a byte on the old text"


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each text and each score of the task: before, after, difference, with their intervals; the model's perplexity
    on the texts before; then what it says."""
    rows = [(f"{NAMES[name]}, bits/byte", bits) for name, bits in found["bits_per_byte"].items()]
    task = found["task"]
    for name in task["difference"] if task else ():
        rows.append((name, {side: task[side][name] for side in ("before", "after", "difference")}))
    width = max(len(name) for name, _ in rows)
    yield f"{'':{width}}  {'before':25}  {'after':25}  difference"
    for name, row in rows:
        before, after, difference = (metrics.said(row[side]) for side in ("before", "after", "difference"))
        yield f"{name:{width}}  {before:25}  {after:25}  {difference}"
    for near in found["similarity"].values():
        shown = (f"{value:,.1f} on the {NAMES[which]}" for which, value in near["perplexity"].items())
        yield f"perplexity of a token before: {', '.join(shown)}"
    yield from found["says"]
