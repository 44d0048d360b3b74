"""What a window of production looked like: rows, drift, realised performance. Numbers, no opinion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from expectations.usecase import METRICS, UseCase
from tasks.deployment.bundle import Bundle, BundleColumn, Manifest
from tasks.evaluation.metrics import Scored, score
from tasks.monitoring.drift import Drifted, Profile, score_window
from tasks.monitoring.feedback import FeedbackUse, sent_labels
from tasks.monitoring.windows import Window
from tasks.stores.lake import Known, Lake
from tasks.training.packing import PREDICTION

_JSON_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "instant": pl.String(),
}


@dataclass(frozen=True)
class Realised:
    """A metric over the champion's own predictions in a window, beside its reference.

    Attributes
    ----------
    status : {"good", "violated", "unknown"}
        Violated where it is worse than `reference` by more than the declared drop.
    undefined : bool
        Whether it is unknown though there are labels enough, as the metric or its reference is no finite number.
    """

    metric: str
    value: float | None
    reference: float | None
    drop: float
    status: Literal["good", "violated", "unknown"]
    undefined: bool = False


@dataclass(frozen=True)
class Measurement:
    """Everything measured over one window.

    Attributes
    ----------
    rows, champion_rows, labelled : int
        Predictions in the window, those of the current champion among them, and those of its with a known label.
    coverage : float
        Share of the champion's predictions whose label is known.
    served : dict of str to float
        Every metric over all labelled predictions of the window, whichever version made them.
    """

    window: Window
    champion: str
    version: str
    rows: int
    champion_rows: int
    labelled: int
    coverage: float
    ripe: bool
    realised: tuple[Realised, ...]
    drift: tuple[Drifted, ...]
    served: dict[str, float]
    feedback: FeedbackUse

    @property
    def status(self) -> Literal["good", "violated", "unknown"]:
        """Violated if any rule is, else unknown if any is."""
        found = {each.status for each in self.realised}
        return "violated" if "violated" in found else "unknown" if "unknown" in found or not found else "good"

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns that drifted, worst first."""
        return tuple(each.column for each in self.drift if each.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "start": self.window.start.isoformat(),
            "end": self.window.end.isoformat(),
            "champion": self.champion,
            "version": self.version,
            "rows": self.rows,
            "champion_rows": self.champion_rows,
            "labelled": self.labelled,
            "coverage": self.coverage,
            "ripe": self.ripe,
            "status": self.status,
            "realised": [vars(each) for each in self.realised],
            "drift": [{**vars(each), "drifted": each.drifted} for each in self.drift],
            "served": {name: value for name, value in self.served.items() if math.isfinite(value)},
            "feedback": vars(self.feedback),
        }


def decode_rows(predictions: pl.DataFrame, columns: tuple[BundleColumn, ...]) -> pl.DataFrame:
    """Turn the journaled JSON of requests back into columns."""
    struct = pl.Struct({column.name: _JSON_TYPES[column.type] for column in columns})
    return predictions.select(pl.col("row").str.json_decode(struct)).unnest("row")


def window_predictions(lake: Lake, window: Window, cutoffs: Mapping[str, datetime]) -> pl.DataFrame:
    """Harvested predictions with event time in a window, in order of time.

    Parameters
    ----------
    cutoffs : mapping of str to datetime
        Bundle -> up to when it has learnt: its answers about rows from before are no test of it, and left out.
    """
    if lake.version("predictions") is None:
        return pl.DataFrame(schema={"id": pl.String, "bundle": pl.String, "prediction": pl.Float64, "row": pl.String})
    found = (
        lake.scan("predictions")
        .filter((pl.col("event_time") >= window.start) & (pl.col("event_time") < window.end))
        .collect()
        .sort("event_time", "id")
    )
    for bundle, cutoff in cutoffs.items():
        if cutoff >= window.start:
            found = found.filter((pl.col("bundle") != bundle) | (pl.col("event_time") > cutoff))
    return found


def true_labels(
    predictions: pl.DataFrame, rows: pl.DataFrame, known: Known, lake: Lake, window: Window, manifest: Manifest
) -> tuple[pl.Series, FeedbackUse]:
    """Find the label of each prediction: by feedback with its id, and from the sources by the same keys once ripe.

    Which of the two counts where both are there is declared under `feedback`.

    Returns
    -------
    labels : polars.Series of shape (n_predictions,)
        Missing where it is not known by `known.as_of`.
    use : FeedbackUse
    """
    spec = known.spec
    keys, label = list(spec.keys), spec.label.column
    truth = known.rows("raw", columns=[*keys, label], since=window.start, until=window.end)
    asked = rows.select(_as(rows, key, truth.schema[key]) for key in keys)
    found = asked.join(truth, on=keys, how="left", maintain_order="left", nulls_equal=False)[label].cast(pl.Float64)
    sent, unusable = sent_labels(lake, predictions, spec.feedback, manifest, known.as_of)
    beside = (
        predictions.select("id")
        .join(sent.rename({"label": "_sent"}), on="id", how="left", maintain_order="left")
        .with_columns(found.alias("_found"))
    )
    by_feedback, by_source = pl.col("_sent").is_not_null(), pl.col("_found").is_not_null()
    used = by_feedback if spec.feedback.prefer == "feedback" else by_feedback & ~by_source
    counts = beside.select(
        used=used.sum(),
        both=(by_feedback & by_source).sum(),
        contradicting=(by_feedback & by_source & (pl.col("_sent") != pl.col("_found"))).sum(),
        several=pl.col("several").fill_null(value=False).sum(),
    ).row(0, named=True)
    senders = beside.filter(used).group_by(pl.col("sender").fill_null("")).len().sort("sender")
    use = FeedbackUse(**counts, unusable=unusable, senders=dict(senders.iter_rows()))
    chosen = beside.select(pl.when(used).then(pl.col("_sent")).otherwise(pl.col("_found")).alias(label))
    return chosen.to_series(), use


def _as(rows: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and rows.schema[column] == pl.String:
        return pl.col(column).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    return pl.col(column).cast(dtype, strict=False)


def measure(
    window: Window,
    spec: UseCase,
    champion: Bundle,
    version: str,
    lake: Lake,
    as_of: datetime,
    best: Mapping[str, float],
    cutoffs: Mapping[str, datetime],
) -> Measurement:
    """Measure one window.

    Parameters
    ----------
    best : mapping of str to float
        Metric -> best value the champion has shown in ripe windows so far.
    cutoffs : mapping of str to datetime
        As for `window_predictions`.
    """
    predictions = window_predictions(lake, window, cutoffs)
    mine = predictions.filter(pl.col("bundle") == champion.digest)
    ripe = window.ripe(spec.label.available_after, as_of)
    known = Known(lake, spec, as_of)
    drift: list[Drifted] = []
    served: dict[str, float] = {}
    labelled, coverage, scored, feedback = 0, 0.0, None, FeedbackUse()
    if len(predictions):
        rows = decode_rows(predictions, champion.manifest.columns)
        labels, feedback = true_labels(predictions, rows, known, lake, window, champion.manifest)
        everything = _scored(predictions["prediction"], labels, spec)
        served = {metric: score(metric, everything) for metric in METRICS[spec.task]} if len(everything.label) else {}
        own = predictions["bundle"] == champion.digest
        scored = _scored(mine["prediction"], labels.filter(own), spec)
        labelled = len(scored.label)
        coverage = labelled / len(mine) if len(mine) else 0.0
        if len(predictions) >= spec.monitoring.min_rows:
            drift = _drift(rows, predictions["prediction"], labels if ripe else None, champion, spec)
    realised = tuple(
        _realise(
            rule.metric,
            rule.drop,
            _reference(rule.metric, rule.versus, champion, best, spec),
            scored,
            spec,
            enough=ripe and coverage >= rule.min_coverage and labelled >= spec.monitoring.min_rows,
        )
        for rule in spec.monitoring.performance
    )
    return Measurement(
        window,
        champion.digest,
        version,
        len(predictions),
        len(mine),
        labelled,
        coverage,
        ripe,
        realised,
        tuple(drift),
        served,
        feedback,
    )


def _scored(prediction: pl.Series, labels: pl.Series, spec: UseCase) -> Scored:
    known = labels.is_finite().fill_null(value=False)
    return Scored(
        labels.filter(known).to_numpy().astype(np.float64),
        prediction.filter(known).to_numpy().astype(np.float64),
        spec.evaluation.threshold,
    )


def _reference(metric: str, versus: str, champion: Bundle, best: Mapping[str, float], spec: UseCase) -> float | None:
    holdout = champion.manifest.metrics.get(metric)
    if versus == "holdout" or metric not in best:
        return holdout
    if holdout is None:
        return best[metric]
    return max(holdout, best[metric]) if spec.greater_is_better[metric] else min(holdout, best[metric])


def _realise(
    metric: str, drop: float, reference: float | None, scored: Scored | None, spec: UseCase, *, enough: bool
) -> Realised:
    value = score(metric, scored) if scored is not None and enough else None
    return hold_against(metric, value, reference, drop, greater_is_better=spec.greater_is_better[metric])


def hold_against(
    metric: str, value: float | None, reference: float | None, drop: float, *, greater_is_better: bool
) -> Realised:
    """Hold a metric against its reference; what is not a finite number is not known, and decides nothing."""
    measured, reference, value = value is not None, _finite(reference), _finite(value)
    if value is None or reference is None:
        return Realised(metric, None, reference, drop, "unknown", measured)
    worse = (reference - value) if greater_is_better else (value - reference)
    if not math.isfinite(worse):
        return Realised(metric, None, reference, drop, "unknown", measured)
    return Realised(metric, value, reference, drop, "violated" if worse > drop else "good")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _drift(
    rows: pl.DataFrame, prediction: pl.Series, labels: pl.Series | None, champion: Bundle, spec: UseCase
) -> list[Drifted]:
    rules = spec.monitoring.drift
    profiles = {name: Profile.from_dict(data) for name, data in champion.reference().items()}
    window = rows.with_columns(prediction.alias(PREDICTION))
    if labels is not None and labels.null_count() < len(labels):
        window = window.with_columns(labels.alias(spec.label.column))
    if rules.columns != "all":
        kept = {*rules.columns, PREDICTION, spec.label.column}
        profiles = {name: profile for name, profile in profiles.items() if name in kept}
    return score_window(profiles, window, alpha=rules.alpha, min_effect=rules.min_effect, seed=spec.model.seed)
