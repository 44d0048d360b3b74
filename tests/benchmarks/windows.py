"""Is it worth choosing how much history to learn from (`model.window: auto`)? On six pasts.

    python tests/benchmarks/windows.py --wheels FOLDER [NAME …] [--shipped flights …]

At each of eight later points of a past a model learns from everything before, and one from as much as a training run
would choose (`tasks.training.learning.chosen_window`): nothing here decides by itself. Both are scored on the next
sixteenth of the rows. Lost is one less a metric that is better the greater it is, else the metric.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from expectations.loading import LoadedUseCase, load_use_case
from tasks.collection.joining import join_sources
from tasks.evaluation.metrics import losses, score
from tasks.training.contest import decisive_metric
from tasks.training.labelled import score_rows
from tasks.training.learning import chosen_window, fit_recipe
from tests.benchmarks.open_sets import build
from tests.benchmarks.warm import SETS

FIRST, PARTS = 8, 16


def main() -> None:
    """Print for each set what either lost, and which spans were chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--shipped", nargs="*", default=["flights", "bikes"])
    asked = parser.parse_args()
    print(f"{'set':<16}{'metric':>10}{'rows':>9}{'as good':>9}{'lost, auto : all':>18}{'time':>7}  chosen")
    with tempfile.TemporaryDirectory() as scratch:
        for place in (*asked.shipped, *(str(build(name, asked.wheels, Path(scratch))) for name in asked.sets)):
            study(load_use_case(place))


def study(usecase: LoadedUseCase) -> None:
    """Print a row."""
    declared = usecase.spec
    recipe = declared.model.candidates[0].settled()
    model = declared.model.model_copy(update={"candidates": (recipe,), "window": "auto", "search": None})
    spec, clock = declared.model_copy(update={"model": model}), declared.time_column
    joined = join_sources(usecase, since=None, until=datetime(2100, 1, 1, tzinfo=UTC), secret=b"k").rows
    rows = joined.filter(pl.col(spec.label.column).is_not_null()).sort(clock)
    metric, found = decisive_metric(spec), {"auto": list[float](), "all": list[float]()}
    chosen, taken = list[str](), {"auto": 0.0, "all": 0.0}
    for part in range(FIRST, PARTS):
        known = rows.head(part * len(rows) // PARTS)
        then = rows.slice(len(known), len(rows) // PARTS)
        known = known.filter(pl.col(clock) <= spec.label_delay.after(then[clock].min(), -1))  # type: ignore[arg-type]
        for kind, values in found.items():
            began = time.process_time()
            window = chosen_window(known, spec, (recipe,)) if kind == "auto" else None
            if window is not None:
                chosen.append(str(window.last or "all"))
            trained = fit_recipe(known if window is None else window.of(known, spec), spec, recipe)
            taken[kind] += time.process_time() - began
            values.append(score(metric, score_rows(then, spec, trained.classes, trained.predict(then, repaired=True))))
    lost = {kind: losses(metric, np.array(values)) for kind, values in found.items()}
    print(
        f"{usecase.name:<16}{metric:>10}{len(rows):>9,}{int((lost['auto'] <= lost['all']).sum()):>4} of {len(chosen)}"
        f"{lost['auto'].mean() / lost['all'].mean():>18.3f}{taken['auto'] / taken['all']:>7.2f}  {', '.join(chosen)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
