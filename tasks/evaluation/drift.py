"""Drift of a table's columns: whether a window differs from the reference by more than chance can do.

Windows and reference are sketches: counts by unit of time (`sketches`). Of a column of numbers four scores are compared
(place, spread, and two of shape), of categories the share of each; the share missing, and the share outside of what was
ever seen, are scores of their own beside the values, never conditional on them. A difference is held against the
variance of a mean over *dependent* rows (`dependence`), its chance multiplied by its share of the column and by the
number of columns (Bonferroni), so that `alpha` is the share of unchanged windows in which any column is called.

Where that cannot be promised the answer is "cannot be told": with fewer than 20 stretches of the reference that are
independent of each other, or a window shorter than the cycle of a day. What needs no test is called all the same: a
column that was never missing and now is, a category that was never seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtri, stdtrit

from tasks.evaluation.dependence import (
    Spread,
    Traces,
    chance_of,
    chance_of_counts,
    memory_of,
    spread_of,
    variance_of_mean,
)
from tasks.evaluation.sketches import (
    RUNS,
    Column,
    Reference,
    Sample,
    describe,
    in_order,
    settle,
)

Array = npt.NDArray[np.float64]
Status = Literal["drifted", "same", "cannot be told"]

MIN_STRETCHES = 20
"""Fewest stretches of the reference that are independent of each other, for a test to be honest."""
RULE_SHARE = 0.01
"""What never was in the reference is called by rule where more than this share of the window has it."""
_WEIGHTS = np.array([0.6, 0.3, 0.05, 0.05])
_VALUES, _MISSING, _OUTSIDE = 0.8, 0.1, 0.1
_NAMES = ("place", "spread", "shape", "shape")
_INDEPENDENT = 1.3
_DOMINATED = 1.5
_FEW_UNITS = 4
_FEW_DRAWS = 30.0
_TOGETHER = {"rows": 300.0, "day": 30.0}
"""Units over which a column's own memory weighs as much as the table's: runs of rows are short, and days have seasons,
which some columns have and others not."""
_SHORT = 400
"""Fewer rows of a reference are judged if they are independent, or not at all."""
_RARE = 10.0
_FEW_CLUSTERS = 10
_FULL_DAY = 0.9
_CYCLE = 2.0
_LARGEST_DIFFERENCE = 2.5
_CHUNK = 200
_TINY = 1e-12
_NO_REACH = "window and reference are too short for any difference to be beyond chance"


@dataclass(frozen=True)
class Drifted:
    """What is said of a column in a window.

    Attributes
    ----------
    status : {"drifted", "same", "cannot be told"}
    p : float or None
        Chance of so large a difference where nothing changed, over all scores of the column (not over all columns).
    odds : float or None
        At most so many to one speak for a change (Sellke's bound on `p`).
    what : str
        What differs most: place, spread, shape, missing, out of range, new category, share of a category.
    effect : float or None
        How much: for place and spread in standard deviations of the reference, else in points of share.
    score : float or None
        Distance of the distributions, for reading: Wasserstein over the reference's deviation for numbers,
        Jensen-Shannon for categories. None where it is not finite, or there are no values to compare.
    reason : str
        Why it cannot be told.
    """

    column: str
    status: Status
    p: float | None
    odds: float | None
    what: str
    effect: float | None
    score: float | None
    missing_share: float
    missing_reference: float
    reason: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it differs by more than chance can do."""
        return self.status == "drifted"


def cannot_tell(column: str, reason: str) -> Drifted:
    """Say of a column that nothing can be told of it, and why."""
    return Drifted(column, "cannot be told", None, None, "", None, None, 0.0, 0.0, reason)


@dataclass(frozen=True)
class Compared:
    """A reference with the window to hold against it.

    Attributes
    ----------
    times : polars.Series of shape (n_rows,), optional
        Event times of the window's rows.
    independent : bool
        Whether rows are known to be independent of each other, as their order was drawn.
    """

    reference: Reference
    window: pl.DataFrame
    times: pl.Series | None = None
    independent: bool = False


def judge(tables: Sequence[Compared], *, alpha: float, min_effect: float = 0.0) -> list[Drifted]:
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
    """
    columns = sum(sum(name in each.window.columns for name in each.reference.columns) for each in tables)
    level = alpha / max(columns, 1)
    found = [each for table in tables for each in _judge_table(table, level, min_effect)]
    found += [
        cannot_tell(name, f"columns of type {dtype} are not watched")
        for table in tables
        for name, dtype in table.reference.unwatched.items()
        if name in table.window.columns
    ]
    ranks = {"drifted": 0, "cannot be told": 1, "same": 2}
    return sorted(found, key=lambda each: (ranks[each.status], 1.0 if each.p is None else each.p, -(each.score or 0)))


@dataclass(frozen=True)
class _Pair:
    """Reference and window counted alike."""

    columns: dict[str, Column]
    before: Sample
    now: Sample
    own: Sample
    """The reference in units of its own length, by which its memory is told."""


def _pair(table: Compared) -> _Pair:
    reference = table.reference
    window, times = in_order(table.window, table.times)
    names = [name for name in reference.columns if name in window.columns]
    kept = {name: reference.columns[name] for name in names}
    own = reference.sample
    if reference.values is None:
        length = own.length
        if own.unit == "rows":
            length *= max(1, -(-len(window) // (RUNS * own.length)))
        now = replace(reference, columns=kept).count(window, times, length=length)
        before = own.coarsen(length // own.length) if length > own.length else own
        return _Pair(kept, before, now, own)
    values, moments = reference.values, reference.moments
    both = {
        name: describe(values[name], window[name])
        if column.kind == "number" and len(column.edges) and window[name].dtype.is_numeric()
        else column
        for name, column in kept.items()
    }
    length = own.length if own.unit == "day" else max(1, -(-max(len(values), len(window)) // RUNS))
    rebuilt = replace(reference, columns=both)
    counted = rebuilt.count(values, moments, length=length)
    both = {name: settle(column, counted.tallies[name]) for name, column in both.items()}
    samples = (counted, rebuilt.count(window, times, length=length))
    before = _with_outside(samples[0], own)
    finer = before if length == own.length else rebuilt.count(values, moments, length=own.length)
    return _Pair(both, before, samples[1], finer)


def _with_outside(counted: Sample, own: Sample) -> Sample:
    """Take what no other unit has from the sketch: counted against itself, nothing of a reference is outside."""
    tallies = {}
    for name, tally in counted.tallies.items():
        outside = np.zeros(len(counted.rows), dtype=np.int64)
        for unit in np.flatnonzero(own.tallies[name].outside):
            at = min(int(unit * len(outside) / len(own.rows)), len(outside) - 1)
            outside[at] += own.tallies[name].outside[unit]
        tallies[name] = replace(tally, outside=outside)
    return replace(counted, tallies=tallies)


def _judge_table(table: Compared, level: float, min_effect: float) -> Iterator[Drifted]:
    pair = _pair(table)
    if not pair.now.size or not pair.before.size:
        return
    stretches = dict.fromkeys(pair.columns, _Stretches(math.inf, True, "")) if table.independent else _stretches(pair)
    for names in _chunks(pair):
        yield from _judge_columns(pair, names, stretches, level, min_effect)


@dataclass(frozen=True)
class _Parts:
    """Scores of a chunk of columns, flattened to series: who they are of, and what came of them."""

    owner: npt.NDArray[np.int64]
    chance: Array
    """Already over its share of the column."""
    names: list[str]
    effect: Array
    told: npt.NDArray[np.bool_]
    rule: npt.NDArray[np.bool_]


def _judge_columns(
    pair: _Pair, names: list[str], stretches: Mapping[str, _Stretches], level: float, min_effect: float
) -> Iterator[Drifted]:
    enough = np.array([stretches[name].number >= MIN_STRETCHES for name in names])
    values = _values(pair, names, enough, level)
    dependent = np.array([not stretches[name].independent for name in names])
    parts = [values, *_shares(pair, names, enough, dependent, level)]
    for index, name in enumerate(names):
        score = _distance(pair, name)
        best: tuple[float, str, float] | None = None
        rest = (math.inf, "", 0.0)
        lacking = False
        for part in parts:
            small = part is values and score is not None and score < min_effect
            for at in np.flatnonzero(part.owner == index):
                found = (float(part.chance[at]), part.names[at], float(part.effect[at]))
                called = part.rule[at] or (part.told[at] and found[0] <= level)
                lacking |= bool(not part.told[at] and not part.rule[at])
                if called and not small and (best is None or found[0] < best[0]):
                    best = found
                rest = min(rest, found)
        yield _say(pair, name, best, rest, lacking, stretches[name].reason, score)


def _say(
    pair: _Pair,
    name: str,
    best: tuple[float, str, float] | None,
    rest: tuple[float, str, float],
    lacking: bool,
    reason: str,
    score: float | None,
) -> Drifted:
    before, now = pair.before.tallies[name], pair.now.tallies[name]
    shares = (now.missing.sum() / pair.now.size, before.missing.sum() / pair.before.size)
    status: Status = "drifted" if best else "cannot be told" if lacking else "same"
    chance, what, effect = best or rest
    p = min(chance, 1.0) if math.isfinite(chance) else None
    if status == "cannot be told":
        p = None
    return Drifted(
        name,
        status,
        p,
        _odds(p),
        what,
        effect if math.isfinite(effect) else None,
        score,
        float(shares[0]),
        float(shares[1]),
        (reason or _NO_REACH) if status == "cannot be told" else "",
    )


def _odds(p: float | None) -> float | None:
    """Bound the odds for a change by p (Sellke, Bayarri and Berger 2001)."""
    if p is None:
        return None
    p = max(p, 1e-300)
    return 1 / (-math.e * p * math.log(p)) if p < 1 / math.e else 1.0


def _padded(pair: Sample, names: list[str], bins: int) -> Array:
    """Gather the counts of columns, shape (n_columns, n_units, n_bins)."""
    found = np.zeros((len(names), len(pair.rows), bins))
    for index, name in enumerate(names):
        counts = pair.tallies[name].counts
        found[index, :, : counts.shape[1]] = counts
    return found


def _scores(share: Array) -> Array:
    """Orthonormal scores of bins under pooled shares, shape (n_columns, 4, n_bins); zero where a column has too few."""
    middle = np.cumsum(share, axis=1) - share / 2
    middle = np.clip(middle, 1e-9, 1 - 1e-9)
    centred = 2 * middle - 1
    made: list[Array] = [np.ones_like(share)]
    for raw in (ndtri(middle), centred**2, centred**3, centred**4):
        value = raw.copy()
        for _ in range(2):
            for earlier in made:
                value = value - (value * earlier * share).sum(1, keepdims=True) * earlier
        length = np.sqrt((value**2 * share).sum(1, keepdims=True))
        made.append(np.where(length > 1e-6, value / np.maximum(length, 1e-6), 0))
    return np.stack(made[1:], axis=1)


@dataclass(frozen=True)
class _Series:
    """Sums over units of series in both samples, and what follows from them."""

    difference: Array
    deviations: tuple[Array, Array]
    rows: tuple[Array, Array]
    row: Array
    spread: Spread | None
    variances: tuple[Array, Array]


def _series(pair: _Pair, sums: tuple[Array, Array], rows: tuple[Array, Array], row: Array) -> _Series:
    """Compare means of series.

    Parameters
    ----------
    sums, rows : tuple of ndarray of shape (n_series, n_units)
        Of the reference and of the window.
    row : ndarray of shape (n_series,)
        Variance of one row.
    """
    totals = tuple(each.sum(1) for each in rows)
    means = [each.sum(1) / np.maximum(total, 1) for each, total in zip(sums, totals, strict=True)]
    deviations = tuple(
        (each - count * mean[:, None]) / np.maximum(count.mean(1), _TINY)[:, None]
        for each, count, mean in zip(sums, rows, means, strict=True)
    )
    spread = spread_of(*deviations)
    variances = [np.zeros((len(row), 1))] * 2
    lengths = _lengths(pair)
    longest = 0 if lengths[0] >= lengths[1] else 1
    in_unit = totals[longest] / max(lengths[longest], _TINY)
    if spread is not None:
        variances = [
            variance_of_mean(spread, length, total, in_unit, row) for length, total in zip(lengths, totals, strict=True)
        ]
    before, now = variances
    return _Series(means[1] - means[0], deviations, totals, row, spread, (before, now))


def _lengths(pair: _Pair) -> tuple[float, float]:
    """Return how many units the samples are long, with fractions."""
    if pair.before.unit == "rows":
        return pair.before.size / pair.now.length, pair.now.size / pair.now.length
    covered = _covered(pair)
    now = float(len(pair.now.rows)) if len(pair.now.rows) > 1 or covered >= _FULL_DAY else covered
    return float(len(pair.before.rows)), now


def _covered(pair: _Pair) -> float:
    """Return which share of the reference's rows lies in hours of day that the window has."""
    hours = pair.before.hours
    return float(hours[pair.now.hours > 0].sum() / max(hours.sum(), 1)) if hours.sum() else 1.0


def _values(pair: _Pair, names: list[str], enough: npt.NDArray[np.bool_], level: float) -> _Parts:
    """Compare the values of columns: four scores of numbers, the shares of categories."""
    columns = [pair.columns[name] for name in names]
    bins = max(column.bins for column in columns)
    counts = tuple(_padded(each, names, bins) for each in (pair.before, pair.now))
    rows = tuple(each.sum(2) for each in counts)
    totals = [each.sum((1, 2)) for each in counts]
    share = sum(each.sum(1) for each in counts) / np.maximum(totals[0] + totals[1], 1)[:, None]
    numeric = _is_numeric(columns[0])
    scores = _scores(share) if numeric else np.broadcast_to(np.eye(bins), (len(names), bins, bins))
    width = scores.shape[1]
    owner = np.repeat(np.arange(len(names)), width)
    row = np.where((scores**2).sum(2) > 0, 1.0, 0.0).ravel() if numeric else (share * (1 - share)).ravel()
    sums = tuple(np.einsum("cuk,cjk->cju", each, scores, optimize=True).reshape(len(owner), -1) for each in counts)
    spread_rows = tuple(np.repeat(each, width, axis=0) for each in rows)
    found = _series(pair, sums, spread_rows, row)  # type: ignore[arg-type]
    present = np.repeat((totals[0] > 0) & (totals[1] > 0), width)
    live = present & (row > _TINY)
    if numeric:
        shares = np.tile(_WEIGHTS, len(names)) * _VALUES
        chance, furthest = (each / shares for each in _chance_of_scores(found, width, pair))
        enough = enough & (furthest.reshape(-1, width)[:, 0] <= level)
        labels = [_NAMES[at % width] for at in range(len(owner))]
    else:
        size = np.repeat(np.array([max(column.bins - 1, 1) for column in columns], dtype=float), width)
        chance = _chance_of_shares(found, sums, pair) * size / _VALUES
        labels = [_category(columns[at // width], at % width) for at in range(len(owner))]
    effect = _effects(pair, names, width, found) if numeric else found.difference
    told = np.repeat(enough, width) | ~live
    never = np.zeros(len(owner), dtype=bool)
    return _Parts(owner, np.where(live, chance, np.inf), labels, effect, told, never)


def _category(column: Column, at: int) -> str:
    if at < len(column.categories):
        return f"share of {column.categories[at]}"
    return "new category" if len(column.known) == len(column.categories) else "share of other categories"


def _effects(pair: _Pair, names: list[str], width: int, found: _Series) -> Array:
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


def _chance_of_scores(found: _Series, width: int, pair: _Pair) -> tuple[Array, Array]:
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
        chance_of(_tempered(found, pair), variance, found.spread),
        chance_of(_tempered(furthest, pair), variance, found.spread),
    )


def _tempered(found: _Series, pair: _Pair) -> Array:
    """Shrink differences of a window of few units, where units of the reference lie further out than a t has them.

    A day is one draw, and days have storms: the t's tail is then calibrated by the reference's most extreme unit.
    """
    spread = found.spread
    units = found.deviations[0]
    count = units.shape[1]
    if spread is None or _lengths(pair)[1] >= _FEW_UNITS or count < _FEW_UNITS:
        return found.difference
    own = (spread.weight * found.variances[1]).sum(1)
    few = 1 / np.maximum(own, _TINY) * np.maximum(found.row, _TINY) < _FEW_DRAWS
    scale = np.sqrt(np.maximum((units**2).sum(1) / (count - 1), _TINY))
    furthest = np.abs(units).max(1) / scale
    expected = stdtrit(spread.freedom, 1 - 0.5 / (count + 1))
    return np.where(few, found.difference / np.maximum(furthest / expected, 1.0), found.difference)


def _chance_of_shares(
    found: _Series, sums: tuple[Array, Array], pair: _Pair, dependent: npt.NDArray[np.bool_] | None = None
) -> Array:
    """Chance of a difference of shares; of rare ones by their counts, as no t has their tail."""
    seen, before = sums[1].sum(1), sums[0].sum(1)
    rows = found.rows[1] + found.rows[0]
    pooled = (seen + before) / np.maximum(rows, 1)
    plain = pooled * (1 - pooled) * (1 / np.maximum(found.rows[0], 1) + 1 / np.maximum(found.rows[1], 1))
    if found.spread is None:
        clustered = np.ones(len(plain))
        by_t = np.ones(len(plain))
    else:
        variance = np.maximum(found.variances[0] + found.variances[1], plain[:, None])
        clustered = np.maximum((found.spread.weight * variance).sum(1) / np.maximum(plain, _TINY), 1.0)
        by_t = chance_of(_tempered(found, pair), variance, found.spread)
    if dependent is not None:  # what came in few stretches of the reference does not show how many rows come together
        units = [(each > 0).sum(1) for each in sums]
        clusters = np.where(dependent & (units[0] < _FEW_CLUSTERS), seen / np.maximum(units[1], 1), 1.0)
        clustered = np.maximum(clustered, clusters)
    # of what is the rarer: it, or its absence
    flip = pooled > 0.5
    seen = np.where(flip, found.rows[1] - seen, seen)
    before = np.where(flip, found.rows[0] - before, before)
    by_counts = chance_of_counts(
        seen / clustered, found.rows[1] / clustered, before / clustered, found.rows[0] / clustered
    )
    least = (seen + before) / clustered * np.minimum(*found.rows) / np.maximum(rows, 1)
    return np.where(least < _RARE, by_counts, by_t)


@dataclass(frozen=True)
class _Stretches:
    """How many stretches of the reference are independent of each other, and what to say where they are too few."""

    number: float
    independent: bool
    """Whether rows are so, and not only stretches of them."""
    reason: str


def _stretches(pair: _Pair) -> dict[str, _Stretches]:
    own = pair.own
    names = list(pair.columns)
    memory, inflation = _memory(pair, own, names)
    independent = memory * inflation <= _INDEPENDENT
    number = np.where(independent, own.size / (memory * inflation), len(own.rows) / memory)
    if own.unit == "rows" and pair.now.size > pair.before.size:  # it may show what the reference is too short to show
        length, times = _memory(pair, pair.now, names)
        number = np.minimum(number, own.size / np.maximum(length * times, 1.0))
    covered = _covered(pair) if own.unit == "day" else 1.0
    found = {}
    for at, name in enumerate(names):
        reason = ""
        if covered < _FULL_DAY and (own.tallies[name].cycle > _CYCLE or not independent[at]):
            number[at], reason = 0.0, "the window is shorter than a day, and hours of a day differ"
        elif number[at] < MIN_STRETCHES:
            many, what = (len(own.rows) * own.length, "days") if own.unit == "day" else (own.size, "rows")
            reason = (
                f"neighbouring rows are alike: the {many:,} {what} of the reference hold {number[at]:.0f} stretches "
                f"that are independent of each other, and {MIN_STRETCHES} are needed"
            )
        found[name] = _Stretches(float(number[at]), bool(independent[at]), reason)
    return found


def _memory(pair: _Pair, sample: Sample, names: list[str]) -> tuple[Array, Array]:
    """Memory of columns in units, and how much more the mean of a unit varies than that of independent rows."""
    order, first, second, inflation = [], None, None, []
    for chunk in _chunks(pair):
        columns = [pair.columns[name] for name in chunk]
        counts = _padded(sample, chunk, max(column.bins for column in columns))
        rows = counts.sum(2)
        share = counts.sum(1) / np.maximum(rows.sum(1), 1)[:, None]
        numeric = _is_numeric(columns[0])
        scores = (
            _scores(share)[:, :2]
            if numeric
            else np.broadcast_to(np.eye(share.shape[1]), (*share.shape, share.shape[1]))
        )
        mean = np.einsum("ck,cjk->cj", share, scores)
        row = np.einsum("ck,cjk->cj", share, scores**2) - mean**2
        mean_rows = np.maximum(rows.mean(1), _TINY)[:, None]
        sums = np.einsum("cuk,cjk->cju", counts, scores, optimize=True)
        deviations = (sums - rows[:, None] * mean[:, :, None]) / mean_rows[:, :, None]
        deviations[row <= _TINY] = 0.0
        each = (deviations**2).mean(2)
        parts = (deviations[:, :1], deviations[:, 1:]) if numeric else (deviations, deviations)
        traces = [Traces.of(part) for part in parts]
        first = traces[0] if first is None else first + traces[0]
        second = traces[1] if second is None else second + traces[1]
        ratio = (each * mean_rows).max(1) if numeric else each.sum(1) * mean_rows[:, 0] / np.maximum(row.sum(1), _TINY)
        inflation += list(np.where(row.sum(1) > _TINY, np.maximum(ratio, 1.0), 1.0))
        order += chunk
    if first is None or second is None:
        return np.ones(0), np.ones(0)
    together = _TOGETHER[sample.unit]
    resolved, short = sample.unit == "day", sample.size < _SHORT
    memories = [memory_of(traces, together, resolved=resolved, short=short) for traces in (first, second)]
    memory = dict(zip(order, np.maximum(*memories), strict=True))
    times = dict(zip(order, inflation, strict=True))
    return np.array([memory[name] for name in names]), np.array([times[name] for name in names])


def _is_numeric(column: Column) -> bool:
    return column.kind == "number" and len(column.edges) > 0


def _chunks(pair: _Pair) -> Iterator[list[str]]:
    """Columns that are judged together: of numbers, and of categories."""
    for numeric in (True, False):
        names = [name for name, column in pair.columns.items() if _is_numeric(column) == numeric]
        for start in range(0, len(names), _CHUNK):
            yield names[start : start + _CHUNK]


def _shares(
    pair: _Pair,
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
        if not len(live):
            continue
        sums = (counts[0][live], counts[1][live])
        held = (rows[0][live], rows[1][live])
        pooled = (sums[0].sum(1) + sums[1].sum(1)) / (held[0].sum(1) + held[1].sum(1))
        found = _series(pair, sums, held, pooled * (1 - pooled))
        chance = _chance_of_shares(found, sums, pair, dependent[live])
        share = sums[1].sum(1) / held[1].sum(1)
        never = sums[0].sum(1) == 0
        plain = chance_of_counts(sums[1].sum(1), found.rows[1], sums[0].sum(1), found.rows[0])
        ruled = np.array([kind == "missing" or pair.columns[names[at]].kind == "category" for at in live])
        rule = ruled & never & (share > RULE_SHARE) & (plain / weight <= level)
        chance = np.where(rule, np.minimum(chance, plain), chance) / weight
        labels = [_label(pair.columns[names[at]], kind) for at in live]
        yield _Parts(live, chance, labels, found.difference, enough[live], rule)


def _label(column: Column, kind: str) -> str:
    if kind == "missing":
        return "missing"
    return "new category" if column.kind == "category" else "out of range"


def _distance(pair: _Pair, name: str) -> float | None:
    """Distance of the distributions, for reading."""
    column, before, now = pair.columns[name], pair.before.tallies[name], pair.now.tallies[name]
    p, q = before.counts.sum(0).astype(np.float64), now.counts.sum(0).astype(np.float64)
    if not p.sum() or not q.sum():
        return None
    if column.kind == "category":
        value = jensen_shannon(p, q)
    elif column.spread > 0:
        centres = np.where(q > 0, now.sums / np.maximum(q, 1), column.centres)
        value = wasserstein(p, q, column.centres, centres, column.spread)
    else:
        value = float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)
    return value if math.isfinite(value) else None


def wasserstein(p: Array, q: Array, p_centres: Array, q_centres: Array, spread: float) -> float:
    """Wasserstein-1 distance of two discrete distributions over the reference's deviation.

    Parameters
    ----------
    p, q : ndarray of shape (n_bins,)
        Counts of reference and window.
    p_centres, q_centres : ndarray of shape (n_bins,)
        Where their mass lies.
    """
    places = np.concatenate([p_centres, q_centres])
    order = np.argsort(places, kind="stable")
    mass = np.concatenate([p / p.sum(), -q / q.sum()])[order]
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = np.diff(places[order] / spread)
        return float(np.abs(np.cumsum(mass)[:-1] * gaps).sum())


def jensen_shannon(p: Array, q: Array) -> float:
    """Jensen-Shannon distance (square root of the divergence, natural logarithm) of counts."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2

    def relative(a: Array) -> float:
        ratio = np.divide(a, middle, out=np.ones_like(middle), where=(a > 0) & (middle > 0))
        return float((a * np.log(ratio)).sum())

    return math.sqrt(max(relative(p) + relative(q), 0) / 2)
