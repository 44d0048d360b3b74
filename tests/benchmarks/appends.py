"""What many small appends cost a scan: a table made of them, kept as the monitor flow does, beside a compact one.

    python tests/benchmarks/appends.py --appends 5000

The entries of the log are made as old as they would be, had there been an append an hour (`--minutes`). Prints the
seconds of a scan of both (the median of nine, in turn), their ratio, and those of the upkeep.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, Transaction, write_deltalake

from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tasks.stores.upkeep import compact

ROWS = 20
ROUNDS = 9
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def rows(batch: int) -> pl.DataFrame:
    """Make a small delivery."""
    first = batch * ROWS
    return pl.DataFrame(
        {
            "time": [BEGIN + timedelta(minutes=first + each) for each in range(ROWS)],
            "id": range(first, first + ROWS),
            "customer": [f"customer {each % 97}" for each in range(ROWS)],
            "amount": [float(each) for each in range(ROWS)],
            BATCH: [batch] * ROWS,
        }
    )


def add(lake: Lake, batch: int) -> None:
    """Append a delivery as the lake does, without its looks at what is there, which take most of the time here."""
    if batch == 1:
        lake.append("raw", rows(batch), transactions={"collect": batch})
        return
    marks = CommitProperties(app_transactions=[Transaction("collect", batch)])
    write_deltalake(lake.address("raw"), rows(batch), mode="append", commit_properties=marks)


def age(lake: Lake, minutes: float) -> None:
    """Make each entry and checkpoint of the log as old as if an append came every so many minutes."""
    entries = {path: int(path.name[:20]) for path in (Path(lake.address("raw")) / "_delta_log").glob("0*")}
    newest = max(entries.values())
    for entry, version in entries.items():
        then = time.time() - (newest - version) * minutes * 60
        os.utime(entry, (then, then))


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Append, keep, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=5000)
    parser.add_argument("--every", type=int, default=100, help="Appends between two runs of the monitor flow.")
    parser.add_argument("--minutes", type=float, default=60, help="Minutes that two appends stand for.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small, one = Lake(folder, "small"), Lake(folder, "compact")
        kept, begin = 0.0, time.perf_counter()
        for batch in range(1, asked.appends + 1):
            add(small, batch)
            if batch % asked.every == 0:
                age(small, asked.minutes)
                kept += timed(lambda: compact(small, "raw"))
        took = time.perf_counter() - begin
        one.append("raw", pl.concat(map(rows, range(1, asked.appends + 1))), transactions={"collect": 1})
        times: dict[str, list[float]] = {"small": [], "compact": []}
        for _ in range(ROUNDS):
            for name, lake in (("small", small), ("compact", one)):
                times[name].append(timed(lambda lake=lake: lake.scan("raw").filter(pl.col("amount") > 3).collect()))
        medians = {name: statistics.median(each) for name, each in times.items()}
        same = small.scan("raw").collect().sort("id").equals(one.scan("raw").collect().sort("id"))
        print(f"{asked.appends} appends in {took:.0f} s, {kept:.1f} s of it upkeep; rows alike: {same}")
        print(f"a scan: {medians['small'] * 1000:.1f} ms, of a compact table {medians['compact'] * 1000:.1f} ms")
        print(f"ratio: {medians['small'] / medians['compact']:.2f}")


if __name__ == "__main__":
    main()
