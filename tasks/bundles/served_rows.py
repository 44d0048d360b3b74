"""What the service answered: the rows of a window as columns again, and the labels that became known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import numpy as np
import polars as pl

from expectations.column_types import TYPES_BY_NAME
from expectations.families import Scores
from expectations.problems import Problem, to_scores
from expectations.windows import TICK, Window
from tasks.bundles.feedback import sent_labels
from tasks.bundles.manifest import BundleColumn, Manifest
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.measured_parts import FeedbackUse
from tasks.stores.request_columns import read_requests


def decode_rows(predictions: pl.DataFrame, columns: tuple[BundleColumn, ...]) -> pl.DataFrame:
    """Return what was asked in some predictions, as columns of a bundle."""
    return read_requests(predictions.lazy(), request_types(columns)).collect()


def request_types(columns: Iterable[BundleColumn]) -> dict[str, pl.DataType]:
    """Return the types of what was asked; what several bundles name differently is a number, or else a text."""
    types: dict[str, pl.DataType] = {}
    for column in columns:
        dtype = TYPES_BY_NAME[column.type].request
        other = types.get(column.name, dtype)
        either = dtype if dtype == other else pl.Float64() if dtype.is_numeric() and other.is_numeric() else pl.String()
        types[column.name] = either
    return types


def scores_of(
    predictions: pl.Series,
    bundles: pl.Series,
    classes: Mapping[str, tuple[str, ...]],
    order: Sequence[str],
    problem: Problem,
) -> Scores:
    """Return what several bundles answered as scores in one order of classes.

    Parameters
    ----------
    bundles : polars.Series of shape (n_rows,)
        Which one answered each row.
    classes : mapping of str to tuple of str
        Bundle -> its own classes. Rows of one that is not among them are NaN.

    Returns
    -------
    ndarray of shape (n_rows,), (n_rows, n_classes) or (n_rows, n_classes + 1)
        The last column, where it is there, is of classes that are none of `order`.
    """
    if not isinstance(predictions.dtype, pl.List):
        return to_scores(predictions)
    found = np.full((len(predictions), len(order) + 1), np.nan)
    known = predictions.is_not_null()
    for bundle in bundles.filter(known).drop_nulls().unique():
        if bundle in classes:
            mine = (bundles == bundle).fill_null(value=False) & known
            aligned = problem.aligned(to_scores(predictions.filter(mine)), classes[bundle], order)
            found[mine.to_numpy()] = np.pad(aligned, ((0, 0), (0, len(order) + 1 - aligned.shape[1])))
    return found if (found[:, -1] > 0).any() else found[:, :-1]


def window_predictions(lake: Lake, window: Window, cutoffs: Mapping[str, datetime]) -> pl.DataFrame:
    """Harvested predictions with event time in a window, in order of time.

    Parameters
    ----------
    cutoffs : mapping of str to datetime
        Bundle -> up to when it has learnt: its answers about rows from before are no test of it, and left out.
    """
    if lake.version("predictions") is None:
        return pl.DataFrame(schema={"id": pl.String, "bundle": pl.String, "prediction": pl.Float64})
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


def answers_of(
    lake: Lake,
    bundle: str,
    window: Window,
    cutoffs: Mapping[str, datetime] = MappingProxyType({}),
    max_rows: int | None = None,
) -> pl.DataFrame:
    """Return what one bundle answered with event time in a window, in order of time.

    Parameters
    ----------
    cutoffs : mapping of str to datetime
        As for `window_predictions`.
    max_rows : int, optional
        Of more, every k-th.
    """
    since = pl.col("event_time") >= window.start
    if bundle in cutoffs and cutoffs[bundle] >= window.start:
        since = pl.col("event_time") > cutoffs[bundle]
    asked = lake.scan("predictions").filter((pl.col("bundle") == bundle) & since & (pl.col("event_time") < window.end))
    if max_rows is not None:
        ids = asked.select("id", "event_time").collect(engine="streaming").sort("event_time", "id")
        if len(ids) > max_rows:
            kept = ids.gather_every(-(-len(ids) // max_rows))
            asked = asked.join(kept.lazy().select("id"), on="id", how="semi")
    return asked.collect(engine="streaming").sort("event_time", "id")


def true_labels(
    predictions: pl.DataFrame, rows: pl.DataFrame, known: Known, lake: Lake, window: Window, manifest: Manifest
) -> tuple[pl.Series, FeedbackUse]:
    """Find the label of each prediction: by feedback with its id, and from the sources by the same keys once ripe.

    Without a clock a row of the sources may come at any time, before it is asked about or after; one that the bundle
    has learnt from is no test of it.

    Labels are numbers: values, or places among the classes of `manifest`; see `Problem.codes`.

    Which of the two counts where both are there is declared under `feedback`.

    Returns
    -------
    labels : polars.Series of shape (n_predictions,)
        Missing where it is not known by `known.as_of`.
    use : FeedbackUse
    """
    spec = known.spec
    keys, label = list(spec.keys), spec.label.column
    since, until = (window.start, window.end) if spec.timed else (manifest.cutoff + TICK, None)
    truth = known.rows("raw", columns=[*keys, label], since=since, until=until)
    asked = rows.select(as_type(rows, key, truth.schema[key]) for key in keys)
    kept = asked.join(truth, on=keys, how="left", maintain_order="left", nulls_equal=False)[label]
    found = label_codes(kept, manifest)
    sent, unusable = sent_labels(lake, predictions, spec.feedback, manifest, known.as_of)
    sent = sent.with_columns(label_codes(sent["label"], manifest))
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


def label_codes(labels: pl.Series, manifest: Manifest) -> pl.Series:
    """Return labels as numbers: the place of a class, or the value; null where it is not known."""
    codes = manifest.problem.codes(labels, manifest.classes)
    return pl.Series(labels.name, codes, dtype=pl.Float64).fill_nan(None)


def as_type(rows: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column of a request as the sources hold it: to join by."""
    if isinstance(dtype, pl.Datetime) and rows.schema[column] == pl.String:
        return pl.col(column).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
    return pl.col(column).cast(dtype, strict=False)
