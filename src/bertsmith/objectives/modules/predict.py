"""Encode once, then apply heads.  m predictions of a term, n tokens, V vocabulary.  Losses are sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream, Target
from bertsmith.nn.body import Body, outer
from bertsmith.nn.modules.adaptive import AdaptiveHead
from bertsmith.nn.modules.blocks import filler, pick
from bertsmith.nn.modules.heads import PairHead, Pooler, TokenHead, TokenLabel
from bertsmith.nn.modules.losses import cross_entropy

if TYPE_CHECKING:
    from bertsmith.objectives.predict import Predict, Tokens, Trunk


CELLS = 1 << 22  # logits held at once where only a few of them are wanted


class TokenTerm(TokenHead):
    def __init__(self, model: Body, head: Tokens):
        config = model.config
        activation, norm = head.activation or config.activation, head.norm or config.norm
        read, rows = outer(config), head.rows(config)
        made = head.transform, activation, norm, head.bias, head.dense_bias
        super().__init__(read, rows, config.vocab, *made)
        self.beside = nn.Linear(rows - config.inner, config.vocab, bias=False) if rows > config.inner else None
        self.own = None if head.tied else nn.Linear(config.inner if head.transform else read, config.vocab, bias=False)
        self.factor = config.inner**-0.5 if head.scaled else None

    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (m, d) -> (m, V)."""
        hidden = hidden if self.factor is None else hidden * self.factor
        table = (model.tokens if self.own is None else self.own).weight
        return self(hidden, table if self.beside is None else torch.cat([table, self.beside.weight], 1))


class ClusteredTerm(AdaptiveHead):
    def losses(self, hidden: Tensor, labels: Tensor, model: Body) -> Tensor:
        """The sum; `logits` would compute every cluster for every place."""
        return self.loss(hidden, labels, model.tokens)

    def logits(self, hidden: Tensor, model: Body) -> Tensor:  # type: ignore[override]
        """hidden (m, d) -> (m, V)."""
        return super().logits(hidden, model.tokens)


class PairTerm(PairHead):
    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (m, d) -> (m, classes)."""
        return self(hidden)


class ClassTerm(TokenLabel):
    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (m, d) -> (m, classes)."""
        return self(hidden)


class SummaryTerm(nn.Module):
    def __init__(self, width: int, read: int):
        super().__init__()
        self.pooler = Pooler(width, read=read)

    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """hidden (m, d) -> (m, d): the summaries themselves."""
        return self.pooler(hidden)


class Prediction(nn.Module):
    """The heads stand under their terms' names: `objective.token.dense.weight`, `objective.pair.pooler.dense.weight`."""

    def __init__(self, config: Predict | Trunk, model: Body):
        super().__init__()
        self.config = config
        self.answers = {head.name: getattr(head, "of", head.name) for head in config.heads}
        for head in config.heads:
            if self.answers[head.name] == head.name:
                self.add_module(head.name, head.build(model))

    @property
    def columns(self) -> dict[str, int]:
        """Columns of each term's `Target.at`: the place of the answer, and the places that its head reads instead."""
        return {head.name: getattr(head, "columns", 1) for head in self.config.heads}

    def weights(self) -> dict[str, float]:
        """The factor of each term's mean in the loss."""
        return self.config.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{term: sum of its losses}, float32 scalars; 0 where nothing is asked."""
        asked = {name: filled(target) for name, target in self._asked(batch).items()}
        hidden = self._hidden(
            model, batch.input, {name: places(target) for name, target in asked.items()}, batch.output
        )
        return {name: self._loss(name, hidden[name], model, batch.asking, target) for name, target in asked.items()}

    def _loss(self, name: str, hidden: Tensor, model: Body, stream: Stream, target: Target) -> Tensor:
        head = self.get_submodule(self.answers.get(name, name))
        if hasattr(head, "losses"):
            return head.losses(hidden, target.labels, model)
        return loss_sum(*self._judged(name, hidden, model, stream, target))

    def _judged(self, name: str, hidden: Tensor, model: Body, stream: Stream, target: Target) -> tuple[Tensor, Tensor]:
        """(logits, labels); of a head with other choices in every sequence the labels are among these."""
        head = self.get_submodule(self.answers.get(name, name))
        if hasattr(head, "among"):
            return head.among(hidden, target, stream, model)
        return self._said(name, hidden, model, stream, places(target)), target.labels

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{term: {loss: sum, correct: number, count: number}}; in the mode (train, eval) that the model is in."""
        asked = self._asked(batch)
        where = {name: places(target) for name, target in asked.items()}
        hidden = self._hidden(model, batch.input, where, batch.output)
        said = {name: self._judged(name, hidden[name], model, batch.asking, target) for name, target in asked.items()}
        return {name: self._scored(name)(*judged) for name, judged in said.items()}

    def _scored(self, name: str) -> Callable[[Tensor, Tensor], dict[str, float]]:
        """How what a term's head says is judged: as classes, unless it has a way of its own."""
        return getattr(self.get_submodule(self.answers.get(name, name)), "scored", score)

    def logits(
        self, model: Body, stream: Stream, at: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        """What `term` says at the flat indices `at` (m,), in any order, of `output` where there is one -> (m, V)."""
        return self._logits(model, stream, {term: at}, output)[term]

    @torch.no_grad()
    def logprobs(
        self, model: Body, stream: Stream, at: Tensor, tokens: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        """(m,) what `term` says of each of `tokens` (m,) at the flat indices `at` (m,), of `output` where there is one: log-probabilities,
        some rows of logits at a time."""
        hidden, read = self._hidden(model, stream, {term: at}, output)[term], (output or stream).tokens[at]
        found = []
        for rows in torch.arange(len(at), device=at.device).split(max(1, CELLS // model.config.vocab)):
            logits = self.answer(term, hidden[rows], model, read[rows])
            found.append(logits.float().log_softmax(-1).gather(1, tokens[rows, None])[:, 0])
        return torch.cat(found)

    def _asked(self, batch: Batch) -> dict[str, Target]:
        return {name: batch.targets[name] for name in self.weights() if name in batch.targets}

    def _logits(
        self, model: Body, stream: Stream, places: dict[str, Tensor], output: Stream | None = None
    ) -> dict[str, Tensor]:
        hidden = self._hidden(model, stream, places, output)
        return {name: self._said(name, hidden[name], model, output or stream, at) for name, at in places.items()}

    def _hidden(
        self, model: Body, stream: Stream, places: dict[str, Tensor], output: Stream | None = None
    ) -> dict[str, Tensor]:
        """What each term's head reads: encodes once, and only the places that some term asks for."""
        if not places:
            return {}
        read, rows = gathered(places)
        hidden = self.encoded(model, stream, read, output)
        return {name: pick(hidden, at) for name, at in rows.items()}

    def encoded(self, model: Body, stream: Stream, read: Tensor, output: Stream | None = None) -> Tensor:
        """(m, d) hidden states at the flat indices `read` (m,), ascending."""
        return model(stream, read) if output is None else model(stream, read, output)

    def _said(self, name: str, hidden: Tensor, model: Body, stream: Stream, at: Tensor) -> Tensor:
        if at.ndim == 1:
            return self.answer(name, hidden, model, stream.tokens[at])
        return self.get_submodule(name).logits(hidden, model, at[:, 0] - at[:, 1])

    def answer(self, name: str, hidden: Tensor, model: Body, read: Tensor) -> Tensor:
        """What the head of term `name` says of hidden states (m, d), where the tokens `read` (m,) stand -> (m, classes)."""
        return self.get_submodule(self.answers.get(name, name)).logits(hidden, model)


def gathered(places: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The flat indices that some term asks for, ascending, each once; and for each term which of these it reads."""
    reads = {name: at if at.ndim == 1 else at[:, 1:] for name, at in places.items()}
    read, where = torch.unique(torch.cat([at.flatten() for at in reads.values()]), return_inverse=True)
    parts = where.split([at.numel() for at in reads.values()])
    return read, {name: rows.view(reads[name].shape) for name, rows in zip(places, parts, strict=True)}


def places(target: Target) -> Tensor:
    """(m,) where a head reads its answers; (m, k) where it reads elsewhere, in the columns behind the place of the answer."""
    return target.at if target.at.shape[1] > 1 else target.at[:, 0]


def filled(target: Target) -> Target:
    """The last question again, unanswered, up to one of few numbers of rows (see `blocks.ROWS`)."""
    at: Tensor = target.at
    extra = filler(len(target), at.device)
    at = torch.cat([at, at[-1:].expand(extra, -1)])
    labels: Tensor = target.labels
    return Target(at=at, labels=torch.cat([labels, labels.new_full((extra, *labels.shape[1:]), IGNORE)]))


def loss_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, summed in float32; each loss is computed in the logits' own precision."""
    return cross_entropy(logits, labels).sum()


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    correct = (logits.argmax(-1) == labels).sum()
    return {"loss": loss_sum(logits.float(), labels).item(), "correct": int(correct), "count": len(labels)}
