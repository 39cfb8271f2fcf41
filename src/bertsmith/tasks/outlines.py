"""What is said of a training and a dev file before a model learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertsmith.spelling import amount
from bertsmith.tasks.doubts import SHOWN, counted, shown

RARE = 2  # rows of a class that are too few to learn it
LEAST = 10  # rows of a dev set, below which it is warned of
Outlines = Mapping[str, Mapping[str, Any]]  # of train and dev: what config.json says of them


def classes(found: Outlines, unit: str) -> Iterator[str]:
    """Of classes: how many rows each has, the share of the commonest, and what is rare or missing."""
    train, dev = (found[part]["classes"] for part in ("train", "dev"))
    rows = {part: sum(found[part]["classes"].values()) for part in found}
    yield f"train: {amount(rows['train'], unit.removesuffix('s'))}, {amount(len(train), 'class', 'classes')}: {counted(train)}"
    most = max(train, key=lambda name: train[name])
    shares = {part: found[part]["classes"].get(most, 0) / rows[part] for part in found}
    yield f"dev: {amount(rows['dev'], unit.removesuffix('s'))}; {shown(most)}, the commonest class: {shares['train']:.1%} of train, {shares['dev']:.1%} of dev"
    yield from rare(train, dev, "classes", unit)


def rare(train: Mapping[str, int], dev: Mapping[str, int], what: str, unit: str) -> Iterator[str]:
    few = {name: many for name, many in train.items() if 0 < many <= RARE}
    if few:
        yield f"warning: train: {len(few)} of {len(train)} {what} {'has' if len(few) == 1 else 'have'} at most {RARE} {unit}: {counted(few)}"
    absent = [name for name in train if not dev.get(name)]
    if absent:
        more = f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
        names = ", ".join(map(shown, absent[:SHOWN]))
        yield f"warning: dev: {len(absent)} of {len(train)} {what} {'is' if len(absent) == 1 else 'are'} not in it: {names}{more}"


def small(found: Outlines, unit: str) -> Iterator[str]:
    """A warning of a dev set that tells little."""
    rows = found["dev"]["rows"]
    if rows < LEAST:
        what = f"{rows} {unit if rows > 1 else unit.removesuffix('s')}"
        yield f"warning: dev: {what}: its scores say little, and the step to keep is chosen by them; {LEAST} or more of every class say something"


def numbers(found: Outlines, unit: str) -> Iterator[str]:
    for part, one in found.items():
        n = one["numbers"]
        yield f"{part}: {amount(one['rows'], unit.removesuffix('s'))}, numbers from {n['low']:g} to {n['high']:g}, mean {n['mean']:.4g}, deviation {n['deviation']:.4g}"


def tags(found: Outlines, unit: str) -> Iterator[str]:
    """Of entities, or of the words' tags where they mark none."""
    for part, one in found.items():
        what = "entities" if "entities" in one else "tags"
        said = counted(one[what]) or "none"
        yield f"{part}: {amount(one['rows'], unit.removesuffix('s'))}, {amount(one['words'], 'word')}; {what}: {said}"
    train, dev = ({**one.get("entities", one.get("tags", {}))} for one in (found["train"], found["dev"]))
    yield from rare(train, dev, f"types of {what}" if what == "entities" else what, what)


def mixed(found: Outlines) -> Iterator[str]:
    """Of tags of spans: what does not go by the scheme of most, and a dev set that goes by another."""
    for part, one in found.items():
        if one.get("against"):
            yield f"warning: {part}: its tags mix schemes: {amount(one['against'], 'does', 'do')} not go by {one['scheme']} as the others do, such as {one['such_as']}"
    names = [one.get("scheme") for one in found.values() if sum(one.get("entities", {}).values())]
    if len({*names}) > 1:
        yield f"warning: dev: its tags go by {found['dev'].get('scheme')}, those of train by {found['train'].get('scheme')}"


def questions(found: Outlines, unit: str) -> Iterator[str]:
    for part, one in found.items():
        none = one["unanswered"] / one["rows"]
        yield f"{part}: {amount(one['rows'], unit.removesuffix('s'))} about {amount(one['texts'], 'text')}, {none:.1%} without an answer"
