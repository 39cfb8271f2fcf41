"""Surfaces of loss on the page: curves, the way from the start, the loss around the tuned weights, the plane with the paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bertsmith.downstream.charts import Chart, Line, smooth
from bertsmith.downstream.heat import Heat, Path, Scale


def surfaces(found: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """{title, names: (name, colour), figures: {title, svg, note}, rows} of each file; `rows` is the table of its figures."""
    return [_shown(name, _short(one)) for name, one in found]


def _shown(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": name,
        "names": [(side["name"], colour) for colour, side in enumerate(one["sides"])],
        "figures": [*_lines(one["sides"]), *_around(one["sides"]), _plane(one)],
        "rows": [_row(side) for side in one["sides"]],
        "within": list(one["sides"][0]["flat"]),
        "count": one["rows"]["train"],
    }


def _short(one: dict[str, Any]) -> dict[str, Any]:
    """Each side by the last part of its name, where these differ."""
    names = [side["name"] for side in one["sides"]]
    last = [name.rstrip("/").rpartition("/")[2] for name in names]
    if len(set(last)) < len(last):
        return one
    called = dict(zip(names, last, strict=True))
    named = lambda parts: [part | {"name": called[part["name"]]} for part in parts]
    plane = one["plane"] | {"paths": named(one["plane"]["paths"]), "up": called.get(one["plane"]["up"])}
    return one | {"sides": named(one["sides"]), "plane": plane}


def _lines(sides: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    curves, ways = [], []
    for colour, side in enumerate(sides):
        name, train, line = side["name"], side["curve"]["train"], side["line"]
        means = smooth([loss for _, loss in train], max(1, len(train) // 40))
        curves.append(Line(name=name, points=[(x, y) for (x, _), y in zip(train, means, strict=True)], colour=colour))
        curves.append(Line(name=f"{name}, dev", points=side["curve"]["dev"], colour=colour, style="held"))
        ways.append(Line(name=name, points=[*zip(line["at"], line["train"], strict=True)], colour=colour))
        if "dev" in line:
            ways.append(
                Line(
                    name=f"{name}, dev",
                    points=[*zip(line["at"], line["dev"], strict=True)],
                    colour=colour,
                    style="held",
                )
            )
    note = "dotted: dev rows"
    yield {
        "title": "loss by update",
        "svg": Chart(title="loss", x="update", y="nats", lines=curves).svg(),
        "note": note,
    }
    chart = Chart(title="loss on the way", x="0 the start, 1 the tuned weights", y="nats", lines=ways)
    yield {"title": "loss on the way from the start", "svg": chart.svg(), "note": note}


def _around(sides: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    scale = Scale.of(*(side["around"]["loss"] for side in sides))
    for colour, side in enumerate(sides):
        title, axes = f"around {side['name']}", ("a random direction", "another")
        tuned = Path(name="tuned", places=[(0.0, 0.0)], colour=colour)
        drawn = Heat(title=title, **side["around"], scale=scale, across=axes[0], up=axes[1], paths=[tuned]).svg()
        log = ", logarithmic" if scale.log else ""
        yield {"title": title, "svg": drawn, "note": f"1 is as long as the weights, row by row; colours: nats{log}"}


def _plane(one: dict[str, Any]) -> dict[str, Any]:
    plane, scale = one["plane"], Scale.of(one["plane"]["loss"])
    paths = []
    for colour, path in enumerate(plane["paths"]):
        paths.append(Path(name=path["name"], places=[(step["x"], step["y"]) for step in path["steps"]], colour=colour))
    far = max(step["off"] for path in plane["paths"] for step in path["steps"])
    up = f"1: tuned weights of {plane['up']}" if plane["up"] else "a random direction"
    across = f"0 the start, 1 the tuned weights of {one['sides'][0]['name']}"
    grid = {name: plane[name] for name in ("x", "y", "loss")}
    drawn = Heat(title="the plane", **grid, scale=scale, across=across, up=up, paths=paths).svg()
    note = f"lines: saved steps, the last larger; they leave the plane by up to {far:.0%} of their way; colours: nats{', logarithmic' if scale.log else ''}"
    return {"title": "the way of tuning", "svg": drawn, "note": note}


def _row(side: dict[str, Any]) -> list[str]:
    loss = side["loss"]
    figures = [f"{loss['start']:.4f}", f"{loss['tuned']:.4f}", *(f"{share:.1%}" for share in side["flat"].values())]
    return [side["name"], *figures, f"{side['sharpness']:.4g}", f"{side['distance']:.4g} ({side['relative']:.1%})"]
