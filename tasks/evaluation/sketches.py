"""Sketches: a table reduced to counts by unit of time, that add up: a year is the sum of its days.

A unit is a local day of event time where the reference has at least eight of them, else a run of rows. Of each column a
unit keeps how many values lie in each of 32 bins (edges at the reference's quantiles, equally far apart in normal
score, so fine in the tails) or are of each of its 20 commonest categories, how many are missing, and how many are
outside of all that was seen before. Adding units is adding counts; their order is kept, since what is neighbouring in
time is alike, and a test that does not know it gives false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from expectations.errors import BundleError
from tasks.evaluation.columns import Column, Counts, Tally, describe, settle
from tasks.evaluation.constancy import Repeats
from tasks.evaluation.counting import Sample, count_units, in_order, is_watched
from tasks.evaluation.views import Viewed, views_of, with_views

FORMAT = 2
MAX_UNITS = 512
RUNS = 128
MIN_DAYS = 8
SMALL = 2000
"""Fewer rows of a reference are kept as they are: its quantiles alone would not resolve what a window holds."""


@dataclass(frozen=True)
class Reference:
    """What a table looked like, and how a window is counted to be held against it.

    Attributes
    ----------
    columns : mapping of str to Column
    sample : Sample
    unwatched : mapping of str to str
        Columns of a type that is not watched, with that type.
    timezone : str
        Whose days are the units.
    values : polars.DataFrame or None
        The rows themselves, in order of time, where they are fewer than 2,000.
    moments : polars.Series or None
        Their times, where they have some.
    views : tuple of Viewed
        Which of `columns` are views of others of the table.
    """

    columns: Mapping[str, Column]
    sample: Sample
    unwatched: Mapping[str, str]
    timezone: str = "UTC"
    values: pl.DataFrame | None = None
    moments: pl.Series | None = None
    views: tuple[Viewed, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of the table it was made of, each once: also those of which only a view is watched."""
        made = {each.name for each in self.views}
        own = (name for name in self.columns if name not in made)
        return tuple(dict.fromkeys((*own, *(each.column for each in self.views), *self.unwatched)))

    def prepared(self, window: pl.DataFrame, times: pl.Series | None) -> pl.DataFrame:
        """Put views beside the columns of a window, as they are beside those of the reference."""
        return with_views(window, times, self.views)

    def only(self, names: Collection[str]) -> Reference:
        """Leave out columns that are not among these."""
        views = tuple(each for each in self.views if each.column in names or each.name in names)
        names = {*names, *(each.name for each in views)}
        kept = {name: column for name, column in self.columns.items() if name in names}
        unwatched = {name: each for name, each in self.unwatched.items() if name in names}
        return replace(self, columns=kept, unwatched=unwatched, views=views)

    def count(self, frame: pl.DataFrame, times: pl.Series | None = None, *, length: int | None = None) -> Sample:
        """Count a window by this reference's columns, into units as long as its own."""
        frame, times = in_order(frame, times)
        sample = self.sample
        return count_units(
            self.columns, frame, times, self.timezone, sample.unit, length or sample.length, reference=False
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        sample = self.sample
        views = {each.name: [each.column, each.view] for each in self.views}
        if self.values is not None:
            return {
                "timezone": self.timezone,
                "unwatched": dict(self.unwatched),
                "views": views,
                "moments": None if self.moments is None else self.moments.dt.epoch("us").to_list(),
                "values": {
                    name: {"kind": column.kind, "middle": self._middle(name), "values": self.values[name].to_list()}
                    for name, column in self.columns.items()
                },
            }
        return {
            "unit": sample.unit,
            "length": sample.length,
            "timezone": self.timezone,
            "starts": _text(sample.starts),
            "rows": _text(sample.rows),
            "hours": _text(sample.hours),
            "unwatched": dict(self.unwatched),
            "views": views,
            "columns": {
                name: {
                    "kind": column.kind,
                    "middle": self._middle(name),
                    "edges": column.edges.tolist(),
                    "categories": list(column.categories),
                    "known": list(column.known),
                    "least": column.least,
                    "greatest": column.greatest,
                    "mean": column.mean,
                    "spread": column.spread,
                    "centres": column.centres.tolist(),
                    "counts": _text(sample.tallies[name].counts),
                    "missing": _text(sample.tallies[name].missing),
                    "outside": _text(sample.tallies[name].outside),
                    "sums": sample.tallies[name].sums.tolist(),
                    "square": sample.tallies[name].square,
                    "cycle": sample.tallies[name].cycle,
                    "repeats": None if column.repeats is None else asdict(column.repeats),
                }
                for name, column in self.columns.items()
            },
        }

    def _middle(self, name: str) -> float | str | None:
        """Return a value as there are many, to show."""
        column = self.columns[name]
        if column.kind == "category":
            return column.categories[0] if column.categories else None
        return column.middle if len(column.edges) else None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Reference:
        """Read what `to_dict` wrote."""
        views = tuple(Viewed(*each) for each in data.get("views", {}).values())
        if "values" in data:
            values = pl.DataFrame(
                pl.Series(name, each["values"], pl.Float64 if each["kind"] == "number" else pl.String, strict=False)
                for name, each in data["values"].items()
            )
            moments = data["moments"]
            times = None if moments is None else pl.Series(moments, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
            made = sketch(values, times, timezone=data["timezone"], views=views)
            return replace(made, unwatched=data["unwatched"])
        columns: dict[str, Column] = {}
        tallies: dict[str, Tally] = {}
        for name, each in data["columns"].items():
            column = columns[name] = Column(
                each["kind"],
                np.array(each["edges"], dtype=np.float64),
                tuple(each["categories"]),
                tuple(each["known"]),
                _number(each["least"]),
                _number(each["greatest"]),
                _number(each["mean"]),
                _number(each["spread"]),
                np.array([*map(_number, each["centres"])], dtype=np.float64),
                Repeats(**each["repeats"]) if each.get("repeats") else None,
            )
            tallies[name] = Tally(
                _numbers(each["counts"]).reshape(-1, column.bins),
                _numbers(each["missing"]),
                _numbers(each["outside"]),
                np.array([*map(_number, each["sums"])], dtype=np.float64),
                _number(each["square"]),
                _number(each["cycle"]),
            )
        sample = Sample(
            data["unit"],
            data["length"],
            _numbers(data["starts"]),
            _numbers(data["rows"]),
            _numbers(data["hours"]),
            tallies,
        )
        return cls(columns, sample, data["unwatched"], data["timezone"], views=views)


def _text(values: Counts) -> str:
    return " ".join(map(str, values.ravel().tolist()))


def _numbers(text: str) -> Counts:
    return np.array(text.split(), dtype=np.int64)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def sketch(
    frame: pl.DataFrame,
    times: pl.Series | None = None,
    *,
    timezone: str = "UTC",
    views: tuple[Viewed, ...] | None = None,
) -> Reference:
    """Reduce a reference to its sketch.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, n_columns)
        Raw rows. Numbers, booleans and texts are watched, and views of what can be viewed.
    times : polars.Series of shape (n_rows,), optional
        Event times; without them the rows are taken to be in their order.
    timezone : str
        Whose days are the units, where there are times.
    views : tuple of Viewed, optional
        Which columns are views of others; found, where not given.
    """
    frame, times = in_order(frame, times)
    views = views_of(frame, times) if views is None else views
    frame = with_views(frame, times, views)
    watched = [name for name, dtype in frame.schema.items() if is_watched(dtype)]
    seen = {*watched, *(each.column for each in views)}
    unwatched = {name: str(dtype) for name, dtype in frame.schema.items() if name not in seen}
    frame = frame.select(watched)
    days = 0 if times is None else times.drop_nulls().dt.convert_time_zone(timezone).dt.date().n_unique()
    unit: Literal["day", "rows"] = "day" if days >= MIN_DAYS else "rows"
    length = 1 if unit == "day" else max(1, -(-len(frame) // RUNS))
    columns = {name: describe(frame[name]) for name in watched}
    sample = count_units(columns, frame, times, timezone, unit, length, reference=True)
    columns = {name: settle(column, sample.tallies[name]) for name, column in columns.items()}
    while len(sample.rows) > MAX_UNITS:
        sample = sample.coarsen(2)
    if len(frame) >= SMALL:
        return Reference(columns, sample, unwatched, timezone, views=views)
    kept = frame.with_columns(pl.col(name).cast(pl.Float64) for name in watched if columns[name].kind == "number")
    kept = kept.with_columns(pl.col(name).cast(pl.String) for name in watched if columns[name].kind == "category")
    return Reference(columns, sample, unwatched, timezone, kept, times, views)


def references_to_dict(references: Sequence[Reference]) -> dict[str, Any]:
    """Return what JSON can carry of the references of a bundle."""
    return {"format": FORMAT, "tables": [each.to_dict() for each in references]}


def references_from_dict(data: Mapping[str, Any]) -> list[Reference]:
    """Read what `references_to_dict` wrote; a bundle of before sketches has none.

    Raises
    ------
    BundleError
        If a newer driftwheel wrote it.
    """
    if not isinstance(data.get("format"), int):  # before, a column's name led to what was kept of it
        return []
    if data["format"] != FORMAT:
        raise BundleError(
            f"a reference of format {FORMAT}", f"format {data['format']}", "Update driftwheel to that which packed it"
        )
    return [Reference.from_dict(each) for each in data["tables"]]
