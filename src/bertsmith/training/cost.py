"""What a run will cost, before it is launched: parameters, operations, memory, time, disk.

Time and memory are measured, not guessed: the member is built with one and with two of its layers, some rows of its own tokens go
through each, and the rest follows in a straight line, in layers and in tokens.  What a pass holds is seen without its products, which
take most of its time and hold what their shapes say; what is timed is fewer rows.
"""

from __future__ import annotations

import math
import os
import resource
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bertsmith.data.batch import IGNORE, Batch, Row, Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.errors import ResourceError
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.attention import operations
from bertsmith.nn.modules.member import MemberModel
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, setting
from bertsmith.training import machine, online
from bertsmith.training.checkpoint import size_estimate
from bertsmith.training.gpus import GPUS, check_gpu
from bertsmith.training.optim import build_optimizer
from bertsmith.training.precision import Precision, choose_device, threads_set
from bertsmith.training.shard import Shared

PROBE = {"cpu": 8192, "cuda": 32768}  # tokens that a probe reads at most
TIMED = {
    "cpu": 2048,
    "cuda": 32768,
}  # of these the ones that are timed; on a CPU a token costs what it does in long passes, within 15 %
REPEAT, SECONDS = 3, 4.0  # passes that are timed, fewer where these seconds are over
HELD = 100  # bytes of activations by token, layer and unit of width that a probe is thought to hold at most; measured: 34 to 70
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
    passing: float  # seconds of a token, forward and backward
    updating: float  # seconds, clipping and optimizer
    held: int  # bytes at the peak of the pass
    slope: float  # of these, by token


def estimate(
    recipe: Recipe,
    store: Any = None,
    *,
    threads: int | None = None,
    device: str | None = None,
    gpu: str | None = None,
    clock: bool = True,
) -> Cost:
    """Probes this machine (`gpu` None), or reckons with the published peak of a named GPU.  Without a store: full rows of random tokens.
    `clock` false: nothing is timed, and `seconds` are 0.

    InputError for an unknown GPU, and for a store that the recipe cannot use; ResourceError where the probe itself needs more memory than is free.
    """
    check_gpu(gpu)
    if store is not None:
        recipe = recipe.with_vocab(store.vocab)
    place, program = choose_device(device), _program()
    online.check(recipe, 1, torch.device("cuda") if gpu else place)
    precision = Precision.choose(recipe.training.precision, place)
    layers = getattr(recipe.model, "layers", 1)
    _check_free(_with_layers(recipe, min(2, layers)), place)
    timed = 0 if gpu or not clock else min(TIMED[place.type], _probed(recipe, place))
    with threads_set(threads or torch.get_num_threads()), precision.policy(), torch.random.fork_rng(devices=[]):
        one = _probe(_with_layers(recipe, 1), store, precision, timed)
        two = _probe(_with_layers(recipe, 2), store, precision, timed) if layers > 1 else one
    size, rows = parameters(recipe), recipe.training.accumulate
    per_pass = recipe.training.batch / rows / one.tokens

    def of(value: Callable[[_Probe], float]) -> float:
        return value(one) + (layers - 1) * max(
            0.0, value(two) - value(one)
        )  # a busy machine may find two layers faster

    flops = of(lambda p: p.flops) * per_pass * rows
    seconds = of(lambda p: p.passing) * recipe.training.batch + of(lambda p: p.updating)
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
    own = any(field.name == "layers" for field in fields(recipe.model))  # a table has none
    return replace(recipe, model=replace(recipe.model, layers=layers)) if own else recipe


def _probed(recipe: Recipe, place: torch.device) -> int:
    return min(PROBE[place.type], recipe.training.batch // recipe.training.accumulate)


def _check_free(recipe: Recipe, place: torch.device) -> None:
    """ResourceError for a probe that would push something out of memory."""
    size, width = parameters(recipe), getattr(recipe.model, "width", 0)
    activations = HELD * getattr(recipe.model, "layers", 1) * width + 3 * recipe.model.vocab
    need, free = STATE * size + max(_probed(recipe, place), _longest(recipe)) * activations, _free(place)
    if need > free:
        raise ResourceError(
            f"plan: probing {recipe.name} takes up to {need / 2**30:,.1f} GiB, {free / 2**30:,.1f} are free; a smaller size, or free some memory"
        )


def _free(place: torch.device) -> int:
    return torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else machine.free()


def memory_of(device: str | None) -> int:
    """Bytes that the device has, free or not."""
    place = choose_device(device)
    return torch.cuda.mem_get_info(place)[1] if place.type == "cuda" else machine.memory()


def _probe(recipe: Recipe, store: Any, precision: Precision, timed: int) -> _Probe:
    """`timed`: tokens of the passes that are timed; 0: none."""
    torch.manual_seed(0)
    member, wanted = build(recipe).to(precision.device), _probed(recipe, precision.device)
    whole, half = (_batch(recipe, store, tokens) for tokens in (wanted, max(wanted // 2, _longest(recipe))))
    (held, flops), (less, _) = (_held(member, batch, precision) for batch in (whole, half))
    passing, updating = 0.0, 0.0
    if timed:
        read = whole if timed == wanted else _batch(recipe, store, timed)
        passing, updating = _timed(member, recipe, read, precision)
        passing /= read.tokens
    apart = whole.tokens - half.tokens
    return _Probe(
        tokens=whole.tokens,
        flops=flops,
        passing=passing,
        updating=updating,
        held=held,
        slope=(held - less) / apart if apart else held / whole.tokens,
    )


def _timed(member: MemberModel, recipe: Recipe, batch: Batch, precision: Precision) -> tuple[float, float]:
    """Seconds of a pass, and of clipping and the optimizer after it: medians of REPEAT, or of as many as fit into SECONDS."""
    optimizer, shared = build_optimizer(member, replace(recipe.schedule, lr=1e-9)), Shared(member)
    passing: list[float] = []
    updating: list[float] = []
    if precision.device.type == "cuda":  # whose kernels are loaded, and chosen, when they are first asked for
        for _ in range(2):
            _pass(member, batch, precision)
    while len(updating) <= REPEAT and (len(updating) < 2 or sum(passing) < SECONDS):
        optimizer.zero_grad(set_to_none=True)
        start = _clock(precision.device)
        if isinstance(optimizer, online.Online):
            optimizer.moved(member, batch)
        else:
            _pass(member, batch, precision)
        passed = _clock(precision.device)
        gradients = [p.grad for p in member.parameters() if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, 1.0 / max(1.0, shared.norm(gradients)))
        optimizer.step()
        passing.append(passed - start)
        updating.append(_clock(precision.device) - passed)
    return median(passing), median(updating[1:])  # the first makes the moments


def _clock(device: torch.device) -> float:
    """Seconds.  A GPU works on after it was asked: by then it has done all that it was."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _pass(member: MemberModel, batch: Batch, precision: Precision) -> None:
    with precision.autocast():
        sums = member.objective(member.model, batch.to(precision.device))
    torch.stack([value.float() for value in sums.values()]).sum().backward()


PRODUCTS = {torch.ops.aten.mm.default: 0, torch.ops.aten.bmm.default: 0, torch.ops.aten.addmm.default: 1}


def _blank(func: Any, args: tuple[Tensor, ...]) -> Tensor:
    """What the product would be, with zeros in it."""
    a, b = args[PRODUCTS[func] :][:2]  # addmm has the summand first
    return a.new_zeros(*a.shape[:-1], b.shape[-1])


class _Live(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, for as long as these live; `own` storages are not counted.

    Products are not computed: zeros of their shape stand for them.
    """

    def __init__(self, own: set[int]):
        super().__init__()
        self.known, self.now, self.most = own, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = _blank(func, args) if func in PRODUCTS else func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                for part in (tensor,) if tensor.layout == torch.strided else (tensor._indices(), tensor._values()):
                    self._count(part.untyped_storage())  # of a few rows of a table
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


def _held(member: MemberModel, batch: Batch, precision: Precision) -> tuple[int, int]:
    """(bytes at the peak of a pass, operations): what the backward pass needs, and what it holds for a moment; parameters and gradients aside."""
    for p in member.parameters():
        p.grad = torch.zeros_like(p)
    own = [tensor for p in member.parameters() for tensor in (p, p.grad) if tensor is not None]
    counter = FlopCounterMode(display=False, custom_mapping=operations())
    with _Live({tensor.untyped_storage()._cdata for tensor in own}) as live, counter:
        _pass(member, batch, precision)
    return live.most, counter.get_total_flops()


def _longest(recipe: Recipe) -> int:
    return min(recipe.layout.length, recipe.training.batch)


def _batch(recipe: Recipe, store: Any, tokens: int) -> Batch:
    """Of its main feed, where it has several."""
    feed = recipe.mixture.main if recipe.mixture else ""
    if store is not None:
        tokens = max(tokens, _longest(recipe))
        layout = recipe.layout.for_batch(tokens) if hasattr(recipe.layout, "for_batch") else recipe.layout
        tokens = max(tokens, getattr(layout, "columns", 1) * layout.length)  # two directions take two rows
        layout = store.laid(layout, recipe.training.smoothing, portions=recipe.training.shares)
        loader = Loader(Text(store.train, layout, recipe.corruption, store.vocab, seed=0, batch=tokens))
        return replace(next(iter(loader)).batches[0], feed=feed)
    if recipe.reads == "frames":
        return recipe.corruption(
            full_frames(recipe, tokens), Vocab(size=0, pad=0, unk=0, cls=0, sep=0, mask=0, special=()), Draw(0)
        )
    vocab = Vocab(size=recipe.model.vocab, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    vocab = vocab.counted(np.ones(vocab.size, np.int64))
    return replace(recipe.corruption.knowing(vocab)(full_row(recipe.alone(), vocab, tokens), vocab, Draw(0)), feed=feed)


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


def full_frames(recipe: Recipe, tokens: int) -> Row:
    """Full sequences of random frames."""
    length = _longest(recipe)
    count = max(1, tokens // length)
    return Row(
        tokens=np.random.default_rng(0).standard_normal((count * length, recipe.model.vocab), np.float32),
        segments=np.zeros(count * length, np.uint8),
        starts=np.ones(count * length, bool),
        special=np.zeros(count * length, bool),
        sentences=np.zeros(count * length, bool),
        lengths=np.full(count, length),
        labels=np.full(count, IGNORE),
        epoch=np.zeros(count, np.int64),
        example=np.arange(count),
    )


def _program() -> int:
    """Bytes that this process holds now: Python, torch, whatever the caller has loaded; at most so far, where the system says no more."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # macOS, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def too_much(recipe: Recipe, cost: Cost, have: float, what: str) -> list[str]:
    """A warning where an update needs more than the `have` bytes of `what`, with what would fit."""
    if cost.memory <= have:
        return []
    gib = lambda size: f"{size / 2**30:,.1f} GiB"
    said = f"warning: an update needs {gib(cost.memory)}, {what} has {gib(have)}"
    always, now = cost.memory - cost.activations, recipe.training.accumulate
    if always >= have:
        return [f"{said}: weights, gradients and moments alone take {gib(always)}; a smaller size or vocabulary fits"]
    passes = now * math.ceil(cost.activations / (0.95 * (have - always)))
    if recipe.training.batch // passes < _longest(recipe):
        return [f"{said}: one row of {_longest(recipe):,} tokens is too much; a smaller size or layout.length fits"]
    return [
        f"{said}; {setting('training.accumulate', value=passes)} fits and learns the same, or a smaller size or training.batch"
    ]


def of_run(recipe: Recipe, cost: Cost, tokens: float) -> dict[str, float]:
    """Of reading `tokens` in all, by updates that a ramp makes smaller at first."""
    found, ramps = cost.run(tokens), recipe.schedule.ramps
    return {**found, "updates": ramps.within(found["updates"])} if ramps.moves else found


def lines(recipe: Recipe, cost: Cost, tokens: float, gpu: str | None) -> list[str]:
    """What `bertsmith plan` says; `tokens` 0: no run was named."""
    said = [
        f"{recipe.name}: {amount(cost.parameters, 'parameter')}; {amount(cost.tokens, 'token')} an update, {amount(recipe.training.accumulate, 'pass', 'passes')}",
        f"operations: {cost.flops / 1e12:,.3f} TFLOP an update, {cost.flops / cost.tokens / 1e6:,.1f} MFLOP a token",
        f"memory: {cost.memory / 2**30:,.2f} GiB at the peak of an update (weights, gradients and moments {STATE * cost.parameters / 2**30:,.2f})",
        f"disk: {cost.disk / 2**30:,.2f} GiB for {recipe.training.keep + 1} saved steps",
    ]
    where = f"{gpu} at {SHARE:.0%} of its peak" if gpu else "this machine, measured"
    said.append(f"time: {cost.seconds:,.3g} s an update, {cost.tokens / cost.seconds:,.0f} tokens/s ({where})")
    if tokens:
        run = of_run(recipe, cost, tokens)
        hours = run["seconds"] / 3600
        said.append(
            f"{amount(tokens, 'token', form=',.0f')}: {amount(run['updates'], 'update', form=',.0f')}, {run['flops']:.3g} FLOP, {hours:,.2f} hours"
        )
    return said
