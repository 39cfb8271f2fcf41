"""A text is written from its vector.  s texts; m tokens that are written, width d.  Losses are sums over the m."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream
from bertsmith.nn.body import Body
from bertsmith.nn.modules.attending import Source
from bertsmith.nn.modules.blocks import fill, pick
from bertsmith.nn.modules.decoder import shared, unhidden
from bertsmith.nn.modules.transformer import Transformer
from bertsmith.objectives.denoising import decoder_of
from bertsmith.objectives.modules.predict import filled, loss_sum
from bertsmith.objectives.modules.supervised import pooled_at
from bertsmith.objectives.vectors import TERM

if TYPE_CHECKING:
    from bertsmith.objectives.denoising import Denoising


class DenoisingObjective(nn.Module):
    """`batch.input`: the texts without some words, hidden but where each is read as a whole; `batch.output`: what is written of them.

    Keys that are no part of the model: `objective.decoder.layers.0.source.q.weight`, …, `objective.token.dense.weight`, …
    """

    term = TERM

    def __init__(self, config: Denoising, model: Body):
        super().__init__()
        self.config = config
        self.columns = {TERM: 1}  # of `Target.at`
        body = decoder_of(model.config)
        made = body.block.begin(body.initial.begin(Transformer(body, reads_source=True)))
        made.embeddings.tokens = model.tokens
        shared(model, made)
        self.decoder = made
        self.token = config.head.build(model)

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}

    def inherit(self, state: dict[str, Tensor]) -> tuple[str, ...]:
        """Takes over the token head as it was pre-trained; the names used."""
        own = [name for name, _ in self.token.named_parameters()]
        found = {name: f"objective.token.{name}" for name in own if f"objective.token.{name}" in state}
        if len(found) < len(own):
            return ()
        self.token.load_state_dict({ours: state[theirs] for ours, theirs in found.items()})
        return tuple(found.values())

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (p,): flat indices, each in a text of its own -> (p, d), the texts' vectors."""
        return pooled_at(model, stream, at, self.config.pool)

    def said(self, model: Body, batch: Batch, at: Tensor) -> Tensor:
        """`at` (k,): places of the output -> (k, V) logits of the tokens that are written there."""
        assert batch.input.hidden is not None and batch.output is not None
        vectors = self.logits(model, batch.input, torch.nonzero(~batch.input.hidden)[:, 0])
        source = Source(hidden=fill(vectors), stream=unhidden(batch.input))
        read, where = torch.unique(at, return_inverse=True)
        return self.token.logits(pick(self.decoder(batch.output, read, source), where), model)

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{"vector": the sum of the tokens' cross-entropies}."""
        target = batch.targets[TERM]
        if batch.output is None:  # a pass that another process has and this one has not
            return {TERM: self.logits(model, batch.input, target.at[:, 0]).sum() * 0}
        target = filled(target)
        return {TERM: loss_sum(self.said(model, batch, target.at[:, 0]), target.labels)}

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{"vector": {loss: sum, count: number}}."""
        return {TERM: {"loss": self.forward(model, batch)[TERM].item(), "count": len(batch.targets[TERM])}}
