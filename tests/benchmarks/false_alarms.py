"""How often drift is called where there is none, on the real columns of flights, by the size of the window.

    python tests/benchmarks/false_alarms.py [--windows 200]

Reference: the flights of January and February 2013, with their weather and planes. Windows are drawn from the reference
itself, so every alarm is a false one. Compared are our calibrated thresholds (`alpha` 0.05 for a window, no least
effect) and the fixed threshold 0.1 that Evidently applies to references of more than 1,000 rows, on the same scores
(`tests/unit/test_drift.py` holds them equal to Evidently's). For scale, the same two on the real April.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import polars as pl

from expectations.loading import load_use_case
from tasks.collection.joining import join_sources
from tasks.evaluation.drift import profile_frame, score_window
from tasks.preprocessing.fitting import input_kinds

FIXED = 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=200)
    options = parser.parse_args()
    usecase = load_use_case("flights")
    rows = join_sources(usecase, since=None, until=datetime(2013, 5, 1, tzinfo=UTC), secret=b"none").rows
    columns = [name for name in input_kinds(usecase.spec.features) if name != usecase.spec.clock.column]
    clock = pl.col(usecase.spec.clock.column)
    reference = rows.filter(clock < datetime(2013, 3, 1, tzinfo=UTC)).select(columns)
    april = rows.filter(clock >= datetime(2013, 4, 1, tzinfo=UTC)).select(columns)
    profiles = profile_frame(reference)
    print(f"{len(reference):,} reference rows, {len(profiles)} columns, {options.windows} windows of each size")
    print(
        f"{'rows':>6}  {'windows with a false alarm':>32}  {'columns called of all':>26}  {'April: columns called':>24}"
    )
    print(
        f"{'':>6}  {'calibrated':>16}{'fixed 0.1':>16}  {'calibrated':>13}{'fixed 0.1':>13}  "
        f"{'calibrated':>12}{'fixed 0.1':>12}"
    )
    for size in (50, 100, 200, 500, 2000):
        ours = theirs = our_columns = their_columns = 0
        for seed in range(options.windows):
            window = reference.sample(size, with_replacement=True, seed=seed)
            scored = score_window(profiles, window, alpha=0.05, min_effect=0.0)
            mine, fixed = [each.drifted for each in scored], [each.score >= FIXED for each in scored]
            ours, theirs = ours + any(mine), theirs + any(fixed)
            our_columns, their_columns = our_columns + sum(mine), their_columns + sum(fixed)
        real = score_window(profiles, april.sample(size, seed=0), alpha=0.05, min_effect=0.0)
        every = options.windows * len(profiles)
        print(
            f"{size:>6}  {ours / options.windows:>16.1%}{theirs / options.windows:>16.1%}  "
            f"{our_columns / every:>13.1%}{their_columns / every:>13.1%}  "
            f"{sum(each.drifted for each in real):>12}{sum(each.score >= FIXED for each in real):>12}",
            flush=True,
        )


if __name__ == "__main__":
    main()
