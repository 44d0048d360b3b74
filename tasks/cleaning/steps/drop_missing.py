"""Rows without a value left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from expectations.fields import Columns
from expectations.parts import CleaningStep, Repaired


class DropMissing(CleaningStep):
    """Leave out rows without a value in any of these columns."""

    examples: ClassVar = ({"drop_missing": ["x", "t"]},)
    own_columns: ClassVar = True

    drop_missing: Columns

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.drop_missing

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Leave them out."""
        del keys
        kept = rows.drop_nulls(list(self.drop_missing))
        return kept, Repaired(f"drop_missing({', '.join(self.drop_missing)})", len(rows) - len(kept))
