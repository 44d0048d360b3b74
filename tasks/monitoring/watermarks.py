"""Up to where the predictions of the lake were looked at, and what came of it: the next look reads what came since.

It is kept beside the ledger, and follows from the lake alone: where it is lost, or is not of this table and these
windows, a look reads everything, and it is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import msgspec
import polars as pl

from expectations.alert_rules import Strays
from expectations.windows import Grid
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tasks.stores.table_settings import HARVEST

_NAME = "predictions_seen"
"""Of the mark in the platform database."""
_MAX_RUNS = 1000


@dataclass(frozen=True)
class AskedWindows:
    """When predictions were asked for, by windows.

    Attributes
    ----------
    runs : tuple of (datetime, datetime)
        Beginnings of the first and the last of windows in a row that had requests, oldest first.
    usual : int
        The most windows without one between two runs, of those that are not kept any more.
    """

    runs: tuple[tuple[datetime, datetime], ...] = ()
    usual: int = 0

    def among(self, grid: Grid, starts: Iterable[datetime]) -> AskedWindows:
        """Return what it is with more windows that had requests."""
        new = [(start, start) for start in starts]
        if not new:
            return self
        runs: list[tuple[datetime, datetime]] = []
        for first, last in sorted([*self.runs, *new]):
            if runs and first <= grid.after(runs[-1][1]):
                runs[-1] = runs[-1][0], max(runs[-1][1], last)
            else:
                runs.append((first, last))
        over = max(0, len(runs) - _MAX_RUNS)
        usual = AskedWindows(tuple(runs[: over + 1]), self.usual).longest(grid) if over else self.usual
        return AskedWindows(tuple(runs[over:]), usual)

    def longest(self, grid: Grid) -> int:
        """Return the most whole windows without a request between two that had some."""
        gaps = (grid.between(grid.after(last), first) for (_, last), (first, _) in pairwise(self.runs))
        return max([self.usual, *gaps])


@dataclass(frozen=True)
class Watermark:
    """What was seen of a table of predictions.

    Attributes
    ----------
    table : str
        Delta's id of it: another one is there where a home was begun anew.
    windows : str
        How windows are cut.
    harvest : int
        Number of the newest harvest that was seen.
    rows : int
        How many were seen.
    as_of : datetime
        Windows that were closed then were looked at.
    cutoffs : mapping of str to datetime or None
        Bundles that answered, and up to when each has learnt; None of one that is gone or damaged.
    learnt : tuple of Strays
        Predictions about what their bundle had learnt from.
    """

    table: str
    windows: str
    harvest: int
    rows: int
    as_of: datetime
    cutoffs: Mapping[str, datetime | None]
    learnt: tuple[Strays, ...] = ()
    asked: AskedWindows = AskedWindows()

    def holds(self, now: Watermark, fresh: int) -> bool:
        """Whether what it says is still so, where the table is as another one says.

        Parameters
        ----------
        fresh : int
            Rows of harvests since. The others must be as many as were seen: none came without a number, and none was
            erased.
        """
        same = (self.table, self.windows, self.rows) == (now.table, now.windows, now.rows - fresh)
        return same and self.harvest <= now.harvest and self.cutoffs.items() <= now.cutoffs.items()


def kept_watermark(job: Job) -> Watermark | None:
    """Return what is kept; None where nothing is that this version can read."""
    content = job.database.marked(job.name, _NAME)
    try:
        return None if content is None else msgspec.json.decode(content, type=Watermark)
    except msgspec.DecodeError:  # of another version: it is made anew
        return None


def keep_watermark(job: Job, watermark: Watermark) -> None:
    """Keep it, once everything that was to be done about what was seen is done."""
    job.database.mark(job.name, _NAME, msgspec.json.encode(watermark).decode())


def present_watermark(lake: Lake, windows: str, as_of: datetime, cutoffs: Mapping[str, datetime | None]) -> Watermark:
    """Say how the table of predictions is now, by what its log says of its files."""
    table = lake.open("predictions", whole=True)
    if table is None:
        raise TypeError("no table of predictions")
    files = pl.DataFrame(table.get_add_actions(flatten=True))
    newest = files[f"max.{HARVEST}"].max() if f"max.{HARVEST}" in files.columns else None
    rows = int(files["num_records"].sum())
    return Watermark(str(table.metadata().id), windows, int(newest or 0), rows, as_of, cutoffs)  # type: ignore[arg-type] # a number


def merged(known: Iterable[Strays], found: Iterable[Strays]) -> list[Strays]:
    """Add up rows that are in no window, by bundle, version and why."""
    total: dict[tuple[str, str, str], Strays] = {}
    for each in (*known, *found):
        key = (each.bundle, each.version, each.why)
        other = total.get(key, each)
        rows = each.rows + (other.rows if key in total else 0)
        first, last = min(each.first, other.first), max(each.last, other.last)
        total[key] = Strays(each.bundle, each.version, each.why, rows, first, last)
    return [total[key] for key in sorted(total)]
