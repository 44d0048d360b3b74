"""Inputs of two periods as numbers for trees, and as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.metrics import Array
from tasks.evaluation.causes.rows import PeriodRows

_CATEGORIES = 60


class Columns:
    """The inputs of both periods, with hour and weekday, as numbers for trees."""

    def __init__(self, old: PeriodRows, new: PeriodRows, timezone: str) -> None:
        usable = [
            name
            for name, dtype in old.inputs.schema.items()
            if dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
        ]
        self.raw = usable
        self.old, self.new = _timed(old, usable, old.inputs, timezone), _timed(new, usable, old.inputs, timezone)
        self.names = [name for name in self.old.columns if self._is_informative(name)]
        self.categories = {name: self._texts(name) for name in self.names if not self.old.schema[name].is_numeric()}
        self._kept: dict[tuple[str, str], Array] = {}

    def _is_informative(self, name: str) -> bool:
        """Whether a column says something: it has two values, and does not identify rows."""
        known = self.old[name].drop_nulls()
        if self.old.schema[name].is_numeric():
            return True
        return len(known) > 0 and known.n_unique() <= max(len(known) // 2, 2)

    def _texts(self, name: str) -> list[str]:
        both = pl.concat([self.old[name], self.new[name]]).drop_nulls().alias("text")
        counted = both.value_counts(name="count").sort(["count", "text"], descending=[True, False])
        return [str(each) for each in counted["text"].head(_CATEGORIES).to_list()]

    def matrix(self, side: Literal["old", "new"], names: Sequence[str]) -> tuple[Array, list[int]]:
        """Return columns as numbers, shape (n_rows, n_names), and which of them are categories."""
        columns = [self._numbers(side, name) for name in names]
        return np.stack(columns, axis=1), [place for place, name in enumerate(names) if name in self.categories]

    def _numbers(self, side: Literal["old", "new"], name: str) -> Array:
        if (side, name) not in self._kept:
            values = (self.old if side == "old" else self.new)[name]
            if name in self.categories:
                places = {text: place for place, text in enumerate(self.categories[name])}
                codes = values.replace_strict(places, default=len(places), return_dtype=pl.Float64)
                numbers = np.where(values.is_null().to_numpy(), np.nan, codes.to_numpy())
            else:
                numbers = values.cast(pl.Float64).to_numpy().astype(np.float64)
                numbers = np.where(np.isfinite(numbers), numbers, np.nan)
            self._kept[side, name] = numbers
        return self._kept[side, name]

    def plain(self, kept: npt.NDArray[np.intp]) -> tuple[Mapping[str, pl.Series], Mapping[str, pl.Series]]:
        """Return the columns of both periods as people read them."""

        def readable(side: Literal["old", "new"], name: str) -> pl.Series:
            if name in self.categories:
                return (self.old if side == "old" else self.new)[name].cast(pl.String)
            return pl.Series(name, self._numbers(side, name))

        rows = pl.Series(kept)
        return (
            {name: readable("old", name) for name in self.names},
            {name: readable("new", name)[rows] for name in self.names},
        )


def _timed(rows: PeriodRows, names: Sequence[str], like: pl.DataFrame, timezone: str) -> pl.DataFrame:
    """Return inputs of the types of the reference, absent ones missing, with hour and weekday."""
    frame = pl.DataFrame(
        [
            rows.inputs[name].cast(like.schema[name], strict=False)
            if name in rows.inputs.columns
            else pl.Series(name, [None] * len(rows), dtype=like.schema[name])
            for name in names
        ]
    )
    frame = frame.with_columns(pl.col(name).cast(pl.String) for name in names if not like.schema[name].is_numeric())
    instants = pl.Series("t", (rows.seconds * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC"))
    local = instants.dt.convert_time_zone(timezone)
    parts = {"hour": local.dt.hour(), "weekday": local.dt.weekday()}
    return pl.DataFrame(
        [*frame, *(values.cast(pl.Float64).alias(name) for name, values in parts.items() if name not in names)]
    )
