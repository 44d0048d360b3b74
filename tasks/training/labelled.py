"""Labelled rows: which may be learnt from, their classes, what each counts, and predictions beside their labels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.errors import TrainingError
from expectations.families import LastWindow, Scores, Vector
from expectations.usecase import UseCase
from tasks.evaluation.metrics import Scored
from tasks.modelling.class_weights import weights_of


class LearntRows(Protocol):
    """What a champion says of the rows that its model learnt from."""

    @property
    def learnt_until(self) -> datetime:
        """The newest event time among them."""

    @property
    def learnt_rows(self) -> int:
        """How many they were."""


def training_window(frame: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Rows the declared window lets a recipe learn from; all where it is chosen as one learns (`windowing`)."""
    return newest_of(frame, spec, spec.model.window.last) if isinstance(spec.model.window, LastWindow) else frame


def newest_of(frame: pl.DataFrame, spec: UseCase, last: Duration | None) -> pl.DataFrame:
    """Return the rows no older than a span before the newest of them; all where there is none."""
    if last is None or frame.is_empty():
        return frame
    clock = spec.time_column
    return frame.filter(pl.col(clock) > last.after(frame[clock].max(), -1))  # type: ignore[arg-type]


def learnt_by(champion: LearntRows, rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Return the rows that a champion's model learnt from, as far as they are still there."""
    until = rows.filter(pl.col(spec.time_column) <= champion.learnt_until)
    if spec.model.window == "auto":
        return until.sort(spec.time_column, maintain_order=True).tail(champion.learnt_rows)
    return training_window(until, spec)


def classes_of(frame: pl.DataFrame, spec: UseCase) -> tuple[str, ...]:
    """Return the classes among the labels of the rows that have one; none of a regression."""
    return spec.problem.classes(frame[spec.label.column].drop_nulls(), spec.label)


def declared_digest(spec: UseCase) -> str:
    """Return what shows whether features, cleaning and label are declared as before: a SHA-256 of what is not default.

    Names of features stay where a formula is edited, so they cannot show it.
    """
    steps = [step.model_dump(mode="json", exclude_defaults=True) for step in (*spec.cleaning, *spec.features)]
    label = spec.label.model_dump(mode="json", include={"column", "expression", "positive", "words"})
    history = (
        [{name: column.model_dump(mode="json") for name, column in spec.looked_back.items()}] if spec.history else []
    )
    said = [len(spec.cleaning), steps, label, *history]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def labels(frame: pl.DataFrame, spec: UseCase, classes: Sequence[str]) -> Vector:
    """Return the label as float64, shape (n_rows,): the value, or the place of a class; see `Problem.codes`."""
    return spec.problem.codes(frame[spec.label.column], classes)


def score_rows(
    frame: pl.DataFrame, spec: UseCase, order: Sequence[str], prediction: Scores, own: Sequence[str] | None = None
) -> Scored:
    """Put predictions beside the labels of labelled rows.

    Parameters
    ----------
    order : sequence of str
        Classes that count; what is none of them is one more.
    own : sequence of str, optional
        Those of the model that predicted, where they are not `order`.
    """
    aligned = prediction if own is None else spec.problem.aligned(prediction, own, order)
    return Scored(labels(frame, spec, order), aligned, spec.threshold)


def require_trainable(frame: pl.DataFrame, spec: UseCase) -> None:
    """Refuse rows nothing can be learnt from.

    Raises
    ------
    TrainingError
        If there are too few, or all have the same label.
    """
    if len(frame) < 2 * spec.evaluation.min_rows:
        raise TrainingError(
            f"at least {2 * spec.evaluation.min_rows} ripe rows with a label to learn from",
            f"{len(frame)}",
            "Wait for more, or lower `evaluation.min_rows`",
        )
    if frame[spec.label.column].n_unique() < 2:
        raise TrainingError(
            f"different values of {spec.label.column} to learn from",
            f"the same one in all {len(frame)} rows",
            "Check the label and where it comes from",
        )


def row_weights(frame: pl.DataFrame, spec: UseCase, classes: Sequence[str] | None = None) -> Vector | None:
    """Return what each row counts for, 1 as a mean; None where all count alike.

    Parameters
    ----------
    classes : sequence of str, optional
        In the order of the label's places; those among the rows where not given.

    Raises
    ------
    TrainingError
        If a weight is no number from 0 on, or no row counts.
    """
    declared = spec.model.weights
    if declared is None:
        return None
    weights = np.ones(len(frame))
    if declared.column is not None:
        found = frame[declared.column].cast(pl.Float64, strict=False)
        wrong = len(found) - int((found.is_finite() & (found >= 0)).sum())
        if wrong:
            raise TrainingError(
                f"a weight from 0 on in {declared.column} of every training row",
                f"{wrong} of {len(found)} without one",
                "Correct the source, or quarantine these rows by the suite",
            )
        weights = found.to_numpy()
    if declared.half_life is not None:
        clock = pl.col(spec.time_column)
        ages = frame.select((clock.max() - clock).dt.total_microseconds()).to_series().to_numpy() / 1e6
        weights = weights * 0.5 ** (ages / declared.half_life.approximate_seconds)
    if declared.classes is not None:
        order = classes_of(frame, spec) if classes is None else classes
        label = labels(frame, spec, order)
        weights = weights * weights_of(declared.classes, label, order)[label.astype(np.int64)]
    mean = float(weights.mean())
    if not 0 < mean < math.inf:
        raise TrainingError("weights that have a mean above 0", f"{mean}", "Check `model.weights`")
    return np.asarray(weights / mean)


def of_known_classes(frame: pl.DataFrame, spec: UseCase, classes: Sequence[str]) -> pl.DataFrame:
    """Leave out rows of classes that are not among those learnt from: no candidate can say them."""
    if not classes:
        return frame
    return frame.filter(pl.Series(labels(frame, spec, classes) < len(classes)))
