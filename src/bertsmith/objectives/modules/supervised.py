"""Labelled sequences, tokens and spans of tokens.  s sequences of n tokens in all, m labels, d width.  Losses are sums."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.nn.body import Body, texts
from bertsmith.nn.modules.blocks import initialise, pick
from bertsmith.nn.modules.heads import TokenLabel, Transform
from bertsmith.nn.modules.san import SanHead
from bertsmith.objectives.modules.predict import loss_sum, score
from bertsmith.objectives.supervised import SIDE, TERM


@dataclass(frozen=True)
class Weighing:
    """What losses of classes are multiplied by, and how answers are smoothed (objectives.supervised.Classify)."""

    weights: tuple[float, ...]
    focal: float
    smoothing: float

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits (m, classes), labels (m,) -> their sum."""
        logits = logits.float()
        weights = logits.new_tensor(self.weights) if self.weights else None
        how = {"weight": weights, "label_smoothing": self.smoothing, "reduction": "none"}
        each = F.cross_entropy(logits, labels, **how)
        if self.focal:
            p = logits.softmax(1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
            each = each * (1 - p).clamp(min=0) ** self.focal
        return each.sum()


def inherited(pooler: nn.Module | None, state: dict[str, Tensor]) -> tuple[str, ...]:
    """The names in a pre-trained member's state dict that a transform takes its tensors from: those of a token head's; () where either is none."""
    if not isinstance(pooler, Transform):
        return ()
    found = {name: f"objective.token.{name}" for name in pooler.state_dict()}
    if not all(name in state and state[name].shape == pooler.get_parameter(own).shape for own, name in found.items()):
        return ()
    pooler.load_state_dict({own: state[name] for own, name in found.items()})
    return tuple(found.values())


class Classification(nn.Module):
    """Pooler, dropout, linear; keys `objective.label.pooler.dense.weight`, `objective.label.out.weight`, …"""

    term = TERM

    def __init__(
        self,
        head: nn.Module,
        pool: str = "cls",
        orders: str = "one",
        weighing: Weighing | None = None,
        looks: int | None = None,
    ):
        """`looks`: numbers of a state, where the head reads others than those of one text."""
        super().__init__()
        self.pool, self.weighing = pool, weighing
        self.columns = {
            self.term: 2 if orders == "both" else 1
        }  # of its `Target.at`: the places whose answers are added up
        self.add_module(self.term, initialise(head))
        if pool == "attention":
            self.look = initialise(nn.Linear(looks or getattr(head, "read", head.out.in_features), 1, bias=False))

    @property
    def head(self) -> nn.Module:
        return self.get_submodule(self.term)

    def weights(self) -> dict[str, float]:
        return {self.term: 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Takes over the pooler of a pre-trained member's state dict (`objective.<term>.pooler.*`); returns the names used, if any.

        A mean over tokens is not what that pooler was trained on, so that `pool="mean"` starts afresh.  A transform is the token head's.
        """
        if isinstance(self.head.pooler, Transform):
            return inherited(self.head.pooler, state)
        found = {
            name.rpartition("pooler.")[2]: name
            for name in state
            if name.startswith("objective.") and ".pooler." in name
        }
        if not found or self.pool != "cls" or self.head.pooler is None:
            return ()
        self.head.pooler.load_state_dict({ours: state[theirs] for ours, theirs in found.items()})
        return tuple(found.values())

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (s,): the flat index of each sequence's [CLS], in any order -> (s, classes), or (s, 1) for a regression."""
        if isinstance(self.head, SanHead) and not getattr(model, "pooled", False):
            ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
            return pick(self.head(model(stream), stream), torch.searchsorted(ends, at, right=True))
        return self.head(self.vectors(model, stream, at))

    def vectors(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """The same -> (s, d), what is read of each sequence."""
        if self.pool == "cls" or getattr(model, "pooled", False):
            read, where = torch.unique(at, return_inverse=True)
            return pick(model(stream, read), where)
        states = model.states(stream) if self.pool == "first-last" else [model(stream)]
        ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
        sequence = torch.searchsorted(ends, at, right=True)
        made = [
            pick(states[-1], at) if pool == "cls" else pick(self._made(states, model, stream, pool), sequence)
            for pool in SIDE.get(self.pool, (self.pool,))
        ]
        return torch.cat(made, 1) if len(made) > 1 else made[0]

    def _made(self, states: list[Tensor], model: Body, stream: Stream, pool: str) -> Tensor:
        """(s, d) what is read of each sequence."""
        hidden = (states[1] + states[-1]) / 2 if pool == "first-last" else states[-1]
        parts = texts(model, hidden, stream)
        if pool == "attention":
            looks = texts(model, self.look(hidden).float(), stream)
            return torch.stack([(look.softmax(0).to(x.dtype) * x).sum(0) for look, x in zip(looks, parts, strict=True)])
        return torch.stack([part.amax(0) if pool == "max" else part.mean(0) for part in parts])

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}."""
        target = batch.targets[self.term]
        return {self.term: self.loss(self.added(model, batch.input, target.at), target.labels)}

    def added(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (m, k) -> (m, classes): the sum of what is said at the places of each question."""
        said = self.logits(model, stream, at.flatten())
        return said if at.shape[1] == 1 else said.unflatten(0, at.shape).sum(1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return loss_sum(logits, labels) if self.weighing is None else self.weighing.loss(logits, labels)

    def softened(self, logits: Tensor, said: Tensor, temperature: float) -> Tensor:
        """The divergence from a teacher's probabilities `said` (m, classes), all 0 where it says nothing, times temperature²: summed."""
        own = (logits.float() / temperature).log_softmax(1)
        return temperature**2 * (torch.xlogy(said, said) - said * own).sum()

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{term: {loss: sum, correct: number, count: number}}."""
        target = batch.targets[self.term]
        return {self.term: score(self.added(model, batch.input, target.at), target.labels)}


class Regression(Classification):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = F.mse_loss(logits[:, 0].float(), labels.float(), reduction="none")
        return each.masked_fill(labels == IGNORE, 0).sum()

    def softened(self, logits: Tensor, said: Tensor, temperature: float) -> Tensor:
        """The squared distance from a teacher's numbers `said` (m, 1), summed; a temperature changes nothing."""
        return F.mse_loss(logits.float(), said, reduction="sum")

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"label": {loss: sum of squared errors, count: number}}."""
        target = batch.targets[TERM]
        loss = self.loss(self.added(model, batch.input, target.at), target.labels)
        return {TERM: {"loss": loss.item(), "count": len(target)}}


class Labelling(Classification):
    """`labels` of its targets: (m, classes) of 1 and 0."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over sequences of the mean over labels; what is asked of nothing (shard.filler) adds 0."""
        if labels.dim() == 1:
            return logits.float().sum() * 0
        each = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
        return each.mean(1).sum()

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"label": {loss: sum, correct: sequences all of whose labels are right, count: number}}."""
        target = batch.targets[self.term]
        logits = self.added(model, batch.input, target.at)
        right = torch.eq(logits > 0, target.labels > 0).all(1)
        loss = self.loss(logits, target.labels).item()
        return {self.term: {"loss": loss, "correct": int(right.sum()), "count": len(target)}}


class Choosing(Classification):
    """One of several sequences; keys `objective.choice.pooler.dense.weight`, `objective.choice.out.weight`, …

    Its targets: `at` (m, k) where the choices of a question are read, those that it has less than others its first again; `labels` (m,).
    """

    term = "choice"

    def added(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """(m, k) -> (m, k): what is said of each choice, -inf where there is none."""
        said = self.logits(model, stream, at.flatten())[:, 0].float().unflatten(0, at.shape)
        none = torch.zeros_like(at, dtype=torch.bool)
        none[:, 1:] = at[:, 1:] == at[:, :1]
        return said.masked_fill(none, -torch.inf)


class Ordering(Classification):
    """Classes in an order; keys `objective.rank.pooler.dense.weight`, `objective.rank.out.weight`, `objective.rank.moved`.

    What is said (m, classes - 1): log-odds of being above each class but the last.
    """

    term = "rank"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """-log(s(a) - s(b)), s the sigmoid, a and b the log-odds on either side of the class."""
        logits, at = logits.float(), labels.clamp(min=0)[:, None]
        above = F.pad(logits, (1, 0), value=torch.inf).gather(1, at)
        below = F.pad(logits, (0, 1), value=-torch.inf).gather(1, at)
        apart = torch.log1p(-torch.exp((below - above).clamp(max=-1e-6)))
        found = F.logsigmoid(above) + F.logsigmoid(-below) + apart
        return -found[:, 0].masked_fill(labels == IGNORE, 0).sum()

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"rank": {loss: sum, correct: number, count: number}}."""
        target = batch.targets[self.term]
        logits = self.added(model, batch.input, target.at)
        correct = int(torch.eq((logits > 0).sum(1), target.labels).sum())
        return {self.term: {"loss": self.loss(logits, target.labels).item(), "correct": correct, "count": len(target)}}


class Spans(nn.Module):
    """A linear layer with two outputs, start and end; keys `objective.span.out.weight`, `objective.span.out.bias`.

    Its targets: `at` (m, 1) the token that is the answer, `labels` (m,) 0 where the start was asked and 1 where the end was.
    """

    def __init__(self, head: TokenLabel):
        super().__init__()
        self.span = initialise(head)

    def weights(self) -> dict[str, float]:
        return {"span": 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """The transform of a token head, where it has one; else nothing: no member is pre-trained with such a head."""
        return inherited(self.span.pooler, state)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (m,): flat indices of tokens -> (m, 2)."""
        return pick(self.span(model(stream)), at)

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{"span": sum over what is asked of the cross-entropy over all tokens of its sequence}."""
        target = batch.targets["span"]
        found = self._shares(model, batch.input)[target.at[:, 0], target.labels.clamp(min=0)]
        return {"span": -found.masked_fill(target.labels == IGNORE, 0).sum()}

    def _shares(self, model: Body, stream: Stream) -> Tensor:
        """(n, 2) log probabilities of each token within its sequence, in float32."""
        logits = self.span(model(stream)).float()
        return torch.cat([part.log_softmax(0) for part in logits.split(stream.lengths)])

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"span": {loss: sum, correct: starts and ends that are likeliest, count: number}}."""
        target, stream = batch.targets["span"], batch.input
        shares = self._shares(model, stream)
        best = torch.cat([(part == part.amax(0)) for part in shares.split(stream.lengths)])
        where = (target.at[:, 0], target.labels)
        return {"span": {"loss": -shares[where].sum().item(), "correct": int(best[where].sum()), "count": len(target)}}


def pooled_at(model: Body, stream: Stream, at: Tensor, pool: str) -> Tensor:
    """`at` (p,): flat indices, in any order -> (p, d): the states there ("cls"), or the means over the sequences they stand in."""
    if pool == "cls":
        read, where = torch.unique(at, return_inverse=True)
        return pick(model(stream, read), where)
    means = torch.stack([hidden.mean(0) for hidden in texts(model, model(stream), stream)])
    ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
    return pick(means, torch.searchsorted(ends, at, right=True))
