"""Evaluate a judged model to the width people ask for: metrics, classes, curves and the learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.errors import TrainingError
from expectations.metrics import Array, Scored, metrics_of
from expectations.usecase import UseCase
from tasks.evaluation.causes.rows import row_loss
from tasks.evaluation.effects import effects_of
from tasks.evaluation.evaluation import Evaluation, evaluate
from tasks.evaluation.parts import resamples_of
from tasks.evaluation.resampling import Bounded, Resamples
from tasks.evaluation.slices import find_slices
from tasks.stores.progress import part
from tasks.training.contest import decisive_metric
from tasks.training.judging import Judged, measure_parts, rows_before
from tasks.training.labelled import score_rows
from tasks.training.learning import fit_recipe, rows_taught

MAX_EFFECT_ROWS = 2_000
"""Rows of the holdout, evenly over its time, that effects are looked at on."""
MIN_LEARNT = 50
"""Fewest rows of a point of a learning curve."""


def evaluated(judged: Judged, rows: pl.DataFrame, spec: UseCase) -> Judged:
    """Return a judgement with the evaluation of its model on the holdout, where a model was judged.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        All ripe labelled rows, cleaned.
    """
    if judged.trained is None or judged.holdout is None or "challenger" not in judged.scored:
        return judged
    known = _known(judged.scored["challenger"])
    if not known.all():  # a row without a label, or a prediction that is no number, says nothing
        scored = judged.scored["challenger"]
        kept = Scored(scored.label[known], scored.prediction[known], scored.threshold)
        whole = replace(
            judged, scored={"challenger": kept}, holdout=judged.holdout.filter(pl.Series(known)), parts=None
        )
        found = evaluated(whole, rows, spec).evaluation if known.any() else None
        return replace(judged, evaluation=found)
    with part("evaluating"):
        drawn = resamples_of(judged.holdout, spec)
        names = list(dict.fromkeys((*metrics_of(spec.task), *spec.greater_is_better)))
        found = evaluate(judged.scored["challenger"], names, judged.classes, drawn)
        extra = _period(judged.holdout, spec) | _parts(judged, rows, spec, drawn)
        extra |= _learning_curve(judged, rows, spec, drawn) | _importance(judged, spec, drawn)
        extra |= _effects(judged, spec)
    return replace(judged, evaluation=replace(found, extra=extra))


def _known(rows: Scored) -> npt.NDArray[np.bool_]:
    scores = rows.prediction if rows.prediction.ndim > 1 else rows.prediction[:, None]
    found: npt.NDArray[np.bool_] = np.isfinite(rows.label) & np.isfinite(scores).all(axis=1)
    return found


def _period(holdout: pl.DataFrame, spec: UseCase) -> dict[str, Any]:
    if not spec.timed:
        return {}
    clock = holdout[spec.time_column]
    return {"start": clock.min(), "end": clock.max()}


def _parts(judged: Judged, rows: pl.DataFrame, spec: UseCase, drawn: Resamples) -> dict[str, Any]:
    """Measure the declared parts of the holdout, and search for the worst among those of the model's inputs."""
    if judged.holdout is None or judged.trained is None:
        return {}
    scored = judged.scored["challenger"]
    found = judged.parts or measure_parts(spec, judged.holdout, scored, rows)
    names = [column.name for column in judged.trained.program.inputs if column.kind in ("number", "text", "boolean")]
    names = list(dict.fromkeys([*(name for name in names if name in judged.holdout.columns), *spec.monitoring.slices]))
    loss = row_loss(spec.monitoring.performance[0].metric, spec.task, spec.threshold)
    worst = find_slices(judged.holdout.select(names), loss.of(scored.label, scored.prediction), drawn)
    return {
        "cuts": found.cuts,
        "slices": found.slices,
        "fairness": found.fairness,
        "found_slices": [{**vars(each), "sure": each.sure} for each in worst],
        "found_by": loss.name,
    }


def _learning_curve(judged: Judged, rows: pl.DataFrame, spec: UseCase, drawn: Resamples) -> dict[str, Any]:
    """Learn the recipe on the newest half, quarter and so on of the rows, and score each on the holdout.

    A point that cannot be learnt is left out, and the reason is reported with the others.
    """
    points = spec.evaluation.learning_curve
    if points is None or judged.trained is None or judged.holdout is None:
        return {}
    metric = decisive_metric(spec)
    learnt = rows_taught(judged.trained, rows_before(rows, judged.holdout, spec).sort(spec.time_column), spec)
    sizes = [len(learnt) // 2**at for at in range(points - 1, 0, -1)]
    curve: list[tuple[int, Bounded]] = []
    left_out: list[dict[str, Any]] = []
    for number, size in enumerate(sizes, 1):
        some = learnt.tail(size) if spec.timed else learnt.sample(size, seed=spec.model.seed)
        if size < MIN_LEARNT or some[spec.label.column].n_unique() < 2:
            why = f"fewer than {MIN_LEARNT} rows" if size < MIN_LEARNT else "all have the same label"
            left_out.append({"rows": size, "why": why})
            continue
        try:
            with part(f"point {number} of {points} of the learning curve"):
                smaller = fit_recipe(some, spec, judged.trained.recipe)
        except TrainingError as error:
            left_out.append({"rows": size, "why": str(error)})
            continue
        predicted = smaller.predict(judged.holdout, repaired=True)
        scored = score_rows(judged.holdout, spec, judged.classes, predicted, smaller.classes)
        curve.append((size, drawn.bounded(drawn.metric(metric, scored))))
    curve.append((len(learnt), drawn.bounded(drawn.metric(metric, judged.scored["challenger"]))))
    reported = [{"rows": size, **vars(each)} for size, each in curve]
    return {"learning_curve": {"metric": metric, "points": reported, "left_out": left_out}}


def _importance(judged: Judged, spec: UseCase, drawn: Resamples) -> dict[str, Any]:
    """Shuffle one input after the other over the holdout, and measure what the decisive metric loses by it.

    Permutation importance (Breiman 2001; of a model as it is: Fisher, Rudin and Dominici 2019), paired with the metric
    of the rows as they are, over the same resamples. Of inputs that hold the same information each alone loses little.
    """
    if not spec.evaluation.permutation_importance or judged.trained is None or judged.holdout is None:
        return {}
    metric, trained, holdout = decisive_metric(spec), judged.trained, judged.holdout
    sign = 1.0 if spec.greater_is_better[metric] else -1.0
    before = drawn.metric(metric, judged.scored["challenger"])
    found = []
    for column in (each.name for each in trained.program.inputs if each.name in holdout.columns):
        shuffled = holdout.with_columns(holdout[column].shuffle(seed=spec.model.seed))
        scored = score_rows(holdout, spec, judged.classes, trained.predict(shuffled, repaired=True), trained.classes)
        lost = drawn.bounded(sign * (before - drawn.metric(metric, scored)))
        found.append({"input": column, **vars(lost)})
    found.sort(key=lambda each: -np.nan_to_num(each["value"], nan=-np.inf))
    return {"permutation_importance": {"metric": metric, "inputs": found}}


def _effects(judged: Judged, spec: UseCase) -> dict[str, Any]:
    """Look at what is answered along the inputs that are asked for, over rows of the holdout."""
    if not spec.evaluation.effects or judged.trained is None or judged.holdout is None:
        return {}
    trained = judged.trained
    rows = judged.holdout.gather_every(-(-len(judged.holdout) // MAX_EFFECT_ROWS))
    drawn = resamples_of(rows, spec)
    outputs = judged.classes if judged.scored["challenger"].prediction.ndim > 1 else (spec.label.column,)

    def predict(frame: pl.DataFrame) -> Array:
        return np.reshape(trained.predict(frame, repaired=True), (len(frame), -1))

    found, left_out = list[dict[str, Any]](), list[dict[str, Any]]()
    for name in spec.evaluation.effects:
        kind = next((each.kind for each in trained.program.inputs if each.name == name), None)
        if kind not in ("number", "text"):
            left_out.append({"input": name, "why": "the features read no number or text of this name"})
            continue
        with part(f"the effect of {name}"):
            each = effects_of(predict, rows, name, outputs, drawn)
        found += [asdict(one) for one in each]
        if not each:
            left_out.append({"input": name, "why": "it has fewer than two values in the holdout"})
    return {"effects": {"rows": len(rows), "found": found, "left_out": left_out}}


def metric_name(words: str) -> str:
    """Return words as MLflow lets a metric be called."""
    return "".join(letter if letter.isalnum() or letter in "_-. " else "_" for letter in words)


def flat(evaluation: Evaluation) -> Mapping[str, float]:
    """Return bounds of metrics and figures of classes as MLflow names metrics; what is not defined is left out."""
    found: dict[str, float] = {}
    for name, value in evaluation.metrics.items():
        found |= {f"holdout_{name}": value.value, f"holdout_{name}_low": value.low, f"holdout_{name}_high": value.high}
    for each in evaluation.of_classes:
        safe = metric_name(each.name)
        figures = {"precision": each.precision, "recall": each.recall, "f1": each.f1}
        found |= {f"class {safe}/{name}": value.value for name, value in figures.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}
