"""Ranges in the place of personal numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from expectations.column_types import ColumnType
from expectations.protection import Protection

if TYPE_CHECKING:
    import polars as pl


class Bucket(Protection):
    """Keep of each number the lower end of its range of a width, as 40 for an age of 47 by tens."""

    examples: ClassVar = ({"bucket": 10},)
    words: ClassVar = "put into ranges"

    bucket: Annotated[int, Field(ge=2, le=2**53)]
    """Width of the ranges; whole, so that they are the same in every arithmetic."""

    def misfits(self, kind: ColumnType) -> str:
        """Say that it is for numbers."""
        return "" if kind in ("number", "integer") else "numbers"

    def value(self, value: Any, secret: bytes) -> int | float | None:  # noqa: ANN401 - whatever a row holds
        """Return the lower end of a number's range; None where there is no such number."""
        del secret
        if isinstance(value, int):
            return value // self.bucket * self.bucket if value >= self.bucket - 2**63 else None
        return math.floor(value / self.bucket) * float(self.bucket) if math.isfinite(value) else None

    def column(self, values: pl.Series, secret: bytes) -> pl.Series:
        """Return the lower ends of a column's ranges."""
        del secret
        import numpy as np
        import polars as pl

        if values.dtype.is_integer():
            found, sound = values // self.bucket * self.bucket, values >= self.bucket - 2**63
        else:
            # Polars multiplies by 1 / width, which is another number
            ends = np.floor(values.to_numpy() / self.bucket) * float(self.bucket)
            found, sound = pl.Series(ends), values.is_finite()
        return pl.select(pl.when(sound).then(found)).to_series().alias(values.name)
