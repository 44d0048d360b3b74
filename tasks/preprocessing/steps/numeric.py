"""Columns as numbers, as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import polars as pl

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, Kind, Learnt


class Numeric(FeatureStep):
    """Take columns as numbers, as they are."""

    examples: ClassVar = ({"numeric": ["x", "n"]},)

    numeric: Columns

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.numeric, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt()
