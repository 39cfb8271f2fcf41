"""A teacher reads what a student reads.  n tokens, m <= n of them asked, d width, h heads of width e; b sequences of L tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.errors import InputError
from bertsmith.nn.body import Body
from bertsmith.nn.modules.attention import Heard, heard
from bertsmith.nn.modules.blocks import initialise, pick
from bertsmith.objectives.distilled import LED, beside
from bertsmith.objectives.modules.alongside import Seen
from bertsmith.spelling import amount

if TYPE_CHECKING:
    from bertsmith.nn.modules.member import MemberModel
    from bertsmith.objectives.distilled import Distilled

LISTENED = ("attention", "shares", "relations")  # terms of what attention is given


class Teacher:
    """A member that is asked and never learns.  It is no module of who learns of it, so that no step holds it and no copy is made of it."""

    def __init__(self, member: MemberModel):
        self.member = member.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict) -> Teacher:
        return self


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a body made of a stream: the embedding and every layer's output, and what each layer's attention was given, where that is asked."""

    body: Any
    states: list[Tensor]
    layers: list[Heard]

    @classmethod
    def of(cls, body: Any, stream: Stream, listen: bool, upto: int | None = None) -> Read:
        """`upto`: of the first so many layers."""
        listening: AbstractContextManager[list[Heard]] = heard() if listen else nullcontext([])
        with listening as layers:
            found = cls(body=body, states=body.states(stream, upto), layers=layers)
        if listen and len(layers) != len(found.states) - 1:
            raise InputError(
                f"{', '.join(f'objective.{name}' for name in LISTENED)}: {amount(len(found.states) - 1, 'layer')} of {type(body).__name__} tell "
                f"{len(layers)} times what their attention is given; set them to 0"
            )
        return found


class Compares(nn.Module):
    """Terms of what two bodies make of a stream, one of each token; `config`: weights of the terms, `split`, `layer`, and `teacher`, the
    width that states are turned into.  `stage`: the layer that learns, 0 after all of them; None where there are no stages."""

    config: Any
    stage: int | None = None

    def lead(self, width: int) -> None:
        """The matrix that turns states so wide into a teacher's, where they differ."""
        self.add_module(LED, initialise(nn.Linear(width, self.config.teacher)) if self.config.teacher else None)

    def compared(self, name: str, mine: Read, theirs: Read, stream: Stream, at: Tensor) -> Tensor:
        """(m,) a term at the tokens `at`."""
        return pick(getattr(self, f"_{name}")(mine, theirs, stream)[:, None], at)[:, 0]

    def _cosine(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,)"""
        return 1 - torch.cosine_similarity(wide(mine.states[-1]), wide(theirs.states[-1]), dim=-1)

    def _states(self, mine: Read, theirs: Read, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Both states of each layer that is compared now, from layer `first` on (0: the embedding), in the width of the teacher's."""
        led, which = (self.get_submodule(LED) if self.config.teacher else nn.Identity()), _which(mine.body, theirs.body)
        for number in self._layers(first, mine):
            yield wide(led(mine.states[number])), wide(theirs.states[which[number]])

    def _layers(self, first: int, mine: Read) -> range:
        if not self.stage:
            return range(first, len(mine.states))
        return range(first if self.stage == 1 else self.stage, self.stage + 1)

    def _hidden(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,) the sum over layers of means over the width."""
        return torch.stack([(x - y).square().mean(-1) for x, y in self._states(mine, theirs, 0)]).sum(0)

    def _features(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,) the same of states with mean 0 and deviation 1, without the embedding."""
        pairs = self._states(mine, theirs, 1)
        return torch.stack([(normal(x) - normal(y)).square().mean(-1) for x, y in pairs]).sum(0)

    def _means(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,)"""
        return torch.stack([(x.mean(-1) - y.mean(-1)).square() for x, y in self._states(mine, theirs, 1)]).sum(0)

    def _variances(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,)"""
        pairs = self._states(mine, theirs, 1)
        return torch.stack([(x.var(-1, correction=0) - y.var(-1, correction=0)).abs() for x, y in pairs]).sum(0)

    def _attention(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,) the sum over layers of means over heads and over the tokens that each sees in both."""

        def squared(ours: Tensor, other: Tensor, seen: Tensor) -> Tensor:
            apart_by = (ours - other).square()
            return (apart_by * seen).sum((1, 3)) / seen.expand_as(apart_by).sum((1, 3)).clamp(min=1)

        return self._scored(mine, theirs, stream, squared)

    def _shares(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,) the sum over layers of means over heads."""

        def diverging(ours: Tensor, other: Tensor, seen: Tensor) -> Tensor:
            return apart(ours.masked_fill(~seen, -1e9), other.masked_fill(~seen, -1e9), 1.0).mean(1)

        return self._scored(mine, theirs, stream, diverging)

    def _scored(
        self, mine: Read, theirs: Read, stream: Stream, by: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """(n,) the sum over the layers that are compared now; `by`: both scores (b, h, L, L) and whom each sees -> (b, L)."""
        which = _which(mine.body, theirs.body)
        total = stream.tokens.new_zeros(len(stream.tokens), dtype=torch.float32)
        for number in self._layers(1, mine):
            ours, other = mine.layers[number - 1], theirs.layers[which[number] - 1]
            for rows, _ in sequences(stream):
                asks, keys = rows[:, None, :, None], rows[:, None, None, :]
                seen = ours.sees(asks, keys) & other.sees(asks, keys)
                each = by(scores(ours.q, ours.k, rows), scores(other.q, other.k, rows), seen)
                total = total.to(each.dtype).index_add(0, rows.flatten(), each.flatten())
        return total

    def _relations(self, mine: Read, theirs: Read, stream: Stream) -> Tensor:
        """(n,) the sum over queries, keys and values of means over relation heads."""
        ours, other = mine.layers[-1], theirs.layers[(self.config.layer or len(theirs.layers)) - 1]
        split = self.config.split or ours.q.shape[1]
        total = stream.tokens.new_zeros(len(stream.tokens), dtype=torch.float32)
        for x, y in zip(ours[:3], other[:3], strict=True):
            x, y = (part.flatten(1).unflatten(1, (split, -1)) for part in (x, y))
            for rows, seen in sequences(stream):
                hidden = ~seen
                one, two = (scores(part, part, rows).masked_fill(hidden, -1e9) for part in (x, y))
                each = apart(one, two, 1.0).mean(1)
                total = total.to(each.dtype).index_add(0, rows.flatten(), each.flatten())
        return total


class DistilledObjective(Compares):
    """The parts of the student's own objective stand here under their own names."""

    def __init__(self, config: Distilled, model: Body):
        super().__init__()
        self.config, inner = config, config.objective.build(model)
        for name, part in inner.named_children():
            self.add_module(name, part)
        self._inner = [inner]  # in a list, so that its parts have one name
        self.lead(model.config.width)
        self.teacher: Teacher | None = None

    @property
    def inner(self) -> Any:
        return self._inner[0]

    @property
    def columns(self) -> dict[str, int]:
        return {**self.inner.columns, **dict.fromkeys(self.config.terms, 1)}

    def weights(self) -> dict[str, float]:
        return self.config.objective.weights() if self.teacher is None else self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}; student and teacher read the batch once each."""
        if self.teacher is None:
            return self.inner(model, batch)
        asked, other = self.config.asked(self.stage), self.teacher.member.model
        listen, upto = any(name in asked for name in LISTENED), self.stage or None
        mine = Read.of(model, batch.input, listen, upto)
        with torch.no_grad():
            theirs = Read.of(other, batch.input, listen, upto and _which(model, other)[upto])
        found = {} if upto else self.inner(Seen(model, batch.input, mine.states[-1]), batch)
        for name in asked:
            target = batch.asked(name)
            if name == "soft":
                each = self._soft(mine, theirs, batch.input, target.at[:, 0])
            else:
                each = self.compared(name, mine, theirs, batch.input, target.at[:, 0])
            found[name] = (each * (target.labels != IGNORE)).sum()
        return found

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """As the student's own objective; of `soft` besides, how often it says what the teacher says."""
        found = self.inner.scores(model, batch)
        if self.teacher is not None and "soft" in batch.targets and self.config.soft:
            at = batch.targets["soft"].at[:, 0]
            mine, theirs = Read.of(model, batch.input, False), Read.of(self.teacher.member.model, batch.input, False)
            ours, other = self._answers(mine, theirs, batch.input, at)
            same = int((ours.argmax(-1) == other.argmax(-1)).sum())
            loss = float(apart(ours, other, self.config.temperature).sum())
            found["soft"] = {"loss": loss, "correct": same, "count": len(at)}
        return found

    def logits(
        self, model: Body, stream: Stream, at: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        return self.inner.logits(model, stream, at, term, output)

    def logprobs(
        self, model: Body, stream: Stream, at: Tensor, tokens: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        return self.inner.logprobs(model, stream, at, tokens, term, output)

    def _answers(self, mine: Read, theirs: Read, stream: Stream, at: Tensor) -> tuple[Tensor, Tensor]:
        """(m, V) logits of both for the rows that both tables have."""
        assert self.teacher is not None
        read = stream.tokens[at]
        ours = self.inner.answer("token", pick(mine.states[-1], at), mine.body, read)
        with torch.no_grad():
            other = self.teacher.member.objective.answer("token", pick(theirs.states[-1], at), theirs.body, read)
        size = min(ours.shape[1], other.shape[1])
        return ours[:, :size], other[:, :size]

    def _soft(self, mine: Read, theirs: Read, stream: Stream, at: Tensor) -> Tensor:
        """(m,)"""
        ours, other = self._answers(mine, theirs, stream, at)
        return apart(ours, other, self.config.temperature)


def _which(student: Any, teacher: Any) -> list[int]:
    """Of each of the student's states, the embedding's first, the number of the teacher's."""
    return beside(student.config.layers, teacher.config.layers)


def wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


def normal(x: Tensor) -> Tensor:
    """(…, d) with mean 0 and deviation 1, each by its own."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-12)


def apart(mine: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """(…) of logits (…, c): the divergence of the student's distribution from the teacher's at a temperature, times its square."""
    ours, other = ((wide(x) / temperature).log_softmax(-1) for x in (mine, theirs))
    return (other.exp() * (other - ours)).sum(-1) * temperature**2


def sequences(stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
    """Sequences of one length together: (b, L) flat indices of their tokens, and (b, 1, L, L) whom each of these sees."""
    lengths = torch.tensor(stream.lengths)
    begins = lengths.cumsum(0) - lengths
    for length in sorted({*stream.lengths}):
        rows = (begins[lengths == length][:, None] + torch.arange(length)).to(stream.tokens.device)
        seen = stream.key_rank[rows][:, None, None, :] <= stream.query_rank[rows][:, None, :, None]
        yield rows, seen


def scores(q: Tensor, k: Tensor, rows: Tensor) -> Tensor:
    """(b, h, L, L) of q and k (n, h, e)."""
    asks, keys = (wide(x[rows]) for x in (q, k))
    return torch.einsum("bqhe,bkhe->bhqk", asks, keys) * q.shape[-1] ** -0.5
