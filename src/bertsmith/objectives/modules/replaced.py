"""A generator guesses what was hidden, and the model judges or restores a text with its guesses in it.  m asked tokens, d width, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import IGNORE, Batch, Stream, Target
from bertsmith.nn.body import Body, outer
from bertsmith.nn.modules.blocks import ACTIVATIONS
from bertsmith.objectives.modules.predict import Prediction, TokenTerm, filled, loss_sum, score
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.objectives.replaced import Detect

if TYPE_CHECKING:
    from bertsmith.nn.modules.transformer import Transformer
    from bertsmith.nn.transformer import TransformerConfig
    from bertsmith.objectives.replaced import ReplacedTokens, RestoreOrCopy


class DetectTerm(nn.Module):
    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.dense = nn.Linear(outer(config), config.width)
        self.out = nn.Linear(config.width, 1)
        self.activation = ACTIVATIONS[config.activation]

    def logits(self, hidden: Tensor, model: Body) -> Tensor:
        """(m, d) -> (m, 2): 0 and the logit of a replaced token; the cross-entropy of the two is the binary one of the logit."""
        return F.pad(self.out(self.activation(self.dense(hidden))), (1, 0))


class CopyTerm(TokenTerm):
    def __init__(self, model: Body, head: RestoreOrCopy):
        super().__init__(model, head)
        self.gate = nn.Linear(outer(model.config), 1)

    def mixed(self, hidden: Tensor, model: Body, read: Tensor) -> Tensor:
        """hidden (m, d) of the tokens `read` (m,) -> (m, V) log-probabilities, in float32 at least."""
        gate, logits = self.gate(hidden), self.logits(hidden, model)
        gate, logits = (x if x.dtype == torch.float64 else x.float() for x in (gate, logits))
        chosen = logits.log_softmax(-1) + F.logsigmoid(-gate)
        copied = torch.logaddexp(chosen.gather(1, read[:, None]), F.logsigmoid(gate))
        return chosen.scatter(1, read[:, None], copied)


class Replacement(Prediction):
    """Keys: `model.*` is the discriminator, `objective.generator.*` what the generator has of its own, `objective.token.*` its head."""

    def __init__(self, config: ReplacedTokens, model: Transformer):
        super().__init__(Predict(heads=(config.head,)), model)
        self.own, self.head = config, config.head
        self.generator = model if config.share == "all" else config.generator_of(model.config).build()
        if config.share == "embeddings":
            for part in ("tokens", "segments", "norm"):
                setattr(self.generator.embeddings, part, getattr(model.embeddings, part))
            self.generator.positions = model.positions
        self.tables = (model.tokens, self.generator.tokens) if config.share == "disentangled" else None
        if self.tables is not None:
            with torch.no_grad():
                self.generator.tokens.weight.copy_(model.tokens.weight)
        self.token = Tokens().build(self.generator)

    @contextmanager
    def updating(self) -> Iterator[None]:
        """While the optimizer works, a table that learns a difference from another is that difference, so that it is what decays."""
        if self.tables is None:
            yield
            return
        own, other = (table.weight for table in self.tables)
        with torch.no_grad():
            own.sub_(other)
        try:
            yield
        finally:
            with torch.no_grad():
                own.add_(other)

    def weights(self) -> dict[str, float]:
        return self.own.weights()

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        token = filled(batch.asked("token"))
        guesses = self.guesses(batch, token)
        judged = super().forward(model, self.written(batch, guesses))
        return {"token": loss_sum(guesses, token.labels), **judged}

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """As of a Prediction; of a detection also `replaced`, the number of replaced tokens, and `auc`, the area under the ROC curve
        within this batch, times count."""
        token, name = batch.asked("token"), self.head.name
        guesses = self.guesses(batch, token)
        found, written = {"token": score(guesses, token.labels)}, self.written(batch, guesses)
        target = written.targets[name]
        logits = self._logits(model, written.input, {name: target.at[:, 0]})[name]
        found[name] = score(logits, target.labels)
        if isinstance(self.head, Detect):
            replaced = target.labels == 1
            found[name] |= {"replaced": int(replaced.sum()), "auc": len(target) * auc(logits[:, 1].double(), replaced)}
        return found

    def logits(
        self, model: Body, stream: Stream, at: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        """Of the generator for "token", so that masks can be filled; else what the model says."""
        return super().logits(self.generator if term == "token" else model, stream, at, term, output)

    def logprobs(
        self, model: Body, stream: Stream, at: Tensor, tokens: Tensor, term: str = "token", output: Stream | None = None
    ) -> Tensor:
        return super().logprobs(self.generator if term == "token" else model, stream, at, tokens, term, output)

    def guesses(self, batch: Batch, token: Target) -> Tensor:
        """The generator's logits (m, V) for the questions `token`."""
        return self._logits(self.generator, batch.input, {"token": token.at[:, 0]})["token"]

    @torch.no_grad()
    def written(self, batch: Batch, guesses: Tensor) -> Batch:
        """The batch that the model is given: the clean text with a sample of each guess in it, and what it is asked about that.

        `guesses` (m, V) for the batch's questions to the generator; further rows are filler.
        """
        token, target = batch.asked("token"), batch.asked(self.head.name)
        at, known = token.at[:, 0], token.labels != IGNORE
        tokens = batch.input.tokens.clone()
        tokens[at] = torch.where(known, token.labels, tokens[at])
        if token.draws is not None:
            tokens[at] = sample(guesses[: len(token), : self.own.among], token.draws)
        labels = self.head.labels(tokens[target.at[:, 0]], target.labels)
        return Batch(
            input=replace(batch.input, tokens=tokens),
            targets={self.head.name: Target(at=target.at[:, :1], labels=labels)},
            examples=batch.examples,
        )

    def answer(self, name: str, hidden: Tensor, model: Body, read: Tensor) -> Tensor:
        head = self.get_submodule(name)
        return (
            head.mixed(hidden, model, read) if isinstance(head, CopyTerm) else super().answer(name, hidden, model, read)
        )


def sample(logits: Tensor, draws: Tensor) -> Tensor:
    """(m,) tokens from the softmax of logits (m, V), by the inverse of its distribution function at `draws` (m,) in [0, 1).

    One draw for each question, not one for each token of the vocabulary, so that a draw can come with the data and a sample does not
    depend on how sequences are packed.
    """
    below = _cumulated(logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32)))
    at = draws.to(below.dtype)[:, None] * below[:, -1:]
    return torch.searchsorted(below, at, right=True)[:, 0].clamp(max=logits.shape[1] - 1)


def _cumulated(rows: Tensor) -> Tensor:
    """Sums along rows, which add up in a fixed order where there are several; torch's deterministic mode refuses them on every GPU."""
    strict, lenient = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        return (rows if len(rows) > 1 else rows.repeat(2, 1)).cumsum(-1)[: len(rows)]
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)


def auc(scores: Tensor, positive: Tensor) -> float:
    """The share of pairs of a positive and another in which the positive scores higher, ties half; 0.5 where there are none."""
    high, low = scores[positive], scores[~positive].sort().values
    if not len(high) or not len(low):
        return 0.5
    wins = sum(torch.searchsorted(low, high, right=right).sum() for right in (False, True))
    return float(wins) / (2 * len(high) * len(low))
