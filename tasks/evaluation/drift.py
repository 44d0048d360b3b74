"""Drift of a table's columns: whether a window differs from the reference by more than chance can do.

Windows and reference are sketches: counts by unit of time (`counting`, `sketches`). Of a column of numbers four scores
are compared (place, spread, and two of shape), of categories the share of each; the share missing, and the share
outside of what was ever seen, are scores of their own beside the values, never conditional on them. A difference is
held against the variance of a mean over *dependent* rows (`dependence`), its chance multiplied by its share of the
column and by the number of columns (Bonferroni), so that `alpha` is the share of unchanged windows in which any column
is called.

Where that cannot be promised the answer is "undetermined": with fewer than 20 stretches of the reference that are
independent of each other, or a window shorter than the cycle of a day. What needs no test is called all the same: a
column that was never missing and now is, a category that was never seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from expectations.drift_scores import DriftScore, ScoresOfColumns
from tasks.evaluation.columns import Column
from tasks.evaluation.dependence import (
    chance_of,
    chance_of_counts,
)
from tasks.evaluation.drifted import Drifted, Status, most_certain_first, undetermined
from tasks.evaluation.pairs import (
    TINY,
    Compared,
    Pair,
    Series,
    chunks_of,
    is_numeric,
    padded,
    pair_of,
    scores_of,
    series_of,
)
from tasks.evaluation.scoring import Distance, distance_of
from tasks.evaluation.share_chances import chance_of_shares, tempered
from tasks.evaluation.stretches import MIN_STRETCHES, Stretches, stretches_of

Array = npt.NDArray[np.float64]

RULE_SHARE = 0.01
"""What never was in the reference is called by rule where more than this share of the window has it."""
_WEIGHTS = np.array([0.6, 0.3, 0.05, 0.05])
_VALUES, _MISSING, _OUTSIDE, _CONSTANT = 0.8, 0.1, 0.08, 0.02
_NAMES = ("place", "spread", "shape", "shape")
_DOMINATED = 1.5
_LARGEST_DIFFERENCE = 2.5
NO_REACH = "window and reference are too short for any difference to be beyond chance"


def judge(
    tables: Sequence[Compared], *, alpha: float, min_effect: float = 0.0, scores: Sequence[DriftScore] = ()
) -> list[Drifted]:
    """Hold windows against their references, the most certain change first.

    Parameters
    ----------
    tables : sequence of Compared
        With raw rows, before any repair or imputation. Columns absent from a window are not judged.
    alpha : float
        Chance that any column of all tables is called drifted where nothing changed.
    min_effect : float
        Least distance (`Drifted.score`) of values that is called, however certain; shares missing, out of range and of
        new categories are called whatever it says.
    scores : sequence of DriftScore
        How distances are measured; the usual ones where not given. A column whose score fails has none, and says why.
    """
    distances = ScoresOfColumns.declared(scores)
    tables = [replace(each, window=each.reference.prepared(each.window, each.times)) for each in tables]
    columns = sum(sum(name in each.window.columns for name in each.reference.columns) for each in tables)
    level = alpha / max(columns, 1)
    found = [each for table in tables for each in _judge_table(table, level, min_effect, distances)]
    found += [
        undetermined(name, f"columns of type {dtype} are not watched")
        for table in tables
        for name, dtype in table.reference.unwatched.items()
        if name in table.window.columns
    ]
    return most_certain_first(found)


def _judge_table(table: Compared, level: float, min_effect: float, distances: ScoresOfColumns) -> Iterator[Drifted]:
    pair = pair_of(table)
    if not pair.now.size or not pair.before.size:
        return
    stretches = dict.fromkeys(pair.columns, Stretches(math.inf, True, "")) if table.independent else stretches_of(pair)
    for names in chunks_of(pair):
        yield from _judge_columns(pair, names, stretches, level, min_effect, distances)


@dataclass(frozen=True)
class _Parts:
    """Scores of a chunk of columns, flattened to series: who they are of, and what came of them."""

    owner: npt.NDArray[np.int64]
    chance: Array
    """Already over its share of the column."""
    names: list[str]
    effect: Array
    judged: npt.NDArray[np.bool_]
    rule: npt.NDArray[np.bool_]


def _judge_columns(
    pair: Pair,
    names: list[str],
    stretches: Mapping[str, Stretches],
    level: float,
    min_effect: float,
    distances: ScoresOfColumns,
) -> Iterator[Drifted]:
    enough = np.array([stretches[name].number >= MIN_STRETCHES for name in names])
    values = _values(pair, names, enough, level)
    dependent = np.array([not stretches[name].independent for name in names])
    parts = [*_constant(pair, names, level), values, *_shares(pair, names, enough, dependent, level)]
    for index, name in enumerate(names):
        distance = distance_of(pair, name, distances)
        score = distance.value
        best: tuple[float, str, float] | None = None
        rest = (math.inf, "", 0.0)
        lacking = False
        for part in parts:
            small = part is values and score is not None and score < min_effect
            for at in np.flatnonzero(part.owner == index):
                found = (float(part.chance[at]), part.names[at], float(part.effect[at]))
                called = part.rule[at] or (part.judged[at] and found[0] <= level)
                lacking |= bool(not part.judged[at] and not part.rule[at])
                if called and not small and (best is None or found[0] < best[0]):
                    best = found
                rest = min(rest, found)
        yield _say(pair, name, best, rest, lacking, stretches[name].reason, distance)


def _say(
    pair: Pair,
    name: str,
    best: tuple[float, str, float] | None,
    rest: tuple[float, str, float],
    lacking: bool,
    reason: str,
    distance: Distance,
) -> Drifted:
    before, now = pair.before.tallies[name], pair.now.tallies[name]
    shares = (now.missing.sum() / pair.now.size, before.missing.sum() / pair.before.size)
    status: Status = "drifted" if best else "undetermined" if lacking else "same"
    chance, what, effect = best or rest
    p = min(chance, 1.0) if math.isfinite(chance) else None
    if status == "undetermined":
        p = None
    return Drifted(
        name,
        status,
        p,
        bound_odds(p),
        what,
        effect if math.isfinite(effect) else None,
        distance.value,
        float(shares[0]),
        float(shares[1]),
        (reason or NO_REACH) if status == "undetermined" else "",
        distance.by,
        distance.why,
    )


def bound_odds(p: float | None) -> float | None:
    """Bound the odds for a change by p (Sellke, Bayarri and Berger 2001)."""
    if p is None:
        return None
    p = max(p, 1e-300)
    return 1 / (-math.e * p * math.log(p)) if p < 1 / math.e else 1.0


def _values(pair: Pair, names: list[str], enough: npt.NDArray[np.bool_], level: float) -> _Parts:
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
    return _Parts(owner, np.where(live, chance, np.inf), labels, effect, judged, never)


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


def _shares(
    pair: Pair,
    names: list[str],
    enough: npt.NDArray[np.bool_],
    dependent: npt.NDArray[np.bool_],
    level: float,
) -> Iterator[_Parts]:
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
        yield _Parts(live, chance, labels, found.difference, enough[live], rule)


def _constant(pair: Pair, names: list[str], level: float) -> Iterator[_Parts]:
    """Call columns that have one value alone, as they never had for so long: by rule."""
    found = [(at, pair.constant[name] / _CONSTANT) for at, name in enumerate(names) if name in pair.constant]
    found = [each for each in found if each[1] <= level]
    if found:
        owner, chance = np.array([at for at, _ in found]), np.array([each for _, each in found])
        always, unsaid = np.ones(len(found), dtype=bool), np.full(len(found), math.nan)
        yield _Parts(owner, chance, ["constant"] * len(found), unsaid, always, always)


def _label(column: Column, kind: str, share: float) -> str:
    if kind == "missing":
        return "empty" if share == 1 else "missing"
    return "new category" if column.kind == "category" else "out of range"
