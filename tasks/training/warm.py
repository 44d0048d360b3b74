"""A warm start: the champion goes on learning from what is new, beside a cold start on the same rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from expectations.calibration import Calibrator
from expectations.errors import TrainingError
from expectations.families import WarmStart
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle
from tasks.evaluation.metrics import losses, score
from tasks.evaluation.splits import hold_back
from tasks.modelling.class_weights import PRIOR
from tasks.stores.progress import part
from tasks.training.calibrating import calibrate_out_of_fold, fit_calibrator
from tasks.training.contest import decisive_metric
from tasks.training.labelled import classes_of, declared_digest, labels, of_known_classes, score_rows
from tasks.training.learning import Incumbent, Start, Trained, fit_model, follow, rows_for

_SLICE_ROWS, _MAX_OLD = 200, 50_000


def warm_or_cold(frame: pl.DataFrame, spec: UseCase, champion: Incumbent | None, cold: Trained) -> Trained:
    """Return a model that goes on from the champion where it is at least as good as a cold start, else the cold one.

    Both learn from the rows before the newest ones (`model.validation`), the warm one from those that the champion has
    not seen, and are scored on those of the newest that it has not seen either, calibrated where that is
    declared, each row by others. A warm one must not have forgotten: on
    rows the champion learnt from, all of them and each slice by a text column, it may lose no more than `max_forgotten`
    beyond what the champion loses.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        Rows of the clean table that may be learnt from, nothing of the holdout among them.
    cold : Trained
        What was learnt of them from the start.
    """
    rules = spec.model.warm
    if rules is None or champion is None:
        return cold
    why = _hindrance(frame, spec, champion, cold)
    if why or not isinstance(champion, Bundle):
        return replace(cold, start=Start("cold", why or "the champion was never packed"))
    clock = pl.col(spec.time_column)
    older, newest = hold_back(frame, spec, spec.model.validation)
    fresh, valid = (rows.filter(clock > champion.learnt_until) for rows in (older, newest))
    least = spec.evaluation.min_rows
    if min(len(fresh), len(valid)) < least:
        few = f"{len(fresh)} new rows to go on with and {len(valid)} to judge it by; {least} of each are needed"
        return replace(cold, start=Start("cold", few))
    metric, taken = decisive_metric(spec), dict[str, float]()
    tried: dict[str, Trained] = {}
    for name in ("cold", "warm"):
        began = time.perf_counter()
        try:
            with part(f"a {name} start"):
                tried[name] = (
                    fit_model(older, spec, cold.recipe)
                    if name == "cold"
                    else _go_on(fresh, spec, champion, cold, rules)
                )
                tried[name] = replace(tried[name], calibrator=_calibrator(tried[name], valid, spec))
        except TrainingError as error:  # the cold model that was learnt before is there, and as good as without `warm`
            return replace(cold, start=Start("cold", f"a {name} start did not learn: {error}"))
        taken[f"{name}_seconds"] = time.perf_counter() - began
    found = {name: _as_released(metric, valid, spec, each, cold.classes) for name, each in tried.items()}
    measured = {**{f"{name}_{metric}": value for name, value in found.items()}, **taken}
    said = f"{metric} warm {found['warm']:.4f}, cold {found['cold']:.4f} on {len(valid)} rows new to both"
    better = found["warm"] >= found["cold"] if spec.greater_is_better[metric] else found["warm"] <= found["cold"]
    if not better:
        return replace(cold, start=Start("cold", said, measured))
    old = frame.filter(clock <= champion.learnt_until).tail(_MAX_OLD)
    forgotten, where = _forgotten(old, spec, champion, tried["warm"], metric)
    measured["forgotten"] = forgotten
    said += f"; at most {100 * forgotten:.1f} % forgotten ({where})"
    if not forgotten <= rules.max_forgotten:
        return replace(cold, start=Start("cold", f"{said}, more than {100 * rules.max_forgotten:g} %", measured))
    warm = _go_on(frame.filter(clock > champion.learnt_until), spec, champion, cold, rules)
    warm = replace(warm, contest=cold.contest, window=cold.window)
    return replace(warm, calibrator=tried["warm"].calibrator, start=Start("warm", said, measured))


def _as_released(metric: str, valid: pl.DataFrame, spec: UseCase, trained: Trained, classes: tuple[str, ...]) -> float:
    """Score a model as it would be released, in the order of the classes given, no row by a calibration of its own."""
    scores, own = replace(trained, calibrator=None).predict(valid, repaired=True), trained.classes
    found, judges = calibrate_out_of_fold(spec, scores, labels(valid, spec, own), own)
    return score(metric, score_rows(valid.filter(pl.Series(judges)), spec, classes, found[judges], own))


def _calibrator(trained: Trained, valid: pl.DataFrame, spec: UseCase) -> Calibrator | None:
    known = of_known_classes(valid, spec, trained.classes)
    scores = trained.predict(known, repaired=True)
    return fit_calibrator(spec, scores, labels(known, spec, trained.classes), trained.classes)


def refit_warm(frame: pl.DataFrame, spec: UseCase, champion: Bundle, judged: Trained) -> Trained:
    """Let the champion go on with all rows that it has not seen, as the judged model did with those before the holdout.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        All rows that may be learnt from.
    """
    fresh = frame.filter(pl.col(spec.time_column) > champion.learnt_until)
    again = _go_on(fresh, spec, champion, judged, spec.model.warm or WarmStart())
    return replace(again, calibrator=judged.calibrator, start=judged.start, window=judged.window)


def with_declaration(champion: Bundle | None, usecase: LoadedUseCase) -> Bundle | None:
    """Return a champion that was packed before bundles kept what is declared with it, where it is known all the same.

    It is where the use case's files are, byte for byte, those that it was packed from.
    """
    if champion is None or champion.manifest.declared or champion.manifest.usecase_digest != usecase.digest:
        return champion
    known = champion.manifest.model_copy(update={"declared": declared_digest(usecase.spec)})
    return replace(champion, manifest=known)


def _hindrance(frame: pl.DataFrame, spec: UseCase, champion: Incumbent, cold: Trained) -> str:
    """Say why the champion cannot go on; nothing where it can."""
    if not isinstance(champion, Bundle):
        return "the champion was never packed"
    weights = spec.model.weights
    if PRIOR in champion.manifest.files or (weights is not None and weights.classes is not None):
        return "classes are weighed, or were where the champion learnt: what both learnt has no one prior to correct to"
    if champion.manifest.learnt_before:
        return "the champion was recalibrated before it was kept up to when its model learnt"
    if champion.manifest.task != spec.task or not cold.recipe.continues(champion.recipe):
        return f"{cold.recipe.family} as it is declared does not go on from the champion's {champion.recipe.family}"
    if champion.program.features != cold.program.features or champion.program.categorical != cold.program.categorical:
        return "the champion has other features"
    if champion.manifest.declared != declared_digest(spec):
        known = "is declared otherwise" if champion.manifest.declared else "was packed before this was kept"
        return f"the champion's features, cleaning or label: what they do {known}"
    if unseen := set(classes_of(frame, spec)) - set(champion.classes):
        return f"{len(unseen)} classes are new since the champion"
    return ""


def _go_on(fresh: pl.DataFrame, spec: UseCase, champion: Bundle, cold: Trained, rules: WarmStart) -> Trained:
    program, classes = champion.program, champion.classes
    train = rows_for(program, fresh, spec, classes)
    candidate = cold.recipe.settled().part(rules.length)
    curves: dict[str, list[float]] = {}
    report = follow(candidate, curves, candidate.family, f"{candidate.family}, going on")
    fitted = candidate.fit(train, None, seed=spec.model.seed, report=report, start_from=champion.folder)
    return Trained(program, fitted, classes, curves, again=cold.recipe)


def _forgotten(old: pl.DataFrame, spec: UseCase, champion: Bundle, warm: Trained, metric: str) -> tuple[float, str]:
    """Return by how much of the champion's loss the warm model loses more, where that is most, and where."""
    if old.is_empty():
        return 0.0, "the champion's rows are out of the window"
    both = [each.predict(old, repaired=True) for each in (champion, warm)]
    worst = (-math.inf, "")
    for where, rows in _slices(old, champion):
        lost = []
        for prediction in both:
            scored = score_rows(old[rows], spec, champion.classes, prediction[rows])
            lost.append(float(losses(metric, np.array([score(metric, scored)]))[0]))
        if all(map(math.isfinite, lost)) and lost[0] > 0:
            worst = max(worst, (lost[1] / lost[0] - 1, where))
    return worst if worst[1] else (0.0, "no slice has a loss that is defined")


def _slices(old: pl.DataFrame, champion: Bundle) -> Iterator[tuple[str, np.ndarray[tuple[int], np.dtype[np.intp]]]]:
    """Yield rows of the champion's time: all, and those with one value of a text column that has enough of them."""
    yield f"all {len(old)} old rows", np.arange(len(old))
    for name in champion.inputs:
        if old.schema[name] != pl.String:
            continue
        for value, count in old[name].drop_nulls().value_counts().iter_rows():
            if count >= _SLICE_ROWS:
                yield (
                    f"a value of {name} in {count} old rows",
                    (old[name] == value).fill_null(value=False).arg_true().to_numpy(),
                )
