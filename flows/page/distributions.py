"""A column's two distributions: the champion's training rows, and what was asked about in a window."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import polars as pl

from expectations.errors import DriftwheelError
from expectations.problems import PREDICTION
from flows.page.shown import Bar, Distributions
from infra.settings import Settings
from tasks.bundles.manifest import read_manifest
from tasks.bundles.served_rows import decode_rows, scores_of, window_predictions
from tasks.evaluation.columns import Array, Column
from tasks.evaluation.sketches import references_from_dict
from tasks.stores.lake import Lake
from tasks.stores.measurements import Measurement
from tasks.stores.releases import Releases

_BARS = 16
_SAME, _MIN_SPAN = 1e-12, 1e-280
"""Share of the span below which edges count as one, and the span below which there are no bars."""


def distributions(settings: Settings, name: str, window: Measurement, column: str) -> Distributions:
    """Count a column over the training rows of a window's champion and over the window's own rows."""
    folder = Releases(settings.folder / "releases").bundle(name, window.champion)
    try:
        manifest = read_manifest(folder, window.champion)
        references = references_from_dict(json.loads((folder / "reference.json").read_text(encoding="utf-8")))
        reference = next((each for each in references if column in each.columns), None)
        views = reference.views if reference is not None else ()
        asked = {*(each.name for each in manifest.columns), *(view.name for view in views)}
        if reference is None or not (column.startswith(PREDICTION) or column in asked):
            return Distributions(why="the bundle keeps no reference of it, or it is the label, which requests lack")
        lake = Lake(settings.places().lake, name)
        served = window_predictions(lake, window.window, {window.champion: manifest.cutoff})
    except OSError as error:
        return Distributions(why=f"the bundle cannot be read: {error.strerror}")
    except DriftwheelError as error:
        return Distributions(why=str(error))
    if served.is_empty():
        return Distributions(why="no prediction of that window is in the lake any more")
    problem, own = manifest.problem, {window.champion: manifest.classes}
    if problem.outputs(manifest.classes) > 1:  # of other bundles the classes are not known here
        served = served.filter(pl.col("bundle") == window.champion)
    scores = scores_of(served["prediction"], served["bundle"], own, manifest.classes, problem)
    said = problem.columns(scores, manifest.classes)
    rows = decode_rows(served, manifest.columns).with_columns(said.get_columns())
    kept = reference.only({column})
    rows = kept.prepared(rows, served["event_time"])
    before, now = kept.sample.tallies[column], kept.count(rows.select(pl.col(column))).tallies[column]
    sizes = (kept.sample.size, len(rows))
    missing = Bar("missing", float(before.missing.sum() / sizes[0]), float(now.missing.sum() / sizes[1]))
    found = bars_of(kept.columns[column], before.counts.sum(axis=0) / sizes[0], now.counts.sum(axis=0) / sizes[1])
    return Distributions((*found, *([missing] if missing.before or missing.now else [])), sizes)


def bars_of(column: Column, before: Array, now: Array) -> list[Bar]:
    """Return the bars of shares by bin: categories as they are, numbers in spans of one width."""
    if column.kind == "category":
        values = (*column.categories, "any other")
        return [Bar(*each) for each in zip(values, map(float, before), map(float, now), strict=True)]
    inner = np.unique(column.edges)
    if not len(inner):  # never anything but missing
        return [Bar("any value", float(before.sum()), float(now.sum()))]
    low, high = float(inner[0]), float(inner[-1])
    if not high - low > _MIN_SPAN:
        return [Bar(f"below {low:g}", float(before[0]), float(now[0])), Bar(f"{low:g} or more", *_rest(before, now))]
    grid = np.linspace(low, high, _BARS - 1)
    spans = [_spread(column.edges, each, grid) for each in (before, now)]
    names = [f"below {low:.4g}", *(f"{one:.4g} to {two:.4g}" for one, two in pairwise(grid))]
    return [Bar(*each) for each in zip([*names, f"{high:.4g} or more"], *spans, strict=True)]


def _rest(before: Array, now: Array) -> tuple[float, float]:
    return float(before[1:].sum()), float(now[1:].sum())


def _spread(edges: Array, shares: Array, grid: Array) -> list[float]:
    """Turn shares between edges that lie unevenly into shares between even ones, evenly within each."""
    inner, last = np.unique(edges[::-1], return_index=True)  # of edges that are one, what lies below all of them
    apart = np.diff(inner, prepend=-np.inf) > (inner[-1] - inner[0]) * _SAME  # a line between them has no finite slope
    below = np.interp(grid, inner[apart], np.cumsum(shares)[:-1][::-1][last][apart])
    return [float(below[0]), *np.diff(below).tolist(), float(shares.sum() - below[-1])]
