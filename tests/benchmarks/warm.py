"""Is a warm start as good as a cold one, and how much sooner is it done? On six pasts.

    python tests/benchmarks/warm.py --wheels FOLDER [NAME …] [--shipped flights …] [--family torch.mlp] [--length 0.25]

The first half of a past makes the champion, which is packed. At each of four later points a challenger learns from the
start and goes on from that champion, both before the same newest rows and scored on them, as a training run does
(`tasks.training.warm`): nothing here decides or measures by itself. Lost is one less a metric that is better the
greater it is, else the metric.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from expectations.families import WarmStart
from expectations.loading import LoadedUseCase, load_use_case
from expectations.slots import FAMILIES
from expectations.usecase import UseCase
from expectations.windows import TICK
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.collection.joining import join_sources
from tasks.evaluation.metrics import losses
from tasks.stores.lake_tables import Version
from tasks.training.contest import decisive_metric
from tasks.training.judging import Judged, Judgement, Refit
from tasks.training.labelled import training_window
from tasks.training.learning import Start, fit_recipe
from tasks.training.packing import pack
from tasks.training.warm import warm_or_cold
from tests.benchmarks.open_sets import build

SETS = ("elecdemand:1mo", "household:1mo", "traffic:1mo", "rides:1mo")
POINTS = (0.625, 0.75, 0.875, 1.0)


def main() -> None:
    """Print for each set what either lost, the seconds of both, and what was forgotten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--shipped", nargs="*", default=["flights", "bikes"])
    parser.add_argument("--family", help="that of the candidate; by default the first that is declared")
    parser.add_argument("--length", type=float, default=WarmStart().length)
    asked = parser.parse_args()
    print(f"{'set':<16}{'metric':>10}{'rows':>9}{'as good':>9}{'lost, warm : cold':>19}{'time':>7}{'forgotten':>11}")
    good = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = [*asked.shipped, *(str(build(name, asked.wheels, folder)) for name in asked.sets)]
        for at, place in enumerate(places):
            usecase = load_use_case(place)
            metric, count, starts = study(usecase, folder / f"bundle-{at}", asked.family, asked.length)
            lost, taken, forgotten, won = summed(metric, usecase.spec, starts)
            good += lost <= 1 and taken <= 1 / 2
            print(
                f"{usecase.name:<16}{metric:>10}{count:>9,}{won:>5} of {len(starts)}{lost:>19.3f}{taken:>7.2f}"
                f"{forgotten:>11.1%}",
                flush=True,
            )
    print(f"at least as good in half the time or less: {good} of {len(places)}")


def study(usecase: LoadedUseCase, folder: Path, family: str | None, length: float) -> tuple[str, int, list[Start]]:
    """Return the metric, the rows of the whole past, and what was measured at each point."""
    declared = usecase.spec
    recipe = declared.model.candidates[0] if family is None else FAMILIES.released(family)(family=family)
    model = declared.model.model_copy(
        update={"candidates": (recipe.settled(),), "start": WarmStart(length=length, max_forgotten=1e9), "search": None}
    )
    spec = declared.model_copy(update={"model": model})
    clock = spec.time_column
    joined = join_sources(usecase, since=None, until=datetime(2100, 1, 1, tzinfo=UTC), secret=b"k").rows
    rows = joined.filter(pl.col(spec.label.column).is_not_null()).sort(clock)
    champion = released(usecase, spec, rows.head(len(rows) // 2), folder)
    starts = []
    for share in POINTS:
        known = training_window(rows.head(int(share * len(rows))), spec)
        start = warm_or_cold(known, spec, champion, fit_recipe(known, spec, recipe.settled())).start
        if start is None or not start.measured:
            raise SystemExit(f"{usecase.name}: {start.why if start is not None else 'no champion'}")
        starts.append(start)
    return decisive_metric(spec), len(rows), starts


def released(usecase: LoadedUseCase, spec: UseCase, rows: pl.DataFrame, folder: Path) -> Bundle:
    """Return a champion that learnt from rows, packed as it would be released."""
    trained = fit_recipe(rows, spec, spec.model.candidates[0])
    judged = Judged(Judgement("passed", "a benchmark"), trained, rows, {}, trained.predict(rows, repaired=True))
    digest = pack(
        folder,
        LoadedUseCase(spec, usecase.folder, usecase.suite, usecase.digest),
        rows,
        rows,
        judged,
        Refit(trained, rows, disagreement=0.0),
        data=Version("clean", 0, len(rows)),
        data_hash="",
        commit="",
        parent="",
        name=usecase.name,
        as_of=spec.label_delay.after(rows[spec.time_column].max()) + TICK,
    )
    return load_bundle(folder, digest)


def summed(metric: str, spec: UseCase, starts: list[Start]) -> tuple[float, float, float, int]:
    """Return the ratios of losses and of seconds, the most that was forgotten, and how often warm was as good."""
    kinds = ("warm", "cold")
    lost = {kind: losses(metric, np.array([each.measured[f"{kind}_{metric}"] for each in starts])) for kind in kinds}
    taken = {kind: sum(each.measured[f"{kind}_seconds"] for each in starts) for kind in kinds}
    forgotten = max((each.measured["forgotten"] for each in starts if "forgotten" in each.measured), default=math.nan)
    won = int((lost["warm"] <= lost["cold"]).sum())
    return float(lost["warm"].mean() / lost["cold"].mean()), taken["warm"] / taken["cold"], forgotten, won


if __name__ == "__main__":
    main()
