"""Flow runs that Prefect takes for unfinished though nobody works on them: their process died, or never came to begin.

Prefect is asked without its own client, which the page does not load.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from flows.prefect_runs import PrefectRuns
from tasks.stores.database import Database
from tasks.stores.presences import PRESENCE, Process

_TAG = "process"
_TICK = 0.05
"""Seconds between which the kernel tells when processes began, and what adding to large numbers takes from them."""
_UNHEARD = timedelta(days=1)
"""How long a run on another host that never said that it is there may still be at its beginning, or at its end."""


def this_process() -> Process:
    """Return this process."""
    return Process(socket.gethostname(), os.getpid(), _born(psutil.Process()))


def _born(process: psutil.Process) -> float:
    """Say when a process began, in seconds since the boot: when the clock is set, that stays what it is."""
    return process.create_time() - psutil.boot_time()


def lives(process: Process, last_seen: datetime, silence: timedelta = PRESENCE) -> bool:
    """Whether a process may be alive; one on another host may while it has been heard of lately.

    One heard of later than now was so by a clock that was ahead, and would live until that has come.
    """
    if process.host != socket.gethostname():
        return abs(datetime.now(UTC) - last_seen) < silence
    try:
        found = psutil.Process(process.process)
        return abs(_born(found) - process.born) < _TICK and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def process_tag() -> str:
    """Name this process in a tag that every flow run it starts carries from its creation."""
    own = this_process()
    return f"{_TAG}:{own.host}:{own.process}:{own.born!r}"


def tagged_process(labels: Sequence[str]) -> Process | None:
    """Read the process from a flow run's tags."""
    for label in labels:
        kind, _, rest = label.partition(":")
        if kind == _TAG:
            host, number, born = rest.rsplit(":", 2)
            return Process(host, int(number), float(born))
    return None


@dataclass(frozen=True)
class Picture:
    """Flow runs and processes as one look found them."""

    unfinished: Sequence[Mapping[str, Any]]
    """Runs that Prefect takes for running or about to, as its API names them."""
    present: Mapping[str, tuple[Process, datetime]]
    """Runs that our database knows a process of, asked after: it holds whichever began meanwhile."""

    @classmethod
    def of(cls, runs: PrefectRuns, database: Database) -> Picture:
        """Look. Raises `httpx.HTTPError` if Prefect does not answer."""
        return cls(runs.unfinished(), database.present())


def close_orphans(database: Database, api: str, login: str, but: str = "") -> list[str]:
    """Mark flow runs of this home whose process died as crashed, however early it died.

    Parameters
    ----------
    api, login : str
        Prefect's, as of `tasks.stores.flow_server.flow_server`.
    but : str
        A run that is left alone: that of this process, which may have been tried by another before.

    Returns
    -------
    list of str
        Identifiers of the runs that still said that they run.

    Raises
    ------
    httpx.HTTPError
        If Prefect does not answer.
    """
    with PrefectRuns(api, login) as runs:
        return crash_dead(runs, database, Picture.of(runs, database), but)


def crash_dead(
    runs: PrefectRuns,
    database: Database,
    picture: Picture,
    but: str = "",
    heard: Mapping[str, datetime] | None = None,
) -> list[str]:
    """Do what `close_orphans` does with a picture that was taken.

    Parameters
    ----------
    heard : mapping, optional
        When the processes of runs were last heard of at a look before this. Those on other hosts are taken for dead
        only if they were not heard of since: just after the database was away, all of them are silent.
    """
    closed = []
    for run, (process, seen) in picture.present.items():
        if run == but or lives(process, seen):
            continue
        if heard is not None and process.host != socket.gethostname() and heard.get(run) != seen:
            continue
        if runs.crash(run):
            closed.append(run)
        database.leave(run)
    for each in picture.unfinished:
        starter, run = tagged_process(each["tags"]), each["id"]
        if starter is None or run in picture.present or run == but:
            continue
        began = datetime.fromisoformat(each["start_time"] or each["created"])
        if not lives(starter, began, _UNHEARD) and runs.crash(run):
            closed.append(run)
    return closed
