"""Rows that are compared to find why more is lost: of a window, of earlier ones, or those a champion was judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from expectations.column_types import TYPES_BY_NAME
from expectations.families import Scores
from expectations.problems import to_scores
from expectations.windows import TICK, Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.judged_rows import judged_keys, read_judged
from tasks.bundles.served_rows import answers_of, decode_rows, label_codes, true_labels
from tasks.evaluation.causes.rows import PeriodRows
from tasks.evaluation.views import picture_views, with_views
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import POSITION

MAX_ROWS = 20_000
"""Rows of windows that are looked at; of more, every k-th in time."""


def answered_rows(
    windows: Sequence[Window], champion: Bundle, known: Known, lake: Lake, cutoffs: Mapping[str, datetime]
) -> PeriodRows:
    """Read what the champion answered in windows, with what is known of it."""
    ordered = sorted(windows, key=lambda window: window.start)
    whole = Window(ordered[0].start, max(each.end for each in ordered))
    predictions = answers_of(lake, champion.digest, whole, cutoffs, MAX_ROWS)
    if len(windows) > 1:
        bounds = pl.DataFrame(
            {"_start": [each.start for each in ordered], "_end": [each.end for each in ordered]},
            schema={"_start": pl.Datetime("us", "UTC"), "_end": pl.Datetime("us", "UTC")},
        )
        predictions = predictions.join_asof(bounds, left_on="event_time", right_on="_start").filter(
            pl.col("event_time") < pl.col("_end")
        )
    decoded = decode_rows(predictions, champion.manifest.columns)
    labels, _ = true_labels(predictions, decoded, known, lake, whole, champion.manifest)
    return _period(champion, decoded, labels, to_scores(predictions["prediction"]), predictions["event_time"])


def judged_rows(champion: Bundle, known: Known) -> PeriodRows | None:
    """Read the rows a champion was judged on, with what the judged model said of them.

    That model had not learnt from them; the champion, its refit, has. Inputs and labels are those of the lake, before
    any repair, as far as both were known when it was judged and by `known.as_of`: rows that were erased since are
    absent, and what was corrected since is as it was. Raises as `Lake.reading`.

    Returns
    -------
    PeriodRows or None
        None of a bundle that keeps nothing of them, or where an input is in no collected row any more.
    """
    kept = read_judged(champion.folder, champion.manifest)
    if kept is None:
        return None
    spec, manifest = known.spec, champion.manifest
    then = Known(known.lake, spec, min(kept.as_of, known.as_of))
    clock, label = spec.time_column, spec.label.column
    columns = [*spec.keys, clock, label, *champion.inputs]
    if not {*columns} <= {*then.lake.scan("raw").collect_schema(), *spec.history}:  # a lake that was made anew
        return None
    named = then.rows("raw", columns=spec.keys, since=kept.since, until=kept.until + TICK)
    places = pl.DataFrame({"_hash": kept.keys}).with_row_index(POSITION)
    named = named.with_columns(judged_keys(named, spec).alias("_hash")).join(places, on="_hash", maintain_order="left")
    named = named.unique("_hash", keep="last", maintain_order=True)  # cleaning may make several keys one
    wanted = then.scan("raw", columns=columns, since=kept.since, until=kept.until + TICK, of=named.select(spec.keys))
    with then.lake.reading("raw"):
        found = wanted.collect(engine="streaming").join(named, on=spec.keys, maintain_order="left")
    types = {column.name: column.type for column in manifest.columns}
    return _period(
        champion,
        found.with_columns(
            pl.col(name).cast(TYPES_BY_NAME[types[name]].request, strict=False)
            for name in champion.inputs
            if types[name] != "image"
        ),
        label_codes(found[label], manifest),
        kept.prediction[found[POSITION].to_numpy()],
        found[clock],
    )


def _period(
    champion: Bundle, rows: pl.DataFrame, labels: pl.Series, prediction: Scores, times: pl.Series
) -> PeriodRows:
    """Return rows with the inputs that are looked at."""
    types = {column.name: column.type for column in champion.manifest.columns}
    looked_at = [name for name in champion.inputs if types.get(name) in ("number", "integer", "text", "boolean")]
    views = picture_views(name for name in champion.inputs if types.get(name) == "image")
    return PeriodRows(
        with_views(rows, None, views).select(*looked_at, *(each.name for each in views)),
        labels.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64),
        prediction,
        times.dt.epoch("us").to_numpy().astype(np.float64) / 1e6,
    )
