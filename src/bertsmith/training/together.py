"""A loss of all rows of an update together, in passes that each hold some of them: gradients are cached at what is read (GradCache: Gao et
al. 2021, section 3).

First every pass reads its texts without keeping anything for a backward pass; the loss of all is computed from what was read, by all processes,
and its gradient there; then every pass reads again, with the same dropout, and goes back from its share of that gradient.  The
gradient is that of one big batch, up to rounding; what is held is one pass.  m rows of k texts, width d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bertsmith.data.batch import Batch
from bertsmith.training.distributed import World
from bertsmith.training.precision import Precision


def together(
    member: Any, batches: Sequence[Batch], precision: Precision, world: World, dropouts: Sequence[int]
) -> tuple[list[Batch], list[dict[str, Tensor]]]:
    """The passes of this process with the gradient at what they read (`Target.pull`), and its share of the loss: all of it is process 0's.

    `dropouts`: what each pass draws from, both times.
    """
    objective, term = member.objective, member.objective.term
    targets, read = [batch.to(precision.device).targets[term] for batch in batches], []
    for batch, target, seed in zip(batches, targets, dropouts, strict=True):
        precision.seed(seed)
        with torch.no_grad(), precision.autocast():
            found = member.logits(batch.input.to(precision.device), target.at.flatten())
        read.append(found.float().unflatten(0, target.at.shape))
    mine = torch.cat(read)
    labels = torch.cat([t.labels.reshape(len(t), -1).double().expand(-1, objective.asks) for t in targets])
    shared = world.collect({f"{world.rank}.read": mine, f"{world.rank}.labels": labels}, precision.device)
    whole = torch.cat([shared[f"{rank}.read"] for rank in range(world.size)]).requires_grad_()
    asked = torch.cat([shared[f"{rank}.labels"] for rank in range(world.size)])
    with torch.enable_grad():
        loss = objective.loss(whole, asked if objective.asks > 1 else asked[:, 0].float())
        (pull,) = torch.autograd.grad(loss, whole)
    before = sum(len(shared[f"{rank}.read"]) for rank in range(world.rank))
    pulls = pull[before : before + len(mine)].split([len(target) for target in targets])
    pulled = [
        replace(batch, targets={**batch.targets, term: replace(target, pull=each)})
        for batch, target, each in zip(batches, targets, pulls, strict=True)
    ]
    said = [loss.detach() if world.first and not i else torch.zeros_like(loss) for i in range(len(batches))]
    return pulled, [{term: value} for value in said]
