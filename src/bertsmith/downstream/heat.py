"""A surface as inline SVG: bands of colour by height, paths and points on it; a scale beside it.  Light and dark are the page's affair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from bertsmith.downstream.charts import COLOURS, SPREAD, short, within

WIDTH, HEIGHT = 420, 360
LEFT, RIGHT, TOP, BOTTOM = 48, 74, 12, 38
FINE = 4  # drawn cells between two that were computed, in each direction
BANDS = 12

Steps = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Heights by bands, shared by pictures that are compared; logarithmic where they span orders of magnitude."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, *surfaces: Sequence[Sequence[float]]) -> Scale:
        every = [value for surface in surfaces for row in surface for value in row]
        low, high = min(every), max(every)
        return cls(low=low, high=high if high > low else low + 1, log=low > 0 and high > SPREAD * low)

    def share(self, value: float) -> float:
        """0 of the lowest to 1 of the highest."""
        low, high, at = (math.log(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)

    def band(self, value: float) -> int:
        return min(int(self.share(value) * BANDS), BANDS - 1)

    def height(self, share: float) -> float:
        """What `share` was made of."""
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class Path:
    """Places in the plane, one after the other; the last has a larger dot."""

    name: str
    places: Steps
    colour: int


@dataclass(frozen=True, kw_only=True)
class Heat:
    """`loss[j][i]` is the height at (x[i], y[j]); both grow evenly."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    loss: Sequence[Sequence[float]]
    scale: Scale
    across: str
    up: str
    paths: Sequence[Path] = field(default=())

    def svg(self) -> str:
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">']
        parts += [*self._bands(), *self._axes(), *self._scale()]
        parts += [part for path in self.paths for part in self._path(path)]
        return "".join([*parts, "</svg>"])

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - self.x[0]) / (self.x[-1] - self.x[0]) * (WIDTH - RIGHT - LEFT)
        return across, HEIGHT - BOTTOM - (y - self.y[0]) / (self.y[-1] - self.y[0]) * (HEIGHT - BOTTOM - TOP)

    def _bands(self) -> Iterator[str]:
        """Rows of small cells between the computed ones; a rectangle begins where the band changes, and what follows is drawn over it."""
        columns, rows = FINE * (len(self.x) - 1), FINE * (len(self.y) - 1)
        wide, high = (WIDTH - RIGHT - LEFT) / columns, (HEIGHT - BOTTOM - TOP) / rows
        for row in range(rows):
            bands = [
                self.scale.band(self._between((column + 0.5) / FINE, (row + 0.5) / FINE)) for column in range(columns)
            ]
            top = HEIGHT - BOTTOM - (row + 1) * high
            for column, band in enumerate(bands):
                if not column or band != bands[column - 1]:
                    x = round(LEFT + column * wide, 1)
                    yield _cell(x, top, WIDTH - RIGHT - x, high, band)

    def _between(self, i: float, j: float) -> float:
        """The height at place (i, j) of the grid, bilinear in the scale's own measure."""
        a, b = min(int(i), len(self.x) - 2), min(int(j), len(self.y) - 2)
        u, v = i - a, j - b
        corners = [self.scale.share(self.loss[b + down][a + right]) for down in (0, 1) for right in (0, 1)]
        low, high = corners[0] + u * (corners[1] - corners[0]), corners[2] + u * (corners[3] - corners[2])
        return self.scale.height(low + v * (high - low))

    def _axes(self) -> Iterator[str]:
        for value in within(self.x[0], self.x[-1]):
            yield f'<text x="{self._at(value, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(value)}</text>'
        for value in within(self.y[0], self.y[-1]):
            yield f'<text x="{LEFT - 6}" y="{self._at(0, value)[1] + 4:.1f}" text-anchor="end">{short(value)}</text>'
        middle, centre = (TOP + HEIGHT - BOTTOM) / 2, (LEFT + WIDTH - RIGHT) / 2
        yield f'<text x="{centre}" y="{HEIGHT - 5}" text-anchor="middle">{escape(self.across)}</text>'
        yield f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">{escape(self.up)}</text>'

    def _scale(self) -> Iterator[str]:
        """Bands with the heights between them, the lowest below."""
        tall = (HEIGHT - BOTTOM - TOP) / BANDS
        for band in range(BANDS):
            y = HEIGHT - BOTTOM - (band + 1) * tall
            yield _cell(WIDTH - RIGHT + 12, y, 12, tall, band)
        for band in range(0, BANDS + 1, 3):
            y = HEIGHT - BOTTOM - band * tall
            value = self.scale.height(band / BANDS)
            yield f'<text x="{WIDTH - RIGHT + 29}" y="{min(max(y + 4, TOP + 9), HEIGHT - BOTTOM):.1f}">{short(float(f"{value:.3g}"))}</text>'

    def _path(self, path: Path) -> Iterator[str]:
        ink = f"c{path.colour % COLOURS}"
        inside = [self._at(*place) for place in path.places if self._holds(*place)]
        if not inside:
            return
        name = escape(path.name)
        if len(inside) > 1:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in inside)
            yield f'<polyline class="under" points="{points}"/><polyline class="smooth {ink}" points="{points}"><title>{name}</title></polyline>'
        for number, (x, y) in enumerate(inside, 1):
            yield f'<circle class="dot {ink}" cx="{x:.1f}" cy="{y:.1f}" r="{5.5 if number == len(inside) else 3.5}"><title>{name}</title></circle>'

    def _holds(self, x: float, y: float) -> bool:
        return self.x[0] <= x <= self.x[-1] and self.y[0] <= y <= self.y[-1]


def _cell(x: float, y: float, wide: float, high: float, band: int) -> str:
    return f'<rect class="heat h{band}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high + 0.3:.1f}"/>'
