"""The score of a column's drift, as declared: a number for reading, or why there is none."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import numpy as np

from expectations.drift_scores import Binned, DriftScore, ScoresOfColumns
from expectations.slots import DRIFT_SCORES
from expectations.wording import one_line
from tasks.evaluation.pairs import Pair

_log = logging.getLogger("driftwheel.tasks")


class Distance(NamedTuple):
    """How far a column lies from its reference.

    Attributes
    ----------
    value : float or None
        None where it is not finite, there are no values to compare, or the score says nothing.
    by : str
        The score (`DriftScore.named`); empty where none was asked.
    why : str
        Why the score says nothing, though there are values.
    """

    value: float | None = None
    by: str = ""
    why: str = ""


def distance_of(pair: Pair, name: str, scores: ScoresOfColumns) -> Distance:
    """Score a column: of one that fails, or is of no such column, that is said, and the others are looked at."""
    column, before, now = pair.columns[name], pair.before.tallies[name], pair.now.tallies[name]
    p, q = before.counts.sum(0).astype(np.float64), now.counts.sum(0).astype(np.float64)
    if not p.sum() or not q.sum():
        return Distance()
    score = scores.score_of(name, column.kind)
    if misfit := score.misfit(name, column.kind):
        return Distance(None, score.named, misfit)
    none = np.zeros(0)
    centres, spread = (none, none), math.nan
    if column.kind == "number":
        spread = column.spread
        centres = column.centres, np.where(q > 0, now.sums / np.maximum(q, 1), column.centres)
    binned = Binned(p, q, *centres, spread)
    try:
        value = float(score.of(binned))
    except Exception as error:  # noqa: BLE001 - packages add scores, and they raise anything
        why = _failed(score, error)
        _log.warning("the drift score of %s: %s", name, why, exc_info=error)
        return Distance(None, score.named, why)
    return Distance(value if math.isfinite(value) else None, score.named)


def _failed(score: DriftScore, error: Exception) -> str:
    said = one_line(error)
    return f"{score.score} of {DRIFT_SCORES.package_of(score.score)} failed: {type(error).__name__}: {said}"
