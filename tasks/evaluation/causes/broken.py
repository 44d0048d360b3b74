"""The part of broken data: what rows with a fault lose beyond what they would have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expectations.metrics import Array
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.model import Cause, some_of
from tasks.evaluation.causes.resamples import PART_CONFIDENCE
from tasks.evaluation.causes.rows import MIN_ROWS
from tasks.evaluation.causes.trees import fit_trees
from tasks.evaluation.fault_units import Mask
from tasks.evaluation.faults import Fault, find_faults


def broken_data(both: PeriodComparison) -> tuple[list[tuple[Cause, Array]], Mask]:
    """Return what rows with faults lose beyond what they would have, and which rows are sound."""
    sound = np.ones(len(both.new.rows), dtype=np.bool_)
    faults = find_faults(
        both.columns.old.select(both.columns.raw),
        both.old.rows.seconds,
        both.columns.new.select(both.columns.raw),
        both.new.rows.seconds,
    )
    if not faults:
        return [], sound
    hurt = np.zeros(len(sound))
    for fault in faults:
        hurt += fault.rows
    sound = hurt == 0
    odd = {column for fault in faults for column in fault.columns}
    surplus_old, surplus = beyond_expected(both, odd)
    enough = sound.sum() >= MIN_ROWS
    offset = both.new.mean(surplus, sound.astype(np.float64)) if enough else both.old.mean(surplus_old)
    rows = both.new.sums(np.ones(len(sound)))
    drawn = []
    for fault in faults:
        portion = np.where(fault.rows, 1.0 / np.maximum(hurt, 1.0), 0.0)
        drawn.append((both.new.sums(portion * surplus) - both.new.sums(portion) * offset) / rows)
    whole = np.sum(drawn, axis=0)
    lower, upper = both.chance.interval(whole, PART_CONFIDENCE)
    if lower <= 0:
        both.notes.append(f"no loss by it is seen: {listed(faults)}")
        return [], np.ones(len(sound), dtype=np.bool_)
    within = tuple(
        Cause("broken", str(fault), float(each[0]), *both.chance.interval(each, PART_CONFIDENCE))
        for fault, each in sorted(zip(faults, drawn, strict=True), key=lambda pair: -pair[1][0])
    )
    what = f"broken data: {some_of([each.what for each in within])}"
    return [(Cause("broken", what, float(whole[0]), lower, upper, within=within), whole)], sound


def beyond_expected(both: PeriodComparison, odd: set[str]) -> tuple[Array, Array]:
    """Return the loss beyond what earlier rows lose at the same sound columns, of both periods."""
    names = [name for name in both.columns.names if name not in odd]
    if not names:
        mean = float(both.old.loss.mean())
        return both.old.loss - mean, both.new.loss - mean
    matrix, categories = both.columns.matrix("old", names)
    params = {"objective": "regression", "num_leaves": 15, "min_data_in_leaf": 40, "learning_rate": 0.1}
    booster = fit_trees(params, 60, matrix, both.old.loss, np.ones(len(matrix)), categories, both.seed)
    expected = booster.predict(matrix), booster.predict(both.columns.matrix("new", names)[0])
    return both.old.loss - expected[0], both.new.loss - expected[1]


def listed(faults: Sequence[Fault]) -> str:
    """Name faults, the first three of many."""
    return some_of([str(each) for each in faults])
