"""Labels that came by feedback: those of some predictions, and those of none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from expectations.data import FeedbackRules
from tasks.bundles.manifest import Manifest
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.lake import Lake

_USUAL = timedelta(days=7)
"""Beyond when they are known, within which labels are sent as a rule."""
_SCHEMA = {"id": pl.String, "label": pl.Float64, "sender": pl.String, "several": pl.Boolean}


@dataclass(frozen=True)
class Unmatched:
    """Labels that name no prediction.

    Attributes
    ----------
    checked_until : datetime or None
        When the newest label that was looked at was received.
    first, last : datetime or None
        When the first and last of those that name none were received.
    """

    labels: int
    checked_until: datetime | None
    first: datetime | None
    last: datetime | None
    senders: dict[str, int]


def sent_labels(
    lake: Lake, predictions: pl.DataFrame, rules: FeedbackRules, manifest: Manifest, as_of: datetime
) -> tuple[pl.DataFrame, int]:
    """Return the label that counts of each of some predictions, where one was sent by `as_of`.

    Only the labels of these predictions are read, and only files that may hold them: a label is received after its
    prediction was served.

    Returns
    -------
    labels : polars.DataFrame of id, label, sender, several
    unusable : int
        Labels of these predictions that the bundle does not take; they do not count.
    """
    if not rules.accept or not len(predictions) or lake.version("labels") is None:
        return pl.DataFrame(schema=_SCHEMA), 0
    found = lake.scan("labels").filter(pl.col("received_at") <= as_of)
    served = predictions["served_at"].min()
    if isinstance(served, datetime) and not predictions["served_at"].null_count():
        found = found.filter(pl.col("received_at") >= served - CLOCK_MARGIN)
    sent = found.join(predictions.lazy().select("id").unique(), on="id", how="semi").collect(engine="streaming")
    kept = sent.filter(manifest.problem.taken(pl.col("label"), manifest.answers))
    labels = (
        kept.sort("received_at", "label")
        .group_by("id", maintain_order=True)
        .agg(
            pl.col("label", "sender").last() if rules.per_id == "last" else pl.col("label", "sender").first(),
            (pl.len() > 1).alias("several"),
        )
    )
    return labels, len(sent) - len(kept)


def find_unmatched(
    lake: Lake, after: datetime | None, until: datetime | None = None, delay: timedelta = timedelta(0)
) -> Unmatched:
    """Find labels received in (after, until] that name none of the predictions harvested so far.

    Parameters
    ----------
    delay : timedelta
        How long labels usually take. Predictions from longer before are read where a label names none of those since.
    """
    nothing = Unmatched(0, None, None, None, {})
    if lake.version("labels") is None:
        return nothing
    sent = lake.scan("labels").select("id", "received_at", "sender")
    if after is not None:
        sent = sent.filter(pl.col("received_at") > after)
    if until is not None:
        sent = sent.filter(pl.col("received_at") <= until)
    first, received = (
        sent.select(pl.col("received_at").min(), pl.col("received_at").max().alias("last")).collect().row(0)
    )
    if received is None:
        return nothing
    if lake.version("predictions") is not None:
        asked, since = lake.scan("predictions"), pl.col("served_at") >= first - delay - _USUAL
        sent = sent.join(asked.filter(since).select("id"), on="id", how="anti").collect(engine="streaming").lazy()
        if sent.limit(1).collect().height:  # a label may come years late; most do not
            sent = sent.join(asked.select("id"), on="id", how="anti")
    by_sender = (
        sent.group_by(pl.col("sender").fill_null(""))
        .agg(
            pl.len().alias("labels"),
            pl.col("received_at").min().alias("first"),
            pl.col("received_at").max().alias("last"),
        )
        .sort("sender")
        .collect(engine="streaming")
    )
    if not len(by_sender):
        return Unmatched(0, received, None, None, {})
    return Unmatched(
        int(by_sender["labels"].sum()),
        received,
        by_sender["first"].min(),  # type: ignore[arg-type] # instants
        by_sender["last"].max(),  # type: ignore[arg-type]
        dict(zip(by_sender["sender"], by_sender["labels"], strict=True)),
    )
