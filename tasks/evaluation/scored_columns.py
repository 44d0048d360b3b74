"""Scores of a chunk of columns: of their values, of what is missing or outside, and of columns with one value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.evaluation.columns import Column
from tasks.evaluation.dependence import (
    chance_of,
    chance_of_counts,
)
from tasks.evaluation.pairs import (
    TINY,
    Pair,
    Series,
    is_numeric,
    padded,
    scores_of,
    series_of,
)
from tasks.evaluation.share_chances import chance_of_shares, tempered

Array = npt.NDArray[np.float64]

RULE_SHARE = 0.01
"""What never was in the reference is called by rule where more than this share of the window has it."""
_WEIGHTS = np.array([0.6, 0.3, 0.05, 0.05])
_VALUES, _MISSING, _OUTSIDE, _CONSTANT = 0.8, 0.1, 0.08, 0.02
_NAMES = ("place", "spread", "shape", "shape")
_DOMINATED = 1.5
_LARGEST_DIFFERENCE = 2.5


@dataclass(frozen=True)
class ColumnScores:
    """Scores of a chunk of columns, flattened to series: who they are of, and what came of them."""

    owner: npt.NDArray[np.int64]
    chance: Array
    """Already over its share of the column."""
    names: list[str]
    effect: Array
    judged: npt.NDArray[np.bool_]
    rule: npt.NDArray[np.bool_]


def score_values(pair: Pair, names: list[str], enough: npt.NDArray[np.bool_], level: float) -> ColumnScores:
    """Compare the values of columns: four scores of numbers, the shares of categories."""
    columns = [pair.columns[name] for name in names]
    bins = max(column.bins for column in columns)
    counts = tuple(padded(each, names, bins) for each in (pair.before, pair.now))
    rows = tuple(each.sum(2) for each in counts)
    totals = [each.sum((1, 2)) for each in counts]
    share = sum(each.sum(1) for each in counts) / np.maximum(totals[0] + totals[1], 1)[:, None]
    numeric = is_numeric(columns[0])
    scores = scores_of(share) if numeric else np.broadcast_to(np.eye(bins), (len(names), bins, bins))
    width = scores.shape[1]
    owner = np.repeat(np.arange(len(names)), width)
    row = np.where((scores**2).sum(2) > 0, 1.0, 0.0).ravel() if numeric else (share * (1 - share)).ravel()
    sums = tuple(np.einsum("cuk,cjk->cju", each, scores, optimize=True).reshape(len(owner), -1) for each in counts)
    spread_rows = tuple(np.repeat(each, width, axis=0) for each in rows)
    found = series_of(pair, sums, spread_rows, row)  # type: ignore[arg-type]
    present = np.repeat((totals[0] > 0) & (totals[1] > 0), width)
    live = present & (row > TINY)
    if numeric:
        shares = np.tile(_WEIGHTS, len(names)) * _VALUES
        chance, furthest = (each / shares for each in _chance_of_scores(found, width, pair))
        enough = enough & (furthest.reshape(-1, width)[:, 0] <= level)
        labels = [_NAMES[at % width] for at in range(len(owner))]
    else:
        size = np.repeat(np.array([max(column.bins - 1, 1) for column in columns], dtype=float), width)
        chance = chance_of_shares(found, sums, pair) * size / _VALUES
        labels = [_category(columns[at // width], at % width) for at in range(len(owner))]
    effect = _effects(pair, names, width, found) if numeric else found.difference
    judged = np.repeat(enough, width) | ~live
    never = np.zeros(len(owner), dtype=bool)
    return ColumnScores(owner, np.where(live, chance, np.inf), labels, effect, judged, never)


def _category(column: Column, at: int) -> str:
    if at < len(column.categories):
        return f"share of {column.categories[at]}"
    return "new category" if len(column.known) == len(column.categories) else "share of other categories"


def _effects(pair: Pair, names: list[str], width: int, found: Series) -> Array:
    """Shift and change of spread in deviations of the reference, for reading."""
    effect = found.difference.copy().reshape(len(names), width)
    for index, name in enumerate(names):
        column, now = pair.columns[name], pair.now.tallies[name]
        size = int(now.counts.sum())
        if not (size and column.spread > 0):
            effect[index, :2] = math.nan
            continue
        mean = float(now.sums.sum()) / size
        effect[index, 0] = (mean - column.mean) / column.spread
        effect[index, 1] = math.sqrt(max(now.square / size - mean**2, 0)) / column.spread - 1
    return effect.ravel()


def _chance_of_scores(found: Series, width: int, pair: Pair) -> tuple[Array, Array]:
    """Chance of the differences that were found, and of the largest there can be."""
    if found.spread is None:
        return (np.full(len(found.row), np.inf),) * 2
    variance = found.variances[0] + found.variances[1]
    expected = (found.spread.weight * variance).sum(1).reshape(-1, width)
    plain = (1 / np.maximum(found.rows[0], 1) + 1 / np.maximum(found.rows[1], 1)).reshape(-1, width)[:, :1]
    dependent = expected[:, :1] > _DOMINATED * plain
    floor = np.repeat(np.where(dependent, variance.reshape(-1, width, variance.shape[1])[:, 0], 0.0), width, axis=0)
    variance = np.maximum(variance, floor)
    furthest = replace(found, difference=np.full(len(found.row), _LARGEST_DIFFERENCE))
    return (
        chance_of(tempered(found, pair), variance, found.spread),
        chance_of(tempered(furthest, pair), variance, found.spread),
    )


def score_shares(
    pair: Pair,
    names: list[str],
    enough: npt.NDArray[np.bool_],
    dependent: npt.NDArray[np.bool_],
    level: float,
) -> Iterator[ColumnScores]:
    """Compare what is missing, and what is outside of all that was seen."""
    for kind, weight in (("missing", _MISSING), ("outside", _OUTSIDE)):
        all_rows = tuple(each.rows for each in (pair.before, pair.now))
        counts = [
            np.array([getattr(each.tallies[name], kind) for name in names], dtype=float).reshape(len(names), -1)
            for each in (pair.before, pair.now)
        ]
        rows = [
            np.broadcast_to(each.astype(float), (len(names), len(each)))
            if kind == "missing"
            else np.array([sample.tallies[name].counts.sum(1) for name in names], dtype=float).reshape(len(names), -1)
            for each, sample in zip(all_rows, (pair.before, pair.now), strict=True)
        ]
        live = np.flatnonzero((counts[0].sum(1) + counts[1].sum(1) > 0) & (rows[1].sum(1) > 0) & (rows[0].sum(1) > 0))
        if kind == "missing":
            live = np.array([at for at in live if names[at] not in pair.echoes], dtype=np.int64)
        if not len(live):
            continue
        sums = (counts[0][live], counts[1][live])
        held = (rows[0][live], rows[1][live])
        pooled = (sums[0].sum(1) + sums[1].sum(1)) / (held[0].sum(1) + held[1].sum(1))
        found = series_of(pair, sums, held, pooled * (1 - pooled))
        chance = chance_of_shares(found, sums, pair, dependent[live])
        share = sums[1].sum(1) / held[1].sum(1)
        never = sums[0].sum(1) == 0
        plain = chance_of_counts(sums[1].sum(1), found.rows[1], sums[0].sum(1), found.rows[0])
        ruled = np.array([kind == "missing" or pair.columns[names[at]].kind == "category" for at in live])
        rule = ruled & never & (share > RULE_SHARE) & (plain / weight <= level)
        chance = np.where(rule, np.minimum(chance, plain), chance) / weight
        labels = [_label(pair.columns[names[at]], kind, float(each)) for at, each in zip(live, share, strict=True)]
        yield ColumnScores(live, chance, labels, found.difference, enough[live], rule)


def call_constants(pair: Pair, names: list[str], level: float) -> Iterator[ColumnScores]:
    """Call columns that have one value alone, as they never had for so long: by rule."""
    found = [(at, pair.constant[name] / _CONSTANT) for at, name in enumerate(names) if name in pair.constant]
    found = [each for each in found if each[1] <= level]
    if found:
        owner, chance = np.array([at for at, _ in found]), np.array([each for _, each in found])
        always, unsaid = np.ones(len(found), dtype=bool), np.full(len(found), math.nan)
        yield ColumnScores(owner, chance, ["constant"] * len(found), unsaid, always, always)


def _label(column: Column, kind: str, share: float) -> str:
    if kind == "missing":
        return "empty" if share == 1 else "missing"
    return "new category" if column.kind == "category" else "out of range"
