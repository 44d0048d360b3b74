"""Cleaning: repair that learns nothing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Tag,
    model_validator,
)

from expectations.fields import Columns, Strict, by_first_key


class DropDuplicates(Strict):
    """Of several rows with the same values in these columns the last collected stays."""

    drop_duplicates: Literal["keys"] | Columns


class ClipRange(Strict):
    """Bounds; values beyond are set to them."""

    columns: Columns
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("clip needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Clip(Strict):
    """Set values outside a range to its bounds."""

    clip: ClipRange


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


class MapValues(Strict):
    """Replace spellings by the agreed one."""

    map: ValueMap


class DropMissing(Strict):
    """Leave out rows without a value in any of these columns."""

    drop_missing: Columns


CleaningStep = Annotated[
    Annotated[DropDuplicates, Tag("drop_duplicates")]
    | Annotated[Clip, Tag("clip")]
    | Annotated[MapValues, Tag("map")]
    | Annotated[DropMissing, Tag("drop_missing")],
    by_first_key("drop_duplicates", "clip", "map", "drop_missing"),
]
