"""How candidates compete on the validation rows, each as it is declared or as a search makes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from expectations.errors import TrainingError
from expectations.families import Family, Fitted, Report, Rows, Scores, Vector
from expectations.usecase import UseCase
from tasks.evaluation.metrics import Scored, score
from tasks.modelling.class_weights import Corrected, FittedPrior, correction, weights_of
from tasks.stores.progress import part, step
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


def named(results: Iterator[Competed], candidates: Sequence[Family]) -> Iterator[Competed]:
    """Yield what comes of each candidate, in their order.

    Raises
    ------
    TrainingError
        What the first that cannot learn raised, and which one it is, by its place from one.
    """
    done = 0
    try:
        for found in results:
            yield found
            done += 1
    except TrainingError as error:
        raise _of_candidate(error, done + 1, candidates[done]) from error


def _of_candidate(error: TrainingError, number: int, candidate: Family) -> TrainingError:
    return TrainingError(error.expected, f"{error.found} (candidate {number}, {candidate.family})", error.remedy)


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
    for number, candidate in enumerate(candidates, start=1):
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
                try:
                    found, attempts = search(candidate, rules, spec.model.seed, name, try_one, greater_is_better=better)
                except TrainingError as error:
                    raise _of_candidate(error, number, candidate) from error
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
    with step(f"learning {_name_of(recipe, spec)}"):
        fitted = recipe.fit(train, valid, seed=spec.model.seed, report=report)
    weights = spec.model.weights
    if weights is None or weights.classes is None or not recipe.learns:
        return fitted
    weight = weights_of(weights.classes, train.label, train.classes)
    return Corrected(fitted, _levelled(correction(weight), fitted.recipe, train, weight, spec))


def names_of(candidates: Sequence[Family]) -> list[str]:
    """Name candidates by their families, and by their place, too, from the second of a family on."""
    names: list[str] = []
    for position, candidate in enumerate(candidates):
        names.append(candidate.family if candidate.family not in names else f"{candidate.family}-{position}")
    return names


def _name_of(recipe: Family, spec: UseCase) -> str:
    declared = spec.model.candidates
    return names_of(declared)[declared.index(recipe)] if recipe in declared else recipe.family


def _levelled(prior: FittedPrior, recipe: Family, train: Rows, weight: Vector, spec: UseCase) -> FittedPrior:
    """Move a correction so that rows which a model did not learn from are met on average.

    A model that stops early, or is held small, says less than it was taught, so that its weights alone bring it too
    far back. Rows of each class are dealt out in turn to parts alike, and each part is said by the model of the others,
    since of the rows that it learnt from a model says too much. Where a class has one row alone, or a model says
    something that is no number, the weights must do.
    """
    if train.weight is not None:
        train = _some(train, np.flatnonzero(train.weight > 0))
    counts = np.bincount(train.label.astype(np.int64), minlength=len(weight))
    if counts[counts > 0].min() < 2:
        return prior
    parts = np.empty(len(train.label), dtype=np.int64)
    for code in np.unique(train.label):
        rows = np.flatnonzero(train.label == code)
        parts[rows] = np.arange(len(rows)) % FOLDS
    said = list[tuple[npt.NDArray[np.int64], Scores]]()
    with part("the level of its probabilities"):
        for number in range(FOLDS):
            held = np.flatnonzero(parts == number)
            if len(held):
                model = recipe.settled().fit(
                    _some(train, np.flatnonzero(parts != number)), None, seed=spec.model.seed, report=lambda *_: None
                )
                said.append((held, model.predict(train.matrix[held])))
    rows = np.concatenate([held for held, _ in said])
    scores, label = np.concatenate([each for _, each in said]), train.label[rows]
    counted = np.ones(len(rows)) if train.weight is None else train.weight[rows]
    if not np.isfinite(scores).all():
        return prior
    return prior.levelled(scores, label, counted / weight[label.astype(np.int64)])


def _some(rows: Rows, chosen: npt.NDArray[np.int64]) -> Rows:
    weight = None if rows.weight is None else rows.weight[chosen] / rows.weight[chosen].mean()
    return replace(rows, matrix=rows.matrix[chosen], label=rows.label[chosen], weight=weight)
