"""The part of the inputs, by column: what weighting both periods to the inputs they share changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array
from tasks.evaluation.causes.comparison import PeriodComparison
from tasks.evaluation.causes.model import Cause, some_of
from tasks.evaluation.causes.resamples import PART_CONFIDENCE, Side
from tasks.evaluation.causes.rows import MIN_ROWS
from tasks.evaluation.causes.trees import areas_of, cross_fit, thin

_NULL_ROWS = 4_000
_SHUFFLES = 4
_MIN_AREA = 0.52
_COLUMNS = 12
"""Columns whose parts are separated; the others are one."""
_ORDERS = 12


def log_odds(
    both: PeriodComparison, kept: npt.NDArray[np.intp], weight: Array | None = None
) -> tuple[Array, Array] | None:
    """Return log-odds of being of the window, by column, of both periods; None where they cannot be separated."""
    names = both.columns.names
    if not names:
        return None
    old, categories = both.columns.matrix("old", names)
    new = both.columns.matrix("new", names)[0][kept]
    weight = np.ones(len(old)) if weight is None else weight
    folds = both.old.blocks % 2, both.new.blocks[kept] % 2
    odds = cross_fit(old, new, weight, folds, categories, both.seed)
    apart = areas_of(*odds, weight) > areas_by_chance(both, old, weight, len(new), categories)
    return (odds[0] * apart, odds[1] * apart) if apart.any() else None


def areas_by_chance(both: PeriodComparison, old: Array, weight: Array, size: int, categories: list[int]) -> Array:
    """Return what each column's area reaches by chance: where blocks of earlier rows are called the window."""
    random, areas = np.random.default_rng(both.seed), []
    number = int(both.old.blocks.max()) + 1
    share = min(0.5, size / len(old))
    for _ in range(_SHUFFLES):
        order = random.permutation(number)
        reached = np.cumsum(np.bincount(both.old.blocks, minlength=number)[order])
        chosen = np.zeros(number, dtype=np.bool_)
        chosen[order[: max(2, int(np.searchsorted(reached, share * len(old))))]] = True
        sides = ~chosen[both.old.blocks], chosen[both.old.blocks]
        one, other = (thin(np.flatnonzero(side), _NULL_ROWS, random) for side in sides)
        if min(len(one), len(other)) < MIN_ROWS // 2:
            continue
        place = np.empty(number, dtype=np.int64)
        place[order] = np.arange(number)  # every other one of either side, whichever were chosen
        folds = place[both.old.blocks[one]] % 2, place[both.old.blocks[other]] % 2
        odds = cross_fit(old[one], old[other], weight[one], folds, categories, both.seed)
        areas.append(areas_of(*odds, weight[one]))
    if not areas:
        return np.ones(old.shape[1])
    return np.asarray(np.maximum(np.mean(areas, axis=0) + 3 * np.std(areas, axis=0), _MIN_AREA))


def by_column(
    both: PeriodComparison,
    new: Side,
    logits: tuple[Array, Array] | None,
    covariate: Array,
    mixed: Array,
    *,
    whole: bool,
) -> list[Cause]:
    """Split the covariates' part by column."""
    within: list[tuple[str, Array]] = []
    if logits is not None and not whole:
        within = shapley(both, new, logits)
    elif logits is not None:
        power = np.abs(np.concatenate(logits)).mean(axis=0)
        within = [(both.columns.names[int(np.argmax(power))], covariate)]
    left = covariate + mixed - sum((each for _, each in within), np.zeros_like(mixed))
    if np.abs(left[0]) > 1e-12 * max(abs(float(both.total[0])), 1e-300):
        within.append(("other differences", left))
    causes = tuple(
        Cause("covariate", name, float(each[0]), *both.chance.interval(each, PART_CONFIDENCE))
        for name, each in sorted(within, key=lambda pair: -pair[1][0])
    )
    leading = [each.what for each in causes if each.value > 0.2 * covariate[0] and each.what in both.columns.names]
    what = f"inputs shifted: {some_of(leading)}" if leading else "other differences of the inputs"
    return both.cause("covariate", what, covariate + mixed, causes)


def shapley(both: PeriodComparison, new: Side, logits: tuple[Array, Array]) -> list[tuple[str, Array]]:
    """Return each column's part: its mean contribution over orders in which columns are shifted."""
    power = np.abs(np.concatenate(logits)).mean(axis=0)
    order = [int(each) for each in np.argsort(-power)[:_COLUMNS] if power[each] > 0]
    groups = [[each] for each in order]
    others = [each for each in range(len(power)) if each not in order and power[each] > 0]
    if others:
        groups.append(others)
    odds = [np.stack([each[:, group].sum(axis=1) for group in groups], axis=1) for each in logits]
    plain = both.old.mean(both.old.loss), new.mean(new.loss)

    def worth(chosen: Array) -> Array:
        chance = [1 / (1 + np.exp(-np.clip(each @ chosen, -30, 30))) for each in odds]
        alike = both.old.mean(both.old.loss, chance[0]), new.mean(new.loss, 1 - chance[1])
        return (plain[1] - alike[1]) + (alike[0] - plain[0])

    random, number = np.random.default_rng(both.seed), len(groups)
    known: dict[bytes, Array] = {}
    parts = np.zeros((number, len(plain[0])))
    orders = [random.permutation(number) for _ in range(_ORDERS // 2)]
    for each in (*orders, *(order[::-1] for order in orders)):
        chosen = np.zeros(number)
        reached = np.zeros(len(plain[0]))
        for place in each:
            chosen[place] = 1.0
            key = chosen.tobytes()
            if key not in known:
                known[key] = worth(chosen)
            parts[place] += (known[key] - reached) / (2 * len(orders))
            reached = known[key]
    names = [both.columns.names[group[0]] for group in groups[: len(order)]]
    return list(zip([*names, *(["other columns"] if others else [])], parts, strict=True))
