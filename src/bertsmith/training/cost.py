"""What a run will cost, before it is launched: parameters, operations, memory, time, disk.

Time and memory are measured, not guessed: the member is built with one and with two of its layers, a few thousand of its own tokens go
through each, and the rest follows in a straight line, in layers and in tokens.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bertsmith.data.batch import IGNORE, Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.attention import operations
from bertsmith.nn.modules.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.training.checkpoint import size_estimate
from bertsmith.training.gpus import GPUS, check_gpu
from bertsmith.training.optim import build_optimizer
from bertsmith.training.precision import Precision, choose_device, threads_set
from bertsmith.training.step import train_step

PROBE = 8192  # tokens that a probe reads at most
REPEAT = 3
STATE = 16  # bytes that training holds of each parameter: weight, gradient and two moments in float32
SHARE = 0.4  # of its peak that a GPU reaches on models of width 768 and more


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one update of `tokens` real tokens, `accumulate` passes each."""

    parameters: int
    tokens: int
    flops: float
    seconds: float
    activations: int  # bytes that one pass holds at its peak, weights and their gradients aside
    memory: int  # bytes at the peak of an update: the program, 16 for each parameter, activations
    disk: int  # bytes of the saved steps

    def run(self, tokens: float) -> dict[str, float]:
        """Of reading `tokens` in all."""
        return {
            "updates": tokens / self.tokens,
            "flops": self.flops * tokens / self.tokens,
            "seconds": self.seconds * tokens / self.tokens,
        }


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """A member of some layers and one pass of `tokens`."""

    tokens: int
    flops: float
    passing: float  # seconds, forward and backward
    updating: float  # seconds, clipping and optimizer
    held: int  # bytes at the peak of the pass
    slope: float  # of these, by token


def estimate(
    recipe: Recipe, store: Any = None, *, threads: int | None = None, device: str | None = None, gpu: str | None = None
) -> Cost:
    """Probes this machine (`gpu` None), or reckons with the published peak of a named GPU.  Without a store: full rows of random tokens.

    InputError for an unknown GPU, and for a store that the recipe cannot use.
    """
    check_gpu(gpu)
    if store is not None:
        recipe = recipe.with_vocab(store.vocab)
    place, program = choose_device(device), _program()
    precision = Precision.choose(recipe.training.precision, place)
    layers = getattr(recipe.model, "layers", 1)
    with threads_set(threads or torch.get_num_threads()), precision.policy(), torch.random.fork_rng(devices=[]):
        one = _probe(_with_layers(recipe, 1), store, precision)
        two = _probe(_with_layers(recipe, 2), store, precision) if layers > 1 else one
    size, rows = parameters(recipe), recipe.training.accumulate
    per_pass = recipe.training.batch / rows / one.tokens

    def of(value: Callable[[_Probe], float]) -> float:
        return value(one) + (layers - 1) * max(
            0.0, value(two) - value(one)
        )  # a busy machine may find two layers faster

    flops = of(lambda p: p.flops) * per_pass * rows
    seconds = of(lambda p: p.passing) * per_pass * rows + of(lambda p: p.updating)
    held = of(lambda p: p.held - p.slope * p.tokens) + of(lambda p: p.slope) * recipe.training.batch / rows
    if gpu is not None:
        seconds = flops / (SHARE * GPUS[gpu][0] * 1e12)
    return Cost(
        parameters=size,
        tokens=recipe.training.batch,
        flops=flops,
        seconds=seconds,
        activations=int(held),
        memory=int(STATE * size + held) + program,
        disk=size_estimate(size) * (recipe.training.keep + 1),
    )


def _with_layers(recipe: Recipe, layers: int) -> Recipe:
    return replace(recipe, model=replace(recipe.model, layers=layers)) if hasattr(recipe.model, "layers") else recipe


def _probe(recipe: Recipe, store: Any, precision: Precision) -> _Probe:
    torch.manual_seed(0)
    member = build(recipe).to(precision.device)
    optimizer = build_optimizer(member, replace(recipe.schedule, lr=1e-9))
    wanted = min(PROBE, recipe.training.batch // recipe.training.accumulate)
    whole, half = (_batch(recipe, store, tokens) for tokens in (wanted, max(wanted // 2, _longest(recipe))))
    step, passing = [], []
    for number in range(REPEAT + 1):
        start = _clock(precision.device)
        train_step(member, [whole], whole.counts(), optimizer, precision=precision, clip=1.0, seed=0, step=number + 1)
        step.append(_clock(precision.device) - start)
        optimizer.zero_grad(set_to_none=True)
        start = _clock(precision.device)
        _pass(member, whole, precision)
        passing.append(_clock(precision.device) - start)
    with FlopCounterMode(display=False, custom_mapping=operations()) as counter:
        _pass(member, whole, precision)
    held = [_held(member, batch, precision) for batch in (whole, half)]
    apart = whole.tokens - half.tokens
    return _Probe(
        tokens=whole.tokens,
        flops=counter.get_total_flops(),
        passing=median(passing[1:]),
        updating=max(0.0, median(step[1:]) - median(passing[1:])),
        held=held[0],
        slope=(held[0] - held[1]) / apart if apart else held[0] / whole.tokens,
    )


def _clock(device: torch.device) -> float:
    """Seconds.  A GPU works on after it was asked: by then it has done all that it was."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _pass(member: MemberModel, batch: Batch, precision: Precision) -> None:
    with precision.autocast():
        sums = member.objective(member.model, batch.to(precision.device))
    torch.stack([value.float() for value in sums.values()]).sum().backward()


class _Live(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, for as long as these live; `own` storages are not counted."""

    def __init__(self, own: set[int]):
        super().__init__()
        self.known, self.now, self.most = own, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.most = max(self.most, self.now)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.now -= size


def _held(member: MemberModel, batch: Batch, precision: Precision) -> int:
    """Bytes at the peak of a pass: what the backward pass needs, and what it holds for a moment; parameters and gradients aside."""
    member.zero_grad(set_to_none=False)
    own = [tensor for p in member.parameters() for tensor in (p, p.grad) if tensor is not None]
    with _Live({tensor.untyped_storage()._cdata for tensor in own}) as live:
        _pass(member, batch, precision)
    return live.most


def _longest(recipe: Recipe) -> int:
    return min(recipe.layout.length, recipe.training.batch)


def _batch(recipe: Recipe, store: Any, tokens: int) -> Batch:
    if store is not None:
        tokens = max(tokens, _longest(recipe))
        layout = recipe.layout.for_batch(tokens) if hasattr(recipe.layout, "for_batch") else recipe.layout
        tokens = max(tokens, getattr(layout, "columns", 1) * layout.length)  # two directions take two rows
        loader = Loader(Text(store.train, layout, recipe.corruption, store.vocab, seed=0, batch=tokens))
        return next(iter(loader)).batches[0]
    vocab = Vocab(size=recipe.model.vocab, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    vocab = vocab.counted(np.ones(vocab.size, np.int64))
    return recipe.corruption(full_row(recipe, vocab, tokens), vocab, Draw(0))


def full_row(recipe: Recipe, vocab: Vocab, tokens: int) -> Row:
    """Full rows of random words of one token, pairs with a random label where the member asks for one."""
    length = _longest(recipe)
    count = max(1, tokens // length)
    drawn = np.random.default_rng(0)
    special = np.tile(np.arange(length) % (length - 1 or 1) == 0, count)
    pairs = "pair" in recipe.objective.weights()
    return Row(
        tokens=np.where(special, vocab.sep, drawn.integers(5, vocab.size, count * length)).astype(np.int32),
        segments=np.tile((np.arange(length) > length // 2).astype(np.uint8) * pairs, count),
        starts=~special,
        special=special,
        sentences=np.zeros(count * length, bool),
        lengths=np.full(count, length),
        labels=drawn.integers(0, 2, count) if pairs else np.full(count, IGNORE),
        epoch=np.zeros(count, np.int64),
        example=np.arange(count),
    )


def _program() -> int:
    """Bytes that this process holds now: Python, torch, whatever the caller has loaded."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def lines(recipe: Recipe, cost: Cost, tokens: float, gpu: str | None) -> list[str]:
    """What `bertsmith plan` says; `tokens` 0: no run was named."""
    layers = f"{cost.parameters:,} parameters"
    said = [
        f"{recipe.name}: {layers}; {cost.tokens:,} tokens an update, {recipe.training.accumulate} passes",
        f"operations: {cost.flops / 1e12:,.3f} TFLOP an update, {cost.flops / cost.tokens / 1e6:,.1f} MFLOP a token",
        f"memory: {cost.memory / 2**30:,.2f} GiB at the peak of an update (weights, gradients and moments {STATE * cost.parameters / 2**30:,.2f})",
        f"disk: {cost.disk / 2**30:,.2f} GiB for {recipe.training.keep + 1} saved steps",
    ]
    where = f"{gpu} at {SHARE:.0%} of its peak" if gpu else "this machine, measured"
    said.append(f"time: {cost.seconds:,.3g} s an update, {cost.tokens / cost.seconds:,.0f} tokens/s ({where})")
    if tokens:
        run = cost.run(tokens)
        hours = run["seconds"] / 3600
        said.append(f"{tokens:,.0f} tokens: {run['updates']:,.0f} updates, {run['flops']:.3g} FLOP, {hours:,.2f} hours")
    if gpu and cost.memory > GPUS[gpu][1] * 1e9:
        need = -(-cost.memory // int(GPUS[gpu][1] * 1e9))
        said.append(
            f"warning: {gpu} has {GPUS[gpu][1]} GB; --set training.accumulate={need * recipe.training.accumulate} needs less"
        )
    return said
