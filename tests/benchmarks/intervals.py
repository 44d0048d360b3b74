"""How often intervals, or sets of classes, hold the truth over a past that drifts.

A model is judged on the rows before the use case's start, its intervals are learnt on its holdout, and its refit
predicts each later window, frozen; or (`fresh`) it is trained anew for each window.

Run it as ``python tests/benchmarks/intervals.py flights bikes``; folders of use cases are taken as well as names.
"""

from __future__ import annotations

import argparse
import math
import time
from datetime import UTC, datetime

import numpy as np
import polars as pl

from expectations.loading import LoadedUseCase, load_use_case
from tasks.collection.joining import join_sources
from tasks.modelling.intervals import Intervals
from tasks.training.judging import judge, refit
from tasks.training.labelled import labels
from tasks.training.learning import Trained

COVERAGE = 0.9


def main() -> None:
    """Print coverage by window, frozen and fresh, and what a row costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("usecases", nargs="+")
    parser.add_argument("--fresh", action="store_true", help="also train anew for each window")
    asked = parser.parse_args()
    for name in asked.usecases:
        usecase = load_use_case(name)
        rows = _labelled(usecase)
        for fresh in (False, True) if asked.fresh else (False,):
            _walk(usecase, rows, fresh=fresh)


def _labelled(usecase: LoadedUseCase) -> pl.DataFrame:
    joined = join_sources(usecase, since=None, until=datetime(2100, 1, 1, tzinfo=UTC), secret=b"k").rows
    return joined.filter(pl.col(usecase.spec.label.column).is_not_null()).sort(usecase.spec.time_column)


def _learn(usecase: LoadedUseCase, rows: pl.DataFrame) -> tuple[Trained, Intervals]:
    spec = usecase.spec
    judged = judge(rows, spec, None)
    scored = judged.scored["challenger"]
    learnt = Intervals.learn(scored.label, scored.prediction, COVERAGE, classifies=spec.problem.classifies)
    if learnt is None:
        raise SystemExit(f"{usecase.name}: too few rows before the start")
    return refit(rows, spec, judged).trained, learnt


def _walk(usecase: LoadedUseCase, rows: pl.DataFrame, *, fresh: bool) -> None:
    spec = usecase.spec
    clock = spec.time_column
    start = spec.start or rows[clock][len(rows) // 5]
    month = pl.col(clock).dt.truncate("1mo")
    later = rows.filter(pl.col(clock) >= start).with_columns(month.alias("_month"))
    trained, learnt = _learn(usecase, rows.filter(pl.col(clock) < start))
    inside, widths, count, spent = [], [], [], math.inf
    print(f"{usecase.name}, {'fresh' if fresh else 'frozen'}: {COVERAGE:.0%} declared")
    for (when,), grouped in later.group_by("_month", maintain_order=True):
        window = grouped.drop("_month")
        if fresh:
            trained, learnt = _learn(usecase, rows.filter(pl.col(clock) < when))
        predicted, truth = trained.predict(window, repaired=True), labels(window, spec, trained.classes)
        held = learnt.holds(truth, predicted)
        inside.append(float(held.mean()))
        count.append(len(held))
        values = predicted.tolist()
        began = time.thread_time()
        if learnt.reach:
            widths.append(float(np.mean([b - a for a, b in map(learnt.around, values)])))
        else:
            widths.append(float(np.mean([len(learnt.among(each, trained.classes)) for each in values])))
        spent = min(spent, (time.thread_time() - began) / len(values))
        what = "wide" if learnt.reach else "classes"
        print(f"  {when:%Y-%m}  {len(held):>7,} rows  {held.mean():.1%} inside  {widths[-1]:.3g} {what}")
    overall = float(np.average(inside, weights=count))
    print(f"  overall {overall:.1%}, least month {min(inside):.1%}, {1e6 * spent:.2f} µs a row")


if __name__ == "__main__":
    main()
