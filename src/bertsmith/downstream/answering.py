"""What a model says at the places of encoded rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bertsmith.data.loader import never
from bertsmith.nn.modules.member import MemberModel
from bertsmith.tasks.chains import Moves
from bertsmith.tasks.sequences import Encoded
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.precision import Precision

BUDGET = 8192  # tokens in one pass


@torch.no_grad()
def values_of(
    member: MemberModel,
    encoded: Encoded,
    precision: Precision,
    budget: int = BUDGET,
    world: World = ALONE,
    feed: str = "",
    stop: Callable[[], bool] = never,
) -> np.ndarray | None:
    """(places, outputs) float32: what the head (of `feed`) says at the places of `encoded`; the processes of a world share the work.

    None if `stop()` turned true on the way.
    """
    member.eval()
    groups = encoded.by_length(budget)
    turns = range(0, len(groups), world.size)
    mine = [
        groups[min(at + world.rank, len(groups) - 1)] for at in turns
    ]  # who has none left keeps step with the others
    parts = []
    with precision.policy(), precision.autocast():
        for which in mine:
            parts.append(said_at(member, encoded, which, precision.device, feed))
            world.gather()  # what one process heard, all know
            if stop():
                return None
    own = torch.cat(parts)
    by_rank = world.collect({str(world.rank): own}, precision.device)
    found = np.empty((len(encoded.places), own.shape[1]), np.float32)
    for rank in range(world.size):
        read = [encoded.read(groups[min(at + rank, len(groups) - 1)])[0] for at in turns]
        found[np.concatenate(read)] = (by_rank[str(rank)] if world.size > 1 else own).cpu().numpy()
    return found


def said_at(
    member: MemberModel, encoded: Encoded, which: np.ndarray, device: torch.device, feed: str = ""
) -> torch.Tensor:
    """(p, outputs) float32 at the places of the sequences `which`, in one pass."""
    stream = encoded.batch(which).input.to(device)
    return member.logits(stream, torch.from_numpy(encoded.read(which)[1]).to(device), feed).float()


def hearing(kind: Any, member: MemberModel, feed: str = "") -> Any:
    """`kind` with what its head knows beside what it says at the places: how the tags of a CRF follow one another."""
    objective: Any = member.objective
    chain = next(
        (part for part in (objective.of(feed) if feed else objective).modules() if hasattr(part, "moves")), None
    )
    return kind if chain is None else replace(kind, moves=Moves(*member.doing(chain.moves)))
