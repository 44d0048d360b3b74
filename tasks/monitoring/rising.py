"""The champion's loss, looked at by the hour for a year: whether it rises, as odds (`tasks.evaluation.streams`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.champion import current_champion
from tasks.bundles.served_rows import decode_rows, true_labels, window_predictions
from tasks.evaluation.losses import hourly_losses
from tasks.evaluation.streams import Rules, Stream, Verdict
from tasks.monitoring.watching import cutoffs_of
from tasks.stores.ledger import Entry
from tasks.stores.places import Job

_STATE = "loss_stream"
"""Mark in the platform database: the champion's stream, and the hour that is to be looked at next."""
_HOUR = timedelta(hours=1)
_READ = timedelta(days=31)
_RULES = Rules()


def watch_loss(job: Job) -> Verdict | None:
    """Look at every hour of the champion whose labels are ripe and that was not looked at; a rise goes into the ledger.

    What was lost on the holdout it was judged on is the reference, or its own first week where that is too short. State
    and finding are one transaction, so an hour is looked at once, and a replay sees what was seen live. The finding is
    evidence, and no alert: a loss that rises is no proof that a fresh model would lose less.
    """
    champion = current_champion(job)
    if champion is None or job.lake.version("predictions") is None:
        return None
    spec = job.usecase.spec
    kept: dict[str, Any] = json.loads(job.database.marked(job.name, _STATE) or "{}")
    if kept.get("bundle") != champion.digest:
        kept = {"bundle": champion.digest, "until": None, "stream": None, "hours": [], "losses": []}
    stream = Stream.from_dict(kept["stream"]) if kept["stream"] else _begun(*champion.holdout_losses(), spec)
    ripe = spec.label.available_after.after(job.as_of, -1).replace(minute=0, second=0, microsecond=0)
    learnt = champion.cutoff.replace(minute=0, second=0, microsecond=0) + _HOUR
    begin = datetime.fromisoformat(kept["until"]) if kept["until"] else learnt
    verdict, finding = None, None
    for hour, loss in _losses(job, champion, begin, ripe):
        if stream is None:
            kept["hours"].append(hour)
            kept["losses"].append(loss)
            stream = _begun(kept["hours"], kept["losses"], spec)
            continue
        before = stream.rang_at
        verdict = stream.look(loss, hour)
        if verdict.rung and verdict.rang_at != before:
            finding = _finding(job, champion, verdict)
    if ripe > begin:
        kept |= {"until": ripe.isoformat(), "stream": stream.to_dict() if stream else None}
        if stream:
            kept |= {"hours": [], "losses": []}
        with job.database.transaction() as connection:
            if finding is not None:
                job.database.write(connection, finding)
            job.database.put_mark(connection, job.name, _STATE, json.dumps(kept))
    return verdict


def _begun(hours: Sequence[float], losses: Sequence[float], spec: UseCase) -> Stream | None:
    """Begin a stream with a reference; None where that is too short to begin with."""
    joined = int((np.diff(np.asarray(hours)) == _HOUR.total_seconds()).sum()) + 1 if hours else 0
    return Stream(losses, hours, _RULES, spec.clock.timezone) if joined >= _RULES.cadence.least else None


def _losses(job: Job, champion: Bundle, begin: datetime, end: datetime) -> Iterator[tuple[float, float]]:
    """Hours of a champion with labelled rows, read a month at a time."""
    cutoffs = cutoffs_of(job)
    while begin < end:
        window = Window(begin, min(begin + _READ, end))
        found = window_predictions(job.lake, window, cutoffs).filter(pl.col("bundle") == champion.digest)
        if len(found):
            rows = decode_rows(found, champion.manifest.columns)
            labels, _ = true_labels(found, rows, job.known, job.lake, window, champion.manifest)
            yield from hourly_losses(found["event_time"], labels, found["prediction"]).iter_rows()
        begin = window.end


def _finding(job: Job, champion: Bundle, verdict: Verdict) -> Entry:
    since = datetime.fromtimestamp(verdict.since, UTC) if verdict.since is not None else None
    at = datetime.fromtimestamp(verdict.rang_at or 0, UTC)
    words = (
        f"the loss by the hour rises{f' since about {since:%Y-%m-%d %H:%M}' if since else ''}: odds of "
        f"{verdict.odds:.0f} to 1 at {at:%Y-%m-%d %H:%M}"
        + (f", by {verdict.size:.2f} deviations of an hour" if verdict.size is not None else "")
    )
    evidence = {
        "bundle": champion.digest,
        "odds": verdict.odds,
        "rang_at": at.isoformat(),
        "since": since.isoformat() if since else None,
        "size": verdict.size,
    }
    key = f"{job.name}/monitor/rising/{champion.digest[:12]}/{at.isoformat()}"
    return Entry(key, job.name, job.as_of, "monitor", "rising", "loss", words, evidence)
