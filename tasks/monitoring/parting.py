"""What was measured of the declared parts of a window: slices, and groups that are to be treated alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.errors import BundleError
from expectations.metrics import Scored, ratio
from expectations.usecase import UseCase
from expectations.windows import TICK, Window
from tasks.bundles.bundle import Bundle, read_evaluation
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import as_type
from tasks.evaluation.fairness import MEASURES
from tasks.evaluation.interval import in_time, time_blocks
from tasks.evaluation.parts import Parted, parted
from tasks.evaluation.resampling import Resamples
from tasks.evaluation.slices import Cuts, learn_cuts
from tasks.stores.known import Known
from tasks.stores.plain import plain


def columns_of_parts(
    rows: pl.DataFrame, known: Known, window: Window, manifest: Manifest, wanted: Sequence[str]
) -> pl.DataFrame:
    """Return the columns that answered rows are parted by: of the request, else of the sources by the same keys.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        As they were asked about.

    Returns
    -------
    polars.DataFrame of shape (n_rows, any)
        What is neither in requests nor collected is left out.
    """
    spec = known.spec
    here = rows.select(column for column in wanted if column in rows.columns)
    lacking = [column for column in wanted if column not in rows.columns and column not in spec.keys]
    if not lacking:
        return here
    with known.lake.reading("raw"):
        collected = known.lake.scan("raw").collect_schema()
    lacking = [column for column in lacking if column in collected]
    if not lacking:
        return here
    since, until = (window.start, window.end) if spec.timed else (manifest.cutoff + TICK, None)
    found = known.rows("raw", columns=[*spec.keys, *lacking], since=since, until=until)
    asked = rows.select(as_type(rows, key, found.schema[key]) for key in spec.keys)
    joined = asked.join(found, on=list(spec.keys), how="left", maintain_order="left", nulls_equal=False)
    return pl.concat([here, joined.select(lacking)], how="horizontal")


def measure_parts(
    frame: pl.DataFrame, scored: Scored, times: pl.Series, spec: UseCase, champion: Bundle, mask: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Measure the declared parts of a champion's labelled rows, beside what its recipe reached on them before.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Columns that rows are parted by.
    scored : Scored
        The rows of `mask`.
    times : polars.Series
        Their event times.

    Returns
    -------
    dict
        `slices` and `fairness`, as JSON can carry them; empty where none is declared.
    """
    if not spec.monitoring.looked_at:
        return {}
    drawn = Resamples(time_blocks(*in_time(times, spec)), confidence=0.95, seed=spec.model.seed)
    before = _before(champion)
    some = frame.filter(pl.Series(mask))
    cuts: Cuts = before.get("cuts") or {}
    missing = [name for name in spec.monitoring.slices if name not in cuts and name in some.columns]
    declared = {name: cuts[name] for name in spec.monitoring.slices if name in cuts}
    found = parted(some, scored, spec, {**declared, **learn_cuts(some, missing)}, drawn)
    return {"slices": _slices(found, before, spec), "fairness": say_fairness(found, spec)}


def measure_coverage(scored: Scored, times: pl.Series, spec: UseCase, champion: Bundle) -> dict[str, Any]:
    """Measure how often a champion's intervals, or sets of classes, held the truth; nothing where it has none."""
    learnt = champion.intervals
    if learnt is None or len(times) != len(scored.label):
        return {}
    drawn = Resamples(time_blocks(*in_time(times, spec)), confidence=0.95, seed=spec.model.seed)
    held = learnt.holds(scored.label, scored.prediction).astype(np.float64)
    share = drawn.bounded(ratio(drawn.total(held), drawn.total(np.ones(len(held)))))
    return {"covered": {**plain(asdict(share)), "declared": learnt.coverage, "rows": len(held)}}


def _before(champion: Bundle) -> Mapping[str, Any]:
    try:
        kept = read_evaluation(champion.folder, champion.manifest)
    except BundleError:  # told where the bundle is loaded
        return {}
    return kept["extra"] if kept is not None else {}


def _slices(found: Parted, before: Mapping[str, Any], spec: UseCase) -> list[dict[str, Any]]:
    held = {each["words"]: each["metrics"] for each in before.get("slices", ())}
    told = []
    for each in found.slices:
        worse = []
        for rule in spec.monitoring.performance:
            reference = (held.get(each.words, {}).get(rule.metric) or {}).get("value")
            value = each.metrics.get(rule.metric)
            if reference is None or value is None:
                continue
            greater = spec.greater_is_better[rule.metric]
            least_bad = value.high if greater else value.low
            loss = reference - least_bad if greater else least_bad - reference
            if math.isfinite(loss) and loss > rule.drop:
                worse.append(rule.metric)
        told.append({**plain(asdict(each)), "before": held.get(each.words, {}), "worse": worse})
    return told


def say_fairness(found: Parted, spec: UseCase) -> list[dict[str, Any]]:
    """Return differences between groups beside what is declared, and which bounds are broken beyond doubt."""
    told = []
    for each, rules in zip(found.fairness, _rules(found, spec), strict=True):
        bounds = {name: getattr(rules, name) for name in MEASURES}
        broken = [
            name
            for name, bound in bounds.items()
            if bound is not None and name in each.measures and each.measures[name].low > bound
        ]
        told.append({**plain(asdict(each)), "bounds": bounds, "broken": broken})
    return told


def _rules(found: Parted, spec: UseCase) -> list[Any]:
    by = {each.by: each for each in spec.monitoring.fairness}
    return [by[each.column] for each in found.fairness]
