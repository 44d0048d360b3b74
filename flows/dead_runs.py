"""Flow runs that Prefect takes for unfinished though nobody works on them: their process died, or never came to begin.

Prefect is asked without its own client, which the page does not load.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil

from infra.reaching import refuse_strangers
from infra.settings import Settings
from tasks.stores.database import Database
from tasks.stores.flow_server import flow_server
from tasks.stores.presences import PRESENCE, Process
from tasks.stores.retries import reason, repeated

DEPLOYED_TAG = "driftwheel"
"""What our deployments are tagged with, and so are their runs."""
_TAG = "process"
_TICK = 0.05
"""Seconds between which the kernel tells when processes began, and what adding to large numbers takes from them."""
_UNHEARD = timedelta(days=1)
"""How long a run on another host that never said that it is there may still be at its beginning, or at its end."""
_MAX_PENDING = timedelta(minutes=15)
"""How long a run that was handed to a process may take to begin; an image may have to be fetched for it."""
_MAX_UNSEEN = timedelta(minutes=5)
"""How long nobody may have looked, so that runs seen before and after are known to have waited meanwhile."""
_LOOK_SECONDS = 60.0
_SECONDS = 10.0
_PAGE = 200
"""Runs that Prefect names in one answer."""
_UNFINISHED = ("RUNNING", "PENDING")
_log = logging.getLogger("driftwheel.flows")


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


class PrefectRuns:
    """Flow runs of a Prefect server.

    Parameters
    ----------
    api, login : str
        As of `tasks.stores.flow_server.flow_server`.
    """

    def __init__(self, api: str, login: str) -> None:
        address, auth = flow_server(api, login)
        self._client = httpx.Client(base_url=address, auth=auth, timeout=_SECONDS)

    def __enter__(self) -> PrefectRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def unfinished(self) -> list[dict[str, Any]]:
        """Return those that run or are about to, as Prefect's API names them.

        Raises
        ------
        httpx.HTTPError
            If Prefect does not answer.
        """
        found: dict[str, dict[str, Any]] = {}
        wanted = {"flow_runs": {"state": {"type": {"any_": list(_UNFINISHED)}}}, "sort": "ID_DESC", "limit": _PAGE}
        for offset in range(0, 100 * _PAGE, _PAGE):
            page = self._ask("POST", "/flow_runs/filter", {**wanted, "offset": offset}).json()
            found |= {each["id"]: each for each in page}
            if len(page) < _PAGE:
                break
        return list(found.values())

    def crash(self, run: str, why: str = "its process died") -> bool:
        """Mark a run that nobody works on as crashed, if it still says that it runs; returns whether it did."""
        try:
            state = self._ask("GET", f"/flow_runs/{run}").json()["state"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:  # somebody removed it
                return False
            raise
        if state is None or state["type"] not in (*_UNFINISHED, "SCHEDULED", "PAUSED", "CANCELLING"):
            return False
        self._set(run, "CRASHED", why, force=True)
        return True

    def cancel(self, run: str, why: str) -> None:
        """Have whoever holds a run's process end it; Prefect marks it as cancelled itself where nobody does."""
        self._set(run, "CANCELLING", why, force=False)

    def _set(self, run: str, kind: str, message: str, *, force: bool) -> None:
        state = {"type": kind, "name": kind.capitalize(), "message": message}
        self._ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return repeated(lambda: self._client.request(method, path, json=body).raise_for_status())


def close_orphans(
    database: Database, api: str, login: str, but: str = "", heard: Mapping[str, datetime] | None = None
) -> list[str]:
    """Mark flow runs of this home whose process died as crashed, however early it died.

    Parameters
    ----------
    api, login : str
        Prefect's, as of `tasks.stores.flow_server.flow_server`.
    but : str
        A run that is left alone: that of this process, which may have been tried by another before.
    heard : mapping, optional
        When the processes of runs were last heard of at a look before this. Those on other hosts are taken for dead
        only if they were not heard of since: just after the database was away, all of them are silent.

    Returns
    -------
    list of str
        Identifiers of the runs that still said that they run.

    Raises
    ------
    httpx.HTTPError
        If Prefect does not answer.
    """
    closed = []
    with PrefectRuns(api, login) as runs:
        known = database.present()
        for run, (process, seen) in known.items():
            if run == but or lives(process, seen):
                continue
            if heard is not None and process.host != socket.gethostname() and heard.get(run) != seen:
                continue
            if runs.crash(run):
                closed.append(run)
            database.leave(run)
        for each in runs.unfinished():
            starter, run = tagged_process(each["tags"]), each["id"]
            if starter is None or run in known or run == but:
                continue
            began = datetime.fromisoformat(each["start_time"] or each["created"])
            if not lives(starter, began, _UNHEARD) and runs.crash(run):
                closed.append(run)
    return closed


class RunWatch:
    """Looks each minute at the runs of this home, and ends those that nobody works on.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looked = -_LOOK_SECONDS
        self._waiting: dict[str, float] = {}
        self._answered = -math.inf
        self._heard: dict[str, datetime] = {}

    def look(self) -> None:
        """Look, where a minute went by since the last time. What Prefect does not answer waits for the next look.

        Raises
        ------
        StackError
            If another server took the place of this home's Prefect: its runs are not ours to end.
        """
        now = time.monotonic()
        places = self._settings.places()
        if now - self._looked < _LOOK_SECONDS or not places.flow_api:
            return
        self._looked = now
        refuse_strangers(self._settings)
        try:
            self.end_dead(places.flow_api, places.flow_login)
            self.end_waiting(places.flow_api, places.flow_login, now)
        except httpx.HTTPError as error:
            _log.warning("runs that nobody works on could not be looked for: Prefect: %s", reason(error))

    def end_dead(self, api: str, login: str) -> None:
        """End runs whose process died."""
        database, heard = self._settings.platform(), self._heard
        self._heard = {run: seen for run, (_, seen) in database.present().items()}
        for run in close_orphans(database, api, login, heard=heard):
            _log.warning("flow run %s is marked as crashed: its process died", run)

    def end_waiting(self, api: str, login: str, now: float) -> None:
        """End runs of deployments that were handed to a process and do not begin, or run and no process is there.

        When a clock that was ahead is set back, the processes of those that it submitted wait until it is their date,
        each in a place that another run could have. And what was submitted to a process that died on its way, while
        Prefect was away, nobody ever marks; nor one that was killed with its runner after Prefect knew that it runs,
        and before our database knew where.

        Parameters
        ----------
        now : float
            Seconds of a clock that nobody sets, by which it is told how long they have been seen. It begins anew where
            nobody could look for minutes: a run may have worked meanwhile.
        """
        with PrefectRuns(api, login) as runs:
            unfinished, database = runs.unfinished(), self._settings.platform()
            present = database.present()  # asked after, it holds whichever began meanwhile
            names = database.use_cases()
            waiting = {each["state"]["id"]: each for each in unfinished if _is_nobodys(each, present, names)}
            known = self._waiting if now - self._answered <= _MAX_UNSEEN.total_seconds() else {}
            self._waiting, self._answered = {state: known.get(state, now) for state in waiting}, now
            for state, run in waiting.items():
                long = now - self._waiting[state] > _MAX_PENDING.total_seconds()
                if run["state_type"] == "RUNNING":
                    if long and runs.crash(run["id"], "no process works on it"):
                        _log.warning("flow run %s is marked as crashed: no process works on it", run["id"])
                    continue
                if _until(run) > _MAX_PENDING:
                    why = "it waited for a date that a clock that was ahead had taken for now"
                elif long:
                    why = "no process began it"
                else:
                    continue
                runs.cancel(run["id"], why)
                _log.warning("flow run %s is cancelled: %s", run["id"], why)


def _is_nobodys(run: Mapping[str, Any], present: Collection[str], names: Collection[str]) -> bool:
    """Whether it is an unfinished one of a deployment of ours that no process of ours is known to work on.

    One that runs is ours only where its use case is registered here: another home's is present in another database.
    """
    ours = DEPLOYED_TAG in run["tags"] and tagged_process(run["tags"]) is None
    here = run["state_type"] == "PENDING" or any(label in names for label in run["tags"])
    return ours and here and run["id"] not in present


def _until(run: Mapping[str, Any]) -> timedelta:
    """How long it is until the date of a run."""
    due = run["expected_start_time"]
    return datetime.fromisoformat(due) - datetime.now(UTC) if due else timedelta(0)
