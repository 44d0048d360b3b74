"""Keeps the state of history that the service looks back into as new as what is collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from expectations.history import HistoryColumn
from tasks.bundles.champion import manifests_of
from tasks.preprocessing.history.earlier_rows import key_of, oldest_read
from tasks.preprocessing.history.series import NO_ROWS, ticks_of
from tasks.preprocessing.history.state import bounded, mark_of, to_bytes
from tasks.stores.files import storing
from tasks.stores.lake_tables import COLLECTED
from tasks.stores.places import Job
from tasks.stores.whole_files import replace_file

SLACK = timedelta(days=2)
"""Requests whose event time is so much older than what was collected last still see all that they look back at."""
_WORK = "history"


def keep_history(job: Job, *, bundles: Sequence[str] = (), since: datetime | None = None) -> str:
    """Write what rows from now on can see of clean rows, for all models that are served or may be.

    Where that is what is written already the file stays as it is: each worker reads one that was replaced.
    Rows are read and written under one lock: who reads later, such as after an erasure, writes later.

    Parameters
    ----------
    bundles : sequence of str
        Others, that are about to be served.
    since : datetime, optional
        The oldest event time that will be asked about; two days before what was collected last where not given.

    Returns
    -------
    str
        What the service calls this state in `/version` once it has read it; empty where no model looks back.

    Raises
    ------
    LakeError, StorageError, UnreachableError
        If rows cannot be read, or the file not be written.
    """
    path = job.releases.history(job.name)
    if not (job.usecase.spec.history or bundles or path.exists()):
        return ""
    with job.lake.alone(_WORK):
        return _write(job, path, _columns(job, bundles), since)


def _write(job: Job, path: Path, columns: list[HistoryColumn], since: datetime | None) -> str:
    if not columns:
        with storing("remove the history that nothing looks back into any more in", path):
            path.unlink(missing_ok=True)
        return ""
    known, seen = job.known, _collected_until(job)
    as_collected, oldest = replace(known, as_of=seen), since or seen - SLACK
    numbered = {str(place): column for place, column in enumerate(columns)}
    earlier = known.earlier(numbered, since=oldest_read(columns, oldest)).series
    series = {
        key: replace(earlier.get(key, NO_ROWS), until=as_collected.complete_until(key[0]))
        for key in map(key_of, columns)
    }
    content = to_bytes(bounded(series, columns, ticks_of(oldest)))
    with storing("write the history that the service looks back into to", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content)
    return mark_of(content)


def _collected_until(job: Job) -> datetime:
    """Return when the newest clean row was collected, as far as it is known.

    Not the job's instant: a batch may be held, or somebody deploy or erase who collects nothing.
    """
    if job.lake.version("clean") is None:
        return job.as_of
    newest = job.lake.collect("clean", job.lake.scan("clean").select(pl.col(COLLECTED).max())).item()
    return job.as_of if newest is None else min(job.as_of, newest)


def _columns(job: Job, bundles: Sequence[str]) -> list[HistoryColumn]:
    """Return each way that a model served or to be looks back."""
    desired = job.releases.desired(job.name)
    served = [desired.champion, desired.candidate, desired.previous] if desired is not None else []
    digests = [*bundles, *(each.bundle for each in served if each is not None)]
    manifests = manifests_of(job.releases, job.name, dict.fromkeys(digests)).values()
    found = [*job.usecase.spec.looked_back.values(), *(each for one in manifests for each in one.history.values())]
    return [column for place, column in enumerate(found) if column not in found[:place]]
