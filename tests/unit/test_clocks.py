"""Clocks are set forth and back, and hours come twice or not at all: nothing is lost, doubled, or stands until then."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import psutil
import pytest
import yaml
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.server.schemas.schedules import CronSchedule
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running, Scheduled
from prefect.types import DateTime
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from expectations.durations import Duration
from expectations.errors import BusyError, StorageError
from expectations.windows import Grid
from flows import dead_runs, deployments, stage
from flows.deployments import utc_schedule
from flows.instants import plain_instant
from flows.planned import our_deployments, plan_anew
from flows.prefect_runs import MAX_READ, PAGE, handed_out_ahead, read_pages, read_pages_async
from flows.worker_clock import end_when_idle
from infra import clock_watch
from infra.vital_signs import show, shows
from tasks.monitoring.served import find_served
from tasks.stores.database import Database
from tasks.stores.lake import Lake
from tasks.stores.presences import PRESENCE, Process
from tasks.stores.releases import Releases
from tasks.stores.turns import LEASE

NOW = datetime.now(UTC)
ROOT = Path(__file__).parents[2]


# --- the clock of this machine is set ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-3 * 86400, -3600, -2, 2, 3600, 3 * 86400])
def test_a_process_is_the_same_after_the_clock_was_set(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dead_runs.this_process()
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    # as the kernel does: it says when the machine was booted by the clock as it is now
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + seconds)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + seconds)
    assert dead_runs.lives(noted, NOW)
    assert not dead_runs.lives(Process(noted.host, noted.process, noted.born - 0.2), NOW)  # an earlier one
    assert not dead_runs.lives(Process(noted.host, 2**22 + 1, noted.born), NOW)


@pytest.mark.parametrize(
    ("wall", "monotonic", "seconds"),
    [(5.0, 5.0, 0.0), (-86400.0, 5.0, 86405.0), (86400.0, 5.0, 0.0), (3600.0, 1.0, 0.0)],  # last: a machine that slept
)
def test_how_far_a_clock_was_set_back(wall: float, monotonic: float, seconds: float) -> None:
    assert clock_watch.set_back((1e9, 50.0), (1e9 + wall, 50.0 + monotonic)) == seconds


def test_a_server_with_timers_ends_once_its_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day, every = 86400.0, 5.0
    ahead = [5 * day, 5 * day, 6 * day, 6 * day - 10, 0.0]  # forth, back by what does no harm, and back by days
    slept, ended = list[float](), list[int]()
    clock = SimpleNamespace(
        time=lambda: 1e9 + every * len(slept) + ahead[len(slept)],
        monotonic=lambda: every * len(slept),
        sleep=slept.append,
    )
    monkeypatch.setattr(clock_watch, "time", clock)
    thread = clock_watch.watch(lambda: ended.append(len(slept)), every=every)
    thread.join(60)
    assert not thread.is_alive()
    assert ended == [len(ahead) - 1]  # at the last look, and once
    assert slept == [every] * (len(ahead) - 1)
    assert "the clock was set back by 518,390 s" in capsys.readouterr().err


@pytest.mark.parametrize(("handled", "signal_"), [("SIG_DFL", signal.SIGTERM), ("SIG_IGN", signal.SIGKILL)])
def test_a_server_that_does_not_stop_when_it_is_told_to_ends_by_force(handled: str, signal_: signal.Signals) -> None:
    told = f"import signal; from infra.clock_watch import end_this_process as end; signal.signal(15, signal.{handled})"
    done = subprocess.run([sys.executable, "-c", f"{told}; end(0.1)"], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal_


def test_a_module_runs_watched_as_it_would_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_server.py").write_text("import sys; print(__name__, *sys.argv[1:])")
    monkeypatch.syspath_prepend(str(tmp_path))
    watched = list[object]()
    monkeypatch.setattr(clock_watch, "watch", watched.append)
    monkeypatch.setattr(sys, "argv", ["clock_watch.py", "a_server", "--port", "4200"])
    clock_watch.main()
    assert capsys.readouterr().out == "__main__ --port 4200\n"
    assert watched == [clock_watch.end_this_process]
    monkeypatch.setattr(sys, "argv", ["clock_watch.py"])
    with pytest.raises(SystemExit, match="expected a module to run"):
        clock_watch.main()


@pytest.mark.parametrize(
    ("service", "watch", "what"),
    [("prefect", "infra.clock_watch", "server"), ("worker", "flows.worker_clock", "worker")],
)
def test_in_containers_what_goes_by_the_clock_is_watched_and_started_anew(service: str, watch: str, what: str) -> None:
    server = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][service]
    assert server["command"][:6] == ["python3", "-m", watch, "prefect", what, "start"]
    assert server["restart"] == "unless-stopped"


@pytest.mark.slow
def test_a_runner_that_ends_leaves_no_process_that_waits() -> None:
    waits = "import time; print('waits', flush=True); time.sleep(600)"
    runs = (
        "import subprocess as s, sys; from flows.worker_clock import end_with_those_that_wait as end; "
        f"print(s.Popen([sys.executable, '-c', {waits!r}]).pid, flush=True); end()"
    )
    done = subprocess.run([sys.executable, "-c", runs], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGTERM, done.stderr
    child = int(done.stdout.split()[0])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_runner_ends_once_no_flow_is_at_work_beside_it(database: Database) -> None:
    own, ended = dead_runs.this_process(), threading.Event()
    database.enter("at work", "rentals", own)
    database.enter("died", "rentals", Process(own.host, own.process, own.born - 60))
    database.enter("elsewhere", "rentals", Process("another", own.process, own.born))
    settings = SimpleNamespace(platform=lambda: database)
    waiting = threading.Thread(target=end_when_idle, args=(settings, ended.set, 0.01))
    waiting.start()
    assert not ended.wait(0.3)
    database.leave("at work")
    assert ended.wait(60)
    waiting.join(60)


@pytest.mark.parametrize(
    "passing",
    [
        BusyError("it free", "another", "wait"),
        OperationalError("select", {}, Exception("postgresql://user:secret@host")),
        PoolTimeoutError("no connection is free"),
        FileNotFoundError("platform.db"),
        psutil.AccessDenied(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_runner_asks_again_while_nobody_knows_whether_a_flow_is_at_work(
    database: Database, passing: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([passing, passing, database])

    def platform() -> Database:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    ended: list[bool] = []
    end_when_idle(SimpleNamespace(platform=platform), lambda: ended.append(True), 0)
    assert ended == [True]
    assert next(answers, None) is None
    assert caplog.text.count("could not be seen") == 2
    assert "secret" not in caplog.text


def test_a_runner_that_cannot_look_ends_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Its thread would end and leave it with a clock that was set back, for as long as it was ahead."""

    def platform() -> Database:
        raise KeyError("a fault of ours")

    ended: list[bool] = []
    with pytest.raises(KeyError):
        end_when_idle(SimpleNamespace(platform=platform), lambda: ended.append(True), 0)
    assert ended == [True]
    assert "this process ends" in caplog.text
    assert "a fault of ours" in caplog.text


class Waiting:
    """A runner that waits for work."""

    last_polled = None

    async def start(self) -> None:
        """Wait until it is cancelled."""
        await asyncio.Event().wait()


def test_a_runner_whose_looks_meet_a_fault_goes_on_where_that_may_pass_and_ends_by_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What looks beside it ended without a word, and automations that were deleted stayed away."""
    faults = iter(
        [
            StorageError("a file", "none", "mount it"),
            httpx.ReadTimeout("late"),
            json.JSONDecodeError("a proxy's page", "<html>", 0),
            httpx.InvalidURL("no port"),
            PermissionError("a disk"),
            KeyError("a fault of ours"),
        ]
    )

    def refuse(_: object) -> None:
        raise next(faults)

    monkeypatch.setattr(deployments, "_KEEP_UP_SECONDS", 0.001)
    monkeypatch.setattr(deployments, "refuse_strangers", refuse)
    with pytest.raises(ExceptionGroup) as ended:
        asyncio.run(asyncio.wait_for(deployments._serve(Waiting(), None, [], tmp_path / "alive"), 60))
    assert [repr(each) for each in ended.value.exceptions] == [repr(KeyError("a fault of ours"))]
    said = capsys.readouterr().out
    assert "expected a file" in said.lower()
    assert re.findall("could not be seen: (.*)", said) == [
        "ReadTimeout",
        "JSONDecodeError",
        "InvalidURL",
        "PermissionError",
    ]


def test_a_disk_that_cannot_be_written_ends_no_flow_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever supervises the runner sees no sign meanwhile."""
    full, locked = OSError(errno.ENOSPC, "No space left"), OSError(errno.EROFS, "Read-only file system")
    looks = iter([locked, locked, locked, None, full, KeyError("a fault of ours")])

    class Polling(Waiting):
        @property
        def last_polled(self) -> float:
            return time.monotonic()

    def write(_: Path) -> None:
        if fault := next(looks):
            raise fault

    monkeypatch.setattr(deployments, "_SIGN_SECONDS", 0.001)
    monkeypatch.setattr(deployments, "show", write)
    with pytest.raises(ExceptionGroup) as ended:
        asyncio.run(asyncio.wait_for(deployments._serve(Polling(), None, [], tmp_path / "alive"), 60))
    assert [repr(each) for each in ended.value.exceptions] == [repr(KeyError("a fault of ours"))]
    assert re.findall("no sign of life .*: (.*)", capsys.readouterr().out) == ["Read-only file system", "No space left"]


@pytest.mark.parametrize(
    ("heard", "alive"), [(-2 * PRESENCE, False), (-PRESENCE / 2, True), (PRESENCE / 2, True), (2 * PRESENCE, False)]
)
def test_of_another_host_one_heard_of_in_the_future_is_no_more_alive(heard: timedelta, alive: bool) -> None:
    assert dead_runs.lives(Process("another", 1, 0.0), datetime.now(UTC) + heard) == alive


def test_a_flow_is_present_before_it_asks_prefect_and_until_its_messages_are_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one that was killed before it was present, nobody knew that its process died."""
    seen: dict[str, list[str]] = {}

    def note(what: str) -> Callable[..., None]:
        return lambda *_, **__: seen.update({what: list(database.present("rentals"))})

    monkeypatch.setattr(stage, "close_orphans", note("asks"))
    monkeypatch.setattr(stage, "send_waiting", note("sends"))
    monkeypatch.setattr(stage, "reporting_lineage", lambda *_: nullcontext())
    monkeypatch.setattr(stage, "Stage", lambda *_: nullcontext(SimpleNamespace(before=None)))
    monkeypatch.setattr(stage, "flow_run", SimpleNamespace(id="this"))
    places = SimpleNamespace(flow_login="")
    job: Any = SimpleNamespace(turn=None, database=database, name="rentals", as_of=NOW, places=places)
    with stage.at_work("collect", job):
        note("works")()
    assert seen == {"asks": ["this"], "works": ["this"], "sends": ["this"]}
    assert database.present() == {}


@pytest.mark.parametrize("days", [-400, 400])
def test_a_lease_of_another_clock_holds_nobody_up(database: Database, days: int) -> None:
    with database.transaction() as connection:
        turn = database.request_turn(connection, "rentals", "manual", NOW)
    database.claim(turn, ("requested",), "collecting", "dead", None)
    with database.transaction() as connection:
        from sqlalchemy import text

        until = (NOW + timedelta(days=days) + LEASE).replace(tzinfo=None)
        connection.execute(text("update turns set lease_until = :until"), {"until": until.isoformat(sep=" ")})
    assert database.claim(turn, ("collecting",), "collecting", "alive", None).id == turn
    assert database.renew(turn, "alive")
    assert not database.renew(turn, "dead")


@pytest.mark.parametrize("days", [-400, 400])
def test_a_sign_of_another_clock_is_no_sign(tmp_path: Path, days: int) -> None:
    releases = Releases(tmp_path)
    (tmp_path / "rentals").mkdir()
    releases.keep_watch("rentals")
    show(tmp_path / "alive")
    assert shows(tmp_path / "alive")
    assert releases.watched("rentals")
    then = (NOW + timedelta(days=days)).timestamp()
    for path in (tmp_path / "alive", *(tmp_path / "rentals").iterdir()):
        os.utime(path, (then, then))
    assert not shows(tmp_path / "alive")
    assert not releases.watched("rentals")


class Prefect:
    """One deployment with a schedule, behind others, and its runs; what is done to them is noted."""

    def __init__(self, runs: list[tuple[timedelta, State]], others: int = 0) -> None:
        self.others = others
        self.schedule = SimpleNamespace(id=uuid4(), active=True)
        self.deployment = SimpleNamespace(
            id=uuid4(), name="rentals", entrypoint="flows.collect.collect", schedules=[self.schedule]
        )
        self.runs = [FlowRun(id=uuid4(), flow_id=uuid4(), expected_start_time=NOW + due, state=s) for due, s in runs]
        self.began: dict[UUID, State] = {}
        self.cancelled: list[int] = []
        self.deleted: list[int] = []
        self.planned: list[bool] = []

    def read_deployments(self, *, limit: int, offset: int, **_: object) -> list[SimpleNamespace]:
        others = [SimpleNamespace(name=f"other-{number}", schedules=[]) for number in range(self.others)]
        return [*others, self.deployment][offset : offset + min(limit, 200)]

    def read_flow_runs(self, *, flow_run_filter: FlowRunFilter, **_: object) -> list[FlowRun]:
        assert flow_run_filter.deployment_id.any_ == [self.deployment.id]
        after = flow_run_filter.expected_start_time.after_
        return [run for run in self.runs if run.expected_start_time >= after]

    def read_flow_run_states(self, run: UUID) -> list[State]:
        own = [each.state for each in self.runs if each.id == run and each.state is not None]
        return [*([self.began[run]] if run in self.began else []), *own]

    def set_flow_run_state(self, run: UUID, state: State) -> None:
        assert state.is_cancelling()
        self.cancelled += [number for number, each in enumerate(self.runs) if each.id == run]

    def delete_flow_run(self, run: UUID) -> None:
        self.deleted += [number for number, each in enumerate(self.runs) if each.id == run]

    def update_deployment_schedule(self, deployment: UUID, schedule: UUID, active: bool) -> None:
        assert (deployment, schedule) == (self.deployment.id, self.schedule.id)
        self.planned.append(active)


DAY, FIVE_DAYS = timedelta(days=1), timedelta(days=5)
"""Far from the moment of import, from which dates are counted: the whole suite may take an hour."""


@pytest.mark.parametrize(
    ("runs", "deleted", "anew"),
    [
        # as it is: planned before now, and one that a person cancelled
        ([(DAY, Scheduled(timestamp=NOW - DAY)), (2 * DAY, Cancelled(timestamp=NOW))], [], False),
        # of the past, whatever their clock said
        ([(-DAY, Completed(timestamp=NOW + FIVE_DAYS))], [], False),
        # planned when it was five days later
        ([(FIVE_DAYS + DAY, Scheduled(timestamp=NOW + FIVE_DAYS))], [], True),
        # ran, or was skipped, when it was five days later: its date is yet to come
        (
            [
                (DAY, Cancelled(timestamp=NOW + FIVE_DAYS)),
                (2 * DAY, Completed(timestamp=NOW + FIVE_DAYS)),
                (3 * DAY, Running(timestamp=NOW + FIVE_DAYS)),
                (6 * DAY, Scheduled(timestamp=NOW - DAY)),
            ],
            [0, 1],
            True,
        ),
        # handed out when it was five days later, and never begun
        ([(DAY, Pending(timestamp=NOW + FIVE_DAYS))], [], True),
        ([(DAY, Pending(timestamp=NOW - DAY))], [], True),
        # begun when it was five days later, ended after that: its date is yet to come all the same
        ([(DAY, Completed(timestamp=NOW)), (2 * DAY, Crashed(timestamp=NOW))], [0, 1], True),
    ],
)
def test_what_a_clock_that_was_ahead_planned_is_planned_anew(
    runs: list[tuple[timedelta, State]], deleted: list[int], anew: bool
) -> None:
    prefect = Prefect(runs)
    assert plan_anew(prefect) == (["collect/rentals"] if anew else [])
    assert prefect.deleted == deleted
    assert prefect.cancelled == [number for number, (_, state) in enumerate(runs) if anew and state.is_pending()]
    assert prefect.planned == ([True] if anew else [])


MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("due", "handed_out", "waits"),
    [
        (MINUTE + SECOND, -MINUTE - SECOND, True),
        (MINUTE + SECOND, MINUTE + SECOND, True),  # by a clock that was ahead itself
        (MINUTE, -DAY, False),  # it comes
        (-DAY, -DAY, False),  # it is late, and nobody began it: for that it has longer
        (DAY, -MINUTE, False),  # it may begin yet
    ],
)
def test_one_rule_says_what_waits_for_a_date_that_a_clock_that_was_ahead_took_for_now(
    due: timedelta, handed_out: timedelta, waits: bool
) -> None:
    assert handed_out_ahead(NOW + due, NOW + handed_out, NOW) == waits


@pytest.mark.parametrize("there", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, MAX_READ + 1])
def test_pages_are_read_until_one_is_not_full(there: int) -> None:
    asked: list[int] = []

    def ask(limit: int, offset: int) -> range:
        asked.append(offset)
        return range(there)[offset : offset + limit]

    async def ask_later(limit: int, offset: int) -> range:
        return ask(limit, offset)

    for found in (read_pages(ask), asyncio.run(read_pages_async(ask_later))):
        assert found == list(range(min(there, MAX_READ)))
    assert asked == 2 * list(range(0, min(there + 1, MAX_READ), PAGE))


def test_a_minute_is_left_to_a_run_that_may_begin() -> None:
    prefect = Prefect([(DAY, Pending())])  # handed out now, not when this was imported
    assert plan_anew(prefect) == []
    assert prefect.deleted == []
    assert prefect.planned == []


@pytest.mark.parametrize("handed_out", [NOW + FIVE_DAYS, NOW - DAY])
@pytest.mark.parametrize("last", [Cancelled(timestamp=NOW), Cancelling(timestamp=NOW)])
def test_what_was_handed_out_by_a_clock_that_was_ahead_and_ended_since_is_planned_anew(
    last: State, handed_out: datetime
) -> None:
    """One that a person cancelled before it was handed out is left alone."""
    prefect = Prefect([(FIVE_DAYS, last), (FIVE_DAYS + DAY, last)])
    prefect.began = {prefect.runs[0].id: Pending(timestamp=handed_out)}
    assert plan_anew(prefect) == ["collect/rentals"]
    assert prefect.deleted == [0]
    assert prefect.planned == [True]


@pytest.mark.parametrize("others", [0, 199, 200, 431])
def test_every_deployment_is_looked_at_however_many_there_are(others: int) -> None:
    prefect = Prefect([(FIVE_DAYS + DAY, Scheduled(timestamp=NOW + FIVE_DAYS))], others)
    assert len(our_deployments(prefect)) == others + 1
    assert plan_anew(prefect) == ["collect/rentals"]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_the_start_of_a_scheduled_run_is_a_plain_instant(zone: str | None) -> None:
    """Prefect's own class is what JSON and Polars do not take: every scheduled monitor run failed by it."""
    given = DateTime(2026, 12, 2, 3, 47, 1, 5, tzinfo=zone and ZoneInfo(zone))
    found = plain_instant(given)
    assert type(found) is datetime
    assert found.tzinfo is UTC
    assert found == datetime(2026, 12, 2, 3 - (zone == "Europe/Berlin"), 47, 1, 5, tzinfo=UTC)
    assert pl.select(pl.lit(found)).to_series().dtype == pl.Datetime("us", "UTC")


# --- summer time ------------------------------------------------------------------------------------------------------

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]  # the third moves by half an hour


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("every", ["1h", "6h", "1d", "1w"])
def test_every_hour_of_a_year_is_in_one_window_wherever_its_clock_is(
    lake: Lake, zone: str, every: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    monday, sunday = (datetime(2026, *day, tzinfo=UTC) for day in ((1, 5), (12, 26, 23)))
    times = pl.datetime_range(monday, sunday, "1h", eager=True)
    there = times.dt.convert_time_zone(zone)
    utc = there.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    served = pl.DataFrame({"id": [str(each) for each in range(len(utc))], "event_time": utc, "served_at": utc})
    lake.append("predictions", served.with_columns(bundle=pl.lit("b"), version=pl.lit("1")), transactions={"served": 1})
    grid, begun = Grid(Duration.parse(every), zone), datetime(2026, 1, 1, tzinfo=UTC)
    windows, strays = find_served(lake, grid, {"b": begun}, datetime(2027, 1, 1, tzinfo=UTC))
    starts = [each.window.start for each in windows]
    ends = [each.window.end for each in windows]
    assert not strays
    assert starts[1:] == ends[:-1]  # none is left out, none is there twice
    assert {grid.window_of(each) for each in utc} == {each.window for each in windows}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("first", ["2026-03-01", "2026-09-20"])
def test_a_schedule_comes_once_a_day_whatever_the_zone_of_the_machine(
    zone: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours are in UTC; one that a person gave a zone in Prefect's page comes once a day there."""
    monkeypatch.setenv("TZ", zone)
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    ours = utc_schedule("30 2 * * *", "collect", active=True)
    assert ours.timezone == "UTC"
    dates = asyncio.run(CronSchedule(cron=ours.cron, timezone=ours.timezone).get_dates(60, start=start))
    assert [each.timestamp() - dates[0].timestamp() for each in dates] == [86400.0 * day for day in range(60)]
    edited = asyncio.run(CronSchedule(cron="30 2 * * *", timezone=zone).get_dates(60, start=start))
    days = [each.astimezone(ZoneInfo(zone)).date() for each in edited]
    assert days == [days[0] + timedelta(days=number) for number in range(60)]
