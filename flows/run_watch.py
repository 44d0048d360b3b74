"""Ends flow runs that nobody works on, also while no flow comes that would look."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.dead_runs import Picture, crash_dead, tagged_process
from flows.prefect_runs import DEPLOYED_TAG, HANDED_OUT_AHEAD, PrefectRuns, handed_out_ahead
from infra.reaching import refuse_strangers
from infra.settings import Settings
from tasks.stores.database import DEPLOYED, REMOVED, Database
from tasks.stores.retries import reason

_MAX_PENDING = timedelta(minutes=15)
"""How long a run that was handed to a process may take to begin; an image may have to be fetched for it."""
_MAX_UNSEEN = timedelta(minutes=5)
"""How long nobody may have looked, so that runs seen before and after are known to have waited meanwhile."""
_LOOK_SECONDS = 60.0
_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_log = logging.getLogger("driftwheel.flows")


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
            with PrefectRuns(places.flow_api, places.flow_login) as runs:
                self.end(runs, now, datetime.now(UTC))
        except httpx.HTTPError as error:
            _log.warning("runs that nobody works on could not be looked for: Prefect: %s", reason(error))

    def end(self, runs: PrefectRuns, now: float, at: datetime) -> None:
        """End runs whose process died, and those that no process works on.

        Parameters
        ----------
        now : float
            Seconds of a clock that nobody sets, by which it is known how long runs were seen to wait. It begins anew
            where nobody could look for minutes: a run may have worked meanwhile.
        at : datetime
            The same by the clock that dates go by.
        """
        picture = Picture.of(runs, self._settings.platform())
        self._end_dead(runs, picture)
        self._end_waiting(runs, picture, now, at)

    def _end_dead(self, runs: PrefectRuns, picture: Picture) -> None:
        heard, self._heard = self._heard, {run: seen for run, (_, seen) in picture.present.items()}
        for run in crash_dead(runs, self._settings.platform(), picture, heard=heard):
            _log.warning("flow run %s is marked as crashed: its process died", run)

    def _end_waiting(self, runs: PrefectRuns, picture: Picture, now: float, at: datetime) -> None:
        """End runs of deployments that were handed to a process and do not begin, or run and no process is there.

        When a clock that was ahead is set back, the processes of those that it submitted wait until it is their date,
        each in a place that another run could have. And what was submitted to a process that died on its way, while
        Prefect was away, nobody ever marks; nor one that was killed with its runner after Prefect knew that it runs,
        and before our database knew where.
        """
        until = _ours_until(self._settings.platform())
        waiting = {
            each["state"]["id"]: each for each in picture.unfinished if _is_nobodys(each, picture.present, until)
        }
        known = self._waiting if now - self._answered <= _MAX_UNSEEN.total_seconds() else {}
        self._waiting, self._answered = {state: known.get(state, now) for state in waiting}, now
        for state, run in waiting.items():
            long = now - self._waiting[state] > _MAX_PENDING.total_seconds()
            if run["state_type"] == "RUNNING":
                if long and runs.crash(run["id"], "no process works on it"):
                    _log.warning("flow run %s is marked as crashed: no process works on it", run["id"])
            elif _waits_for_its_date(run, at):
                _cancel(runs, run["id"], HANDED_OUT_AHEAD)
            elif long:
                _cancel(runs, run["id"], "no process began it")


def _cancel(runs: PrefectRuns, run: str, why: str) -> None:
    runs.cancel(run, why)
    _log.warning("flow run %s is cancelled: %s", run, why)


def _ours_until(database: Database) -> dict[str, datetime]:
    """Return until when runs of use cases are ours: for ever of those that are registered, else until the removal."""
    removed = database.marks_named(REMOVED)
    deployed = database.marks_named(DEPLOYED).keys() & removed.keys()
    until = {name: datetime.fromisoformat(removed[name]) for name in deployed}
    return until | dict.fromkeys(database.use_cases(), _FOR_EVER)


def _is_nobodys(run: Mapping[str, Any], present: Collection[str], until: Mapping[str, datetime]) -> bool:
    """Whether it is an unfinished one of a deployment of ours that no process of ours is known to work on.

    One that runs is ours only where its use case is registered here, or was when it began to run: another home's is
    present in another database, and one that was removed here may have been added there.
    """
    ours = DEPLOYED_TAG in run["tags"] and tagged_process(run["tags"]) is None
    since = datetime.fromisoformat(run["state"]["timestamp"])
    here = run["state_type"] == "PENDING" or any(label in until and since < until[label] for label in run["tags"])
    return ours and here and run["id"] not in present


def _waits_for_its_date(run: Mapping[str, Any], at: datetime) -> bool:
    due = run["expected_start_time"]
    since = datetime.fromisoformat(run["state"]["timestamp"])
    return due is not None and handed_out_ahead(datetime.fromisoformat(due), since, at)
