"""Of duplicates the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import polars as pl

from expectations.fields import Columns
from expectations.parts import CleaningStep, Repaired
from tasks.cleaning.duplicates import last_of_each


class DropDuplicates(CleaningStep):
    """Of several rows with the same values in these columns the last collected stays."""

    examples: ClassVar = ({"drop_duplicates": "keys"}, {"drop_duplicates": ["x", "t"]})
    own_columns: ClassVar = True

    drop_duplicates: Literal["keys"] | Columns

    def reads(self) -> tuple[str, ...]:
        """Return its columns; the keys are needed anyway."""
        return () if self.drop_duplicates == "keys" else self.drop_duplicates

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Leave out all but the last."""
        chosen = list(keys) if self.drop_duplicates == "keys" else list(self.drop_duplicates)
        kept = last_of_each(rows, chosen)
        return kept, Repaired(f"drop_duplicates({', '.join(chosen)})", len(rows) - len(kept))
