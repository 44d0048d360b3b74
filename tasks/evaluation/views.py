"""Views: numbers that stand for columns whose values are neither numbers nor few categories, and are watched as such.

A text of many values drifts where its length does, though none of its values comes twice; an instant by how long before
the row it lies; a picture by how bright it is, and how rich in contrast. A view is a column of its own beside those of
the table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from tasks.evaluation.columns import MAX_CATEGORIES
from tasks.preprocessing.pictures import REFERENCE, light_of

_INSTANT = pl.Datetime("us", "UTC")
_HOUR = 3_600_000_000


class View(ABC):
    """How a kind of column is looked at as numbers.

    Attributes
    ----------
    words : mapping of str to str
        Each view that one look gives -> its name, with the column in the place of `{}`.
    """

    words: Mapping[str, str]

    @abstractmethod
    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:
        """Whether a column of a reference is looked at so."""

    @abstractmethod
    def numbers(self, values: pl.Series, times: pl.Series | None) -> Mapping[str, pl.Series] | None:
        """Return the numbers of each view, null where the value is; None where a window holds another type.

        Parameters
        ----------
        values, times : polars.Series of shape (n_rows,)
            Values, and the event times of their rows in UTC, where rows have some.
        """


class Length(View):
    """How many characters a text has; of texts of more values than are counted one by one."""

    words: Mapping[str, str] = MappingProxyType({"length": "length of {}"})

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        del times
        if values.dtype != pl.String or _are_pictures(values):
            return False
        return values.drop_nulls().n_unique() > MAX_CATEGORIES

    def numbers(self, values: pl.Series, times: pl.Series | None) -> Mapping[str, pl.Series] | None:  # noqa: D102
        del times
        if values.dtype == pl.Null:
            return {"length": values.cast(pl.Float64)}
        return {"length": values.str.len_chars().cast(pl.Float64)} if values.dtype == pl.String else None


class Light(View):
    """How bright a picture is, and how rich in contrast (`tasks.preprocessing.pictures.light_of`)."""

    words: Mapping[str, str] = MappingProxyType(
        {"brightness": "brightness of {}", "contrast": "contrast of {}"}  # as `light_of` returns them
    )

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        del times
        return values.dtype == pl.Binary or _are_pictures(values)

    def numbers(self, values: pl.Series, times: pl.Series | None) -> Mapping[str, pl.Series] | None:  # noqa: D102
        del times
        if values.dtype == pl.Null:
            return dict.fromkeys(self.words, values.cast(pl.Float64))
        if values.dtype != pl.Binary and values.dtype != pl.String:
            return None
        lights = [(None, None) if light is None else light for light in map(light_of, values)]
        return {
            kind: pl.Series(values.name, [light[place] for light in lights], dtype=pl.Float64)
            for place, kind in enumerate(self.words)
        }


def _are_pictures(values: pl.Series) -> bool:
    """Whether texts are what the journal keeps of pictures; all of a column are, or none."""
    known = values.dtype == pl.String and values.drop_nulls().head(1)
    return len(known) > 0 and known.item().startswith(REFERENCE) if isinstance(known, pl.Series) else False


class Age(View):
    """How many hours before its row an instant lies; negative where it lies ahead."""

    words: Mapping[str, str] = MappingProxyType({"age": "hours since {}"})

    def fits(self, values: pl.Series, times: pl.Series | None) -> bool:  # noqa: D102
        return times is not None and (isinstance(values.dtype, pl.Datetime) or values.dtype == pl.Date)

    def numbers(self, values: pl.Series, times: pl.Series | None) -> Mapping[str, pl.Series] | None:  # noqa: D102
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
        return {"age": gone.cast(pl.Float64) / _HOUR}


VIEWS: Mapping[str, View] = {kind: view for view in (Length(), Age(), Light()) for kind in view.words}


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
        return VIEWS[self.view].words[self.view].format(self.column)


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
    looks: dict[tuple[str, View], Mapping[str, pl.Series] | None] = {}  # one gives all views of its kind
    made = []
    for each in views:
        if each.column not in frame.columns or each.name in frame.columns:
            continue
        look = (each.column, VIEWS[each.view])
        if look not in looks:
            looks[look] = look[1].numbers(frame[each.column], times)
        numbers = looks[look]
        made += [] if numbers is None else [numbers[each.view].alias(each.name)]
    return frame.with_columns(made)
