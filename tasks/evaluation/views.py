"""Views: numbers that stand for columns whose values are neither numbers nor few categories, and are watched as such.

A text of many values drifts where its length does, though none of its values comes twice; an instant by how long before
the row it lies; a picture by how bright it is, and how rich in contrast. A view is a column of its own beside those of
the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from tasks.evaluation.columns import MAX_CATEGORIES
from tasks.preprocessing.pictures import REFERENCE, light_of

_INSTANT = pl.Datetime("us", "UTC")
_HOUR = 3_600_000_000


class View(ABC):
    """How a kind of column is looked at as a number.

    Attributes
    ----------
    words : str
        Name of the view, with the column in the place of `{}`.
    """

    words: str

    @abstractmethod
    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:
        """Whether a column of a reference is looked at so."""

    @abstractmethod
    def numbers(self, values: pl.Series, times: pl.Series | None) -> pl.Series | None:
        """Return the numbers, null where the value is; None where a window holds another type.

        Parameters
        ----------
        values, times : polars.Series of shape (n_rows,)
            Values, and the event times of their rows in UTC, where rows have some.
        """


class Length(View):
    """How many characters a text has; of texts of more values than are counted one by one."""

    words = "length of {}"

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        del times
        if values.dtype != pl.String or _are_pictures(values):
            return False
        return values.drop_nulls().n_unique() > MAX_CATEGORIES

    def numbers(self, values: pl.Series, times: pl.Series | None) -> pl.Series | None:  # noqa: D102
        del times
        if values.dtype == pl.Null:
            return values.cast(pl.Float64)
        return values.str.len_chars().cast(pl.Float64) if values.dtype == pl.String else None


class Light(View):
    """How bright a picture is, or how rich in contrast (`tasks.preprocessing.pictures.light_of`)."""

    def __init__(self, words: str, place: int) -> None:
        self.words, self._place = words, place

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        del times
        return values.dtype == pl.Binary or _are_pictures(values)

    def numbers(self, values: pl.Series, times: pl.Series | None) -> pl.Series | None:  # noqa: D102
        del times
        if values.dtype == pl.Null:
            return values.cast(pl.Float64)
        if values.dtype != pl.Binary and values.dtype != pl.String:
            return None
        found = [None if light is None else light[self._place] for light in map(light_of, values)]
        return pl.Series(values.name, found, dtype=pl.Float64)


def _are_pictures(values: pl.Series) -> bool:
    """Whether texts are what the journal keeps of pictures; all of a column are, or none."""
    known = values.dtype == pl.String and values.drop_nulls().head(1)
    return len(known) > 0 and known.item().startswith(REFERENCE) if isinstance(known, pl.Series) else False


class Age(View):
    """How many hours before its row an instant lies; negative where it lies ahead."""

    words = "hours since {}"

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        return times is not None and (isinstance(values.dtype, pl.Datetime) or values.dtype == pl.Date)

    def numbers(self, values: pl.Series, times: pl.Series | None) -> pl.Series | None:  # noqa: D102
        if times is None:
            return None
        dtype = values.dtype
        if dtype == pl.String:  # as requests are journaled: in UTC
            instants = values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
        elif dtype == pl.Null or isinstance(dtype, pl.Datetime) or dtype == pl.Date:
            naive = values.cast(pl.Datetime("us")) if not getattr(dtype, "time_zone", None) else None
            instants = naive.dt.replace_time_zone("UTC") if naive is not None else values.cast(_INSTANT)
        else:
            return None
        gone = times.cast(_INSTANT).dt.epoch("us") - instants.dt.epoch("us")
        return gone.cast(pl.Float64) / _HOUR


VIEWS: Mapping[str, View] = {
    "length": Length(),
    "age": Age(),
    "brightness": Light("brightness of {}", 0),
    "contrast": Light("contrast of {}", 1),
}


@dataclass(frozen=True)
class Viewed:
    """A view of a column of a table.

    Attributes
    ----------
    view : str
        One of `VIEWS`.
    """

    column: str
    view: str

    @property
    def name(self) -> str:
        """Under which name it is watched."""
        return VIEWS[self.view].words.format(self.column)


def picture_views(columns: Iterable[str]) -> tuple[Viewed, ...]:
    """Return how columns of pictures are viewed."""
    return tuple(Viewed(name, kind) for name in columns for kind, view in VIEWS.items() if isinstance(view, Light))


def views_of(frame: pl.DataFrame, times: pl.Series | None) -> tuple[Viewed, ...]:
    """Return how the columns of a reference are viewed; a column that has the name of a view already stays itself."""
    found = (
        Viewed(name, kind) for name in frame.columns for kind, view in VIEWS.items() if view.fits(frame[name], times)
    )
    return tuple(each for each in found if each.name not in frame.columns)


def with_views(frame: pl.DataFrame, times: pl.Series | None, views: tuple[Viewed, ...]) -> pl.DataFrame:
    """Put views beside the columns of a table; one whose column is absent or of another type is left out."""
    made = [
        numbers.alias(each.name)
        for each in views
        if each.column in frame.columns and each.name not in frame.columns
        if (numbers := VIEWS[each.view].numbers(frame[each.column], times)) is not None
    ]
    return frame.with_columns(made)
