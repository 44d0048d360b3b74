"""Texts without the spaces around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from expectations.fields import Columns
from expectations.parts import CleaningStep, FittedStep, Kind, Repaired, RowWriter
from tasks.cleaning.changes import count_changes


@dataclass(frozen=True)
class FittedTrim(FittedStep):
    """Texts of `column` lose the spaces around them, and their case where `fold_case`."""

    step: ClassVar[str] = "trim"

    column: str
    fold_case: bool

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Trim each text of a column once."""
        known = frame[self.column].unique().drop_nulls()
        trimmed = [self._trimmed(text) for text in known]
        return frame.with_columns(
            frame[self.column].replace_strict(known, trimmed, default=None, return_dtype=pl.String)
        )

    def row(self, out: RowWriter) -> None:
        """Trim one text."""
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = {out.bind(self._trimmed)}({name})")

    def _trimmed(self, text: str) -> str:
        return text.strip().casefold() if self.fold_case else text.strip()


class Trim(CleaningStep):
    """Take the spaces around texts away, and with `fold_case` their case.

    Spaces are all that Unicode calls so; what is left of nothing else is an empty text, which `map` makes missing.
    """

    examples: ClassVar = ({"trim": ["t"]}, {"trim": ["t"], "fold_case": True})
    fitted: ClassVar = FittedTrim
    own_columns: ClassVar = True

    trim: Columns
    fold_case: bool = False
    """`STRASSE` and `Straße` become `strasse`."""

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.trim

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Trim them; numbers have nothing to trim."""
        del keys
        trimmed = rows
        for column in self.trim:
            if rows.schema[column] == pl.String:
                trimmed = FittedTrim(column, self.fold_case).frame(trimmed)
        return trimmed, Repaired(f"trim({', '.join(self.trim)})", 0, count_changes(rows, trimmed, self.trim))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return it for the columns that a request carries as texts."""
        return [FittedTrim(column, self.fold_case) for column in self.trim if kinds.get(column) == "text"]
