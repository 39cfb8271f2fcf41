"""AdamW and its rate.  Weight decay is decoupled and spares biases and norms: every one-dimensional tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bertsmith.errors import InputError
from bertsmith.recipe import Schedule
from bertsmith.training.distributed import ALONE, World

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
# Without bias correction the update count starts here: 1 - beta ** 1e8 is exactly 1 for every beta below 0.9999999, so torch's
# fused kernel computes BERT's own update, p -= rate * (m / (sqrt(v) + eps) + decay * p), to the letter.
UNCORRECTED = 1e8


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Updates until the rate is at its peak, at least 1.  InputError if that is more than the run has."""
    warm = round(schedule.warmup * steps) if schedule.warmup < 1 else int(schedule.warmup)
    if warm > steps:
        raise InputError(
            f"schedule.warmup: {warm} steps of warm-up in a run of {steps}; at most {steps}, or a share of them such as 0.1"
        )
    return max(1, warm)


def rate_at(schedule: Schedule, step: int, steps: int) -> float:
    """The rate of update `step` (1 .. steps): lr * step / warm until warm, then on a straight line (or half a cosine) to 0 at steps + 1.

    The paper's schedule, so no update has rate 0.  BERT's released code differs by one step at the start (its first update has
    rate 0) and draws its decay from step 0, so that the rate drops a little where warm-up ends.
    """
    warm = warmup_steps(schedule, steps)
    if step <= warm:
        return schedule.lr * (step / warm)
    left = (steps + 1 - step) / (steps + 1 - warm)
    return schedule.lr * (left if schedule.decay == "linear" else (1 - math.cos(math.pi * left)) / 2)


def build_optimizer(module: nn.Module, schedule: Schedule) -> torch.optim.AdamW:
    """AdamW over the parameters of `module` in two groups: decayed (matrices and up) and not (biases, norms)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=tuple(schedule.betas), eps=schedule.eps, fused=True)
    start = 0.0 if schedule.bias_correction else UNCORRECTED
    for p in parameters:
        step = torch.tensor(start, dtype=torch.float32, device=p.device)
        optimizer.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """A group's own share (`scale`, layer-wise rates) multiplies the schedule's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Moments by parameter name: {"exp_avg.model.tokens.weight": …}."""
    return {
        f"{key}.{name}": optimizer.state[p][key]
        for name, p in module.named_parameters()
        if p in optimizer.state
        for key in MOMENTS
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
