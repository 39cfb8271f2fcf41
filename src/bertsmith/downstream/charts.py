"""Small line and interval charts as inline SVG; colours are CSS variables of the page, so light and dark are the page's affair."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 40
POINTS = 400  # drawn of one line at most


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]
    colour: int  # number of the run
    style: Literal["smooth", "raw", "dots"] = "smooth"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line with a name: the plateau."""

    name: str
    y: float


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    levels: Sequence[Level] = field(default=())
    zero: bool = False  # whether the y axis begins at 0

    def svg(self) -> str:
        """The picture, or an empty text where there is nothing to draw."""
        points = [p for line in self.lines for p in line.points if math.isfinite(p[1])]
        if not points:
            return ""
        ys = [y for _, y in points] + [level.y for level in self.levels]
        low, high = (0.0 if self.zero else min(ys)), max(ys)
        xticks, yticks = ticks(min(0, min(x for x, _ in points)), max(x for x, _ in points)), ticks(low, high)
        box = (xticks[0], max(xticks[-1], max(x for x, _ in points)), min(yticks[0], low), max(yticks[-1], high))
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        for value in yticks:
            y = _y(value, box)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
        for value in xticks:
            anchor = "end" if value == xticks[-1] and _x(value, box) > WIDTH - 30 else "middle"
            parts.append(
                f'<text class="tick" x="{_x(value, box):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="{anchor}">{short(value)}</text>'
            )
        parts.append(
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x)}</text>'
        )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="axis" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(self.y)}</text>'
        )
        for level in self.levels:
            y = _y(level.y, box)
            parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{WIDTH - RIGHT - 4}" y="{y - 5:.1f}" text-anchor="end">{escape(level.name)} {level.y:.3f}</text>'
            )
        parts += [_drawn(line, box) for line in self.lines]
        return "".join([*parts, "</svg>"])


def intervals(rows: Sequence[tuple[str, int, dict[str, float]]]) -> str:
    """Dots with whiskers, one row each: (name, colour, {value, low, high})."""
    if not rows:
        return ""
    low, high = min(s["low"] for *_, s in rows), max(s["high"] for *_, s in rows)
    marks = ticks(low, high)
    box = (min(marks[0], low), max(marks[-1], high), 0.0, 1.0)
    height = 34 * len(rows) + 34
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="scores with 95 % intervals">']
    for value in marks:
        x = _x(value, box, 190)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{short(value)}</text>')
    for i, (name, colour, score) in enumerate(rows):
        y = 24 + 34 * i
        a, b, c = (_x(score[key], box, 190) for key in ("low", "value", "high"))
        parts.append(f'<text class="name" x="180" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<line class="whisker c{colour}" x1="{a:.1f}" x2="{c:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<circle class="dot c{colour}" cx="{b:.1f}" cy="{y}" r="5"><title>{interval(score)}</title></circle>'
        )
    return "".join([*parts, "</svg>"])


def interval(score: dict[str, float]) -> str:
    return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"


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


def _drawn(line: Line, box: tuple[float, ...]) -> str:
    points = [p for p in line.points if math.isfinite(p[1])]
    name = escape(line.name)
    if line.style == "dots" or (len(points) == 1 and line.style == "smooth"):
        dots = (
            f'<circle class="dot c{line.colour}" cx="{_x(x, box):.1f}" cy="{_y(y, box):.1f}" r="4"><title>{name}: {y:.4f} at {short(x)}</title></circle>'
            for x, y in points
        )
        return "".join(dots)
    kept = points[:: math.ceil(len(points) / POINTS)] if len(points) > POINTS else points
    kept = [*kept, points[-1]] if points and kept[-1] != points[-1] else kept
    path = " ".join(f"{_x(x, box):.1f},{_y(y, box):.1f}" for x, y in kept)
    return f'<polyline class="{line.style} c{line.colour}" points="{path}"><title>{name}</title></polyline>'


def _x(x: float, box: tuple[float, ...], left: int = LEFT) -> float:
    return left + (x - box[0]) / ((box[1] - box[0]) or 1) * (WIDTH - RIGHT - left)


def _y(y: float, box: tuple[float, ...]) -> float:
    return HEIGHT - BOTTOM - (y - box[2]) / ((box[3] - box[2]) or 1) * (HEIGHT - BOTTOM - TOP)
