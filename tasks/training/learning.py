"""Fit the candidates of a use case on rows and keep the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Literal, Protocol

import numpy as np
import polars as pl

from expectations.calibration import Calibrator
from expectations.errors import TrainingError
from expectations.families import Family, Fitted, Report, Rows, Scores, Vector
from expectations.parts import FitContext
from expectations.usecase import UseCase
from tasks.compute.compute import current_compute
from tasks.evaluation.splits import hold_back
from tasks.modelling.class_weights import weights_of
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram
from tasks.preprocessing.rows import Matrix
from tasks.stores.progress import Pace, doing, part, round_done, step
from tasks.training.calibrating import fit_calibrator
from tasks.training.contest import Contest, compete, decisive_metric, fit_family, named, names_of, search_candidates
from tasks.training.labelled import (
    classes_of,
    labels,
    of_known_classes,
    require_trainable,
    row_weights,
    training_window,
)
from tasks.training.live import send
from tasks.training.memory import remembered
from tasks.training.searching import Attempt
from tasks.training.windowing import WindowChoice, choose_window


@dataclass(frozen=True)
class Start:
    """How a model began: from nothing, or from the champion; why, and what was measured of both."""

    kind: Literal["cold", "warm", "recalibrated", "adopted"]
    why: str
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A recipe that has learnt: its feature program, its model, and how the learning went.

    Attributes
    ----------
    curves : dict of str to list of float
        ``FAMILY/METRIC`` -> value at each step.
    contest : dict of str to float
        Family -> the metric that chose among candidates, on the validation rows. Empty where nothing was chosen.
    """

    program: FeatureProgram
    fitted: Fitted
    classes: tuple[str, ...] = ()
    """In the order of its scores; none of a regression."""
    curves: Mapping[str, list[float]] = field(default_factory=dict)
    contest: Mapping[str, float] = field(default_factory=dict)
    calibrator: Calibrator | None = None
    """What its scores go through last, where that was declared."""
    attempts: tuple[Attempt, ...] = ()
    """What a search tried."""
    start: Start | None = None
    """How it began, where a champion might have gone on."""
    again: Family | None = None
    """Of one that went on from a champion, what would learn as much from the start."""
    window: WindowChoice | None = None
    """How much history it learnt from, where that was chosen by trial."""

    @property
    def recipe(self) -> Family:
        """The candidate at the length found best."""
        return self.again or self.fitted.recipe

    def predict(self, frame: pl.DataFrame, *, repaired: bool) -> Scores:
        """Predict rows, raw or of the clean table."""
        with step("predicting"):
            scores = self.fitted.predict(self.program.transform(frame, repaired=repaired))
            return scores if self.calibrator is None else self.calibrator.many(scores)


class Incumbent(Protocol):
    """A champion, as far as challengers are held against it: a bundle, or a model that was never packed."""

    @property
    def cutoff(self) -> datetime:
        """Rows up to this event time taught or judged something of it: only later ones may judge it again."""

    @property
    def learnt_until(self) -> datetime:
        """Rows up to this event time taught its model; before `cutoff` where its calibration has learnt since."""

    @property
    def learnt_rows(self) -> int:
        """How many rows were learnt from."""

    @property
    def recipe(self) -> Family:
        """The recipe at its settled length."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns it needs."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of its scores; none of a regression."""

    def predict(self, frame: pl.DataFrame, *, repaired: bool) -> Scores:
        """Predict rows, raw or of the clean table."""


def learn(frame: pl.DataFrame, spec: UseCase) -> Trained:
    """Let the candidates compete and fit the best on all rows given.

    With several candidates, or one that stops early, the newest rows of `frame` choose and stop; then the winner is
    fitted again on all rows at the length found. A single candidate of fixed length is fitted once.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Raw labelled rows, nothing of the holdout among them.
    """
    return remembered("learn", frame, spec, lambda: _learn(frame, spec))


def _learn(frame: pl.DataFrame, spec: UseCase) -> Trained:
    require_trainable(frame, spec)
    chosen = chosen_window(frame, spec, spec.model.candidates)
    if chosen is not None:
        return replace(_compete(chosen.of(frame, spec), spec), window=chosen)
    return _compete(frame, spec)


def rows_taught(trained: Trained, rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Return the rows among these that teach such a model: of the window it chose, else of the declared one."""
    return training_window(rows, spec) if trained.window is None else trained.window.of(rows, spec)


def chosen_window(frame: pl.DataFrame, spec: UseCase, candidates: Sequence[Family]) -> WindowChoice | None:
    """Choose how much history to learn from, by the best of the candidates as they are declared; None where it is said.

    See `tasks.training.windowing.choose_window`.
    """
    if spec.model.window != "auto":
        return None
    metric = decisive_metric(spec)
    better = max if spec.greater_is_better[metric] else min

    def best(some: pl.DataFrame, newest: pl.DataFrame) -> float:
        contest = _contest(some, newest, spec, metric)[1]
        hear = [follow(each, {}, each.family, each.family) for each in candidates]
        found = named(current_compute().jobs(compete, contest).map(candidates, hear.__getitem__), candidates)
        return better((each.value for each in found if math.isfinite(each.value)), default=math.nan)

    return choose_window(frame, spec, metric, best)


def fit_chosen(frame: pl.DataFrame, spec: UseCase, recipe: Family) -> Trained:
    """Fit one recipe of settled length on as many of the rows as it chooses, where `model.window` is `auto`."""
    chosen = chosen_window(frame, spec, (recipe,))
    return fit_recipe(frame if chosen is None else chosen.of(frame, spec), spec, recipe)


def _contest(older: pl.DataFrame, newest: pl.DataFrame, spec: UseCase, metric: str) -> tuple[pl.DataFrame, Contest]:
    """Return the newest rows that can be judged, and what candidates compete on."""
    program, train = _fit_features(older, spec)
    newest = of_known_classes(newest, spec, train.classes)
    valid = _rows(program, program.transform(newest, repaired=True), newest, spec, train.classes)
    valid = replace(valid, weight=_loss_weights(train, valid.label, spec))
    return newest, Contest(spec, metric, train, valid)


def _compete(frame: pl.DataFrame, spec: UseCase) -> Trained:
    candidates = spec.model.candidates
    if len(candidates) == 1 and not candidates[0].stops_early and spec.model.search is None:
        return fit_recipe(frame, spec, candidates[0])
    older, newest = hold_back(frame, spec, spec.model.validation)
    require_trainable(older, spec)
    metric = decisive_metric(spec)
    better = spec.greater_is_better[metric]
    newest, judged = _contest(older, newest, spec, metric)
    curves: dict[str, list[float]] = {}
    contest: dict[str, float] = {}
    candidates, attempts = search_candidates(candidates, spec, judged.train, judged.valid)
    names = names_of(candidates)

    def hear(at: int) -> Report:
        what = f"candidate {at + 1} of {len(candidates)}, {names[at]}"
        return follow(candidates[at], curves, names[at], what, live=True)

    best: tuple[float, Family, Scores] | None = None
    competed = current_compute().jobs(compete, judged).map(candidates, hear)
    for name, (value, recipe, prediction) in zip(names, named(competed, candidates), strict=True):
        contest[name] = value
        rank = value if better else -value
        if not math.isfinite(rank):
            rank = -math.inf  # it wins against nobody
        if best is None or rank > best[0]:
            best = (rank, recipe, prediction)
    if best is None:
        raise TrainingError("a candidate", "none", "Declare one under `model.candidates`")
    if len(candidates) > 1 and not math.isfinite(best[0]):
        raise TrainingError(
            f"a finite {metric} of one candidate at least on the {len(newest)} newest rows, to choose by",
            "none",
            "Is the label the same in all of them? Raise `model.validation`, or declare one candidate",
        )
    with part("the best on all rows"):
        calibrator = fit_calibrator(spec, best[2], judged.valid.label, judged.train.classes)
        trained = replace(fit_model(frame, spec, best[1]), calibrator=calibrator)
    return replace(trained, curves=curves, contest=contest, attempts=attempts)


def fit_recipe(frame: pl.DataFrame, spec: UseCase, recipe: Family) -> Trained:
    """Fit one recipe of settled length on all rows given."""
    return remembered(f"calibrated {recipe.model_dump_json()}", frame, spec, lambda: _fit_recipe(frame, spec, recipe))


def _fit_recipe(frame: pl.DataFrame, spec: UseCase, recipe: Family) -> Trained:
    trained = fit_model(frame, spec, recipe)
    if spec.model.calibration is None:
        return trained
    older, newest = hold_back(frame, spec, spec.model.validation)
    with part("a model to calibrate by"):
        held = fit_model(older, spec, recipe)
    newest = of_known_classes(newest, spec, held.classes)
    scores = held.predict(newest, repaired=True)
    return replace(trained, calibrator=fit_calibrator(spec, scores, labels(newest, spec, held.classes), held.classes))


def fit_model(frame: pl.DataFrame, spec: UseCase, recipe: Family) -> Trained:
    """Fit one recipe of settled length on all rows given, and calibrate nothing."""
    return remembered(recipe.model_dump_json(), frame, spec, lambda: _fit_uncalibrated(frame, spec, recipe))


def _fit_uncalibrated(frame: pl.DataFrame, spec: UseCase, recipe: Family) -> Trained:
    curves: dict[str, list[float]] = {}
    program, train = _fit_features(frame, spec)
    settled = recipe.settled()
    report = follow(settled, curves, recipe.family, recipe.family)
    fitted = fit_family(settled, train, None, spec, report)
    return Trained(program, fitted, train.classes, curves)


def _loss_weights(train: Rows, label: Vector, spec: UseCase) -> Vector | None:
    """Return what rows count where a model is stopped: as their classes did where it learnt, and else alike."""
    weights = spec.model.weights
    if weights is None or weights.classes is None:
        return None
    found = weights_of(weights.classes, train.label, train.classes)[label.astype(np.int64)]
    return np.asarray(found / found.mean())


def follow(
    recipe: Family, curves: MutableMapping[str, list[float]], name: str, what: str, *, live: bool = False
) -> Report:
    """Return what keeps the curves of a fit, and says how far it is."""
    done, rounds = count(1), recipe.length
    pace, most = Pace(rounds or 0), "at most " if recipe.stops_early else ""

    def report(_: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            curves.setdefault(f"{name}/{key}", []).append(value)
        number = next(done)
        round_done(recipe.family)
        if live:
            send(name, number - 1, values)
        doing(f"{what}, round {number}" + (f" of {most}{rounds}{pace.left(number)}" if rounds else ""))

    return report


def _fit_features(frame: pl.DataFrame, spec: UseCase) -> tuple[FeatureProgram, Rows]:
    """Fit the feature program on rows of the clean table, and return them as the model is to see them."""
    classes = classes_of(frame, spec)
    context = FitContext(
        pl.Series(labels(frame, spec, classes)), spec.task, spec.model.seed, classes, folder=spec.folder
    )
    with step("fitting features"):
        program, matrix = fit_program(spec.features, frame, spec.cleaning, context)
    return program, replace(_rows(program, matrix, frame, spec, classes), weight=row_weights(frame, spec, classes))


def rows_for(program: FeatureProgram, frame: pl.DataFrame, spec: UseCase, classes: tuple[str, ...]) -> Rows:
    """Return weighted rows of the clean table as a program that has learnt makes them."""
    rows = _rows(program, program.transform(frame, repaired=True), frame, spec, classes)
    return replace(rows, weight=row_weights(frame, spec, classes))


def _rows(
    program: FeatureProgram, matrix: Matrix, frame: pl.DataFrame, spec: UseCase, classes: tuple[str, ...]
) -> Rows:
    label = labels(frame, spec, classes)
    names = program.features
    return Rows(matrix, label, names, program.categorical, spec.task, classes, code=spec.code, folder=spec.folder)
