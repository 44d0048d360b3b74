"""The champion's loss, looked at by the hour for a year: whether it rises, as odds (`tasks.evaluation.streams`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from expectations.alert_views import LossByHour
from expectations.problems import to_scores
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.bundles.champion import current_champion
from tasks.bundles.served_rows import answers_of, decode_rows, true_labels
from tasks.evaluation.cadences import Rules, joined_looks
from tasks.evaluation.losses import hourly_losses
from tasks.evaluation.streams import FORMAT, LookResult, Stream
from tasks.monitoring.alerting import note_loss
from tasks.stores.places import Job

_STATE = "loss_stream"
"""Mark in the platform database: the champion's stream, and the hour that is to be looked at next."""
_HOUR = timedelta(hours=1)
_READ = timedelta(days=31)
_RULES = Rules()
_GATHERED = 8 * _RULES.cadence.least
"""Hours that are kept of a champion that has not answered a week of them in a row yet: the newest."""


def watch_loss(job: Job) -> LookResult | None:
    """Look at each hour of the champion whose labels have come, once; a rise goes into the ledger.

    What was lost on the holdout it was judged on is the reference, or its own first week where that is too short. An
    hour waits, and all after it, until enough of its labels are there, a window's length at most after they are ripe;
    one without a label is left out. State and finding are one transaction, so an hour is looked at once. The finding is
    information unless its rule says otherwise: a loss that rises is no proof that a fresh model would lose less.
    Without a clock there are no hours to look at.
    """
    champion = current_champion(job)
    spec = job.usecase.spec
    if champion is None or not spec.timed or job.lake.version("predictions") is None:
        return None
    zone = spec.local_zone
    kept: dict[str, Any] = json.loads(job.database.marked(job.name, _STATE) or "{}")
    if (kept.get("bundle"), kept.get("format")) != (champion.digest, FORMAT):
        learnt = champion.cutoff.replace(minute=0, second=0, microsecond=0) + _HOUR
        hours, losses = champion.holdout_losses()
        kept = {"bundle": champion.digest, "format": FORMAT, "until": learnt.isoformat(), "stream": None}
        kept |= {"hours": hours, "losses": losses}
    begin = until = datetime.fromisoformat(kept["until"])
    stream = Stream.from_dict(kept["stream"]) if kept["stream"] else _begun(kept, zone)
    ripe = spec.label.available_after.after(job.as_of, -1).replace(minute=0, second=0, microsecond=0)
    needed = max((rule.min_coverage for rule in spec.monitoring.performance), default=0.0)
    verdict, seen = None, None
    for hour, loss, coverage in _losses(job, champion, begin, ripe):
        start = datetime.fromtimestamp(hour, UTC)
        late = spec.grid.every.after(spec.label.available_after.after(start + _HOUR)) <= job.as_of
        if coverage < needed and not late:
            break
        until = start + _HOUR
        if loss is None:
            continue
        if stream is None:
            kept["hours"].append(hour)
            kept["losses"].append(loss)
            continue
        before = stream.rang_at
        verdict = stream.look(loss, hour)
        if verdict.rung and verdict.rang_at != before:
            seen = _seen(champion, verdict, new=True)
    else:
        until = max(until, ripe)
    if until > begin:
        kept |= {"until": until.isoformat(), "stream": stream.to_dict() if stream else None}
        for name in ("hours", "losses"):
            kept[name] = [] if stream else kept[name][-_GATHERED:]
        with job.database.transaction() as connection:
            if verdict is not None:
                note_loss(job, connection, seen or _seen(champion, verdict, new=False))
            job.database.put_mark(connection, job.name, _STATE, json.dumps(kept))
    return verdict


def _begun(kept: dict[str, Any], zone: str) -> Stream | None:
    """Begin a stream with the hours that were kept; None where they are too few to begin with."""
    hours = np.asarray(kept["hours"], dtype=np.float64)
    if joined_looks((hours // _HOUR.total_seconds()).astype(np.int64)) < _RULES.cadence.least:
        return None
    return Stream(kept["losses"], kept["hours"], _RULES, zone)


def _losses(job: Job, champion: Bundle, begin: datetime, end: datetime) -> Iterator[tuple[float, float | None, float]]:
    """Hours of a champion with rows, their loss and the share that has a label, read a month at a time."""
    while begin < end:
        window = Window(begin, min(begin + _READ, end))
        found = answers_of(job.lake, champion.digest, window)
        if len(found):
            rows = decode_rows(found, champion.manifest.columns)
            labels, _ = true_labels(found, rows, job.known, job.lake, window, champion.manifest)
            codes, scores = labels.cast(pl.Float64).fill_null(math.nan).to_numpy(), to_scores(found["prediction"])
            squares = champion.manifest.problem.squares(codes, scores)
            yield from hourly_losses(found["event_time"], pl.Series(squares)).iter_rows()
        begin = window.end


def _seen(champion: Bundle, verdict: LookResult, *, new: bool) -> LossByHour:
    since = datetime.fromtimestamp(verdict.since, UTC) if verdict.since is not None else None
    at = datetime.fromtimestamp(verdict.rang_at, UTC) if verdict.rang_at is not None else None
    return LossByHour(champion.digest, new, verdict.odds, at, since, verdict.size)
