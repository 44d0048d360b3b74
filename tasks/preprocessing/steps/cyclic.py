"""Parts of an instant as places on a circle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from pydantic import Field

from expectations.fields import Zone
from expectations.parts import FeatureStep, FitContext, Kind, Learnt
from tasks.preprocessing.reading import REMEMBERED_INSTANTS
from tasks.preprocessing.steps.calendar import OF_COLUMN, OF_INSTANT, PartsOfInstants

CyclicPart = Literal["minute", "hour", "day", "weekday", "month", "quarter", "week", "day_of_year"]
_CIRCLES: dict[str, tuple[int, int]] = {
    "minute": (0, 60),
    "hour": (0, 24),
    "day": (1, 31),
    "weekday": (0, 7),
    "month": (1, 12),
    "quarter": (1, 4),
    "week": (1, 53),
    "day_of_year": (1, 366),
}
"""Part -> the least value, and how many there are."""


@dataclass(frozen=True)
class FittedCircle(PartsOfInstants):
    """Sine and cosine of parts of an instant."""

    step: ClassVar[str] = "cyclic"

    @property
    def made(self) -> tuple[str, ...]:
        """Names of two columns for each part."""
        return _names(self.column, self.parts)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Place a column on circles."""
        columns = []
        for part in self.parts:
            values = frame.select(OF_COLUMN[part](self.local).cast(pl.Float64).alias("value"))["value"].to_numpy()
            known = ~np.isnan(values)
            least, _ = _CIRCLES[part]
            places = np.array(_places(part))
            found = np.full((len(values), 2), np.nan)
            found[known] = places[values[known].astype(np.int64) - least]
            for name, column in zip(_names(self.column, (part,)), found.T, strict=True):
                columns.append(pl.Series(name, column, dtype=pl.Float64, nan_to_null=True))
        return frame.with_columns(columns)

    def reader(self) -> Callable[[datetime | str], tuple[float | None, ...]]:
        """Return a function that remembers some."""
        return _reader(self.parts, self.timezone)


def _names(column: str, parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{column}_{part}_{function}" for part in parts for function in ("sin", "cos"))


def _places(part: str) -> list[tuple[float, float]]:
    """Return sine and cosine of each value of a part: both executors look them up, so that they agree."""
    _, count = _CIRCLES[part]
    angles = [2 * math.pi * place / count for place in range(count)]
    return [(math.sin(angle), math.cos(angle)) for angle in angles]


def _reader(parts: Sequence[str], timezone: str) -> Callable[[datetime | str], tuple[float, ...]]:
    """Return a function from an instant, or its text in UTC, to the places of its parts; it remembers some."""
    zone = ZoneInfo(timezone)
    readings = [(OF_INSTANT[part], _CIRCLES[part][0], _places(part)) for part in parts]

    @lru_cache(REMEMBERED_INSTANTS)
    def read(instant: datetime | str) -> tuple[float, ...]:
        local = (datetime.fromisoformat(instant) if isinstance(instant, str) else instant).astimezone(zone)
        return tuple(number for reading, least, places in readings for number in places[reading(local) - least])

    return read


class Cyclic(FeatureStep):
    """Sine and cosine of parts of an instant in a time zone: 23 h lies beside 0 h, December beside January.

    Both are missing where the instant is.
    """

    examples: ClassVar = (
        {"cyclic": "when", "parts": ["hour", "weekday", "month", "day_of_year"], "timezone": "Europe/Paris"},
        {"cyclic": "when", "parts": ["minute", "day", "quarter", "week"]},
    )
    fitted: ClassVar = FittedCircle
    makes_categories: ClassVar = False

    cyclic: str
    parts: Annotated[tuple[CyclicPart, ...], Field(min_length=1)]
    timezone: Zone = "UTC"

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its column, an instant."""
        del held
        return {self.cyclic: "instant"}

    def makes(self) -> tuple[str, ...]:
        """Return two columns for each part."""
        return _names(self.cyclic, self.parts)

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt((FittedCircle(self.cyclic, tuple(self.parts), self.timezone),))
