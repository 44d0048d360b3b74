"""Losses by the hour, as streams look at them."""

from __future__ import annotations

import polars as pl


def hourly_losses(times: pl.Series, label: pl.Series, prediction: pl.Series) -> pl.DataFrame:
    """Mean squared error of labelled rows by the hour (of a probability: the Brier score), in order.

    Returns
    -------
    polars.DataFrame with columns ``hour`` (seconds since 1970) and ``loss``
    """
    rows = pl.DataFrame({"time": times, "error": (label - prediction).cast(pl.Float64)})
    known = rows.filter(pl.col("error").is_finite())
    hour = pl.col("time").dt.truncate("1h").dt.epoch("s").cast(pl.Float64).alias("hour")
    return known.group_by(hour).agg((pl.col("error") ** 2).mean().alias("loss")).sort("hour")
