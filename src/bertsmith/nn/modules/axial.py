"""Positions on a grid: what nn/axial.py builds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Stream
from bertsmith.errors import InputError
from bertsmith.nn.modules.positions import Position
from bertsmith.spelling import amount


class AxialTables(Position):
    def __init__(self, rows: int, columns: int, of_rows: int, of_columns: int):
        super().__init__()
        self.rows, self.columns = nn.Embedding(rows, of_rows), nn.Embedding(columns, of_columns)

    def embed(self, x: Tensor, stream: Stream) -> Tensor:
        """Raises InputError where a sequence is longer than the grid."""
        columns, longest = self.columns.num_embeddings, max(stream.lengths, default=0)
        room = self.rows.num_embeddings * columns
        if longest > room:
            raise InputError(
                f"a sequence of {amount(longest, 'token')} is longer than the model's {room} positions; cut or split it"
            )
        at = stream.positions
        return x + torch.cat([self.rows(at // columns), self.columns(at % columns)], -1)
