"""Weights of a member by name, and how a step of them is written (what stands in it, checkpoint.py says)."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from bertsmith import __version__, files
from bertsmith.errors import InputError, NumericsError, ResourceError, printable
from bertsmith.recipe import Schedule
from bertsmith.training.checkpoint import AVERAGED, FORMAT, MEMORY, MODEL, OPTIMIZER, STATE, State, prune, state_tree
from bertsmith.training.optim import optimizer_state, share_of
from bertsmith.training.processes import whole
from bertsmith.training.run import CONFIG, METRICS, TOKENIZER, Run


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and stored buffers by name; tied ones stand under their first name only."""
    buffers = {name: b for name, b in module.named_buffers() if name in module.state_dict()}
    return {**dict(module.named_parameters()), **buffers}


def kept_of(member: nn.Module) -> dict[str, Tensor]:
    """What a step holds of `weights_of` a member."""
    kept, found = getattr(member, "kept", None), weights_of(member)
    return found if kept is None else {name: tensor for name, tensor in found.items() if name in kept}


def learned_alone(member: nn.Module, schedule: Schedule) -> frozenset[str]:
    """`kept` of a member whose step needs the model that it began with: its heads, and what learns of its trunk at any time of the run."""
    names = (name for name, _ in member.named_parameters())
    return frozenset(
        name for name in names if not name.startswith("model.") or share_of(name, member, schedule).rate > 0
    )


def load_weights(
    module: nn.Module, weights: dict[str, Tensor], where: str, names: Collection[str] | None = None
) -> None:
    """Put `weights_of` back, or the part of it that `names` are.  InputError listing what is missing, unexpected, of another shape, or not
    finite."""
    own = {name: tensor for name, tensor in weights_of(module).items() if names is None or name in names}
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{printable(name)} is unexpected" for name in weights if name not in own]
    for name in own.keys() & weights.keys():
        if own[name].shape != weights[name].shape:
            problems.append(f"{name} has shape {list(weights[name].shape)}, the model {list(own[name].shape)}")
        elif not torch.isfinite(weights[name]).all():
            problems.append(f"{name} is not finite")
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise InputError(
            f"{printable(where)}: the weights do not fit the model: {'; '.join(sorted(problems)[:4])}{more}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors.  Where they are sharded, every process must call this (or `help_save`)."""
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in tensors.items()}


def help_save(member: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The part in `save_step` of a process that does not write: its slices."""
    for tensor in (*kept_of(member).values(), *optimizer_state(optimizer, member).values()):
        whole(tensor.detach())


def save_step(
    run: Run,
    state: State,
    member: nn.Module,
    optimizer: torch.optim.Optimizer,
    metrics: dict,
    environment: dict,
    keep: int,
    best: int | None = None,
    memory: dict[str, Tensor] | None = None,
    averaged: dict[str, Tensor] | None = None,
) -> Path:
    """Write, publish, verify, then `prune`.  `metrics`: {"bytes", "sha256"} of metrics.jsonl, already on disk.

    NumericsError if a weight is not finite, ResourceError if the disk refuses; either way the older steps stay as they are.
    """
    weights, moments = on_cpu(kept_of(member)), on_cpu(optimizer_state(optimizer, member))
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise NumericsError(
                f"step {state.step}: {name} is no longer finite; not saved; a lower schedule.lr helps most often"
            )
    final = run.step(state.step)
    with files.partial(final) as folder, files.writing(final):
        listed = {
            MODEL: files.create(folder / MODEL, tensors_to_bytes(weights)),
            OPTIMIZER: files.create(folder / OPTIMIZER, tensors_to_bytes(moments)),
            STATE: files.create(folder / STATE, json.dumps(state_tree(state), indent=1).encode() + b"\n"),
        }
        if memory:
            listed[MEMORY] = files.create(folder / MEMORY, tensors_to_bytes(on_cpu(memory)))
        if averaged:
            listed[AVERAGED] = files.create(folder / AVERAGED, tensors_to_bytes(on_cpu(averaged)))
        manifest = {
            "format": FORMAT,
            "kind": "step",
            "step": state.step,
            "created_by": f"bertsmith {__version__}",
            "environment": environment,
            "run": {**files.listing(run.path, (CONFIG, TOKENIZER)), METRICS: metrics},
            "files": listed,
        }
        files.sync(folder)
        files.create(folder / files.MANIFEST, files.sealed(manifest))
        files.publish(folder, final)
    try:
        files.check(final, listed)
    except InputError as error:
        raise ResourceError(
            f"{error}; the disk gave back other bytes than were written, the older steps stay"
        ) from None
    with files.writing(final):
        prune(run, keep, best)
    return final
