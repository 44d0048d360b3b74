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
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from expectations.drift_scores import DriftScore, ScoresOfColumns
from tasks.evaluation.drifted import Drifted, Status, most_certain_first, undetermined
from tasks.evaluation.pairs import (
    Compared,
    Pair,
    chunks_of,
    pair_of,
)
from tasks.evaluation.scored_columns import call_constants, score_shares, score_values
from tasks.evaluation.scoring import Distance, distance_of
from tasks.evaluation.stretches import MIN_STRETCHES, Stretches, stretches_of

Array = npt.NDArray[np.float64]

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


def _judge_columns(
    pair: Pair,
    names: list[str],
    stretches: Mapping[str, Stretches],
    level: float,
    min_effect: float,
    distances: ScoresOfColumns,
) -> Iterator[Drifted]:
    enough = np.array([stretches[name].number >= MIN_STRETCHES for name in names])
    values = score_values(pair, names, enough, level)
    dependent = np.array([not stretches[name].independent for name in names])
    parts = [*call_constants(pair, names, level), values, *score_shares(pair, names, enough, dependent, level)]
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
