"""Student's t (1908), for intervals over a handful of seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from bertsmith.tasks.metrics import Score


def cumulative(t: float, freedom: int) -> float:
    """P(T <= t) with a whole number of degrees of freedom (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    if odd:
        inside = 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    else:
        inside = sine * total
    return (1 + inside) / 2


def quantile(p: float, freedom: int) -> float:
    """The t below which a share `p`, above a half, lies; by bisection."""
    low, high = 0.0, 1.0
    while cumulative(high, freedom) < p:
        low, high = high, 2 * high
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if cumulative(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def interval(values: Sequence[float], sure: float = 0.95) -> Score:
    """The mean of independent values with its interval; of one value alone nothing is known, and it reaches from -inf to inf."""
    if len(values) < 2:
        return {"value": mean(values), "low": -math.inf, "high": math.inf}
    half = quantile((1 + sure) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return {"value": mean(values), "low": mean(values) - half, "high": mean(values) + half}
