"""Losses by the hour, as streams look at them."""

from __future__ import annotations

import polars as pl


def hourly_losses(times: pl.Series, label: pl.Series, prediction: pl.Series) -> pl.DataFrame:
    """Mean squared error of labelled rows by the hour (of a probability: the Brier score), in order.

    Returns
    -------
    polars.DataFrame with columns ``hour`` (seconds since 1970), ``loss``, and ``coverage``
        The share of the hour's rows that have a label. The loss is missing where none has, or where an error is too
        large to be squared.
    """
    square = ((label - prediction).cast(pl.Float64) ** 2).rename("square")
    rows = pl.DataFrame({"time": times, "square": square})
    hour = pl.col("time").dt.truncate("1h").dt.epoch("s").cast(pl.Float64).alias("hour")
    known = pl.col("square").is_not_null() & pl.col("square").is_not_nan()
    found = rows.group_by(hour).agg(pl.col("square").filter(known).mean().alias("loss"), known.mean().alias("coverage"))
    return found.with_columns(pl.when(pl.col("loss").is_finite()).then("loss")).sort("hour")
