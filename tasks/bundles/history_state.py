"""Keeps the state of history that the service looks back into as new as what is collected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from expectations.history import HistoryColumn
from tasks.bundles.champion import manifests_of
from tasks.preprocessing.history.earlier_rows import key_of
from tasks.preprocessing.history.series import NO_ROWS, ticks_of
from tasks.preprocessing.history.state import bounded, mark_of, to_bytes
from tasks.stores.files import storing
from tasks.stores.places import Job
from tasks.stores.whole_files import replace_file

SLACK = timedelta(days=2)
"""Requests whose event time is so much older than what was collected last still see all that they look back at."""


def keep_history(job: Job, *, bundles: Sequence[str] = (), since: datetime | None = None) -> str:
    """Write what rows from now on can see of clean rows, for all models that are served or may be.

    Parameters
    ----------
    bundles : sequence of str
        Others, that are about to be served.
    since : datetime, optional
        The oldest event time that will be asked about; two days before the job's instant where not given.

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
    columns = _columns(job, bundles)
    if not columns:
        with storing("remove the history that nothing looks back into any more in", path):
            path.unlink(missing_ok=True)
        return ""
    known = job.known
    earlier = known.earlier({str(place): column for place, column in enumerate(columns)}).series
    series = {
        key: replace(earlier.get(key, NO_ROWS), until=known.complete_until(key[0])) for key in map(key_of, columns)
    }
    content = to_bytes(bounded(series, columns, ticks_of(since or job.as_of - SLACK)))
    with storing("write the history that the service looks back into to", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    return mark_of(content)


def _columns(job: Job, bundles: Sequence[str]) -> list[HistoryColumn]:
    """Return each way that a model served or to be looks back."""
    desired = job.releases.desired(job.name)
    served = [desired.champion, desired.candidate, desired.previous] if desired is not None else []
    digests = [*bundles, *(each.bundle for each in served if each is not None)]
    manifests = manifests_of(job.releases, job.name, dict.fromkeys(digests)).values()
    found = [*job.usecase.spec.looked_back.values(), *(each for one in manifests for each in one.history.values())]
    return [column for place, column in enumerate(found) if column not in found[:place]]
