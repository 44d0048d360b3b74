"""Backups that hold what is erased: they are named, and removed by whoever keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tasks.stores.backups import backups_of
from tasks.stores.places import Job

_RESTIC = "restic:"


def backups_since(job: Job, since: datetime | None) -> Iterator[str]:
    """Name the backups that were made since the first of them was collected, as far as they are still there.

    All of them, where nothing says when they first came: there are answers about them, or only files that name them.
    """
    for place, made in backups_of(job.database):
        if since is not None and made < since:
            continue
        if place.startswith(_RESTIC):
            yield f"{place}, of {made:%Y-%m-%d %H:%M} UTC, until its snapshot is removed (`restic forget --prune`)"
        elif Path(place).exists():
            yield f"{place}, of {made:%Y-%m-%d %H:%M} UTC, until it is removed"
