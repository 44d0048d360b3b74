"""What a repair changed."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def count_changes(before: pl.DataFrame, after: pl.DataFrame, columns: Sequence[str]) -> int:
    """Count the values that differ."""
    return sum(int(before[column].ne_missing(after[column]).sum()) for column in columns)
