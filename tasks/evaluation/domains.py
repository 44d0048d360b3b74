"""Whether the rows of a window can be told from those of the reference by all of their columns together.

A classifier learns on half of both which rows are the window's and says it of the other half (a classifier two-sample
test: Lopez-Paz and Oquab, ICLR 2017), and the other way round. Columns that each look as ever, and no longer go
together, are told apart by it. What chance does is seen by permutation: of stretches of time, not of rows, and given
the classifiers, so that none is fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tasks.evaluation.causes.trees import fit_trees
from tasks.evaluation.counting import Sample, in_order
from tasks.evaluation.drift import NO_REACH, bound_odds
from tasks.evaluation.drifted import Status
from tasks.evaluation.pairs import Compared, Pair, pair_of
from tasks.evaluation.permutation_test import Blocks, half_of, least_chance, permutation_test
from tasks.evaluation.sketches import Reference
from tasks.evaluation.stretches import MIN_STRETCHES, stretches_of

Array = npt.NDArray[np.float64]

MIN_BLOCKS = 4
"""Fewest stretches of a window that are independent of each other: two to learn from and two to judge."""
MIN_ROWS = 40
_INDEPENDENT = 1.5
"""Memory up to which neighbours count for themselves: that of 128 runs of independent rows is known no better."""
_SHORT = (
    f"neighbouring rows are alike: {MIN_BLOCKS} stretches of time that are independent of each other are needed of the "
    f"window, and {MIN_STRETCHES} of the reference, of two columns at least"
)
_TREES = {"objective": "binary", "num_leaves": 8, "min_data_in_leaf": 15, "learning_rate": 0.1, "lambda_l2": 1.0}
_ROUNDS = 80
_LEADING = 0.2


@dataclass(frozen=True)
class Together:
    """What is said of all columns of a window together.

    Attributes
    ----------
    status : {"drifted", "same", "undetermined"}
    area : float or None
        Area under the curve of the classifier on rows that it did not learn from: one half where nothing changed.
    p, odds : float or None
        Chance of so large an area where nothing changed; at most so many to one speak for a change.
    columns : dict of str to float
        Columns that carry it and their share of the difference in log-odds, largest first; of a window that drifted.
    looked_at : int
        Columns that the classifier saw; others have too long a memory for this window or reference.
    reason : str
        Why it is undetermined.
    """

    status: Status
    area: float | None = None
    p: float | None = None
    odds: float | None = None
    columns: Mapping[str, float] | None = None
    looked_at: int = 0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {**vars(self), "columns": dict(self.columns or {}), "words": self.words}

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        if self.status == "undetermined" or self.area is None or self.odds is None:
            return f"all columns together: undetermined: {self.reason}"
        found = f"all columns together: area {self.area:.3f} of telling the window apart"
        if self.status == "same":
            return f"{found}, within chance"
        carried = f", by {', '.join(self.columns)}" if self.columns else ""
        return f"{found}, odds {self.odds:.0f} to 1{carried}"


def tell_apart(
    rows: pl.DataFrame,
    times: pl.Series | None,
    table: Compared,
    *,
    alpha: float,
    most: int = 2000,
    seed: int = 0,
) -> Together:
    """Tell a window from its reference by all columns together.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        The rows that the reference is the sketch of.
    times : polars.Series of shape (n_rows,), optional
        Their event times.
    table : Compared
        That sketch, and the window.
    alpha : float
        Share of unchanged windows that may be called.
    most : int
        Rows of either side that are looked at, drawn at random.
    """
    reference = table.reference
    rows, times = in_order(reference.prepared(rows, times), times)
    window, now_times = in_order(reference.prepared(table.window, table.times), table.times)
    pair = pair_of(Compared(reference, window, now_times, table.independent))
    names, length, reason = _usable(pair, table, [name for name in rows.columns if name in pair.columns])
    if len(names) < 2:
        return Together("undetermined", looked_at=len(names), reason=reason)
    random = np.random.default_rng(seed)
    sides = []
    for frame, moments in ((rows, times), (window, now_times)):
        blocks = _blocks(len(frame), moments, pair.own, reference, length)
        kept = np.sort(random.choice(len(frame), min(most, len(frame)), replace=False))
        sides.append((_matrix(frame[kept], reference, names), np.unique(blocks[kept], return_inverse=True)[1]))
    (old, before), (new, now) = sides
    if min(len(old), len(new)) < MIN_ROWS:
        return Together("undetermined", looked_at=len(names), reason=f"fewer than {MIN_ROWS} rows")
    if before.max() + 1 < MIN_STRETCHES or now.max() + 1 < MIN_BLOCKS:  # of what the sketch counted, some is gone
        return Together("undetermined", looked_at=len(names), reason=_SHORT)
    categories = [at for at, name in enumerate(names) if reference.columns[name].kind == "category"]
    halves = half_of(before), half_of(now)
    if least_chance((before, now), halves) > alpha:
        return Together("undetermined", looked_at=len(names), reason=NO_REACH)
    away = _away(before, halves[0]), _away(now, halves[1])
    odds = _cross_fit(old, new, halves, away, categories, seed)
    area, p = permutation_test([each.sum(1) for each in odds], (before, now), halves, random)
    status: Status = "drifted" if p <= alpha else "same"
    carried = _carried(odds, names) if status == "drifted" else {}
    return Together(status, area, p, bound_odds(p), carried, len(names))


def _usable(pair: Pair, table: Compared, names: Sequence[str]) -> tuple[list[str], int, str]:
    """Return columns whose memory is short enough, the units of a stretch (0: each row is one), and what is lacking."""
    live = [name for name in names if pair.columns[name].kind == "category" or len(pair.columns[name].edges)]
    if table.independent:
        return live, 0, "fewer than two columns to compare"
    stretches = stretches_of(pair)
    units = len(pair.own.rows)
    most = min(units / MIN_STRETCHES, _length(pair) / MIN_BLOCKS)
    known = [name for name in live if stretches[name].number >= MIN_STRETCHES]
    memory = _shrunk({name: stretches[name].memory for name in known})
    rows = _shrunk({name: stretches[name].memory * stretches[name].inflation for name in known})
    alone = [name for name in known if rows[name] <= _INDEPENDENT]
    kept = [name for name in known if _stretch(memory[name]) <= most]
    if len(alone) >= max(len(kept), 2):  # rows count for themselves
        return alone, 0, ""
    return kept, max((_stretch(memory[name]) for name in kept), default=1), _SHORT


def _shrunk(memory: Mapping[str, float]) -> dict[str, float]:
    """Draw each column's memory half of the way towards the table's: columns share a clock, and each alone is noisy."""
    usual = float(np.median([*memory.values()])) if memory else 1.0
    return {name: math.sqrt(each * usual) for name, each in memory.items()}


def _length(pair: Pair) -> float:
    """Return how many of the reference's own units the window is long."""
    return pair.now.size / pair.own.length if pair.own.unit == "rows" else pair.units


def _stretch(memory: float) -> int:
    return 1 if memory <= _INDEPENDENT else math.ceil(2 * memory)


def _blocks(size: int, times: pl.Series | None, own: Sample, reference: Reference, length: int) -> Blocks:
    """Return the stretch that each row lies in."""
    if not length:
        return np.arange(size)
    if own.unit == "rows" or times is None:
        return np.arange(size) // (own.length * length)
    days = times.dt.convert_time_zone(reference.timezone).dt.date().cast(pl.Int64)
    return np.asarray((days.fill_null(strategy="forward").fill_null(0) - int(days.min() or 0)).to_numpy()) // (  # type: ignore[arg-type] # of integers
        own.length * length
    )


def _matrix(frame: pl.DataFrame, reference: Reference, names: Sequence[str]) -> Array:
    """Return columns as numbers, shape (n_rows, n_names): codes of the commonest categories, NaN where missing."""
    made = []
    for name in names:
        column, values = reference.columns[name], frame[name]
        if column.kind == "category":
            codes = {text: float(at) for at, text in enumerate(column.categories)}
            texts = values.cast(pl.String, strict=False)
            found = texts.replace_strict(codes, default=float(len(codes)), return_dtype=pl.Float64)
            numbers = np.where(texts.is_null().to_numpy(), np.nan, found.to_numpy())
        else:
            numbers = values.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
        made.append(np.where(np.isfinite(numbers), numbers, np.nan))
    return np.stack(made, axis=1)


def _away(blocks: Blocks, half: Blocks) -> npt.NDArray[np.bool_]:
    """Return which rows lie half a stretch from the border of the halves or further: a neighbour is no new row."""
    rows = len(blocks) / (int(blocks.max()) + 1)
    return np.asarray(np.abs(np.arange(len(blocks)) + 0.5 - np.searchsorted(half, 1)) > (rows / 2 if rows > 1 else 0))


def _cross_fit(
    old: Array,
    new: Array,
    folds: tuple[Blocks, Blocks],
    away: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    categories: list[int],
    seed: int,
) -> tuple[Array, Array]:
    """Return log-odds of being the window's by column, each row's from the classifier of the other half."""
    odds = np.zeros_like(old), np.zeros_like(new)
    for fold in (0, 1):
        one, other = folds[0] != fold, folds[1] != fold
        learnt = old[one & away[0]], new[other & away[1]]
        matrix = np.concatenate(learnt)
        target = np.repeat([0.0, 1.0], [len(learnt[0]), len(learnt[1])])
        weight = np.where(target > 0, 0.5 / max(len(learnt[1]), 1), 0.5 / max(len(learnt[0]), 1)) * len(target)
        booster = fit_trees(_TREES, _ROUNDS, matrix, target, weight, categories, seed)
        for side, rows, found in ((old, ~one, odds[0]), (new, ~other, odds[1])):
            if rows.any():
                found[rows] = booster.predict(side[rows], pred_contrib=True)[:, :-1]
    return odds


def _carried(odds: tuple[Array, Array], names: Sequence[str]) -> dict[str, float]:
    """Return the columns that carry the difference in log-odds, and their share of it."""
    part = np.maximum(odds[1].mean(0) - odds[0].mean(0), 0.0)
    share = part / max(part.sum(), 1e-300)
    order = np.argsort(-share)
    leading = [at for place, at in enumerate(order) if share[at] > _LEADING or (place == 0 and share[at] > 0)]
    return {names[at]: round(float(share[at]), 3) for at in leading}
