"""A day without monitoring, every five minutes: 288 runs are made up by one, and people hear of it once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import State

from expectations.loading import LoadedUseCase
from flows.messenger import MonitorSchedules, note_monitored, watch_monitoring
from flows.superseded import skip_superseded
from infra.settings import Settings
from tasks.stores.alerts import deliver
from tasks.stores.messages import Calendar
from tests.fronts import serving

RUNS, EVERY = 288, timedelta(minutes=5)
LINES = ["*/5 * * * *"]


@dataclass
class Prefect:
    """What Prefect has of runs that are due, the oldest first, in pages as it gives them."""

    runs: list[SimpleNamespace] = field(default_factory=list)
    ended: dict[UUID, State[Any]] = field(default_factory=dict)

    def add(self, deployment: UUID, parameters: dict[str, str], count: int) -> list[UUID]:
        """Let so many runs of a schedule wait."""
        made = [SimpleNamespace(id=uuid4(), deployment_id=deployment, parameters=parameters) for _ in range(count)]
        self.runs += made
        return [each.id for each in made]

    def read_flow_runs(
        self, *, flow_run_filter: FlowRunFilter, sort: FlowRunSort, limit: int, offset: int
    ) -> list[SimpleNamespace]:
        """Return a page."""
        assert flow_run_filter.tags is not None
        assert flow_run_filter.tags.all_ == ["auto-scheduled", "driftwheel"]
        assert sort is FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
        return self.runs[offset : offset + min(limit, 200)]

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        """End a run."""
        self.ended[run] = state


def test_of_288_runs_that_were_missed_the_newest_does_the_work_of_all() -> None:
    prefect, monitor = Prefect(), uuid4()
    missed = prefect.add(monitor, {"usecase": "rentals"}, RUNS)
    (other,) = prefect.add(monitor, {"usecase": "rentals", "namespace": "x"}, 1)
    (collect,) = prefect.add(uuid4(), {"usecase": "rentals"}, 1)
    assert skip_superseded(cast("SyncPrefectClient", prefect)) == RUNS - 1
    assert [*prefect.ended] == missed[:-1]
    assert not {other, collect, missed[-1]} & prefect.ended.keys()
    assert all(state.is_cancelled() and "a later run" in str(state.message) for state in prefect.ended.values())


@pytest.fixture
def chat() -> Iterator[tuple[str, list[str]]]:
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/chat":
                got.append(body["title"])
            self.send_response(200)
            self.end_headers()
            known = {"paused": False, "schedules": [{"active": True, "schedule": {"cron": LINES[0]}}]}
            answer = [{"name": "rentals", **known}] if self.path == "/api/deployments/filter" else {}
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"127.0.0.1:{server.server_port}", got


@pytest.fixture
def usecase(
    chat: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> LoadedUseCase:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", f"http://{chat[0]}/api")
    folder, settings = make_use_case("rentals", {"alerts": [f"json://{chat[0]}/chat"]}), Settings()
    loaded = settings.use_case(str(folder))
    settings.platform().add_use_case("rentals", folder, loaded.digest)
    return loaded


@pytest.mark.slow
def test_288_runs_that_do_not_end_are_one_finding_one_message_and_one_end(
    usecase: LoadedUseCase, chat: tuple[str, list[str]]
) -> None:
    settings, began = Settings(), datetime.now(UTC) + timedelta(minutes=1)
    database, schedules = settings.platform(), MonitorSchedules(settings)
    database.mark("rentals", "monitor schedule", json.dumps({"lines": LINES, "since": began.isoformat()}))
    channels = settings.channels(usecase.spec.alerts)

    def send(at: datetime) -> None:
        deliver(database, "rentals", channels, Calendar(), "", lambda: at)

    looks = RUNS + 3  # a run has 15 minutes to end
    for number in range(1, looks + 1):
        watch_monitoring(settings, "rentals", began + number * EVERY, began, schedules)
        if number % 6 == 0:
            send(began + number * EVERY)
    (finding,) = database.open_findings("rentals")
    assert (finding.kind, finding.times_seen) == ("unmonitored", RUNS)
    assert chat[1] == ["rentals: monitoring does not run"]
    note_monitored(settings, usecase)
    for hour in range(25, 30):
        send(began + timedelta(hours=hour))
    assert database.open_findings("rentals") == []
    assert chat[1][1:] == ["rentals: resolved: monitoring does not run"]


def test_what_was_missed_while_all_was_down_is_no_finding(usecase: LoadedUseCase, chat: tuple[str, list[str]]) -> None:
    """The processes are back and the run that makes up for all is not due long: nobody is told of the 288."""
    settings, now = Settings(), datetime.now(UTC)
    database = settings.platform()
    since = (now - RUNS * EVERY).isoformat()
    database.mark("rentals", "monitor schedule", json.dumps({"lines": LINES, "since": since}))
    assert not watch_monitoring(settings, "rentals", now + timedelta(minutes=14), now, MonitorSchedules(settings))
    deliver(database, "rentals", settings.channels(usecase.spec.alerts), Calendar(), "")
    assert database.open_findings("rentals") == []
    assert chat[1] == []
