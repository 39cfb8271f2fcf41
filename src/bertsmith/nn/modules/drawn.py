"""Fresh weights without the memory of the whole model: what building one does to its parameters is noted, and done again for one parameter
after the other, so that a process keeps its slices only.  The weights are those of an ordinary build, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

aten = torch.ops.aten


@torch.no_grad()
def cut_normal(tensor: Tensor, cut: float = 0.04, std: float = 0.02) -> Tensor:
    """Numbers from a normal distribution cut at +-`cut`, in place.  How many are drawn depends on what was drawn, so it is noted as a whole."""
    mode = _get_current_dispatch_mode()
    if isinstance(mode, Undrawn):
        return tensor.zero_()
    if isinstance(mode, _Notes):
        mode.note(_cut_normal, tensor, (cut, std), True)
    return tensor if tensor.is_meta else _cut_normal(tensor, cut, std)


@torch.no_grad()
def _cut_normal(tensor: Tensor, cut: float, std: float, generator: torch.Generator | None = None) -> Tensor:
    """What is beyond the cut is drawn again, all else with it: torch's own numbers (nn.init.trunc_normal_ of 2.13), in half the memory."""
    tensor.normal_(0.0, std, generator=generator)
    while (beyond := (tensor < -cut).logical_or_(tensor > cut)).any():
        tensor[beyond] = torch.empty_like(tensor).normal_(0.0, std, generator=generator)[beyond]
    return tensor


@torch.no_grad()
def orthogonal(tensor: Tensor, blocks: int = 1) -> Tensor:
    """Square matrices that stand one under the other, `blocks` of them, each orthogonal (Saxe et al. 2014), in place."""
    mode = _get_current_dispatch_mode()
    if isinstance(mode, Undrawn):
        return tensor.zero_()
    if isinstance(mode, _Notes):
        mode.note(_orthogonal, tensor, (blocks,), True)
    return tensor if tensor.is_meta else _orthogonal(tensor, blocks)


@torch.no_grad()
def _orthogonal(tensor: Tensor, blocks: int, generator: torch.Generator | None = None) -> Tensor:
    for block in tensor.chunk(blocks):
        q, r = torch.linalg.qr(torch.empty(block.shape).normal_(generator=generator))
        block.copy_(q * torch.where(r.diagonal() < 0, -1.0, 1.0))
    return tensor


CONSTANT = {aten.zeros.default: 0.0, aten.ones.default: 1.0}  # how a tensor may come filled
FILLING = (aten.zero_.default, aten.fill_.Scalar, aten.uniform_.default, aten.normal_.default)
WHOLLY = {*FILLING, _cut_normal, _orthogonal}  # nothing of before is left


@dataclass(frozen=True)
class Step:
    """An operation in place on all of one tensor; `tensor`: which of those that building made."""

    operation: Any
    tensor: int
    shape: tuple[int, ...]
    arguments: tuple[Any, ...]
    draws: bool


@dataclass
class Draws:
    """The steps of a build in their order, and the parameters that they fill; `place`: where these are to be."""

    seed: int
    place: torch.device
    steps: list[Step] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    @torch.no_grad()
    def fill(
        self, tensors: dict[str, Tensor], put: Callable[[Tensor, Tensor], None], own: Callable[[Any], Tensor]
    ) -> None:
        """Every parameter, by name.  `put(tensor, whole)` keeps of a whole one what is `tensor`'s; `own(tensor)` is what a process holds of it."""
        generator = torch.Generator().manual_seed(self.seed)
        whole: Tensor | None = None
        for step, later in zip(self.steps, [*self.steps[1:], None], strict=True):
            name = self.names.get(step.tensor)
            if whole is None and step.operation in WHOLLY:
                whole = torch.empty(step.shape)
            if whole is not None:
                step.operation(whole, *step.arguments, **({"generator": generator} if step.draws else {}))
            elif name is not None:  # number by number, long after it was filled
                step.operation(own(tensors[name]), *step.arguments)
            if later is None or later.tensor != step.tensor:
                if whole is not None and name is not None:
                    put(tensors[name], whole)
                whole = None


class _Notes(TorchDispatchMode):
    """What is done in place while it stands; `fits` turns false for what cannot be done again parameter by parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.fits, self._kept = True, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        named = any(value is not None for value in (kwargs or {}).values())
        draws = torch.Tag.nondeterministic_seeded in func.tags
        if func in CONSTANT:
            self.note(aten.fill_.Scalar, made, (CONSTANT[func],), False)
        elif func._schema.is_mutable and isinstance(args[0], Tensor):
            self.note(func, args[0], args[1:], draws)
            self.fits &= not named
        else:
            self.fits &= not draws
        return made

    def note(self, operation: Any, tensor: Tensor, arguments: Iterable[Any], draws: bool) -> None:
        storage = tensor.untyped_storage()
        alone = not any(isinstance(argument, Tensor) for argument in arguments)
        self.fits &= alone and storage.nbytes() == tensor.nbytes and tensor.dtype == torch.float32
        self._kept.append(storage)  # so that none comes to stand where another was
        self.steps.append(Step(operation, storage._cdata, tuple(tensor.shape), tuple(arguments), draws))


class Undrawn(TorchDispatchMode):
    """Zeros for all numbers that are drawn in place while it stands."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in FILLING and torch.Tag.nondeterministic_seeded in func.tags:
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


def without_memory(make: Callable[[], nn.Module], seed: int, place: torch.device) -> tuple[nn.Module, Draws] | None:
    """What `make` makes on the meta device, and how its parameters are filled; None where that cannot be done one after the other."""
    with torch.device("meta"), _Notes() as notes:
        made = make()
    names = {parameter.untyped_storage()._cdata: name for name, parameter in made.named_parameters()}
    filled = names.keys() <= {step.tensor for step in notes.steps}
    if not (notes.fits and filled) or any(True for _ in made.buffers()):
        return None
    return made, Draws(seed, place, notes.steps, names)
