"""Labelled sequences, tokens and spans of tokens.  s sequences of n tokens in all, m labels, d width.  Losses are sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.nn.modules.blocks import initialise, pick
from bertsmith.nn.modules.heads import TokenLabel
from bertsmith.objectives.modules.predict import loss_sum, score
from bertsmith.objectives.supervised import TERM


class Classification(nn.Module):
    """Pooler, dropout, linear; keys `objective.label.pooler.dense.weight`, `objective.label.out.weight`, …"""

    term = TERM

    def __init__(self, head: nn.Module, pool: str = "cls", orders: str = "one"):
        super().__init__()
        self.pool = pool
        self.columns = {
            self.term: 2 if orders == "both" else 1
        }  # of its `Target.at`: the places whose answers are added up
        self.add_module(self.term, initialise(head))

    @property
    def head(self) -> nn.Module:
        return self.get_submodule(self.term)

    def weights(self) -> dict[str, float]:
        return {self.term: 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Takes over the pooler of a pre-trained member's state dict (`objective.<term>.pooler.*`); returns the names used, if any.

        A mean over tokens is not what that pooler was trained on, so that `pool="mean"` starts afresh.
        """
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
        return self.head(pooled_at(model, stream, at, self.pool))

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}."""
        target = batch.targets[self.term]
        return {self.term: self.loss(self.added(model, batch.input, target.at), target.labels)}

    def added(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (m, k) -> (m, classes): the sum of what is said at the places of each question."""
        said = self.logits(model, stream, at.flatten())
        return said if at.shape[1] == 1 else said.unflatten(0, at.shape).sum(1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return loss_sum(logits, labels)

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{term: {loss: sum, correct: number, count: number}}."""
        target = batch.targets[self.term]
        return {self.term: score(self.added(model, batch.input, target.at), target.labels)}


class Regression(Classification):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = F.mse_loss(logits[:, 0].float(), labels.float(), reduction="none")
        return each.masked_fill(labels == IGNORE, 0).sum()

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"label": {loss: sum of squared errors, count: number}}."""
        target = batch.targets[TERM]
        loss = self.loss(self.added(model, batch.input, target.at), target.labels)
        return {TERM: {"loss": loss.item(), "count": len(target)}}


class Tagging(Classification):
    """Dropout and a linear layer; keys `objective.tag.out.weight`, `objective.tag.out.bias`."""

    term = "tag"

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Nothing: no member is pre-trained with such a head."""
        return ()

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (m,): flat indices of tokens, in any order -> (m, classes)."""
        read, where = torch.unique(at, return_inverse=True)
        return self.head(pick(model(stream, read), where))


class Spans(nn.Module):
    """A linear layer with two outputs, start and end; keys `objective.span.out.weight`, `objective.span.out.bias`.

    Its targets: `at` (m, 1) the token that is the answer, `labels` (m,) 0 where the start was asked and 1 where the end was.
    """

    def __init__(self, width: int):
        super().__init__()
        self.span = initialise(TokenLabel(width, 2))

    def weights(self) -> dict[str, float]:
        return {"span": 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Nothing: no member is pre-trained with such a head."""
        return ()

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
    means = torch.stack([hidden.mean(0) for hidden in model(stream).split(stream.lengths)])
    ends = torch.tensor(stream.lengths, device=at.device).cumsum(0)
    return pick(means, torch.searchsorted(ends, at, right=True))
