"""Categories as one of a fixed number of codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import to_text
from tasks.preprocessing.texts import hash_text


@dataclass(frozen=True)
class FittedHash(FittedStep):
    """Categories of `column` become their hash modulo `buckets`; missing ones -1."""

    step: ClassVar[str] = "hashed"

    column: str
    buckets: int

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Hash the categories of a column."""
        texts = frame.select(to_text(pl.col(self.column), frame.schema[self.column]).alias(self.column))[self.column]
        known = texts.unique().drop_nulls()
        codes = texts.replace_strict(known, [self._code(text) for text in known], default=None, return_dtype=pl.Float64)
        return frame.with_columns(codes.fill_null(-1.0))

    def row(self, out: RowWriter) -> None:
        """Hash one category."""
        out.line(f"{out.variable(self.column)} = {out.bind(self._code)}({out.text(self.column)})")
        out.note(self.column, holds_text=False, never_missing=True)

    def _code(self, text: str | None) -> float:
        return -1.0 if text is None else float(hash_text(text) % self.buckets)


class Hashed(FeatureStep):
    """Give each category one of n codes by its hash, one of no training row too; some share a code, missing is -1."""

    examples: ClassVar = ({"hashed": ["t"], "buckets": 16}, {"hashed": ["t", "n"]})
    fitted: ClassVar = FittedHash
    makes_categories: ClassVar = True

    hashed: Columns
    buckets: Annotated[int, Field(ge=2, le=1_000_000)] = 256

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.hashed, "text")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt([FittedHash(column, self.buckets) for column in self.hashed])
