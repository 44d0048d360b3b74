"""Between flows: what waits is sent, and monitoring that does not run is noticed by somebody else."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from expectations.cron import last_due
from expectations.errors import UseCaseError
from expectations.loading import LoadedUseCase
from flows.left_out import note_left_out
from flows.messenger import (
    GRACE,
    Messenger,
    MonitorSchedules,
    missed,
    note_monitored,
    note_schedules,
    watch_monitoring,
)
from infra.settings import Settings
from tasks.stores.finding_kinds import describe
from tests.conftest import instant
from tests.fronts import serving

HOURLY = {"active": True, "schedule": {"cron": "0 * * * *"}}


@dataclass
class World:
    """Everything outside: Prefect's answer about schedules, and what was asked of a chat and of a heartbeat.

    Prefect knows the schedule of `rentals`, and of as many others as are named.
    """

    url: str = ""
    schedules: list[dict[str, object]] = field(default_factory=lambda: [HOURLY])
    paused: bool = False
    others: int = 0
    asked: list[str] = field(default_factory=list)
    status: int = 200

    def deployments(self, offset: int) -> list[dict[str, object]]:
        """Return a page of what Prefect has, by name."""
        known = {"paused": self.paused, "schedules": self.schedules}
        names = sorted(["rentals", *(f"other-{number:03}" for number in range(self.others))])
        return [{"name": name, **known} for name in names[offset : offset + 200]]

    def questions(self) -> int:
        """Return how often Prefect was asked."""
        return self.asked.count("/api/deployments/filter")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            world.asked.append(self.path)
            self.send_response(world.status)
            self.end_headers()
            found = world.deployments(json.loads(body)["offset"]) if self.path == "/api/deployments/filter" else {}
            self.wfile.write(json.dumps(found).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        world.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PREFECT_API_URL", f"{world.url}/api")
        yield world


@pytest.fixture
def usecase(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> LoadedUseCase:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BEAT", f"{world.url}/beat")
    changes = {"alerts": [world.url.replace("http", "json") + "/chat"], "heartbeat": {"ping": "${BEAT}"}}
    folder = make_use_case("rentals", changes)
    settings = Settings()
    loaded = settings.use_case(str(folder))
    settings.platform().add_use_case("rentals", folder, loaded.digest)
    return loaded


def note() -> list[str]:
    """Note the schedules as Prefect has them now."""
    return note_schedules(Settings(), "rentals", MonitorSchedules(Settings()))


def watch(now: datetime, since: datetime) -> bool:
    """Look once whether monitoring ran."""
    return watch_monitoring(Settings(), "rentals", now, since, MonitorSchedules(Settings()))


def standing() -> list[str]:
    return [each.key for each in Settings().platform().open_findings("rentals")]


def test_a_run_that_was_due_and_did_not_end_is_a_finding_until_one_ends(usecase: LoadedUseCase, world: World) -> None:
    settings, long_ago = Settings(), datetime.now(UTC) - timedelta(days=1)
    assert note() == ["0 * * * *"]
    later = datetime.now(UTC) + timedelta(hours=3)
    assert watch(later, long_ago)
    (finding,) = settings.platform().open_findings("rentals")
    assert (finding.key, finding.severity) == ("unmonitored", "failure")
    assert "none has ended yet" in finding.body
    assert not watch(later, later)  # all was down: one run makes up for it
    note_monitored(settings, usecase)
    assert standing() == []
    assert not watch(datetime.now(UTC), long_ago)


def test_a_run_that_ended_while_a_clock_was_ahead_excuses_none_that_is_due_now(
    usecase: LoadedUseCase, world: World
) -> None:
    settings, now = Settings(), datetime.now(UTC)
    note()
    settings.platform().mark("rentals", "monitored", (now + timedelta(days=5)).isoformat())
    assert not watch(now, now - timedelta(days=1))  # from now on it counts, and from no earlier
    assert standing() == []
    assert watch(now + timedelta(hours=3), now - timedelta(days=1))
    (found,) = settings.platform().open_findings("rentals")
    assert found.key == "unmonitored"
    assert "none has ended yet" in found.body  # as far as anybody knows: none ended when the clock was set right


def test_a_run_of_a_machine_whose_clock_is_a_little_ahead_counts(usecase: LoadedUseCase, world: World) -> None:
    database, now = Settings().platform(), datetime.now(UTC)
    note()
    ended = (now + timedelta(minutes=2)).isoformat()
    database.mark("rentals", "monitored", ended)
    assert not watch(now, now - timedelta(days=1))
    assert database.marked("rentals", "monitored") == ended


def test_a_schedule_that_was_paused_or_switched_on_in_prefect_is_asked_for(
    usecase: LoadedUseCase, world: World
) -> None:
    settings, began = Settings(), datetime.now(UTC)
    note()
    world.paused = True
    assert not watch(began + timedelta(hours=3), began)
    assert standing() == []
    world.paused = False
    assert not watch(began + timedelta(hours=3), began)
    note_monitored(settings, usecase)
    assert watch(datetime.now(UTC) + timedelta(hours=3), began)


def test_a_schedule_that_is_paused_before_the_next_look_ends_it(usecase: LoadedUseCase, world: World) -> None:
    began = datetime.now(UTC)
    note()
    later = began + timedelta(hours=3)
    assert watch(later, began)
    world.paused = True
    note()
    assert not watch(later, began)
    assert standing() == []


def test_a_schedule_that_cannot_be_read_is_said_and_skipped(
    usecase: LoadedUseCase, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    began = datetime.now(UTC)
    odd = ["@daily", "0 0 30 2 *"]
    world.schedules = [{"active": True, "schedule": {"cron": line, "timezone": "UTC"}} for line in odd]
    world.schedules.append({"active": True, "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}})
    assert note() == sorted([*odd, "0 3 * * * Europe/Berlin"])
    assert "'@daily' of rentals cannot be read" in caplog.text
    assert "'0 3 * * * Europe/Berlin' of rentals cannot be read" in caplog.text
    assert not watch(began + timedelta(days=3), began)
    world.schedules.append(HOURLY)
    note()
    assert watch(began + timedelta(days=3), began)
    world.schedules = [{"active": True}]  # no answer of Prefect's: what is known stays
    assert len(note()) == 4


def test_a_look_at_which_nothing_is_to_do_reads_little_and_writes_nothing(usecase: LoadedUseCase, world: World) -> None:
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement.partition(" ")[0])

    note()
    note_monitored(Settings(), usecase)
    messenger = Messenger(Settings())
    messenger.look()
    event.listen(Engine, "before_cursor_execute", count)
    try:
        messenger.look()
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert Counter(statements) == {"BEGIN": 5, "SELECT": 8}


def test_a_look_asks_prefect_once_however_many_wait_for_a_run(usecase: LoadedUseCase, world: World) -> None:
    database, since = Settings().platform(), datetime.now(UTC) - timedelta(hours=5)
    for name in ("rentals", "other-000", "other-001"):
        database.add_use_case(name, usecase.folder.parent / name, "digest")
        database.mark(name, "monitor schedule", json.dumps({"lines": ["0 * * * *"], "since": since.isoformat()}))
    messenger = Messenger(Settings())
    messenger._began = since
    for world.others, world.status, questions in ((1, 200, 1), (1, 500, 1), (250, 200, 2)):
        before = world.questions()
        messenger.look()
        assert world.questions() - before == questions
        assert [each.usecase for each in database.open_findings() if each.key == "unmonitored"] == [
            "other-000",
            "other-001",
            "rentals",
        ]


def test_the_schedules_of_more_use_cases_than_one_answer_holds_are_known(usecase: LoadedUseCase, world: World) -> None:
    world.others = 399
    assert note() == ["0 * * * *"]  # the last one of two full answers
    assert world.questions() == 3


def test_a_missed_run_is_counted_once_however_often_it_is_looked_for(usecase: LoadedUseCase, world: World) -> None:
    database, since = Settings().platform(), instant("2026-01-01 00:30")
    database.mark("rentals", "monitor schedule", json.dumps({"lines": ["0 * * * *"], "since": since.isoformat()}))

    def seen(at: str) -> tuple[datetime, datetime, int]:
        for _ in range(3):
            assert watch(instant(at), since)
        (found,) = database.open_findings("rentals")
        return found.opened, found.last_seen, found.times_seen

    first, second = instant("2026-01-01 01:00"), instant("2026-01-01 02:00")
    assert seen("2026-01-01 01:16") == (first, first, 1)
    assert seen("2026-01-01 02:10") == (first, first, 1)
    assert seen("2026-01-01 02:20") == (first, second, 2)


def test_a_fault_of_one_use_case_ends_nothing_for_others(
    usecase: LoadedUseCase, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    database = Settings().platform()
    database.add_use_case("another", usecase.folder, "digest")
    database.mark("another", "monitor schedule", "no JSON, but a secret")
    with database.transaction() as connection:
        database.record(connection, describe("rentals", "held", "failure", "rows failed"), datetime.now(UTC))
    Messenger(Settings()).look()
    assert world.asked.count("/chat") == 1
    assert "messages of another wait: JSONDecodeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_use_case_that_can_be_read_again_is_no_finding(usecase: LoadedUseCase) -> None:
    settings = Settings()
    messenger = Messenger(settings)
    file = usecase.folder / "usecase.yaml"
    good = file.read_text()
    file.write_text("nmae: x")
    with pytest.raises(UseCaseError) as caught:
        settings.use_case("rentals")
    note_left_out(settings, "rentals", usecase.folder, caught.value)
    messenger.look()
    assert standing() == ["left-out"]
    file.write_text(good)
    messenger.look()
    assert standing() == []


def test_that_prefect_is_away_does_not_hide_it(usecase: LoadedUseCase, world: World) -> None:
    began = datetime.now(UTC)
    note()
    world.status = 500
    assert watch(began + timedelta(hours=3), began)


def test_a_flow_that_is_at_work_is_waited_for(usecase: LoadedUseCase, world: World) -> None:
    from flows.dead_runs import this_process
    from tasks.stores.pulses import Presence

    settings, began = Settings(), datetime.now(UTC) - timedelta(hours=5)
    database = settings.platform()
    note()
    database.mark("rentals", "monitor schedule", json.dumps({"lines": ["0 * * * *"], "since": began.isoformat()}))
    with Presence(database, "run", "rentals", this_process()):
        assert not watch(datetime.now(UTC), began)
    assert watch(datetime.now(UTC), began)


def test_the_address_outside_is_asked_as_a_run_ends(
    usecase: LoadedUseCase, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    note_monitored(Settings(), usecase)
    assert world.asked.count("/beat") == 1
    note_monitored(Settings(), usecase.renamed("rentals-replay"))
    assert world.asked.count("/beat") == 1
    world.status = 500
    note_monitored(Settings(), usecase)
    assert "the heartbeat of rentals was not taken: HTTPStatusError" in caplog.text
    monkeypatch.setenv("BEAT", "http://127.0.0.1:9/secret-token")
    note_monitored(Settings(), usecase)
    assert "ConnectError" in caplog.text
    monkeypatch.delenv("BEAT")
    note_monitored(Settings(), usecase)
    assert "BEAT not set" in caplog.text
    assert "secret-token" not in caplog.text
    assert f"{world.url}/beat" not in caplog.text


def test_what_waits_is_sent_while_no_flow_runs(usecase: LoadedUseCase, world: World) -> None:
    settings = Settings()
    database = settings.platform()
    with database.transaction() as connection:
        database.record(connection, describe("rentals", "held", "failure", "rows failed"), datetime.now(UTC))
    messenger = Messenger(settings)
    for _ in range(2):
        messenger.look()
    assert world.asked.count("/chat") == 1
    database.add_use_case("broken", usecase.folder / "nowhere", "digest")
    (usecase.folder / "usecase.yaml").write_text(f"alerts: ['{world.url.replace('http', 'json')}/chat']\nnmae: x")
    with database.transaction() as connection:
        database.record(connection, describe("rentals", "left-out", "failure", "cannot be read"), datetime.now(UTC))
    database.end("rentals", ["held"], "well", datetime.now(UTC))
    messenger.look()  # the second failure waits five minutes, the broken use case holds nobody up
    assert world.asked.count("/chat") == 1
    messenger.stop()


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["0 * * * *", "*/5 * * * *", "30 3 * * mon"]))
def test_no_run_is_missed_that_had_no_time_to_end_or_that_ended(minutes: int, ago: int, line: str) -> None:
    now, since = instant("2026-01-01") + timedelta(minutes=minutes), instant("2020-01-01")
    due = missed([line], None, since, now)
    assert due is not None
    assert due <= now - GRACE
    assert missed([line], due, since, now) is None
    assert missed([line], None, due, now) is None
    last = now - timedelta(minutes=ago)
    assert (missed([line], last, since, now) is None) == (last >= last_due(line, now - GRACE))


def test_whatever_the_service_answers_messages_go_on(
    usecase: LoadedUseCase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(*_: object) -> None:
        raise ValueError("an answer nobody thought of")

    messenger, looked = Messenger(Settings()), list[str]()
    monkeypatch.setattr(messenger, "_service", SimpleNamespace(look=odd))
    monkeypatch.setattr(messenger, "_look_at", lambda name, *_: looked.append(name))
    messenger.look()
    assert looked == [usecase.name]
    assert "the service was not looked at: ValueError" in caplog.text
