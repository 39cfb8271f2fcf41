"""Where two models differ: the texts that only one of them got right, and those that changed most.

`compare` takes means over seeds; here one seed speaks for each model, the best on its dev rows, which is the one that `predict` takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bertsmith.errors import printable
from bertsmith.spelling import amount
from bertsmith.tasks import paired

if TYPE_CHECKING:
    from bertsmith.downstream.compare import Heard

CHANGED = 20  # texts, unless more are asked for
SHOWN = 5  # of them on the screen
LEAST = 1e-6  # by which an answer differs from itself, computed in another batch
WIDTH = 100  # characters of a text on the screen


def mcnemar(a: Heard, b: Heard) -> dict[str, Any] | None:
    """As paired.mcnemar has it; None where answers are not right or wrong."""
    sides = [side.kind.right(side.targets, side.said, side.known) for side in (a, b)]
    return None if sides[0] is None else paired.mcnemar(*sides)


def changed(a: Heard, b: Heard, count: int = CHANGED) -> list[dict[str, Any]]:
    """{index, text, …, truth, a, b, change} of the `count` rows whose answers differ most, those that differ most first.

    `a`, `b`: what `predict` says of the row; `change`: by how much a is nearer to the truth (`Kind.near`; of classes the probability of
    the true one).  Rows whose answers do not differ are left out.
    """
    if not count:
        return []
    change = np.subtract(*(side.kind.near(side.targets, side.said, side.known) for side in (a, b)))
    order = np.argsort(-np.abs(change), kind="stable")[:count]
    answers = [side.kind.answer(side.rows, side.said, side.known) for side in (a, b)]
    return [
        {
            "index": i,
            **a.kind.stated(a.rows, i, a.known),
            "a": answers[0][i],
            "b": answers[1][i],
            "change": float(change[i]),
        }
        for i in order.tolist()
        if abs(change[i]) > LEAST
    ]


def said(a: str, b: str, found: dict[str, Any]) -> Iterator[str]:
    """McNemar's test in a sentence, where there is one."""
    test = found["mcnemar"]
    if test is not None:
        seeds = found["best_seeds"]
        of = f", of seeds {seeds['a']} and {seeds['b']}, the best on the dev rows" if several(found) else ""
        yield f"only {a} is right: {test['only_a']:,}, only {b}: {test['only_b']:,} of {amount(found['texts'], 'row')}{of}; McNemar's exact test: p = {p_value(test['p'])}"


def shown(a: str, b: str, rows: list[dict[str, Any]], kind: Any) -> Iterator[str]:
    """The first of the changed rows, two lines each."""
    if rows:
        yield f"changed most, of {amount(len(rows), 'row')}:"
    cut = cells(rows[:SHOWN], kind, WIDTH)
    for row, (text, truth, one, other) in zip(rows, cut):
        yield f"  row {row['index']}: {text}"
        yield f"    true: {truth}; {a}: {one}; {b}: {other}"


def cells(rows: list[dict[str, Any]], kind: Any, width: int) -> Iterator[tuple[str, str, str, str]]:
    """Text, truth, what a and b say of each of the changed rows, in `width` characters at most."""
    for row in rows:
        text = " | ".join(str(row[role]) for role in ("text", "text2") if role in row)
        truth, one, other = kind.beside(row, row["a"], row["b"])
        yield printable(text, width), printable(truth, width), printable(one, width), printable(other, width)


def several(found: dict[str, Any]) -> bool:
    """Whether a model of what `compare` gave has more than one seed."""
    return max(found["seeds"].values()) > 1


def p_value(p: float) -> str:
    return "below 0.0001" if p < 1e-4 else f"{p:.4f}"
