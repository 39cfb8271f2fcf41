"""Models made smaller: what each method of `compress` makes of one that is loaded.  h heads, L layers; a matrix is (o, d).

Importance is gradient x mask (Michel et al. 2019; Molchanov et al. 2017): how fast the loss changes as a part is turned down, taken over some
labelled texts, or over text with its own objective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, printable
from bertsmith.nn.compressed import Factored, FewerHeads, Int8, Int8Aware, Int8Fixed, Masked
from bertsmith.nn.member import blank
from bertsmith.nn.modules.adapters import placed_layers
from bertsmith.nn.modules.blocks import fill, pick
from bertsmith.nn.modules.compressed import (
    Int8Embedding,
    Int8FixedLinear,
    Int8Linear,
    MaskedLinear,
    check_narrow,
    keep_heads,
    matrices,
    numbers,
    rounded,
)
from bertsmith.nn.modules.ranges import ranges
from bertsmith.nn.transformer import OneStack
from bertsmith.spelling import option
from bertsmith.training.saving import load_weights, weights_of


def with_surgery(loaded: Loaded, surgery: Any, fit: Callable[[nn.Module, nn.Module], None]) -> Loaded:
    """A copy of the member on which `surgery` operated; `fit(old body, new body)` gives its new parts what the old ones were."""
    if loaded.recipe.surgery is not None:
        name = type(loaded.recipe.surgery).__name__.lower()
        raise InputError(f"{printable(loaded.run)}: has {name} already; compress the model that it was made of")
    member = deepcopy(loaded.member)
    surgery.operate(member.model)
    with torch.no_grad():
        fit(loaded.member.model, member.model)
    return replace(loaded, member=member.eval(), recipe=replace(loaded.recipe, surgery=surgery))


def int8(loaded: Loaded) -> Loaded:
    """Matrices and tables of the body in eight bits, without a look at any text; with the ranges that it learned where it was tuned for them."""

    def fit(old: nn.Module, new: nn.Module) -> None:
        for name, part in new.named_modules():
            if isinstance(part, (Int8Linear, Int8Embedding)):
                part.fit(old.get_submodule(name).weight)  # type: ignore[arg-type]

    if isinstance(loaded.recipe.surgery, Int8Aware):
        return _fixed(loaded, loaded, lambda matrix: numbers(matrix._parameters["weight"], matrix.most))
    return with_surgery(loaded, Int8(), fit)


def int8_static(loaded: Loaded, batches: Iterable[Batch]) -> Loaded:
    """The same with one range for what each matrix reads: the largest number that it met in some texts."""
    if isinstance(loaded.recipe.surgery, Int8Aware):
        raise InputError(
            f"{printable(loaded.run)}: learned its ranges as it was tuned; {option('method', 'int8')} takes them"
        )
    looked = with_surgery(loaded, Int8Aware(outputs=False), lambda old, new: None)
    for _, _, matrix in matrices(looked.member.model):
        matrix.rounds = False  # type: ignore[assignment]
    found = ranges(looked.member)
    for one in found:
        one.train()
    for batch in batches:
        with loaded.exact.policy(), torch.no_grad():
            looked.member(batch.to(loaded.device))
    for one in found:
        one.settle(one.found.clone())
    return _fixed(loaded, looked, lambda matrix: rounded(matrix._parameters["weight"]))


@torch.no_grad()
def _fixed(loaded: Loaded, ranged: Loaded, whole: Callable[[Any], tuple[Tensor, Tensor]]) -> Loaded:
    """`loaded` in whole numbers, with the ranges of `ranged`, whose body is Int8Aware; `whole`: (numbers, scale) of a matrix or a table."""
    aware = ranged.recipe.surgery
    recipe = replace(loaded.recipe, surgery=Int8Fixed(outputs=aware.outputs))
    member, own = blank(recipe), weights_of(loaded.member)
    kept = [name for name in weights_of(member) if name in own]
    load_weights(member, {name: own[name] for name in kept}, str(loaded.run), kept)
    for name, part in member.model.named_modules():
        if isinstance(part, Int8FixedLinear):
            old: Any = ranged.member.model.get_submodule(name)
            outside = None if old.outside is None else old.outside.most
            part.take(*whole(old), old.inside.most, outside)
        elif isinstance(part, Int8Embedding):
            number, scale = whole(ranged.member.model.get_submodule(name))
            part.number.copy_(number)
            part.scale.copy_(scale)
    return replace(loaded, member=member.to(loaded.device).eval(), recipe=recipe)


def low_rank(loaded: Loaded, amount: float) -> Loaded:
    """Every matrix of the layers as the product of two that have 1 - `amount` of its numbers."""

    def fit(old: nn.Module, new: nn.Module) -> None:
        for name, part in new.named_modules():
            if hasattr(part, "down") and hasattr(part, "fit"):
                part.fit(old.get_submodule(name).weight)

    return with_surgery(loaded, Factored(rate=1 - amount), fit)


def magnitude(loaded: Loaded, amount: float) -> Loaded:
    """Of every matrix of the layers the share `amount` of its numbers that are nearest to 0 is hidden: exactly floor(amount o d) of them."""

    def fit(old: nn.Module, new: nn.Module) -> None:
        for _, _, part in matrices(new):
            assert isinstance(part, MaskedLinear)
            own = part._parameters["weight"]
            order = own.abs().flatten().argsort(stable=True)[: int(amount * own.numel())]
            part.hidden.view(-1)[order] = True
            own.masked_fill_(part.hidden, 0.0)

    return with_surgery(loaded, Masked(), fit)


def fewer_heads(loaded: Loaded, amount: float, batches: Iterable[Batch]) -> Loaded:
    """Without the share `amount` of all heads, those that matter least; a layer keeps one at least."""
    _check_stack(loaded)
    places = placed_layers(loaded.member.model, "made smaller")
    for layers, number in places:
        check_narrow(layers[number].attention)  # type: ignore[union-attr]
    return without_heads(loaded, least_heads(head_importance(loaded, batches), amount))


def without_heads(loaded: Loaded, gone: set[tuple[int, int]]) -> Loaded:
    """`gone`: (layer, head)."""
    count = loaded.recipe.model.heads
    kept = [[h for h in range(count) if (i, h) not in gone] for i in range(loaded.recipe.model.layers)]

    def fit(old: nn.Module, new: nn.Module) -> None:
        for i, ((layers, number), (smaller, _)) in enumerate(zip(placed_layers(old), placed_layers(new), strict=True)):
            keep_heads(layers[number].attention, smaller[number].attention, kept[i])  # type: ignore[arg-type, union-attr]

    return with_surgery(loaded, FewerHeads(heads=tuple(map(len, kept))), fit)


def least_heads(importance: Tensor, amount: float) -> set[tuple[int, int]]:
    """(L, h) -> the share `amount` of all heads, the least important ones, but never the last of a layer.  Each layer's importances are
    divided by their length first, as in the paper: depths are not on one scale."""
    scaled = importance / importance.norm(dim=1, keepdim=True).clamp_min(1e-30)
    heads, gone = importance.shape[1], set()
    left = dict.fromkeys(range(len(importance)), heads)
    for at in scaled.flatten().argsort(stable=True).tolist():
        layer, head = divmod(at, heads)
        if len(gone) < int(amount * importance.numel()) and left[layer] > 1:
            gone.add((layer, head))
            left[layer] -= 1
    return gone


def fewer_layers(loaded: Loaded, amount: float, batches: Iterable[Batch]) -> Loaded:
    """Without the share `amount` of all layers, those that matter least; one stays at least."""
    _check_stack(loaded)
    depth = loaded.recipe.model.layers
    order = layer_importance(loaded, batches).argsort(stable=True).tolist()
    return with_layers(loaded, sorted(order[min(depth - 1, int(amount * depth)) :]))


def with_layers(loaded: Loaded, kept: list[int]) -> Loaded:
    """The same model with these of its layers."""
    _check_stack(loaded)
    if loaded.recipe.surgery is not None or loaded.recipe.model.share != "none":
        raise InputError(
            f"{printable(loaded.run)}: its layers share weights, or something was put into them; no layer can go alone"
        )
    recipe = replace(loaded.recipe, model=replace(loaded.recipe.model, layers=len(kept)))
    member, old = blank(recipe), weights_of(loaded.member)
    taken = {}
    for name in weights_of(member):
        first, second, *rest = name.split(".")
        at = [str(kept[int(rest[0])]), *rest[1:]] if (first, second) == ("model", "layers") else rest
        taken[name] = old[".".join([first, second, *at])]
    load_weights(member, taken, str(loaded.run))
    return replace(loaded, member=member.to(loaded.device).eval(), recipe=recipe)


def _check_stack(loaded: Loaded) -> None:
    model = loaded.recipe.model
    if not isinstance(getattr(model, "topology", None), OneStack) or getattr(model, "memory", None) is not None:
        raise InputError(f"{printable(loaded.run)}: only models of one stack without memory lose heads or layers")


def head_importance(loaded: Loaded, batches: Iterable[Batch]) -> Tensor:
    """(L, h) the mean over batches of |d loss / d mask| of each head's mask, which is 1."""
    return _importance(loaded, batches, _masked_heads)


def layer_importance(loaded: Loaded, batches: Iterable[Batch]) -> Tensor:
    """(L,) the same of what a layer changes: its mask at 0 hands on what the layer was given."""
    return _importance(loaded, batches, _masked_layers)[:, 0]


def _importance(
    loaded: Loaded, batches: Iterable[Batch], masked: Callable[[nn.Module, Tensor, ExitStack], None]
) -> Tensor:
    model, member, count = loaded.recipe.model, loaded.member.eval(), 0
    total = torch.zeros(model.layers, model.heads if masked is _masked_heads else 1, dtype=torch.double)
    for batch in batches:
        with ExitStack() as hooks, loaded.exact.policy(), torch.enable_grad():
            masks = torch.ones(total.shape, device=loaded.device, requires_grad=True)
            masked(member.model, masks, hooks)
            sums = member(batch.to(loaded.device))
            parts = [sums[name] / max(1, len(batch.targets[name])) for name in sums if name in batch.targets]
            (slope,) = torch.autograd.grad(torch.stack(parts).sum(), masks)
            total += slope.abs().double().cpu()
            count += 1
    return total / max(1, count)


def _masked_heads(body: nn.Module, masks: Tensor, hooks: ExitStack) -> None:
    """Until `hooks` close each head's share of what attention says is multiplied by its mask."""
    for i, (layers, number) in enumerate(placed_layers(body)):
        out: nn.Module = layers[number].attention.out  # type: ignore[assignment, union-attr]

        def turned(_: nn.Module, given: tuple[Tensor, ...], i: int = i) -> tuple[Tensor, ...]:
            heads = given[0].unflatten(-1, (masks.shape[1], -1)) * masks[i][:, None]
            return (heads.flatten(-2), *given[1:])

        hooks.callback(out.register_forward_pre_hook(turned).remove)


def _masked_layers(body: nn.Module, masks: Tensor, hooks: ExitStack) -> None:
    for i, (layers, number) in enumerate(placed_layers(body)):

        def turned(_: nn.Module, given: tuple[Any, ...], said: Tensor, i: int = i) -> Tensor:
            x, read = given[0], given[3] if len(given) > 3 else None
            x = x if read is None else fill(pick(x, read))
            return x + masks[i] * (said - x)

        hooks.callback(layers[number].register_forward_hook(turned).remove)
