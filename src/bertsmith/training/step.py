"""One update: sums divided by counts taken before the forward pass, so that micro-batches amount to one big batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch
from bertsmith.data.draw import hashed
from bertsmith.errors import NumericsError, ResourceError
from bertsmith.nn.modules.blocks import Layer
from bertsmith.recipe import Recipe
from bertsmith.spelling import amount, setting
from bertsmith.training.online import Online
from bertsmith.training.precision import Precision
from bertsmith.training.processes import own
from bertsmith.training.shard import Shared
from bertsmith.training.together import together

NAMED = 8  # examples that an error names


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an update did.  A term that nothing was asked of is None, and adds 0 to the loss."""

    loss: float
    terms: dict[str, float | None]
    grad_norm: float  # before clipping; of online descent the way of an update over the rate


def compile_layers(member: nn.Module) -> None:
    """torch.compile what follows attention in every layer, for any number of rows, so that a resumed run has the same kernels.

    Attention stays outside: which sequences it reads is data, and its kernels are fused already.
    """
    for part in member.modules():
        if isinstance(part, Layer):
            part.finish = torch.compile(part.finish, dynamic=True)


def train_step(
    member: nn.Module,
    batches: Sequence[Batch],
    counts: dict[str, int],
    optimizer: torch.optim.Optimizer,
    *,
    precision: Precision,
    clip: float,
    seed: int,
    step: int,
    shared: Shared | None = None,
    passes: Mapping[str, int] | None = None,
) -> Outcome:
    """Forward and backward over `batches` (NumPy), check, clip, update.  The rate is already set on `optimizer`.

    `counts`: predictions of each term over the whole step and all processes.  Dropout is drawn anew from (seed, step, micro-batch),
    so a resumed run needs no stored random state.  `shared`: `member` as many processes run it; then all of them call this, and `passes`
    says how many micro-batches of each feed every one of them makes.
    NumericsError before anything is updated, ResourceError when memory runs out.
    """
    shared = shared or Shared(member)
    planned = passes or {"": len(batches)}
    member.train()
    optimizer.zero_grad(set_to_none=True)
    weights = member.objective.weights()
    try:
        if isinstance(optimizer, Online):
            return _online(member, batches, counts, optimizer, step, shared)
        sums, parts = [], shared.passes(batches, counts, planned)
        dropouts = [_dropout_seed(seed, step, shared.row(i, planned)) for i in range(len(parts))]
        whole = None
        if getattr(member.objective, "joint", False) and len(parts) * shared.world.size > 1:
            parts, whole = together(member, parts, precision, shared.world, dropouts)
        for i, batch in enumerate(parts):
            with shared.reducing(now=i + 1 == len(parts)):
                sums.append(_backward(shared, batch, counts, weights, precision, dropouts[i]))
        sums = sums if whole is None else whole
        terms = _totals(shared.gather(sums), counts, weights)
        gradients = [p.grad for p in member.parameters() if p.grad is not None]
        norm = shared.norm(gradients)
        outcome = Outcome(loss=_weighed(terms, weights), terms=terms, grad_norm=norm)
        if not _finite(outcome):
            optimizer.zero_grad(set_to_none=True)
            raise NumericsError(_not_finite(step, outcome, _examples(batches, shared), "nothing was updated"))
        if clip and norm > clip:
            torch._foreach_mul_([own(gradient) for gradient in gradients], clip / norm)
        with _updating(member):
            optimizer.step()
        shared.noted()
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ResourceError(_no_memory(step, batches)) from None
    return outcome


def _online(
    member: nn.Module, batches: Sequence[Batch], counts: dict[str, int], optimizer: Online, step: int, shared: Shared
) -> Outcome:
    """An update that is made example by example.  NumericsError once it is made."""
    made, weights = [optimizer.moved(member, batch) for batch in batches], member.objective.weights()
    terms = _totals([sums for sums, _ in made], counts, weights)
    outcome = Outcome(loss=_weighed(terms, weights), terms=terms, grad_norm=math.hypot(*(way for _, way in made)))
    if not _finite(outcome):
        raise NumericsError(
            _not_finite(step, outcome, _examples(batches, shared), "the step that was saved last is whole")
        )
    return outcome


def _weighed(terms: Mapping[str, float | None], weights: Mapping[str, float]) -> float:
    return sum(weights[name] * value for name, value in terms.items() if value is not None)


def _finite(outcome: Outcome) -> bool:
    return math.isfinite(outcome.loss) and math.isfinite(outcome.grad_norm)


@contextmanager
def _updating(member: nn.Module) -> Iterator[None]:
    """For so long parts that hold something else than what they learn hold that."""
    with ExitStack() as stack:
        for part in member.modules():
            if hasattr(part, "updating"):
                stack.enter_context(part.updating())
        yield


def _dropout_seed(seed: int, step: int, micro: int) -> int:
    return int(hashed(seed, "dropout", step, micro)[0])


def _backward(
    shared: Shared, batch: Batch, counts: dict[str, int], weights: dict[str, float], precision: Precision, seed: int
) -> dict[str, Tensor]:
    """Gradients of one micro-batch are added to what is there; returns the detached sums."""
    precision.seed(seed)
    with precision.autocast():
        sums = shared(batch.to(precision.device))
    parts = [weights[name] * sums[name].float() / counts[name] for name in sums if counts.get(name)]
    if parts:
        torch.stack(parts).sum().backward()
    return {name: value.detach() for name, value in sums.items()}


def _totals(
    sums: Sequence[Mapping[str, Any]], counts: dict[str, int], weights: dict[str, float]
) -> dict[str, float | None]:
    """Means over the whole step, added in double precision."""
    means: dict[str, float | None] = {}
    for name in weights:
        found = [float(part[name]) for part in sums if name in part]
        means[name] = sum(found) / counts[name] if found and counts.get(name) else None
    return means


def _examples(batches: Sequence[Batch], shared: Shared) -> list:
    """(epoch, example) of all that the step read."""
    own = [example for batch in batches for example in batch.examples]
    return [example for part in shared.world.gather(own) for example in part]


def _not_finite(step: int, outcome: Outcome, examples: list, left: str) -> str:
    terms = ", ".join(f"{name} {value}" for name, value in outcome.terms.items() if value is not None)
    shown = ", ".join(f"{epoch}:{example}" for epoch, example in examples[:NAMED])
    more = f" and {len(examples) - NAMED} more" if len(examples) > NAMED else ""
    return (
        f"step {step}: not finite: loss {outcome.loss} ({terms}), gradient norm {outcome.grad_norm}; {left}; "
        f"examples (epoch:example) {shown}{more}; a lower schedule.lr or a longer schedule.warmup helps most often"
    )


def out_of_memory(error: BaseException) -> bool:
    """torch says it as OutOfMemoryError on a GPU and as a plain RuntimeError on a CPU."""
    text = str(error)
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "not enough memory" in text
        or "can't allocate memory" in text
    )


@contextmanager
def memory_said(recipe: Recipe) -> Iterator[None]:
    """Running out of memory, wherever it happens, becomes one line that says what to set."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        now = recipe.training.accumulate
        raise ResourceError(
            f"out of memory; {setting('training.accumulate', value=2 * now)} (now {now}) halves what a pass holds and learns the same; else a smaller model"
        ) from None


def _no_memory(step: int, batches: Sequence[Batch]) -> str:
    largest = max((batch.tokens for batch in batches), default=0)
    return (
        f"step {step}: out of memory at {amount(largest, 'token')} in one pass; {setting('training.accumulate', value=2 * len(batches))} "
        f"(now {len(batches)}) halves what a pass holds and learns the same"
    )
