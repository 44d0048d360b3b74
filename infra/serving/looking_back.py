"""What the service knows of earlier rows: read from the folder of releases, anew whenever it changed there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from pathlib import Path

from expectations.errors import StateError, StorageError
from expectations.history import HistoryColumn
from infra.serving.counters import Counters
from infra.serving.steps import Steps
from tasks.preprocessing.history.earlier_rows import SeriesKey, key_of
from tasks.preprocessing.history.looking_back import NO_BOUNDS, LookBack
from tasks.preprocessing.history.series import EntitySeries, entity_of, ticks_of
from tasks.preprocessing.history.state import from_bytes, mark_of
from tasks.stores.files import storing

_STEP_VALUES = 20_000
"""After looking at so many the worker sees to others: some tenths of a millisecond."""
_LOOK_VALUES = 500
"""To look something up takes as long as so many values do."""
_log = logging.getLogger("driftwheel.serving")


class KeptHistory:
    """The state of history of one use case.

    Parameters
    ----------
    path : Path
        Where collection writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.series: Mapping[SeriesKey, EntitySeries] = {}
        self.mark = ""
        """Which state it is, as whoever wrote it knows."""
        self.needed: dict[SeriesKey, str] = {}
        """Series that models look back into, and a column that does."""
        self._stamp: tuple[int, int] | None = None
        self._refused: tuple[tuple[int, int], set[SeriesKey]] | None = None
        """Which file was read and not taken, and what was needed then."""
        self._trouble = ""

    def is_stale(self) -> bool:
        """Whether the file is another one than was read; where it is away what was read stays."""
        try:
            return self._stamp_of_file() != self._stamp
        except OSError:
            return False

    def is_due(self) -> bool:
        """Whether it is stale, and was not refused as it is: that costs as much as to read it."""
        try:
            found = self._stamp_of_file()
        except OSError:
            return False
        return found != self._stamp and (found, {*self.needed}) != self._refused

    def _stamp_of_file(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_ino

    def read(self) -> None:
        """Read the file, where it holds what is needed; else what was read before stays.

        Raises
        ------
        StateError
            If it is damaged, or lacks a series that is needed.
        StorageError
            If it cannot be read.
        """
        with storing("read the history that is looked back into in", self.path):
            stamp = self._stamp_of_file()
            content = self.path.read_bytes()
        try:
            series = self._series(content)
        except StateError:
            self._refused = stamp, {*self.needed}
            raise
        self.series, self.mark = series, mark_of(content)
        self._stamp, self._refused = stamp, None

    def _series(self, content: bytes) -> Mapping[SeriesKey, EntitySeries]:
        series = from_bytes(content)
        lacking = [name for key, name in self.needed.items() if key not in series]
        if lacking:
            raise StateError(
                f"the earlier rows that {', '.join(lacking)} look back at in {self.path}",
                "a state without them",
                "Collect again: it is written anew",
            )
        return series

    def refresh(self) -> None:
        """Read the file if it changed; where it cannot be read, say so, and keep what was read before.

        One that is damaged or lacks something is read again once it changes, or something else is needed; one on a
        disk that cannot be read, at each call.
        """
        if not self.is_due():
            return
        try:
            self.read()
            self._trouble = ""
        except (StateError, StorageError) as error:  # the next collection writes it anew
            if self._trouble != str(error):
                self._trouble = str(error)
                _log.error("%s is looked back into as it was: %s", self.path, error)

    def serve(self, columns: Mapping[str, HistoryColumn]) -> KeptHistory:
        """Read the file if it changed, hold it against columns that are to look back, and return this.

        Raises
        ------
        StorageError
            Until it is whole and has what they need: the next collection writes it anew, so it is to be tried again.
        """
        if self.is_stale():
            try:
                self.read()
            except StateError as error:
                raise StorageError(error.expected, error.found, error.remedy) from error
        self.require(columns)
        return self

    def require(self, columns: Mapping[str, HistoryColumn]) -> None:
        """Refuse columns that look back at what is not kept here, and remember that it is needed.

        Raises
        ------
        StorageError
            Until they are written.
        """
        lacking = [name for name, column in columns.items() if key_of(column) not in self.series]
        if lacking:
            raise StorageError(
                f"the earlier rows that {', '.join(lacking)} look back at in {self.path}",
                f"no earlier rows of {', '.join(lacking)}",
                "Run the collect flow: it writes them anew",
            )
        self.needed |= series_needed(columns)


def series_needed(columns: Mapping[str, HistoryColumn]) -> dict[SeriesKey, str]:
    """Return which series some columns look back into, and one of the columns for each."""
    return {key_of(column): name for name, column in columns.items()}


class RowHistory:
    """Fills the columns of checked rows that come from earlier rows.

    Parameters
    ----------
    columns : mapping of str to HistoryColumn
    fields : mapping of str to str
        Column -> attribute of a row that holds it.
    clock : str
        Without a value there, a row is of now.

    Attributes
    ----------
    kept : KeptHistory, optional
        What is looked back into; without it nothing is filled: golden rows bring their values.
    counts : mapping of str to int
        Values that are missing as the entity was never seen (`unseen`), or as the row is older than what is kept
        (`before`); and those that newer rows, not collected yet, may change (`behind`).
    usecase_counts : Counters, optional
        Where the latter are counted of the use case, too; None of a candidate, which reads what the champion read.
    """

    def __init__(self, columns: Mapping[str, HistoryColumn], fields: Mapping[str, str], clock: str) -> None:
        self._clock = fields.get(clock)
        self._plan = [
            (fields[name], LookBack.of(column), key_of(column), [fields[each] for each in column.by])
            for name, column in columns.items()
        ]
        self.columns = columns
        self.kept: KeptHistory | None = None
        self.counts: MutableMapping[str, int] = {}
        self.usecase_counts: Counters | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to fill."""
        return bool(self._plan) and self.kept is not None

    def fill(self, rows: Sequence[object]) -> None:
        """Fill rows, in place."""
        for _ in self.fill_in_steps(rows):
            pass

    def fill_in_steps(self, rows: Sequence[object]) -> Steps[None]:
        """Do what `fill` does, in steps of as many values as are looked at; all rows see one state."""
        if not self or self.kept is None:
            return
        series, looked = self.kept.series, 0
        for row in rows:
            text = getattr(row, self._clock) if self._clock is not None else None
            at = time.time_ns() // 1000 if text is None else ticks_of(datetime.fromisoformat(text))
            for field, how, key, by in self._plan:
                if looked >= _STEP_VALUES:
                    yield
                    looked = 0
                value, many = self._seen(series[key], how, [getattr(row, each) for each in by], at)
                setattr(row, field, value)
                looked += many + _LOOK_VALUES

    def _seen(self, series: EntitySeries, how: LookBack, entity: Sequence[object], at: int) -> tuple[float | None, int]:
        if series.since is not None and how.oldest(at) < series.since:
            self._count("before")
            return None, 0
        if series.until is not None and how.newest(at) >= series.until:
            self._count("behind")
            if self.usecase_counts is not None:
                self.usecase_counts.behind += 1
        name = entity_of(entity)
        if name is None:
            return None, 0
        bounds = series.entities.get(name)
        if bounds is None:
            self._count("unseen")
        return how.one(series, bounds or NO_BOUNDS, at)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
