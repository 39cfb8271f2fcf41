"""One member on many processes: as copies whose gradients are added up (DDP), or in slices (`fully_shard`, FSDP2).

Losses are divided by counts over all processes before they are summed, so gradients are sums over processes, where torch takes means.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bertsmith.data.batch import IGNORE, Batch, Stream, Target, term_of
from bertsmith.nn.modules.ranges import ranges, unnoted
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.processes import own, put


class Shared:
    """The member as a step runs it.  In a world of one it is the member itself."""

    def __init__(self, member: Any, world: World = ALONE, shard: str = "ddp"):
        """With many processes every parameter becomes process 0's first; `shard="fsdp"` then slices `member` where it stands.  One without
        memory is sliced, and each process then draws what its slices are."""
        self.member, self.world = member, world
        self.sliced = world.size > 1 and shard == "fsdp"
        self._run: nn.Module = member
        self._ranges = ranges(member)
        draws = getattr(member, "draws", None)
        if draws is not None:
            self._run = _slices(member)
            _give_memory(member, draws.place)
            draws.fill(dict(member.named_parameters()), put, own)
            member.draws = None
        elif world.size > 1:
            for tensor in [*member.parameters(), *member.buffers()]:
                world.put(tensor.data, tensor.data)
            self._run = _slices(member) if self.sliced else _copies(member)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of each loss term."""
        with nullcontext() if batch.examples else unnoted():
            return self._run(batch)

    def noted(self) -> None:
        """An update is made: ranges (ranges.py) know the largest numbers that any pass of any process met in it."""
        if self._ranges:
            found = torch.cat([part.found for part in self._ranges])
            if self.world.size > 1:
                found = found.new_tensor(self.world.gather(found.tolist())).amax(0)
            for part, own in zip(self._ranges, found.split([len(part.found) for part in self._ranges]), strict=True):
                part.settle(own.clone())

    def passes(
        self, batches: Sequence[Batch], counts: Mapping[str, int], planned: Mapping[str, int]
    ) -> Sequence[Batch]:
        """What this process computes in a step: of each feed as many passes as every other, each asking every term that anyone asks of it.

        Collectives must match.  What is added counts for nothing: its labels are ignored, so losses and gradients are exactly 0.
        """
        if self.world.size == 1:
            return batches
        known, found = getattr(self.member.objective, "columns", {}), []
        for feed, number in planned.items():
            asked = [name for name, count in counts.items() if count and name.startswith(term_of(feed, ""))]
            columns = {name.removeprefix(term_of(feed, "")): known.get(name, 1) for name in asked}
            own = [batch for batch in batches if batch.feed == feed]
            if asked:
                empty = [replace(EMPTY, feed=feed)] * (number - len(own))
                found += [_asking(batch, columns) for batch in (*own, *empty)]
        return found

    def row(self, number: int, planned: Mapping[str, int]) -> int:
        """The number of this process's pass among those of all: what its dropout is drawn from."""
        return self.world.rank * sum(planned.values()) + number if self.world.size > 1 else number

    @contextmanager
    def reducing(self, now: bool) -> Iterator[None]:
        """Whether the pass inside adds up the gradients of all processes; those before it only keep their own."""
        if self.sliced:
            self._run.set_requires_gradient_sync(now)
        later = self.world.size > 1 and not self.sliced and not now
        with self._run.no_sync() if later else nullcontext():
            yield

    def norm(self, gradients: list[Tensor]) -> float:
        """The length of all gradients together, in double precision.

        torch's own sums in float32: on a CPU it is off by 1e-3 for a table of 23 million numbers, and by less for halves of it.
        On a GPU a few kernels do for all what else takes one for each.
        """
        found = [gradient.coalesce().values() if gradient.is_sparse else own(gradient) for gradient in gradients]
        if found and found[0].is_cuda:
            lengths = list(torch._foreach_norm(found, dtype=torch.float64))
        else:
            lengths = [torch.linalg.vector_norm(gradient, dtype=torch.float64) for gradient in found]
        square = float(torch.stack(lengths).square().sum()) if lengths else 0.0
        return math.sqrt(sum(self.world.gather(square)) if self.sliced else square)

    def settle(self) -> None:
        """The parameters under their names are those of the optimizer again; an evaluation leaves whole ones there for the next pass."""
        if self.sliced:
            self._run.reshard()

    def gather(self, sums: list[dict[str, Tensor]]) -> list[dict[str, Any]]:
        """The sums of every pass of all processes, in the order in which one process would have made them."""
        if self.world.size == 1:
            return sums
        found = self.world.gather([{name: float(value) for name, value in part.items()} for part in sums])
        return [part for own in found for part in own]


def _copies(member: nn.Module) -> DistributedDataParallel:
    device = next(member.parameters()).device
    shared = DistributedDataParallel(
        member,
        device_ids=[device] if device.type == "cuda" else None,
        broadcast_buffers=False,
        init_sync=False,
        gradient_as_bucket_view=True,
        # Some parameters nothing asks for.  It also keeps the buckets as they are: torch else regroups them after the first step,
        # and a resumed run of three or more processes would add up in another order than the one that was not interrupted.
        find_unused_parameters=True,
    )
    shared.register_comm_hook(None, _add_up)
    return shared


def _add_up(_, bucket):  # torch compares annotations with types, and ours are strings
    """DDP's own reduction divides by the number of processes."""
    return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])


def _slices(member: nn.Module) -> nn.Module:
    """Every layer a unit that shares no weights with another, the rest another unit.  Weights travel in float32: autocast rounds them as it does in one process."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    one = {part.layers for part in member.modules() if getattr(part, "together", False)}
    layers = [
        layer for part in member.modules() if isinstance(part, nn.ModuleList) and part not in one for layer in part
    ]
    uses = Counter(weight for layer in layers for weight in layer.parameters())
    for unit in [*(layer for layer in layers if all(uses[weight] == 1 for weight in layer.parameters())), member]:
        fully_shard(unit, mp_policy=policy)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)  # gloo has no other
    for method in ("scores", "logits", "doing"):
        register_fsdp_forward_method(member, method)
    return member


def _give_memory(member: nn.Module, place: torch.device) -> None:
    """Memory for the slices, whose contents are anything.  torch's own `to_empty` would part weights that several modules share."""
    made: dict[int, nn.Parameter] = {}
    for module in member.modules():
        for name, old in module._parameters.items():
            if old is not None and id(old) not in made:
                made[id(old)] = nn.Parameter(torch.empty_like(old, device=place), requires_grad=old.requires_grad)
            if old is not None:
                module._parameters[name] = made[id(old)]
    member._apply(lambda tensor: tensor)  # FSDP looks at its parameters again


def _asking(batch: Batch, columns: dict[str, int]) -> Batch:
    """`batch` with one question without an answer for each term that it does not ask; `columns`: of each term's `Target.at`."""
    missing = {
        name: Target(at=np.zeros((1, count), np.int64), labels=np.full(1, IGNORE))
        for name, count in columns.items()
        if not len(batch.targets.get(name, ()))
    }
    return replace(batch, targets={**batch.targets, **missing}) if missing else batch


_ONE = np.zeros(1, np.int64)
EMPTY = Batch(
    input=Stream(tokens=_ONE, positions=_ONE, segments=_ONE, query_rank=_ONE, key_rank=_ONE, lengths=(1,)),
)
