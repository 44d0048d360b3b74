"""The event path for real: server, runner, decayed traffic, automations, and a new champion that answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from expectations.errors import UnreachableError
from flows import replay
from infra.identity import proves
from infra.settings import Addresses, Settings
from infra.stack import Stack
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tests.conftest import forget_prefect_services, instant

pytestmark = pytest.mark.system


@pytest.fixture
def whole_stack(
    tmp_path: Path, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Addresses]:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    for program in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE"):
        monkeypatch.setenv(f"DRIFTWHEEL_{program}_PORT", "0")
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    settings = Settings()
    folder = make_use_case("events")
    loaded = settings.use_case(str(folder))
    settings.platform().add_use_case("events", folder, loaded.digest)
    stack = Stack(settings)
    addresses = stack.start(("prefect", "mlflow", "service", "runner"))
    forget_prefect_services()
    yield addresses
    stack.stop()
    forget_prefect_services()


def wait(done: Callable[[], object], seconds: float = 120) -> object:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = done()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("waited in vain")


def test_decayed_traffic_turns_the_wheel_by_events(whole_stack: Addresses) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.running import run_flow

    settings = Settings()
    job = Job(settings.use_case("events"), settings.places(), instant("2012-01-01"))
    with temporary_settings({PREFECT_API_URL: f"{whole_stack.prefect}/api"}):
        assert run_flow("loop", "events", instant("2011-03-01")).outcome == "done"
        traffic = replay.Traffic()
        world = replay.read_world(job)
        replay.send(job, world, instant("2011-03-01"), instant("2011-05-01"), replay.champion_bundle(job), traffic, 200)
        assert traffic.failed == 0
        run_flow("collect", "events", instant("2011-05-02"))

        with get_client(sync_client=True) as client:
            monitor = wait(lambda: _deployment(client, "monitor/events"))
            run = client.create_flow_run_from_deployment(
                monitor, parameters={"usecase": "events", "as_of": "2011-05-02T00:00:00Z"}
            )

            served = wait(
                lambda: (
                    httpx.get(f"{whole_stack.service}/version").json()["usecases"]["events"]["champion"]["version"]
                    == "2"
                )
            )
            assert served
            wait(lambda: job.database.open_turn("events") is None)

            assert client.read_flow_run(run.id).state is not None
            automations = [each.name for each in client.read_automations()]
            assert sorted(automations) == [
                "driftwheel: collect events",
                "driftwheel: deploy events",
                "driftwheel: train events",
            ]
            runs = [
                each for each in client.read_flow_runs() if each.created_by and each.created_by.type == "AUTOMATION"
            ]
            assert len(runs) == 3

    turns = job.database.turns("events")
    assert [(turn.cause, turn.state) for turn in turns] == [("bootstrap", "done"), ("decay", "done")]
    actions = [(entry.kind, entry.action) for entry in job.database.entries("events") if entry.turn == turns[1].id]
    assert actions == [("decision", "retrain"), ("collect", "done"), ("train", "done"), ("deploy", "promoted")]
    assert job.database.unsent() == []


def test_prefect_away_in_the_middle_is_told_in_seconds_and_a_rerun_heals(
    whole_stack: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.running import run_flow

    stack = Stack(Settings())
    append = Lake.append

    def append_and_lose_the_server(self: Lake, *args: object, **kwargs: object) -> int:
        done = append(self, *args, **kwargs)
        with stack._supervisor() as supervisor:
            supervisor.stopProcess("prefect")
        monkeypatch.setattr(Lake, "append", append)
        return done

    with temporary_settings({PREFECT_API_URL: f"{whole_stack.prefect}/api"}):
        monkeypatch.setattr(Lake, "append", append_and_lose_the_server)
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="Prefect"):
            run_flow("loop", "events", instant("2011-03-01"))
        assert time.monotonic() - started < 120  # not Prefect's own four minutes
        assert httpx.get(f"{whole_stack.service}/livez").status_code == 200

        stack.restart("prefect")
        wait(lambda: proves(whole_stack.prefect, "prefect", Settings().token))
        assert run_flow("loop", "events", instant("2011-03-01")).outcome == "done"


def _deployment(client, name: str):
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        return None
