"""Optimisers, and their rate.  Weight decay is decoupled and spares biases and norms: every one-dimensional tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.errors import InputError, nearest
from bertsmith.nn.modules.member import depths
from bertsmith.objectives.distilled import LED
from bertsmith.recipe import COOLING, ONLINE, SLANT, Group, Schedule
from bertsmith.spelling import amount
from bertsmith.training.adafactor import AdaFactor, joined_in
from bertsmith.training.adagrad import AdaGrad
from bertsmith.training.distributed import ALONE, World
from bertsmith.training.lamb import Lamb
from bertsmith.training.muon import Muon, orthogonal
from bertsmith.training.online import Online
from bertsmith.training.stable import StableAdamW

# Without bias correction the update count starts here: 1 - beta ** 1e8 is exactly 1 for every beta below 0.9999999, so torch's
# fused kernel computes BERT's own update, p -= rate * (m / (sqrt(v) + eps) + decay * p), to the letter.
UNCORRECTED = 1e8


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Updates until the rate is at its peak, at least 1.  InputError if that is more than the run has."""
    warm = round(schedule.warmup * steps) if schedule.warmup < 1 else int(schedule.warmup)
    if warm > steps:
        raise InputError(
            f"schedule.warmup: {amount(warm, 'step')} of warm-up in a run of {steps}; at most {steps}, or a share of them such as 0.1"
        )
    cool = _steps(schedule.cooldown, steps) if schedule.decay in COOLING else 0
    if warm + cool > steps:
        raise InputError(
            f"schedule.cooldown: {amount(cool, 'step')} behind {warm} of warm-up in a run of {steps}; at most {steps - warm}, or a share of them such as 0.1"
        )
    return max(1, warm)


def rate_at(schedule: Schedule, step: int, steps: int) -> float:
    """The rate of update `step` (1 .. steps): lr * step / warm until warm, lr while it is held, then on a straight line (or half a cosine)
    to 0 at steps + 1, or by the inverse of the root of the steps that were made; slanted: on the lines, SLANT of lr in the place of 0.  wsd and
    trapezoid: lr until `cooldown` steps are left, then by 1 less the root of what is over of them, or on a line.  `initial` and `final` stand in the
    place of 0, where the rate begins and where it ends.

    The paper's schedule, so no update has rate 0.  BERT's released code differs by one step at the start (its first update has
    rate 0) and draws its decay from step 0, so that the rate drops a little where warm-up ends.
    """
    share = _height(schedule, step, steps)
    if schedule.decay == "slanted":
        return schedule.lr * (share + (1 - share) * SLANT)
    floor = schedule.initial if step <= warmup_steps(schedule, steps) else schedule.final
    return schedule.lr * (share + (1 - share) * floor)


def _height(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the peak, between 0 and it."""
    warm = warmup_steps(schedule, steps)
    if step <= warm:
        return step / warm
    cools = schedule.decay in COOLING
    high = max(warm, steps - _steps(schedule.cooldown, steps) if cools else _steps(schedule.hold, steps))
    if step <= high or schedule.decay == "constant":
        return 1.0
    if schedule.decay == "inverse":
        return math.sqrt(high / step)
    left = (steps + 1 - step) / (steps + 1 - high)
    if schedule.decay == "wsd":
        return 1 - math.sqrt(1 - left)
    return (1 - math.cos(math.pi * left)) / 2 if schedule.decay == "cosine" else left


@dataclass(frozen=True)
class Share:
    """How a parameter learns beside others: its share of the rate, and from when to when.  Times are steps, or shares of them below 1."""

    rate: float = 1.0
    begin: float = 0.0  # after this
    end: float | None = None  # until this
    unfreeze: float = 0.0  # between one depth and the next below
    below: int = 0  # depths below the heads
    stages: Any = None  # a LayerByLayer
    depth: int = 0
    layers: int = 0

    def at(self, step: int, steps: int) -> float:
        """The share at update `step` of `steps`; 0 where it is frozen."""
        wait = max(_steps(self.begin, steps), round(self.below * _exact(self.unfreeze, steps)))
        late = self.end is not None and step > _steps(self.end, steps)
        rate = 0.0 if late or step <= wait else self.rate
        return (
            rate
            if self.stages is None
            else rate * self.stages.share(self.depth, self.stages.at(step, steps, self.layers))
        )

    @property
    def moves(self) -> bool:
        """Whether it is frozen for a part of the run."""
        return self.begin > 0 or self.end is not None or self.unfreeze * self.below > 0 or self.stages is not None


def _exact(of: float, steps: int) -> float:
    return of * steps if of < 1 else of


def _steps(of: float, steps: int) -> int:
    return round(_exact(of, steps))


def share_of(name: str, member: nn.Module, schedule: Schedule) -> Share:
    """Of the parameter `name` of a member."""
    depth, top = depths(member, name)
    rate, begin, end = schedule.layer_decay ** (top - depth), 0.0, None
    for group in schedule.groups:
        if _names(group, name):
            rate, begin, end = rate * group.rate, group.begin or begin, group.end or end
    share = Share(rate, begin, end, schedule.unfreeze, (top - depth) if schedule.unfreeze else 0)
    if schedule.stages is None or name.startswith(
        f"objective.{LED}."
    ):  # what compares two widths learns in every stage
        return share
    return replace(share, stages=schedule.stages, depth=depth, layers=top - 1)


def _names(group: Group, name: str) -> bool:
    return f"{name}.".startswith(f"{group.part}.") and not any(fnmatchcase(name, but) for but in group.but)


def freeze(module: nn.Module, schedule: Schedule) -> None:
    """Parameters that never learn need no gradient.  InputError for a group that names nothing, and where nothing is left."""
    names = [name for name, _ in module.named_parameters()]
    for group in schedule.groups:
        if not any(f"{name}.".startswith(f"{group.part}.") for name in names):
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            raise InputError(f"schedule.groups: {group.part}: no parameter is called so; {nearest(group.part, parts)}")
    for name, p in module.named_parameters():
        if share_of(name, module, schedule).rate == 0:
            p.requires_grad_(False)
    if not any(p.requires_grad for p in module.parameters()):
        raise InputError("schedule.groups: nothing is left that learns; give some part a rate above 0")


def build_optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Over the parameters of `module`, those of one share in two groups: decayed (matrices and up) and not (biases, norms).  Its state is
    there from the start."""
    shares: dict[Share, list[Tensor]] = {}
    for name, p in module.named_parameters():
        share = share_of(name, module, schedule)
        if p.requires_grad and share.rate > 0:
            shares.setdefault(share, []).append(p)
    if schedule.optimizer == "muon":
        of_layers = orthogonal(module)
        layers = {share: [p for p in found if p in of_layers] for share, found in shares.items()}
        rest = {share: [p for p in found if p not in of_layers] for share, found in shares.items()}
        others = _groups(rest, schedule)
        return Muon(_groups(layers, schedule), schedule.lr, _adamw(others, schedule) if others else None)
    groups = _groups(shares, schedule)
    if schedule.optimizer == "adafactor":
        return AdaFactor(groups, schedule.lr, joined_in(module))
    if schedule.optimizer == "adagrad":
        return AdaGrad(groups, schedule.lr, schedule.eps)
    if schedule.optimizer == ONLINE:
        return Online(groups, schedule.lr)
    if schedule.optimizer == "stable-adamw":
        return StableAdamW(groups, schedule.lr, schedule.betas, schedule.eps)
    if schedule.optimizer == "lamb":
        return Lamb(groups, schedule.lr, schedule.betas, schedule.eps, joined_in(module))
    return _adamw(groups, schedule)


def _groups(shares: dict[Share, list[Tensor]], schedule: Schedule) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for share, found in shares.items():
        matrices, rest = ([p for p in found if (p.ndim > 1) == more] for more in (True, False))
        groups += [
            {"params": part, "weight_decay": decay, "share": share, "peak": schedule.lr * share.rate}
            for part, decay in ((matrices, schedule.weight_decay), (rest, 0.0))
            if part
        ]
    return groups


def _adamw(groups: list[dict[str, Any]], schedule: Schedule) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=tuple(schedule.betas), eps=schedule.eps, fused=True)
    start = 0.0 if schedule.bias_correction else UNCORRECTED
    for p in (p for group in groups for p in group["params"]):
        step = torch.tensor(start, dtype=torch.float32, device=p.device)
        optimizer.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int = 1, steps: int = 1) -> None:
    """The rate of update `step` of `steps`, each group's by its share; a group whose share is 0 now is frozen."""
    for group in optimizer.param_groups:
        share = group["share"].at(step, steps) if group["share"].moves else group["share"].rate
        group["lr"] = rate * share
        if group["share"].moves:
            for p in group["params"]:
                p.requires_grad_(share > 0)


def optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Moments by parameter name: {"exp_avg.model.tokens.weight": …}."""
    return {
        f"{key}.{name}": moment
        for name, p in module.named_parameters()
        if p in optimizer.state
        for key, moment in optimizer.state[p].items()
        if moment is not None
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, state: dict[str, Tensor], where: str, world: World = ALONE
) -> None:
    """Put `optimizer_state` back; process 0 has it for all.  InputError if it belongs to another model."""
    own = optimizer_state(optimizer, module)
    with world.agreed():
        if world.first:
            _check_state(own, state, where)
    with torch.no_grad():
        for name, tensor in own.items():
            world.put(tensor, state.get(name))


def _check_state(own: dict[str, Tensor], state: dict[str, Tensor], where: str) -> None:
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise InputError(
            f"{where}: the optimizer state of another model: {odd[0]} and {len(odd) - 1} more stand on one side only"
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise InputError(f"{where}: {name}: shape {tuple(state[name].shape)}, the model has {tuple(tensor.shape)}")
