"""Send what people are to hear, also while no flow runs; and notice that monitoring does not run.

A flow sends as it ends. What waits then (quiet hours, a digest, a target that was away) is sent by a thread of the
runner, and one of the page: so one of two processes still does it, and says so, when the other is gone.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from expectations.contradictions import REPLAY
from expectations.cron import last_due
from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase, readable_alerts
from flows.left_out import end_left_out
from flows.loaded import LoadedUseCases
from flows.message_picture import MessagePicture
from flows.prefect_runs import read_pages
from flows.run_watch import RunWatch
from flows.service_watch import ServiceWatch
from infra.settings import Settings
from tasks.stores.alerts import Sent, deliver
from tasks.stores.finding_kinds import describe
from tasks.stores.flow_server import flow_server
from tasks.stores.journal import CLOCK_MARGIN
from tasks.stores.messages import Calendar
from tasks.stores.presences import PRESENCE

LOOK_SECONDS = 20.0
GRACE = timedelta(minutes=15)
"""How late a monitor run may end before it counts as one that did not run, where none is at work."""
_PING_SECONDS = 5.0
_SCHEDULE, _MONITORED = "monitor schedule", "monitored"
"""Marks in the platform database: the schedules Prefect has now, and when the last monitor run ended."""
_log = logging.getLogger("driftwheel.flows")


def send_messages(settings: Settings, usecase: LoadedUseCase) -> list[Sent]:
    """Send the targets of a use case what is due; of a replay nothing, the past is nobody's alarm."""
    spec = usecase.spec
    if usecase.name.endswith(REPLAY):
        return []
    calendar, channels = Calendar(spec.local_zone, spec.monitoring.week), settings.channels(spec.alerts)
    draw = MessagePicture(settings, usecase).of
    return deliver(settings.platform(), usecase.name, channels, calendar, settings.page_address, draw=draw)


def note_monitored(settings: Settings, usecase: LoadedUseCase) -> None:
    """Note that a monitor run came to its end, and notify the address outside that waits for it."""
    if usecase.name.endswith(REPLAY):
        return
    database, now = settings.platform(), datetime.now(UTC)
    database.mark(usecase.name, _MONITORED, now.isoformat())
    database.end(usecase.name, ["unmonitored"], "a monitor run came to its end", now)
    if not json.loads(database.marked(usecase.name, _SCHEDULE) or "{}").get("lines"):
        note_schedules(settings, usecase.name, MonitorSchedules(settings))  # it may have been switched on since
    heartbeat = usecase.spec.heartbeat
    if heartbeat is None:
        return
    address, lacking = settings.fill(heartbeat.ping)
    if lacking:
        _log.error("the heartbeat of %s is not sent: %s not set", usecase.name, " and ".join(lacking))
        return
    talker = logging.getLogger("httpx")  # it would log the address, which is a password
    former = talker.level
    talker.setLevel(logging.WARNING)
    try:
        httpx.get(address, timeout=_PING_SECONDS, follow_redirects=True).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # its words hold the address, too
        _log.error("the heartbeat of %s was not taken: %s", usecase.name, type(error).__name__)
    finally:
        talker.setLevel(former)


class MonitorSchedules:
    """By which cron lines monitoring runs: asked of Prefect once for all use cases, when the first is asked for.

    Where it does not answer it is not asked again: a look makes its own.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def lines(self, usecase: str) -> list[str] | None:
        """Return the lines of a use case, none where it is paused; None where Prefect does not say."""
        try:
            found = self._deployments[usecase]
            active = [] if found["paused"] else [each["schedule"] for each in found["schedules"] if each["active"]]
            return sorted(_line(each) for each in active if "cron" in each)
        except (KeyError, TypeError):  # no such deployment, or no answer of Prefect's
            return None

    @cached_property
    def _deployments(self) -> dict[str, Any]:
        places = self._settings.places()
        api, auth = flow_server(places.flow_api, places.flow_login)
        wanted = {"flows": {"name": {"any_": ["monitor"]}}, "sort": "NAME_ASC"}

        def ask(limit: int, offset: int) -> list[dict[str, Any]]:
            body = {**wanted, "limit": limit, "offset": offset}
            answer = httpx.post(f"{api}/deployments/filter", json=body, timeout=_PING_SECONDS, auth=auth)
            page: list[dict[str, Any]] = answer.raise_for_status().json()
            return page

        try:
            return {each["name"]: each for each in read_pages(ask)}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):  # no answer, or not Prefect's
            return {}


def note_schedules(settings: Settings, usecase: str, schedules: MonitorSchedules) -> list[str]:
    """Note by which cron lines monitoring runs, as Prefect has them now; returns them, none where it is paused.

    Where Prefect does not answer, or has no such deployment, what is known stays.
    """
    database = settings.platform()
    known = json.loads(database.marked(usecase, _SCHEDULE) or "{}")
    lines = schedules.lines(usecase)
    if lines is None:
        return list(known.get("lines", ()))
    if known.get("lines") != lines:
        for line in lines:
            if _due(line, datetime.now(UTC)) is None:
                _log.warning("the monitor schedule %r of %s cannot be read: it is not watched", line, usecase)
        database.mark(usecase, _SCHEDULE, json.dumps({"lines": lines, "since": datetime.now(UTC).isoformat()}))
    return lines


def _line(schedule: Mapping[str, str | None]) -> str:
    """Return a schedule's cron line, in another zone than UTC with its name behind, which is no line that is read."""
    zone = schedule.get("timezone") or "UTC"
    return str(schedule["cron"]) if zone == "UTC" else f"{schedule['cron']} {zone}"


def watch_monitoring(
    settings: Settings, usecase: str, now: datetime, since: datetime, schedules: MonitorSchedules
) -> bool:
    """Record that monitoring should have run and did not, once for each run that was due; returns whether that stands.

    Parameters
    ----------
    since : datetime
        When this process began to look: what was missed before, while all was down, is made up by one run.
    """
    database = settings.platform()
    marks = database.marks_of(usecase, (_SCHEDULE, _MONITORED))
    known = json.loads(marks.get(_SCHEDULE) or "{}")
    if not known.get("lines"):
        database.end(usecase, ["unmonitored"], "it has no active schedule", now)
        return False
    ended = marks.get(_MONITORED)
    last, noted = (datetime.fromisoformat(ended) if ended else None), datetime.fromisoformat(known["since"])
    if noted > now + CLOCK_MARGIN or (last is not None and last > now + CLOCK_MARGIN):  # it would excuse all until then
        database.mark(usecase, _SCHEDULE, json.dumps({"lines": known["lines"], "since": now.isoformat()}))
        if last is not None and last > now + CLOCK_MARGIN:
            database.unmark(usecase, _MONITORED)  # when it ended nobody knows
        return False
    due = missed(known["lines"], last, max(since, noted), now)
    if due is None or any(abs(now - seen) < PRESENCE for _, seen in database.present(usecase).values()):
        return False  # a flow of it is at work, where one is present
    if (
        note_schedules(settings, usecase, schedules) != known["lines"]
    ):  # somebody paused or changed it: that is no fault
        database.end(usecase, ["unmonitored"], "its schedule was changed", now)
        return False
    said = f"the last run ended {last:%Y-%m-%d %H:%M}" if last else "none has ended yet"
    summary = f"a monitor run was due at {due:%Y-%m-%d %H:%M} UTC and did not come to its end; {said}"
    before = database.finding(usecase, "unmonitored")
    if before is None or not before.open or before.last_seen < due:
        with database.transaction() as connection:
            found = describe(usecase, "unmonitored", "failure", summary, {"due": due})
            database.record(connection, found, due, once=True)
    return True


def missed(lines: Sequence[str], last: datetime | None, since: datetime, now: datetime) -> datetime | None:
    """Return the newest moment a run was due at and had time to end; None where one ended since, or none was due.

    Parameters
    ----------
    last : datetime, optional
        When a run ended last.
    since : datetime
        From when on runs count.
    """
    due = max((each for line in lines if (each := _due(line, now - GRACE)) is not None), default=since)
    return None if due <= since or (last is not None and last >= due) else due


def _due(line: str, until: datetime) -> datetime | None:
    """Return the newest moment of a cron line; None for one that cannot be read."""
    try:
        return last_due(line, until)
    except ValueError:
        return None


class Messenger(threading.Thread):
    """Sends what is due for every use case, and looks at the service and at flow runs, until the process ends."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="messenger", daemon=True)
        self.settings = settings
        self._began = datetime.now(UTC)
        self._stop_asked = threading.Event()
        self._use_cases = LoadedUseCases(settings)
        self._seen: dict[str, LoadedUseCase] = {}
        self._service = ServiceWatch(settings)
        self._runs = RunWatch(settings)

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stop_asked.set()

    def run(self) -> None:
        """Look again and again."""
        while not self._stop_asked.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Send what is due; what goes wrong with one use case is logged, and the others go on."""
        try:
            registered = self.settings.platform().use_cases()
        except DriftwheelError as error:
            _log.error("messages wait: %s", error)
            return
        try:
            self._service.look(registered, datetime.now(UTC))
        except DriftwheelError as error:
            _log.error("the service was not looked at: %s", error)
        except Exception as error:  # noqa: BLE001 - what it answers is read there: no answer may end the messages
            _log.error("the service was not looked at: %s", type(error).__name__)
        try:
            self._runs.look()
        except DriftwheelError as error:
            _log.error("flow runs were not looked at: %s", error)
        except Exception as error:  # noqa: BLE001 - what Prefect answers is read there, as above
            _log.error("flow runs were not looked at: %s", type(error).__name__)
        schedules = MonitorSchedules(self.settings)
        for name, folder in registered.items():
            try:
                self._look_at(name, folder, schedules)
            except DriftwheelError as error:
                _log.error("messages of %s wait: %s", name, error)
            except Exception as error:  # noqa: BLE001 - this thread serves every use case: a fault of one must not end it
                _log.error("messages of %s wait: %s", name, type(error).__name__)  # its words may hold an address

    def _look_at(self, name: str, folder: Path, schedules: MonitorSchedules) -> None:
        database = self.settings.platform()
        watch_monitoring(self.settings, name, datetime.now(UTC), self._began, schedules)
        try:
            usecase = self._load(name, folder)
        except DriftwheelError:  # reported as a finding by whoever ran it
            channels = self.settings.channels(readable_alerts(folder))
            deliver(database, name, channels, Calendar(), self.settings.page_address)
        else:
            send_messages(self.settings, usecase)

    def _load(self, name: str, folder: Path) -> LoadedUseCase:
        """Return a use case; that it cannot be read is over where it was read anew."""
        loaded = self._use_cases.load(name, folder)
        if self._seen.get(name) is not loaded:
            end_left_out(self.settings, name)
            self._seen[name] = loaded
        return loaded
