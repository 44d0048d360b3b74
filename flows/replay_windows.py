"""The history a replay walks through, and its windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from expectations.contradictions import REPLAY
from expectations.errors import SourceError
from expectations.loading import LoadedUseCase
from expectations.windows import Count, Grid, Window
from tasks.collection.joining import join_sources

MIN_COVERED = 0.9
"""Share of a window the history must cover for it to be replayed."""


def read_history(usecase: LoadedUseCase, secret: bytes) -> pl.DataFrame:
    """Read the whole history once: it plays the outside world, which sends rows as time goes by."""
    far = datetime.now(UTC) + timedelta(days=36500)
    return join_sources(usecase, since=None, until=far, secret=secret).rows.sort(
        usecase.spec.time_column, maintain_order=True
    )


def plan_windows(
    usecase: LoadedUseCase, world: pl.DataFrame, start: datetime | None, end: datetime | None
) -> list[Window]:
    """Lay the windows of a replay over a history.

    Raises
    ------
    SourceError
        If there is no window between start and end.
    """
    spec = usecase.spec
    clock = spec.time_column
    if not spec.timed:
        return _plan_by_order(usecase, world, given=bool(start or end))
    first: datetime = world[clock].min()  # type: ignore[assignment] # an instant column
    last: datetime = world[clock].max()  # type: ignore[assignment]
    begin = start or spec.start or first + (last - first) / 5
    if isinstance(spec.windows, Count):
        times = world.filter(pl.col(clock) >= begin)[clock].sort()
        windows = spec.windows.cut(times.filter(times < end) if end else times, begin=begin)
    else:
        windows = _covered(spec.windows, begin, min(end, last) if end else last, end)
    asked_for = start or spec.start
    if asked_for is None:
        windows = [each for each in windows if each.start > first]
    if not windows or windows[0].start <= first:
        found = f"windows from {windows[0].start:%Y-%m-%d} on" if windows else "no whole window"
        raise SourceError(
            f"windows after a history to learn from, of rows from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
            f"{found} (asked for from {asked_for:%Y-%m-%d} on)" if asked_for else found,
            "Choose --from and --to inside the history, or shorter windows (`monitoring.every`)",
        )
    return windows


def _plan_by_order(usecase: LoadedUseCase, world: pl.DataFrame, *, given: bool) -> list[Window]:
    """Lay windows by count over what follows the first third of a history without a clock."""
    windows = usecase.spec.windows
    name = usecase.name.removesuffix(REPLAY)
    if given:
        raise SourceError(
            f"no --from and no --to: {name} has no clock",
            "an instant",
            "Leave them out: the first third of its rows is learnt from, and the rest walked through in their order",
        )
    if not isinstance(windows, Count):
        raise TypeError("without a clock windows are by count")
    left = len(world) - -(-len(world) // 3)
    number = left // windows.rows
    if not number:
        raise SourceError(
            f"a window of {windows.rows} rows after the first third of the history, which is learnt from",
            f"{len(world)} rows in all",
            f"Lower `monitoring.every` of {name}: {{rows: {max(2, left // 10)}}} makes ten of them",
        )
    times = world[usecase.spec.time_column]
    return windows.cut(times[len(times) - number * windows.rows :])


def _covered(grid: Grid, begin: datetime, stop: datetime, end: datetime | None) -> list[Window]:
    """Return the windows of time from one on that a history covers up to an instant, none beyond `end`."""
    windows: list[Window] = []
    window = grid.window_of(begin)
    while end is None or window.end <= end:
        if (stop - window.start) / (window.end - window.start) < MIN_COVERED:
            break
        windows.append(window)
        window = grid.window_of(window.end)
    return windows


def between(world: pl.DataFrame, clock: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the rows of a history from an instant on, up to another."""
    return world.filter((pl.col(clock) >= start) & (pl.col(clock) < end))
