"""Numbers that a row gets from earlier rows: lags, and aggregates of a window of time before it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from expectations.durations import Duration
from expectations.fields import PositiveSpan, Span, Strict

AggregateName = Literal["mean", "min", "max", "sum", "count", "std"]
MAX_ROWS_BACK = 1000
_NOT_AT_ONCE = Duration.parse("0d")


def _of_fixed_length(span: Duration) -> Duration:
    if span.months:
        raise ValueError(f"counts in s, m, h, d or w, not {span.text}: months and years differ in length")
    return span


FixedSpan = Annotated[PositiveSpan, AfterValidator(_of_fixed_length)]
"""A span that is as long at any time of the year."""


class HistoryColumn(Strict):
    """A number that each row gets from earlier rows of the same entity: one value, or an aggregate of several.

    A row counts only if it lies before the row that looks back, and only if it could be known then: `known_after` its
    own time. One without a value does not count.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    of: str
    """The column whose values are looked at: a number of the clean table, or the label."""
    by: tuple[str, ...] = ()
    """Columns that say whose rows are looked at; none where all rows are one series."""
    lag: FixedSpan | None = None
    """The value of the newest row that is at least so much older."""
    rows: Annotated[int, Field(ge=1, le=MAX_ROWS_BACK)] | None = None
    """The value so many rows ago: 1 is the newest row that is known."""
    window: FixedSpan | None = None
    """How much time before the newest that can be known is summed up, by `as`."""
    as_: Annotated[AggregateName | None, Field(alias="as")] = None
    """How a window is summed up; `std` is the sample standard deviation."""
    known_after: Annotated[Span, AfterValidator(_of_fixed_length)] = _NOT_AT_ONCE
    """How long after its event time a row may be looked at: as long as it takes until the service has it."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("lag", "rows", "window") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"one of `lag: 1d`, `rows: 1`, and `window: 7d` with `as: mean`; found {found}")
        if (self.window is None) != (self.as_ is None):
            raise ValueError(
                "a window is summed up by `as`: mean, min, max, sum, count or std"
                if self.window
                else "`as` sums up a `window`; leave it out"
            )
        if self.lag is not None and self.lag.seconds < self.known_after.seconds:
            raise ValueError(
                f"a lag of {self.lag} is shorter than `known_after` ({self.known_after}): rows that new are not known "
                "yet; lengthen one or shorten the other"
            )
        return self

    @property
    def seconds_back(self) -> int:
        """How far back in time it looks at most, in seconds; what `rows` count is not bounded in time."""
        if self.lag is not None:
            return self.lag.seconds
        return self.known_after.seconds + (self.window.seconds if self.window is not None else 0)

    @property
    def rows_back(self) -> int:
        """How many rows it looks back at most, where these are older than what is kept by time."""
        return self.rows or (1 if self.lag is not None else 0)

    def known_from(self, delay: Duration) -> HistoryColumn:
        """Return the same where values are known no sooner than `delay` after their time, as labels are."""
        if delay.seconds <= self.known_after.seconds:
            return self
        return self.model_copy(update={"known_after": delay})
