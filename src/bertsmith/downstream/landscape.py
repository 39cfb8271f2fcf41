"""Loss around weights (Li et al. 2018, arXiv:1712.09913; Hao et al. 2019, arXiv:1908.05620).

Weights are {name: tensor}, a direction has the same names, and a loss is a function of weights.  Nothing here knows what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bertsmith.data.draw import hashed

Weights = dict[str, Tensor]
Loss = Callable[[Weights], float]
ITERATIONS = 20  # of the power method
SETTLED = 1e-3  # relative change of the eigenvalue at which it ends
STEP = 1e-3  # of a finite difference, as a share of the weights' norm


def moved(at: Weights, *steps: tuple[float, Weights]) -> Weights:
    """`at`, and so much of each direction."""
    found = dict(at)
    for share, direction in steps:
        if share:
            found = {name: x + share * direction[name] for name, x in found.items()}
    return found


def difference(a: Weights, b: Weights) -> Weights:
    return {name: x - b[name] for name, x in a.items()}


def dot(a: Weights, b: Weights) -> float:
    return math.fsum(float((x.double() * b[name].double()).sum()) for name, x in a.items())


def norm(a: Weights) -> float:
    return math.sqrt(dot(a, a))


def filter_normalised(at: Weights, seed: int, number: int = 0) -> Weights:
    """A random direction whose rows (a unit's weights, a token's vector) are as long as those of `at`; 0 for vectors: biases and norms."""
    found = {}
    for name, x in at.items():
        if x.ndim < 2:
            found[name] = torch.zeros_like(x)
            continue
        generator = torch.Generator().manual_seed(int(hashed(seed, f"direction {name}", number)[0]))
        draw = torch.randn(x.shape, generator=generator).to(x)
        long, drawn = (t.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1)) for t in (x, draw))
        found[name] = draw * (long / drawn.clamp_min(1e-12))
    return found


def line(loss: Loss, origin: Weights, direction: Weights, at: Sequence[float]) -> list[float]:
    return [loss(moved(origin, (x, direction))) for x in at]


def plane(
    loss: Loss, origin: Weights, x: Weights, y: Weights, xs: Sequence[float], ys: Sequence[float]
) -> list[list[float]]:
    """[y][x]"""
    return [[loss(moved(origin, (a, x), (b, y))) for a in xs] for b in ys]


def place(point: Weights, origin: Weights, x: Weights, y: Weights) -> tuple[float, float, float]:
    """(a, b, off): origin + a x + b y is the nearest of the plane to `point`; `off` is how much of the way there leaves the plane, 0 to 1.

    The axes need not be at right angles.  ValueError where they are one line.
    """
    way = difference(point, origin)
    xx, yy, xy, wx, wy = dot(x, x), dot(y, y), dot(x, y), dot(way, x), dot(way, y)
    area = xx * yy - xy * xy
    if area <= 1e-9 * xx * yy:
        raise ValueError("the axes of the plane are one line")
    a, b = (wx * yy - wy * xy) / area, (wy * xx - wx * xy) / area
    rest, whole = (
        norm(difference(way, moved({name: torch.zeros_like(t) for name, t in x.items()}, (a, x), (b, y)))),
        norm(way),
    )
    return a, b, rest / whole if whole else 0.0


def sharpest(gradient: Callable[[Weights], Weights], at: Weights, seed: int) -> float:
    """The eigenvalue of the loss's second derivatives that is largest by size: power iteration, products by central differences."""
    vector = {
        name: torch.randn(
            x.shape, generator=torch.Generator().manual_seed(int(hashed(seed, f"sharpest {name}")[0]))
        ).to(x)
        for name, x in at.items()
    }
    step, found = STEP * norm(at), 0.0
    for _ in range(ITERATIONS):
        length = norm(vector)
        if not length:
            return 0.0
        vector = {name: x / length for name, x in vector.items()}
        ahead, behind = (gradient(moved(at, (sign * step, vector))) for sign in (1, -1))
        product = {name: (x - behind[name]) / (2 * step) for name, x in ahead.items()}
        before, found = found, dot(vector, product)
        if abs(found - before) <= SETTLED * abs(found):
            break
        vector = product
    return found


def share_within(losses: Sequence[Sequence[float]], excess: float) -> float:
    """Of a plane, the share whose loss is at most so much above the lowest."""
    every = [loss for row in losses for loss in row]
    return sum(loss <= min(every) + excess for loss in every) / len(every)
