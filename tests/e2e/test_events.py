"""The event path for real: server, runner, decayed traffic, automations, and a new champion that answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from expectations.errors import UnreachableError
from flows import replay, replay_story, replay_windows
from infra.identity import proves
from infra.settings import Settings
from infra.stack import Stack
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tests.conftest import instant
from tests.e2e.conftest import Whole, wait

pytestmark = pytest.mark.system
Make = Callable[..., Path]


def test_decayed_traffic_turns_the_wheel_by_events(whole: Whole, make_use_case: Make) -> None:
    from prefect.client.orchestration import get_client

    from flows.local_runs import run_flow

    whole.register(make_use_case("events"))
    settings = Settings()
    job = Job(settings.use_case("events"), settings.places(), instant("2012-01-01"))
    assert run_flow("loop", "events", instant("2011-03-01")).outcome == "done"
    traffic = replay_story.SentRequests()
    world = replay_windows.read_history(job.usecase, job.places.secret)
    replay.send(
        job, world, instant("2011-03-01"), instant("2011-05-01"), replay_story.champion_bundle(job), traffic, 200
    )
    assert traffic.failed == 0
    run_flow("collect", "events", instant("2011-05-02"))

    with get_client(sync_client=True) as client:
        monitor = client.read_deployment_by_name("monitor/events").id
        run = client.create_flow_run_from_deployment(
            monitor, parameters={"usecase": "events", "as_of": "2011-05-02T00:00:00Z"}
        )

        served = wait(
            lambda: (
                httpx.get(f"{whole.addresses.service}/version").json()["usecases"]["events"]["champion"]["version"]
                == "2"
            )
        )
        assert served
        wait(lambda: job.database.open_turn("events") is None)

        assert client.read_flow_run(run.id).state is not None
        automations = [each.name for each in client.read_automations() if each.name.endswith(" events")]
        assert sorted(automations) == [
            "driftwheel: collect events",
            "driftwheel: deploy events",
            "driftwheel: train events",
        ]
        runs = [
            each
            for each in client.read_flow_runs()
            if each.created_by and each.created_by.type == "AUTOMATION" and each.parameters["usecase"] == "events"
        ]
        assert len(runs) == 3

    turns = job.database.turns("events")
    assert [(turn.cause, turn.state) for turn in turns] == [("bootstrap", "done"), ("decay", "done")]
    actions = [(entry.kind, entry.action) for entry in job.database.entries("events") if entry.turn == turns[1].id]
    assert actions == [("decision", "retrain"), ("collect", "done"), ("train", "done"), ("deploy", "promoted")]
    assert [event for event in job.database.unsent() if event.usecase == "events"] == []


def test_prefect_away_in_the_middle_is_told_in_seconds_and_a_rerun_heals(
    whole: Whole, make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.local_runs import run_flow

    folder = str(make_use_case("interrupted"))
    stack = Stack(Settings())
    append = Lake.append

    def append_and_lose_the_server(self: Lake, *args: object, **kwargs: object) -> int:
        done = append(self, *args, **kwargs)
        with stack._supervisor() as supervisor:
            supervisor.stopProcess("prefect")
        monkeypatch.setattr(Lake, "append", append)
        return done

    monkeypatch.setattr(Lake, "append", append_and_lose_the_server)
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="Prefect"):
        run_flow("loop", folder, instant("2011-03-01"))
    assert time.monotonic() - started < 120  # not Prefect's own four minutes
    assert httpx.get(f"{whole.addresses.service}/livez").status_code == 200

    stack.restart("prefect")
    wait(lambda: proves(whole.addresses.prefect, "prefect", Settings().token))
    assert run_flow("loop", folder, instant("2011-03-01")).outcome == "done"
