"""Small line and interval charts as inline SVG; colours are CSS variables of the page, so light and dark are the page's affair.

A chart has scales of its own: x from 0 to the last value, y over what its lines say (each update by itself is noise and may leave the
picture), logarithmic where that spans orders of magnitude.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 14, 38
POINTS = 400  # drawn of one line at most
COLOURS = 6  # of the page; the next six runs have them again, dashed
SPREAD = 30  # highest over lowest from which on a scale is logarithmic
NAME = 32  # characters of a name in a picture

Style = Literal["smooth", "raw", "held"]
Score = dict[str, float]  # value, low, high


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]
    colour: int  # number of the run
    style: Style = "smooth"
    bars: Sequence[tuple[float, float]] = ()  # (low, high) of each point


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line with a name: the plateau."""

    name: str
    y: float


@dataclass(frozen=True, kw_only=True)
class Box:
    """What the picture's edges stand for."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False
    across_log: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.across(x), self.down(y)

    def across(self, x: float) -> float:
        if self.across_log:
            low, high, x = (math.log(v) for v in (*self.x, x))
            return LEFT + (x - low) / ((high - low) or 1) * (WIDTH - RIGHT - LEFT)
        return LEFT + (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1) * (WIDTH - RIGHT - LEFT)

    def down(self, y: float) -> float:
        low, high, y = (math.log(v) for v in (*self.y, max(y, 1e-300))) if self.log else (*self.y, y)
        return HEIGHT - BOTTOM - (y - low) / ((high - low) or 1) * (HEIGHT - BOTTOM - TOP)


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    levels: Sequence[Level] = field(default=())
    zero: bool = False  # whether the y axis begins at 0
    across_log: bool = False  # whether x is on a logarithmic scale, from its first value

    def svg(self) -> str:
        """The picture, or an empty text where there is nothing to draw."""
        box = self._box()
        if box is None:
            return ""
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        parts += [*self._axes(box), *(part for line in self.lines for part in _drawn(line, box))]
        parts += [part for level in self.levels for part in _level(level, box)]
        return "".join([*parts, "</svg>"])

    def _box(self) -> Box | None:
        points: dict[str, list[tuple[float, float]]] = {style: [] for style in ("smooth", "held", "raw")}
        for line in self.lines:
            points[line.style] += [(x, y) for x, y in line.points if math.isfinite(y)]
        every = [point for some in points.values() for point in some]
        if not every:
            return None
        ys = [y for _, y in points["smooth"] + points["held"] or points["raw"]] + [level.y for level in self.levels]
        ys += [end for line in self.lines for bar in line.bars for end in bar]
        low, high = (0.0 if self.zero else min(ys)), max(ys)
        log = low > 0 and high > SPREAD * low
        if not high > low:
            low, high = (low * 0.9, high * 1.1) if low > 0 else (low, low + 1)
        pad = 0.04 * (high - low)
        low, high = (low / 1.1, high * 1.1) if log else (low - pad * (not self.zero), high + pad)
        if self.across_log:
            xs = [x for x, _ in every]
            return Box(x=(min(xs) / 1.15, max(xs) * 1.15), y=(low, high), log=log, across_log=True)
        return Box(x=(min(0.0, *(x for x, _ in every)), max(x for x, _ in every)), y=(low, high), log=log)

    def _axes(self, box: Box) -> Iterator[str]:
        for value in decades(*box.y) if box.log else within(*box.y):
            y = box.down(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
        for value in decades(*box.x) if box.across_log else within(*box.x):
            x = box.across(value)
            anchor = "end" if x > WIDTH - 30 else "middle"
            yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{short(value)}</text>'
        unit = f"{self.y}, logarithmic" if box.log and self.y else "logarithmic" if box.log else self.y
        below = f"{self.x}, logarithmic" if box.across_log else self.x
        yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{escape(below)}</text>'
        middle = (TOP + HEIGHT - BOTTOM) / 2
        yield f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">{escape(unit)}</text>'


def _level(level: Level, box: Box) -> Iterator[str]:
    y = box.down(level.y)
    yield f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    above = y - 5 if y > TOP + 12 else y + 14
    yield f'<text class="said" x="{WIDTH - RIGHT - 2}" y="{above:.1f}" text-anchor="end">{escape(level.name)} {level.y:.3f}</text>'


def _drawn(line: Line, box: Box) -> Iterator[str]:
    points = [(x, y) for x, y in line.points if math.isfinite(y) and not (box.log and y <= 0)]
    name, ink = escape(line.name), f"c{line.colour % COLOURS}{' again' if line.colour >= COLOURS else ''}"
    kept = points[:: math.ceil(len(points) / POINTS)] if len(points) > POINTS else points
    kept = [*kept, points[-1]] if points and kept[-1] != points[-1] else kept
    top, bottom = TOP - 6.0, HEIGHT - BOTTOM
    places = [(x, min(max(y, top), bottom)) for x, y in (box.at(*point) for point in kept)]
    if len(points) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="{line.style} {ink}" points="{path}"><title>{name}</title></polyline>'
    for (x, _), (low, high) in zip(points, line.bars, strict=bool(line.bars)) if line.bars else ():
        at, ends = box.across(x), (box.down(low), box.down(high))
        yield f'<line class="whisker {ink}" x1="{at:.1f}" x2="{at:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
    if line.style == "held" or len(points) == 1 or line.bars:
        for (x, y), (said_x, said_y) in zip(places, kept, strict=True):
            told = f"{name}: {said_y:.4f} at {short(said_x)}"
            yield f'<circle class="dot {ink}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{told}</title></circle>'


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A row of scores: with an interval, and where it is the mean of several seeds with each of them."""

    name: str
    colour: int
    score: Score
    seeds: Sequence[float] = field(default=())


def intervals(rows: Sequence[Scored]) -> str:
    """Dots with whiskers, each below its name and figures."""
    if not rows:
        return ""
    values = [v for row in rows for v in (row.score["low"], row.score["high"], *row.seeds)]
    return _whiskers(rows, min(values), max(values), "scores with 95 % intervals")


def difference(row: Scored) -> str:
    """One dot with its whisker, on an axis that has 0 on it."""
    low, high = min(row.score["low"], 0.0), max(row.score["high"], 0.0)
    return _whiskers([row], low, high, f"{row.name} with its 95 % interval", zero=True)


def bars(rows: Sequence[tuple[str, float]], colour: int, label: str) -> str:
    """(name, share) of each row as a bar from 0, between its name and its figure."""
    if not rows:
        return ""
    left = 16 + 7 * max(len(name) for name, _ in rows)
    long, height = WIDTH - left - 56, 22 * len(rows) + 8
    most, ink = max(share for _, share in rows) or 1.0, f"c{colour % COLOURS}"
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for i, (name, share) in enumerate(rows):
        y, wide = 4 + 22 * i, max(share, 0.0) / most * long
        parts.append(f'<text class="name" x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar {ink}" x="{left}" y="{y}" width="{wide:.1f}" height="16" rx="2"/>')
        parts.append(f'<text x="{left + wide + 6:.1f}" y="{y + 13}">{share:.3f}</text>')
    return "".join([*parts, "</svg>"])


def _whiskers(rows: Sequence[Scored], low: float, high: float, label: str, zero: bool = False) -> str:
    pad = 0.04 * ((high - low) or abs(high) or 1)
    low, high, height = low - pad, high + pad, 38 * len(rows) + 26
    across = lambda v: 8 + (v - low) / (high - low) * (WIDTH - 16)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for value in within(low, high):
        x, own = across(value), "zero" if zero and value == 0 else "grid"
        anchor = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
        parts.append(f'<line class="{own}" x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{height - 22}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 7}" text-anchor="{anchor}">{short(value)}</text>')
    for i, row in enumerate(rows):
        y, ink = 28 + 38 * i, f"c{row.colour % COLOURS}{' again' if row.colour >= COLOURS else ''}"
        a, b, c = (across(row.score[key]) for key in ("low", "value", "high"))
        name = row.name if len(row.name) <= NAME else f"{row.name[: NAME - 1]}…"
        parts.append(
            f'<text class="name said" x="8" y="{y - 12}">{escape(name)}<title>{escape(row.name)}</title></text>'
        )
        parts.append(f'<text class="said" x="{WIDTH - 8}" y="{y - 12}" text-anchor="end">{interval(row.score)}</text>')
        parts.append(f'<line class="whisker {ink}" x1="{a:.1f}" x2="{c:.1f}" y1="{y}" y2="{y}"/>')
        for value in row.seeds:
            parts.append(
                f'<circle class="seed {ink}" cx="{across(value):.1f}" cy="{y}" r="3"><title>{value:.4f}</title></circle>'
            )
        parts.append(
            f'<circle class="dot {ink}" cx="{b:.1f}" cy="{y}" r="5"><title>{interval(row.score)}</title></circle>'
        )
    return "".join([*parts, "</svg>"])


def interval(score: Score) -> str:
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


def within(low: float, high: float) -> list[float]:
    """Round numbers between low and high."""
    found = [value for value in ticks(low, high) if low - 1e-9 * abs(low) <= value <= high + 1e-9 * abs(high)]
    return found or [low]


def decades(low: float, high: float) -> list[float]:
    """1, 10, 100, … between low and high; with 2 and 5 where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(powers) > 4 else (1, 2, 5)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that span low..high: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        high, low = (low * 1.1, low * 0.9) if low > 0 else (low + 1, low)
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def smooth(values: Sequence[float], span: int) -> list[float]:
    """An exponential mean over about `span` values, without the bias of its start."""
    keep, mean, weight, found = 1 - 1 / max(1, span), 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(mean / weight if weight else value)
    return found


def short(value: float) -> str:
    """1.2M, 40k, 0.25: a number for an axis."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2g}"
