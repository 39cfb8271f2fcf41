"""GloVe's loss over cells of a table of co-occurrences.  m cells, d width.  Losses are sums; gradients are made beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.data.batch import Batch
from bertsmith.nn.modules.static import Moved, Rows, table
from bertsmith.objectives.modules.known import known
from bertsmith.objectives.neighbours import CELL

if TYPE_CHECKING:
    from bertsmith.objectives.neighbours import LogCounts


class CellsObjective(nn.Module):
    """The biases of words and of words as context; their vectors are the body's two tables."""

    def __init__(self, config: LogCounts, vocab: int):
        super().__init__()
        self.config = config
        self.bias, self.context_bias = (table(vocab, 1, drawn=False) for _ in range(2))

    def weights(self) -> dict[str, float]:
        return self.config.weights()

    def forward(self, model: Any, batch: Batch) -> dict[str, Tensor]:
        if CELL not in batch.targets:
            return {}
        with torch.no_grad():
            loss, _, parts = self._learned(model, batch)
        return {CELL: known(loss, parts)}

    @torch.no_grad()
    def scores(self, model: Any, batch: Batch) -> dict[str, dict[str, float]]:
        """`mean`: what is lost where every cell is said to have the mean of their logs."""
        loss, mean, _ = self._learned(model, batch)
        return {CELL: {"loss": loss.item(), "mean": mean.item(), "count": len(batch.asked(CELL))}}

    def _learned(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor, list[Moved]]:
        target = batch.targets[CELL]
        at = target.at[:, 0]
        asked = target.labels > 0  # what keeps step with other processes is not
        word = batch.input.tokens[at]
        other = batch.input.tokens[(at + 1).clamp(max=len(batch.input.tokens) - 1)]
        tables = [model.tokens.weight, model.context.weight, self.bias.weight, self.context_bias.weight]
        x, y, b, c = (
            F.embedding(tokens, part.detach()) for part, tokens in zip(tables, (word, other, word, other), strict=True)
        )
        counts = torch.where(asked, target.labels, 1.0).to(x.dtype)
        weight = (counts / self.config.most).pow(self.config.power).clamp(max=1.0) * asked
        log = counts.log()
        apart = (x * y).sum(-1) + b[:, 0] + c[:, 0] - log
        slope = 2 * weight * apart
        mean = (weight * log).sum() / weight.sum().clamp(min=1e-30)
        words, others = Rows(word), Rows(other)
        pulls = (
            (words, slope[:, None] * y),
            (others, slope[:, None] * x),
            (words, slope[:, None]),
            (others, slope[:, None]),
        )
        parts = [(part, rows.rows, rows.added(pull)) for part, (rows, pull) in zip(tables, pulls, strict=True)]
        return (weight * apart.square()).sum(), (weight * (log - mean).square()).sum(), parts
