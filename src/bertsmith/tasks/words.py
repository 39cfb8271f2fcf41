"""Word vectors held against what people say: similarity of pairs, and analogies.  v words, d numbers of each, n questions.

A file of pairs has two words and a number a line (WordSim, MEN, SimLex, …); one of analogies four words a line, below lines `: NAME` of its parts (Mikolov et al. 2013a).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.errors import InputError, printable
from bertsmith.tasks import metrics
from bertsmith.text.word_list import contents

Array = np.ndarray
WAYS = ("add", "mul")
TINY = 1e-3  # beside a cosine that is divided by (Levy & Goldberg 2014, equation 4)
CELLS = 1 << 24  # cosines held at once


@dataclass(frozen=True, kw_only=True)
class Pair:
    first: str
    second: str
    score: float


def _lines(path: str | Path) -> list[str]:
    try:
        return contents(str(path)).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: byte {error.start + 1}: not UTF-8") from None


def pairs(path: str | Path) -> list[Pair]:
    """InputError naming a line that is no pair; a first one without a number is a header, lines that begin with # are remarks."""
    found = []
    for number, line in enumerate(_lines(path), 1):
        fields = [part for part in re.split(r"[\t,; ]+", line.strip()) if part]
        if not fields or line.startswith("#"):
            continue
        try:
            score = next(float(part) for part in fields[2:] if re.fullmatch(r"-?\d+(\.\d+)?", part))
        except StopIteration:
            if not found and number == 1 and not {"nan", "inf", "-inf"} & {part.lower() for part in fields[2:]}:
                continue
            raise InputError(
                f"{printable(path)}:{number}: {printable(line, 60)}: two words and a number are wanted"
            ) from None
        found.append(Pair(first=fields[0], second=fields[1], score=score))
    if not found:
        raise InputError(f"{printable(path)}: no pair; two words and a number a line")
    if len({pair.score for pair in found}) == 1 < len(found):
        raise InputError(
            f"{printable(path)}: all of its {len(found)} pairs have one number; their order is what is compared"
        )
    return found


def analogies(path: str | Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """The questions of each part, in the file's order.  InputError naming a line that is none."""
    found: dict[str, list[tuple[str, str, str, str]]] = {}
    part = ""
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if not fields:
            continue
        if fields[0].startswith(":"):
            part = line.strip().lstrip(":").strip()
            continue
        if len(fields) != 4:
            raise InputError(
                f"{printable(path)}:{number}: {printable(line, 60)}: four words, or ': NAME' of a part, are wanted"
            )
        found.setdefault(part, []).append((fields[0], fields[1], fields[2], fields[3]))
    if not found:
        raise InputError(f"{printable(path)}: no question; four words a line")
    return found


def similarity(asked: list[Pair], vector: Callable[[str], Array | None]) -> dict[str, Any]:
    """{spearman: {value, low, high}, pairs, unknown}: pairs with a word that has no vector are left out, and counted."""
    known = [
        (a, b, pair.score)
        for pair in asked
        if (a := vector(pair.first)) is not None and (b := vector(pair.second)) is not None
    ]
    found = {"pairs": len(asked), "unknown": len(asked) - len(known)}
    if len(known) < 2:
        raise InputError(
            f"{found['unknown']} of {found['pairs']} pairs hold a word that has no vector; two at least must have both"
        )
    return {
        "spearman": metrics.regression([score for *_, score in known], [float(a @ b) for a, b, _ in known])["spearman"],
        **found,
    }


def answered(unit: Array, asked: Array, way: str = "add") -> Array:
    """(n, 4) numbers of words a, b, c and d of `unit` (v, d) vectors of length 1 -> (n,) bool: is d nearest to b - a + c, of all words but these three (3CosAdd),
    or by the product of cosines (3CosMul, Levy & Goldberg 2014)?"""
    right = np.zeros(len(asked), bool)
    each = max(1, CELLS // len(unit))
    for begin in range(0, len(asked), each):
        rows = asked[begin : begin + each]
        scores = said(unit, unit[rows[:, 0]], unit[rows[:, 1]], unit[rows[:, 2]], way)
        place = np.arange(len(rows))
        for i in range(3):
            scores[place, rows[:, i]] = -np.inf
        right[begin : begin + each] = scores.argmax(1) == rows[:, 3]
    return right


def said(unit: Array, a: Array, b: Array, c: Array, way: str) -> Array:
    """(n, v): how well each word would be to c what b is to a; a, b, c (n, d) of length 1."""
    if way == "add":
        return (b - a + c) @ unit.T
    near = [(1 + side @ unit.T) / 2 for side in (a, b, c)]
    return near[1] * near[2] / (near[0] + TINY)


def solved(
    parts: dict[str, list[tuple[str, str, str, str]]], unit: Array, number: Callable[[str], int | None]
) -> dict[str, Any]:
    """{add: {value, low, high}, mul, questions, unknown, parts: {name: {add, mul, questions, unknown}}}: questions with a word that is none of the v are left out, and counted."""
    names, rows, unknown = [], [], dict.fromkeys(parts, 0)
    for name, questions in parts.items():
        for question in questions:
            numbers = [number(word) for word in question]
            if None in numbers:
                unknown[name] += 1
            else:
                names.append(name)
                rows.append(numbers)
    found: dict[str, Any] = {"questions": sum(map(len, parts.values())), "unknown": sum(unknown.values())}
    if not rows:
        raise InputError(f"every one of {found['questions']} questions holds a word that has no vector")
    right = {way: answered(unit, np.array(rows), way).astype(float) for way in WAYS}
    of = np.array(names)
    for way in WAYS:
        found[way] = _mean(right[way])
    found["parts"] = {
        name: {way: float(right[way][of == name].mean()) if (of == name).any() else None for way in WAYS}
        | {"questions": len(parts[name]), "unknown": unknown[name]}
        for name in parts
    }
    return found


def _mean(values: Array) -> metrics.Score:
    figures = lambda weights: {"value": weights @ values / weights.sum(1)}
    return metrics.scored(figures, len(values))["value"]
