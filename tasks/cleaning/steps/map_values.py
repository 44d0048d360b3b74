"""Spellings replaced by the agreed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import polars as pl
from pydantic import model_validator

from expectations.fields import Strict
from expectations.parts import CleaningStep, FittedStep, Kind, Repaired, RowWriter
from tasks.cleaning.changes import count_changes


@dataclass(frozen=True)
class FittedReplace(FittedStep):
    """Texts of `column` found in `spellings` become the text beside it at the same place; None is missing."""

    step: ClassVar[str] = "map"

    column: str
    spellings: tuple[str, ...]
    agreed: tuple[str | None, ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def _replacements(self) -> dict[str, str | None]:
        return dict(zip(self.spellings, self.agreed, strict=True))

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replace in a column."""
        return frame.with_columns(pl.col(self.column).replace(self._replacements))

    def row(self, out: RowWriter) -> None:
        """Replace one text."""
        name = out.variable(self.column)
        out.line(f"{name} = {out.bind(self._replacements)}.get({name}, {name})")
        out.note(self.column, never_missing=False)


class ValueMap(Strict):
    """Replacements in one text column; a null replacement makes the value missing."""

    column: str
    values: dict[str, str | None]

    @model_validator(mode="after")
    def _settled(self) -> Self:
        chained = sorted(set(self.values) & {value for value in self.values.values() if value is not None})
        if chained:
            raise ValueError(f"{', '.join(chained)} is replaced and is a replacement; name the final spelling")
        return self


class MapValues(CleaningStep):
    """Replace spellings by the agreed one."""

    examples: ClassVar = ({"map": {"column": "t", "values": {"a b": "b", "7": None}}},)
    fitted: ClassVar = FittedReplace
    own_columns: ClassVar = True

    map: ValueMap

    def reads(self) -> tuple[str, ...]:
        """Return its column."""
        return (self.map.column,)

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Replace them."""
        del keys
        column = self.map.column
        mapped = rows.with_columns(pl.col(column).replace(dict(self.map.values)))
        return mapped, Repaired(f"map({column})", 0, count_changes(rows, mapped, [column]))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return the replacements, where a request carries the column as a text."""
        if kinds.get(self.map.column) != "text":
            return ()
        return (FittedReplace(self.map.column, tuple(self.map.values), tuple(self.map.values.values())),)
