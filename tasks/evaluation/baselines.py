"""What needs no model: the predictions that every model is to beat, on the same rows.

Each knows at a row's event time only the labels that were known then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.families import Scores, Vector
from expectations.usecase import UseCase

BASELINES = ("constant", "last", "season")
_SEASON = timedelta(weeks=2)
"""History that a week must have been seen twice in."""


def predict_baselines(
    known: pl.DataFrame, rows: pl.DataFrame, spec: UseCase, classes: Sequence[str] = ()
) -> dict[str, Scores]:
    """Return what the baselines say to rows.

    ``constant`` is the mean label of before the first row; ``last`` the label that was known last (the mean, of several
    rows at one event time); ``season`` the mean label of the same hour of the week. One that would know nothing at some
    row is left out; the season, too, where fewer than two weeks are known. Without a clock there is ``constant`` alone,
    the mean label of all that is known.

    Parameters
    ----------
    known : polars.DataFrame of shape (n_known, any)
        Labelled rows, later ones than `rows` among them or not.
    rows : polars.DataFrame of shape (n_rows, any)
        With the clock's column alone, in any order.
    classes : sequence of str, optional
        Of a classifier, in the order of the scores.

    Returns
    -------
    dict of str to ndarray of shape (n_rows,) or (n_rows, n_classes)
        For a classifier the shares of the classes.
    """
    targets = spec.problem.targets(spec.problem.codes(known[spec.label.column], classes), classes)
    columns = [targets] if targets.ndim == 1 else list(targets.T)
    said = [_predict(known[spec.time_column], pl.Series(each), rows, spec) for each in columns]
    if targets.ndim == 1:
        return said[0]
    return {name: np.column_stack([each[name] for each in said]) for name in said[0]}


def _predict(times_known: pl.Series, values: pl.Series, rows: pl.DataFrame, spec: UseCase) -> dict[str, Vector]:
    """Return what the baselines say of one number a row."""
    clock, delay = spec.time_column, spec.label_delay
    if rows.is_empty():
        return {}
    if not spec.timed:
        known = values.filter(values.is_finite())
        return {"constant": np.full(len(rows), float(known.mean()))} if len(known) else {}  # type: ignore[arg-type]
    labelled = pl.DataFrame({"at": times_known, "value": values}).filter(pl.col("value").is_finite())
    before = labelled.filter(pl.col("at") <= delay.after(rows[clock].min(), -1))  # type: ignore[arg-type]
    if before.is_empty():
        return {}
    times = rows.select(pl.col(clock).alias("time"))
    mean = float(before["value"].mean())  # type: ignore[arg-type] # there are some
    found = {"constant": np.full(len(rows), mean)}
    moments = labelled.group_by("at").agg(pl.col("value").mean()).sort("at")
    known_at = times.unique().with_columns(ripe=pl.col("time").dt.offset_by(f"-{_offset(delay)}")).sort("ripe")
    by_time = known_at.join_asof(moments, left_on="ripe", right_on="at", strategy="backward").select("time", "value")
    last = times.join(by_time, on="time", how="left", maintain_order="left")
    if not last["value"].null_count():
        found["last"] = last["value"].to_numpy().astype(np.float64)
    span: timedelta = before["at"].max() - before["at"].min()  # type: ignore[operator, assignment] # instants
    if span >= _SEASON:
        zone = spec.clock_zone
        weekly = before.group_by(_hour_of_week("at", zone)).agg(pl.col("value").mean())
        season = times.select(_hour_of_week("time", zone)).join(weekly, on="hour", how="left", maintain_order="left")
        found["season"] = season["value"].fill_null(mean).to_numpy().astype(np.float64)
    return found


def _offset(delay: Duration) -> str:
    """Return a span as polars has it."""
    return f"{delay.months}mo" if delay.months else f"{delay.seconds}s"


def _hour_of_week(column: str, zone: str) -> pl.Expr:
    local = pl.col(column).dt.convert_time_zone(zone)
    return (local.dt.weekday().cast(pl.Int32) * 24 + local.dt.hour()).alias("hour")
