"""What a model of sound will see, sequence by sequence: which frames are hidden, and what stands in their place.

`show --json` has the objects, whose last is the summary; people get a line of bars for each sequence, a mark for each place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from bertsmith.config import require
from bertsmith.data.batch import NEVER
from bertsmith.data.draw import Draw
from bertsmith.data.text import check_reads
from bertsmith.spelling import amount

BARS = " ▁▂▃▄▅▆▇█"  # from the quietest place of a sequence to the loudest
WIDTH = 100  # places of a line
CHOICES = ("blank", "moved", "kept")


def lines(recipe: Any, store: Any, n: int, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
    """Objects as contract.md has them, frames in the place of tokens: `level` is the mean of each place; `asks` how many places only ask."""
    require(n > 0, f"show: -n {n}: at least 1 example")
    split, vocab, draw, index = store.train, store.vocab, Draw(seed), 0
    check_reads(recipe.layout, split)
    choices: Counter[str] = Counter()
    asked = places = used = 0
    while index < n:
        plan = recipe.layout.plan(split, vocab, seed, recipe.corruption.view(epoch))
        for number in plan.shuffled(epoch)[: n - index].tolist():
            row = plan.row(np.array([number]))
            spans = recipe.corruption.select(row, draw)
            batch = recipe.corruption.rewrite(row, spans, vocab, draw)
            rewrite, stream = recipe.corruption.rewrite, batch.input
            choice = CHOICES[int(rewrite.choice(row, draw)[0])] if hasattr(rewrite, "choice") else None
            hidden = int((spans[:, 1] - spans[:, 0]).sum())
            choices[choice or ""] += 1
            asked, places, used = asked + hidden, places + len(row.tokens), used + len(stream.tokens)
            first = int(plan.first[number])
            utterance = int(plan.utterance[number])
            start = first - int(split.utterances[utterance])
            hop = store.tokenizer.hop
            yield {
                "index": index,
                "epoch": epoch,
                "source": {
                    "file": split.names[utterance] if split.names else None,
                    "seconds": [round(start * hop, 3), round((start + len(row.tokens) * plan.stack) * hop, 3)],
                    "frames": len(row.tokens) * plan.stack,
                    "level": np.round(row.tokens.mean(1), 3).tolist(),
                },
                "input": {
                    "places": len(stream.tokens),
                    "asks": int((stream.key_rank == NEVER).sum()),
                    "level": np.round(stream.tokens[stream.key_rank < NEVER].mean(1), 3).tolist(),
                },
                "spans": spans.tolist(),
                "choice": choice,
                "targets": {name: len(target) for name, target in batch.targets.items()},
            }
            index += 1
        epoch += 1
    yield {"summary": _summary(recipe, choices, asked, places, used, index)}


def _summary(recipe: Any, choices: Counter[str], asked: int, places: int, used: int, count: int) -> dict[str, Any]:
    requested: dict[str, float] = {"rate": recipe.corruption.select.rate}
    achieved = {"rate": round(asked / max(1, places), 4)}
    rewrite = recipe.corruption.rewrite
    if hasattr(rewrite, "choice"):
        shares = (rewrite.blank, rewrite.moved, 1 - rewrite.blank - rewrite.moved)
        requested |= {name: round(share, 9) for name, share in zip(CHOICES, shares, strict=True)}
        achieved |= {name: round(choices[name] / count, 4) for name in CHOICES}
    tokens = {"used": used, "padding": 0, "dropped": 0}
    return {"requested": requested, "achieved": achieved, "examples": count, "tokens": tokens}


def printed(recipe: Any, store: Any, n: int, seed: int, epoch: int) -> Iterator[str]:
    """The same for people: how loud each place is, and below it ^ where it is asked for."""
    for line in lines(recipe, store, n, seed, epoch):
        if "summary" in line:
            yield from _rates(line["summary"])
            continue
        source, spans = line["source"], np.array(line["spans"], np.int64).reshape(-1, 2)
        start, end = source["seconds"]
        what = f", {line['choice']}" if line["choice"] else f", {amount(line['input']['asks'], 'place')} only ask"
        yield f"{line['index']}  {source['file'] or 'sequence'}  {start:.2f} to {end:.2f} s: {amount(len(source['level']), 'place')}, {amount(len(spans), 'run')} asked for{what}"
        bars, marks = bars_of(np.array(source["level"])), marks_of(spans, len(source["level"]))
        for at in range(0, len(bars), WIDTH):
            yield f"   {bars[at : at + WIDTH]}"
            yield f"   {marks[at : at + WIDTH]}".rstrip()


def _rates(summary: dict[str, Any]) -> Iterator[str]:
    found = (
        f"{name} {summary['achieved'][name]:.4f} (asked {value:.4f})" for name, value in summary["requested"].items()
    )
    yield f"{amount(summary['examples'], 'example')}, {amount(summary['tokens']['used'], 'place')}: {', '.join(found)}"


def bars_of(level: np.ndarray) -> str:
    low, high = float(level.min()), float(level.max())
    steps = np.rint((level - low) / max(high - low, 1e-9) * (len(BARS) - 1)).astype(int)
    return "".join(BARS[step] for step in steps)


def marks_of(spans: np.ndarray, length: int) -> str:
    marks = np.full(length, " ")
    for begin, end in spans:
        marks[begin:end] = "^"
    return "".join(marks)
