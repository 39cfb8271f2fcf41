"""Filtered ranks of a knowledge graph: where the true head or tail stands among all entities that would not make another true triple.

m triples of tokens (entities from 0, relations behind them), e entities.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bertsmith.data.ranges import spread
from bertsmith.training.distributed import World

Array = np.ndarray
PLACES = (0, 2)  # of the head and of the tail
CELLS = 1 << 23  # distances held at once
HITS = (1, 3, 10)


class Known:
    """True triples, by either end and the relation."""

    def __init__(self, triples: Array):
        self.size = int(triples.max(initial=0)) + 1
        self.sides: dict[int, tuple[Array, Array]] = {}
        for place in PLACES:
            keys = self._keys(triples, place)
            order = np.argsort(keys, kind="stable")
            self.sides[place] = keys[order], triples[order, place]

    def _keys(self, triples: Array, place: int) -> Array:
        return triples[:, 2 - place] * self.size + triples[:, 1]

    def beside(self, triples: Array, place: int) -> tuple[Array, Array]:
        """(row of `triples`, entity) of each true triple that is one of these but for what stands at `place`; themselves too."""
        keys, entities = self.sides[place]
        wanted = self._keys(triples, place)
        number, row = spread(np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right"))
        return row, entities[number]


@torch.no_grad()
def ranks(member: Any, triples: Array, known: Known, stop: Callable[[], bool] = lambda: False) -> Array | None:
    """(m, 2) float64, of head and tail, from 1; of those that are as far as the truth a half stands before it.  None if `stop()` turned true."""
    model, objective = member.model, member.objective
    device, rows = model.tokens.weight.device, max(1, CELLS // model.config.unit)
    found = np.empty((len(triples), 2))
    for begin in range(0, len(triples), rows):
        some = triples[begin : begin + rows]
        for column, place in enumerate(PLACES):
            far = objective.from_all(model, torch.from_numpy(some).to(device), place)
            own = far[torch.arange(len(some), device=device), torch.from_numpy(some[:, place]).to(device)][:, None]
            row, entity = (torch.from_numpy(part).to(device) for part in known.beside(some, place))
            far[row, entity] = torch.inf
            nearer, same = (far < own).sum(1), (far == own).sum(1)
            found[begin : begin + rows, column] = (1 + nearer + same / 2).cpu().numpy()
        if stop():
            return None
    return found


def scores(found: Array) -> dict[str, float]:
    """Mean rank, mean of its inverse, and shares of ranks up to 1, 3 and 10, over heads and tails."""
    flat = found.ravel()
    hits = {f"hits@{most}": float((flat <= most).mean()) for most in HITS}
    return {"rank": float(flat.mean()), "mrr": float((1 / flat).mean()), **hits}


class Ranked:
    """Some triples that training does not have, every so many steps."""

    def __init__(self, triples: Array, known: Known, every: int):
        self.triples, self.known, self.every = triples, known, every

    def due(self, step: int) -> bool:
        return bool(self.every) and step % self.every == 0

    def hold(self, member: Any, precision: Any, world: World, stop: Callable[[], bool]) -> dict | None:
        """Every process ranks its part; where one is told to stop, all are."""
        own = ranks(member, self.triples[world.rank :: world.size], self.known, stop)
        parts = world.gather(None if own is None else own.tolist())
        if any(part is None for part in parts):
            return None
        return {"triple": scores(np.concatenate([np.reshape(part, (-1, 2)) for part in parts]))}

    def said(self, line: dict) -> str:
        found = line["evaluation"]["triple"]
        return f"step {line['step']}: " + said(found)

    def rank(self, found: dict) -> list[float]:
        return [found["triple"]["mrr"]]

    def seconds(self, member: Any, precision: Any, world: World) -> float:
        start, some = time.monotonic(), self.triples[:: max(1, len(self.triples) // 16)]
        ranks(member, some, self.known)
        return (time.monotonic() - start) * len(self.triples) / len(some) / world.size


def said(found: dict[str, float]) -> str:
    hits = ", ".join(f"hits@{most} {found[f'hits@{most}']:.1%}" for most in HITS)
    return f"mean rank {found['rank']:,.0f}, MRR {found['mrr']:.3f}, {hits}"
