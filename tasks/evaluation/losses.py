"""Losses by the hour, as streams look at them."""

from __future__ import annotations

import polars as pl


def hourly_losses(times: pl.Series, squares: pl.Series) -> pl.DataFrame:
    """Mean squared error of labelled rows by the hour (of a probability: the Brier score), in order.

    Parameters
    ----------
    squares : polars.Series of shape (n_rows,)
        Squared error of each row; missing or NaN where it has no label.

    Returns
    -------
    polars.DataFrame with columns ``hour`` (seconds since 1970), ``loss``, and ``coverage``
        The share of the hour's rows that have a label. The loss is missing where none has, or where an error is too
        large to be squared.
    """
    rows = pl.DataFrame({"time": times, "square": squares.cast(pl.Float64)})
    hour = pl.col("time").dt.truncate("1h").dt.epoch("s").cast(pl.Float64).alias("hour")
    known = pl.col("square").is_not_null() & pl.col("square").is_not_nan()
    found = rows.group_by(hour).agg(pl.col("square").filter(known).mean().alias("loss"), known.mean().alias("coverage"))
    return found.with_columns(pl.when(pl.col("loss").is_finite()).then("loss")).sort("hour")
