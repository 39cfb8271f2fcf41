"""What stands before this sentence, and what behind it?  s sentences, m tokens that are asked, d width of a vector, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.nn.body import Body, outer
from bertsmith.nn.modules.blocks import pick
from bertsmith.nn.modules.gru import Packing, begun, run
from bertsmith.objectives.modules.predict import filled, loss_sum, score
from bertsmith.objectives.modules.supervised import pooled_at
from bertsmith.objectives.surroundings import TERMS, parts_of


class Decoders(nn.Module):
    """Of one encoder: keys `objective.decoders0.previous.weight_ih_l0`, …, `objective.decoders0.token.weight`."""

    def __init__(self, model: Any):
        super().__init__()
        wide = outer(model)
        for name in TERMS:
            self.add_module(name, nn.GRU(model.inner + wide, wide))
        self.token = nn.Linear(wide, model.vocab)
        begun(self)

    def forward(self, name: str, tokens: Tensor, vectors: Tensor, lengths: Tensor) -> Tensor:
        """What is read (n, e) and the vectors of the sentences (p, d) that `lengths` (p,) tokens are written of each -> states (n, d)."""
        beside = pick(vectors, torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths))
        return run(self.get_submodule(name), torch.cat([tokens, beside.to(tokens.dtype)], 1), Packing.of(lengths))


class SurroundingsObjective(nn.Module):
    """`batch.input`: sentences; `batch.output`: of each the one before it (segment 0) and the one behind it (segment 1)."""

    def __init__(self, model: Body):
        super().__init__()
        self.columns = dict.fromkeys(TERMS, 1)  # of `Target.at`
        self.parts = parts_of(model.config)
        for number, part in enumerate(self.parts):
            self.add_module(f"decoders{number}", Decoders(part))

    def weights(self) -> dict[str, float]:
        return dict.fromkeys(TERMS, 1.0)

    def logits(self, model: Body, stream: Stream, at: Tensor) -> Tensor:
        """`at` (p,): flat indices, each in a text of its own -> (p, d), the texts' vectors."""
        return pooled_at(model, stream, at, "cls")

    def forward(self, model: Body, batch: Batch) -> dict[str, Tensor]:
        """{"previous": the sum of its tokens' cross-entropies over all encoders, "next": the same}."""
        asked = {name: filled(batch.targets[name]) for name in TERMS if name in batch.targets}
        said = self._said(model, batch, asked)
        return {
            name: torch.stack([loss_sum(each, target.labels) for each in said[name]]).sum()
            for name, target in asked.items()
        }

    @torch.no_grad()
    def scores(self, model: Body, batch: Batch) -> dict[str, dict[str, float]]:
        """{term: {loss: sum, correct: number, count: number}}; of several encoders the sum and the mean."""
        asked = {name: batch.targets[name] for name in TERMS if name in batch.targets}
        found = {}
        for name, each in self._said(model, batch, asked).items():
            scored = [score(logits, asked[name].labels) for logits in each]
            loss, correct = (sum(part[key] for part in scored) for key in ("loss", "correct"))
            found[name] = {"loss": loss, "correct": correct / len(scored), "count": len(asked[name])}
        return found

    def _said(self, model: Body, batch: Batch, asked: dict[str, Target]) -> dict[str, list[Tensor]]:
        """Of each term the logits (m, V) of every encoder's decoder."""
        device = batch.input.tokens.device
        lengths = torch.tensor(batch.input.lengths, device=device)
        vectors = self.logits(model, batch.input, lengths.cumsum(0) - lengths)
        each = vectors.split([outer(part) for part in self.parts], 1)
        tables = [body.tokens for body in getattr(model, "bodies", [model])]
        return {
            name: [self._written(name, i, tables[i], own, batch.output, target.at[:, 0]) for i, own in enumerate(each)]
            for name, target in asked.items()
        }

    def _written(
        self, name: str, number: int, table: Any, vectors: Tensor, output: Stream | None, at: Tensor
    ) -> Tensor:
        """`at` (m,): places of the output that this decoder writes -> (m, V)."""
        decoders = self.get_submodule(f"decoders{number}")
        places = at[:0] if output is None else torch.nonzero(output.segments == TERMS.index(name))[:, 0]
        if output is None or not len(places):  # nothing is asked here of what other processes are asked
            return decoders.token(vectors[:1]).expand(len(at), -1)
        begin = torch.nonzero(output.positions[places] == 0)[:, 0]
        lengths = torch.diff(begin, append=begin.new_tensor([len(places)]))
        sizes = torch.tensor(output.lengths, device=places.device)
        whose = torch.searchsorted(sizes.cumsum(0), places[begin], right=True)
        states = decoders(name, table(output.tokens[places]), pick(vectors, whose), lengths)
        return decoders.token(pick(states, torch.searchsorted(places, at)))
