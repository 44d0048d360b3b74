"""How candidates compete on the validation rows, each as it is declared or as a search makes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

from expectations.families import Family, Fitted, Report, Rows, Scores
from expectations.usecase import UseCase
from tasks.evaluation.metrics import Scored, score
from tasks.modelling.class_weights import Corrected, correction, weights_of
from tasks.stores.progress import part
from tasks.training.calibrating import FOLDS, calibrate_out_of_fold
from tasks.training.searching import Attempt, search


def decisive_metric(spec: UseCase) -> str:
    """Name the metric that chooses among candidates: that of the first comparison gate, else of the first gate."""
    whole = [gate for gate in spec.gates if gate.metric and gate.slices is None]
    named = [gate.metric for gate in whole if gate.compares] or [gate.metric for gate in whole]
    return named[0] if named else spec.monitoring.performance[0].metric


class Competed(NamedTuple):
    """What came of a candidate: its score, its recipe at the length found best, and what it says of the rows."""

    value: float
    recipe: Family
    prediction: Scores


@dataclass(frozen=True)
class Contest:
    """What candidates compete on: the rows they learn from, those that choose, and the metric."""

    spec: UseCase
    metric: str
    train: Rows
    valid: Rows

    def score(self, candidate: Family, report: Report) -> float:
        """Learn a candidate, and score it."""
        return compete(self, candidate, report).value


def compete(contest: Contest, candidate: Family, report: Report) -> Competed:
    """Learn a candidate from the training rows, and score it as it would be released."""
    fitted = fit_family(candidate, contest.train, contest.valid, contest.spec, report)
    prediction = fitted.predict(contest.valid.matrix)
    value = _as_released(contest.metric, contest.spec, prediction, contest.valid)
    return Competed(value, fitted.recipe, prediction)


def search_candidates(
    candidates: tuple[Family, ...], spec: UseCase, train: Rows, valid: Rows
) -> tuple[tuple[Family, ...], tuple[Attempt, ...]]:
    """Put the best that a search finds in the place of each candidate that is searched; also all that was tried."""
    rules = spec.model.search
    if rules is None:
        return candidates, ()
    metric = decisive_metric(spec)
    try_one = Contest(spec, metric, train, valid).score
    best: list[Family] = []
    tried: list[Attempt] = []
    for candidate in candidates:
        found, attempts = candidate, list[Attempt]()
        if candidate.family in rules.ranges:
            better = spec.greater_is_better[metric]
            given = {"seed": spec.model.seed, "threshold": spec.threshold, "calibration": spec.model.calibration}
            given |= {"parts": FOLDS} if spec.model.calibration is not None else {}
            drawn_by = rules.model_dump_json(exclude={"trials", "time"} | ({"batch"} if rules.batch == 1 else set()))
            code = train.code.digest if train.code is not None and candidate.calls else ""
            known = (candidate.model_dump_json(), drawn_by, metric, json.dumps(given), *filter(None, [code]))
            name = hashlib.sha256("\n".join((*known, _content(train), _content(valid))).encode()).hexdigest()
            with part(f"searching {candidate.family}"):
                found, attempts = search(candidate, rules, spec.model.seed, name, try_one, greater_is_better=better)
        best.append(found)
        tried += attempts
    return tuple(best), tuple(tried)


def _content(rows: Rows) -> str:
    weight = b"" if rows.weight is None else rows.weight.tobytes()
    return hashlib.sha256(rows.matrix.tobytes() + rows.label.tobytes() + weight).hexdigest()


def _as_released(metric: str, spec: UseCase, scores: Scores, valid: Rows) -> float:
    """Score a candidate as it would be released: a threshold is held against the scores it is meant for."""
    found, judges = calibrate_out_of_fold(spec, scores, valid.label, valid.classes)
    return score(metric, Scored(valid.label[judges], found[judges], spec.threshold))


def fit_family(recipe: Family, train: Rows, valid: Rows | None, spec: UseCase, report: Report) -> Fitted:
    """Let a recipe learn; where classes were weighed, its probabilities are those of their own shares."""
    fitted = recipe.fit(train, valid, seed=spec.model.seed, report=report)
    weights = spec.model.weights
    if weights is None or weights.classes is None:
        return fitted
    return Corrected(fitted, correction(weights_of(weights.classes, train.label, train.classes)))
