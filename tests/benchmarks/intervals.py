"""How often intervals, or sets of classes, hold the truth over a past that drifts, and how wide they are.

    python tests/benchmarks/intervals.py flights bikes [rides:1mo … --wheels FOLDER] [--refit 7] [--slice origin]

A model is judged on the rows before the use case's start, its intervals are learnt on its holdout, and its refit
predicts each later day. `frozen`: with these intervals. `adaptive`: they learn again each day from what is ripe by
then, as monitor lets them (`tasks.modelling.learning_intervals`). `refitted`: the recipe learns again every so many
days from all ripe rows, and intervals learn as well. Only the first candidate of a use case is fitted.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Scores, Vector
from expectations.gates import LearningIntervals
from expectations.loading import LoadedUseCase, load_use_case
from expectations.usecase import UseCase
from tasks.collection.joining import join_sources
from tasks.modelling.intervals import Intervals
from tasks.modelling.learning_intervals import Relearnt, learn_again, next_level
from tasks.training.judging import judge, refit
from tasks.training.labelled import labels
from tasks.training.learning import Trained, fit_recipe
from tests.benchmarks.open_sets import build

COVERAGE, LEAST = 0.9, 0.85
DAY = 86_400.0
MIN_IN_MONTH, MIN_IN_SLICE = 100, 200


class Way(NamedTuple):
    """What one way of making intervals came to: whether each truth lay inside, and how wide each was."""

    held: npt.NDArray[np.bool_]
    width: Vector
    micros: float


def main() -> None:
    """Print coverage by month and slice, and width, of each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("usecases", nargs="+", help="names or folders, or open sets as NAME:EVERY")
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--refit", type=int, help="also learn the model again every so many days")
    parser.add_argument("--slice", action="append", default=[], help="a column whose values are looked at apart")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.usecases:
            place = str(build(name, asked.wheels, Path(scratch))) if ":" in name else name
            study(load_use_case(place), asked.refit, asked.slice)


def study(usecase: LoadedUseCase, every: int | None, slices: Sequence[str]) -> None:
    """Walk one use case's past and print what it came to."""
    spec, clock = _first_candidate(usecase.spec), usecase.spec.time_column
    joined = join_sources(usecase, since=None, until=datetime(2100, 1, 1, tzinfo=UTC), secret=b"k").rows
    rows = joined.filter(pl.col(spec.label.column).is_not_null()).sort(clock)
    start = spec.start or rows[clock][len(rows) // 5]
    before, later = rows.filter(pl.col(clock) < start), rows.filter(pl.col(clock) >= start)
    judged = judge(before, spec, None)
    trained, scored = refit(before, spec, judged).trained, judged.scored["challenger"]
    own = Intervals.learn(scored.label, scored.prediction, COVERAGE, classifies=spec.problem.classifies)
    if own is None:
        raise SystemExit(f"{usecase.name}: too few rows before the start")
    truth, frozen = labels(later, spec, trained.classes), trained.predict(later, repaired=True)
    ways = {
        "frozen": walk(later, spec, truth, frozen, own, learning=False),
        "adaptive": walk(later, spec, truth, frozen, own, learning=True),
    }
    if every is not None:
        again = _refitted(rows, later, spec, trained, every)
        ways[f"refitted every {every} d"] = walk(later, spec, truth, again, own, learning=True)
    print(f"{usecase.name}: {len(later):,} rows, {COVERAGE:.0%} declared")
    months = later[clock].dt.truncate("1mo").to_numpy()
    parts = {f"{name}={value}": later[name] == value for name in slices if name in later.columns
             for value in later[name].drop_nulls().unique()}  # fmt: skip
    large = {name: mask.fill_null(value=False).to_numpy() for name, mask in parts.items()}
    for name, way in ways.items():
        by_month = [way.held[months == each].mean() for each in np.unique(months) if _many(months == each)]
        by_slice = {each: way.held[mask].mean() for each, mask in large.items() if mask.sum() >= MIN_IN_SLICE}
        worst = min(by_slice, key=lambda each: by_slice[each], default="")
        print(
            f"  {name:<20}{way.held.mean():>7.1%}  months {min(by_month):.1%} to {max(by_month):.1%}, "
            f"{sum(each < LEAST for each in by_month)} of {len(by_month)} below {LEAST:.0%}; mean width "
            f"{way.width.mean():.4g}, {way.micros:.2f} µs a row"
            + (f"; worst slice {worst} {by_slice[worst]:.1%}" if worst else "")
        )


def _many(mask: npt.NDArray[np.bool_]) -> bool:
    return int(mask.sum()) >= MIN_IN_MONTH


def _first_candidate(spec: UseCase) -> UseCase:
    model = spec.model.model_copy(update={"candidates": spec.model.candidates[:1]})
    return spec.model_copy(update={"model": model})


def walk(rows: pl.DataFrame, spec: UseCase, truth: Vector, scores: Scores, own: Intervals, *, learning: bool) -> Way:
    """Answer each day with the intervals of then.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        In order of time.
    """
    rules, classifies = LearningIntervals(), spec.problem.classifies
    times = rows[spec.time_column]
    at = times.dt.timestamp("us").to_numpy() / 1e6
    begun: datetime = times[0]
    delay, back = ((each.after(begun) - begun).total_seconds() for each in (spec.label_delay, rules.learn_from))
    held, width = np.zeros(len(at), dtype=np.bool_), np.zeros(len(at))
    now, level, known, micros = own, COVERAGE, 0, math.inf
    for begin in np.arange(at[0] // DAY * DAY, at[-1] + DAY, DAY):
        first, last = np.searchsorted(at, [begin, begin + DAY])
        if first == last:
            continue
        old, ripe = np.searchsorted(at, [begin - delay - back, begin - delay])
        if learning and ripe > known and ripe - old >= spec.evaluation.min_rows:
            level = next_level(level, COVERAGE, float(held[max(old, known) : ripe].mean()))
            found = learn_again(truth[old:ripe], scores[old:ripe], COVERAGE, level, before=now, classifies=classifies)
            now, known = (found.intervals if isinstance(found, Relearnt) else now), ripe
        day, values = slice(first, last), scores[first:last].tolist()
        held[day] = now.holds(truth[day], scores[day])
        began = time.thread_time()
        width[day] = _widths(now, values)
        micros = min(micros, 1e6 * (time.thread_time() - began) / len(values))
    return Way(held, width, micros)


def _widths(now: Intervals, values: list[float]) -> list[float]:
    if now.reach:
        return [high - low for low, high in map(now.around, values)]
    return [len(now.among(each, (0, 1))) for each in values]


def _refitted(rows: pl.DataFrame, later: pl.DataFrame, spec: UseCase, judged: Trained, every: int) -> Scores:
    clock = spec.time_column
    found = []
    for (when,), some in later.group_by_dynamic(clock, every=f"{every}d", start_by="datapoint"):
        ripe = rows.filter(pl.col(clock) <= spec.label_delay.after(when, -1))
        found.append(fit_recipe(ripe, spec, judged.recipe).predict(some, repaired=True))
    return np.concatenate(found)


if __name__ == "__main__":
    main()
