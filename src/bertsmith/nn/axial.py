"""Positions as the places of a grid: a vector for its row and one for its column, side by side (Kitaev et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.config import require

if TYPE_CHECKING:
    from bertsmith.nn.modules.axial import AxialTables


@dataclass(frozen=True, kw_only=True)
class Axial:
    """`rows` x `columns` places; `width`: of the rows' vectors, the columns' have the rest (null: a quarter of it)."""

    rows: int = 64
    columns: int = 64
    width: int | None = None

    def __post_init__(self):
        for name in ("rows", "columns"):
            require(getattr(self, name) > 0, f"model.positions.{name}: {getattr(self, name)} must be above 0")

    @property
    def length(self) -> int:
        return self.rows * self.columns

    def widths(self, model: Any) -> tuple[int, int]:
        own = max(1, model.placed // 4) if self.width is None else self.width
        return own, model.placed - own

    def check(self, model: Any) -> None:
        require(
            min(self.widths(model)) > 0,
            f"model.positions.width: {self.width} leaves nothing of the {model.placed} of the table; between 0 and that",
        )

    def build(self, model: Any) -> "AxialTables":
        from bertsmith.nn.modules.axial import AxialTables

        return AxialTables(self.rows, self.columns, *self.widths(model))

    def parameters(self, model: Any) -> int:
        of_rows, of_columns = self.widths(model)
        return self.rows * of_rows + self.columns * of_columns
