"""Events that come twice, late and out of order, automations somebody removed, schedules that come too often."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.errors import TurnTakenError
from infra.settings import Addresses, Settings
from tests.conftest import instant
from tests.integration.test_loop import EXPECTED, FIRST, outcome, told

__all__ = ["told"]  # a fixture
pytestmark = pytest.mark.flow
Make = Callable[..., Path]


def test_events_in_any_order_and_number_turn_the_wheel_once(stack: Addresses, make_use_case: Make) -> None:
    from flows.collect import collect
    from flows.deploy import deploy
    from flows.train import train

    folder = make_use_case("disordered")
    database = Settings().platform()
    with database.transaction() as connection:
        turn = database.request_turn(connection, "disordered", "manual", instant(FIRST))
    stages: list[tuple[Any, str]] = [(collect, "requested"), (train, "training"), (deploy, "deploying")]

    def ask(flow: Any) -> str:
        return flow(str(folder), None, turn, announce=False).outcome

    for position, (flow, state) in enumerate(stages):
        for other, _ in stages[:position] + stages[position + 1 :]:  # those that were, and those that are to come
            with pytest.raises(TurnTakenError, match=r"Nothing to do|none"):
                ask(other)
            assert database.turn(turn).state == state
        assert ask(flow) == "done"
    for flow, _ in reversed(stages):
        with pytest.raises(TurnTakenError, match="done already"):
            ask(flow)
    with pytest.raises(TurnTakenError, match="a turn nobody"):
        collect(str(folder), None, "nobody")
    assert outcome("disordered", folder, stack) == EXPECTED


def test_automations_and_deployments_removed_by_hand_are_back_with_the_next_start(
    stack: Addresses, make_use_case: Make
) -> None:
    from prefect.client.orchestration import get_client

    from flows.automations import EVENTS
    from flows.deployments import install
    from flows.messenger import MonitorSchedules, note_schedules

    folder, settings = make_use_case("unwired"), Settings()
    settings.platform().add_use_case("unwired", folder, settings.use_case(str(folder)).digest)
    names = [f"driftwheel: {target} unwired" for target in EVENTS.values()]
    with get_client(sync_client=True) as client:

        def installed() -> list[tuple[str, str]]:
            install(client, settings, lambda deployment: deployment.apply())
            found = [each for name in names for each in client.read_automations_by_name(name)]
            targets = [client.read_deployment(each.actions[0].deployment_id).name for each in found]
            return [(each.name, target) for each, target in zip(found, targets, strict=True)]

        wired = [(name, "unwired") for name in names]
        assert installed() == wired
        for name in names[:2]:
            client.delete_automation(client.read_automations_by_name(name)[0].id)
        assert installed() == wired
        client.delete_deployment(client.read_deployment_by_name("train/unwired").id)
        assert installed() == wired

        def noted() -> list[str]:
            return note_schedules(settings, "unwired", MonitorSchedules(settings))

        # who watches whether monitoring runs asks for its schedule: as in the YAML, and as a person changes it
        assert noted() == []
        monitor = client.read_deployment_by_name("monitor/unwired")
        client.update_deployment_schedule(monitor.id, monitor.schedules[0].id, active=True)
        assert noted() == ["0 * * * *"]
        client.pause_deployment(monitor.id)
        assert noted() == []
    settings.platform().remove_use_case("unwired")


def test_runs_of_a_schedule_that_comes_too_often_do_not_pile_up(
    stack: Addresses, make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second, as a person may set it in Prefect's page: the newest one that is due does the work of all."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.states import Scheduled

    from flows.deployments import install
    from flows.superseded import skip_superseded

    folder, settings = make_use_case("hasty"), Settings()
    settings.platform().add_use_case("hasty", folder, settings.use_case(str(folder)).digest)
    now = datetime.now(UTC)
    with get_client(sync_client=True) as client:
        install(client, settings, lambda deployment: deployment.apply())
        made = {}
        for flow in ("collect", "monitor"):
            deployment = client.read_deployment_by_name(f"{flow}/hasty").id
            for second in range(5):
                due = now - timedelta(seconds=60 - second)
                run = client.create_flow_run_from_deployment(
                    deployment, state=Scheduled(scheduled_time=due), tags=["auto-scheduled"]
                )
                made[flow, second] = run.id
            later = client.create_flow_run_from_deployment(
                deployment, state=Scheduled(scheduled_time=now + timedelta(hours=1)), tags=["auto-scheduled"]
            )
            made[flow, "later"] = later.id
            made[flow, "by hand"] = client.create_flow_run_from_deployment(deployment).id

        monkeypatch.setattr("flows.prefect_runs.PAGE", 3)  # as a day of every five minutes: 288
        assert skip_superseded(client) >= 8

        for (flow, which), run in made.items():
            state = client.read_flow_run(run).state
            assert state is not None
            assert state.is_cancelled() == (which in range(4)), (flow, which)
            if which in range(4):
                assert "a later run" in str(state.message)
        left = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])), limit=50
        )
        assert len(left) == 7
    settings.platform().remove_use_case("hasty")


def test_runs_that_nobody_works_on_are_ended_though_no_flow_comes(stack: Addresses, make_use_case: Make) -> None:
    """Their process died, or they were handed to one and do not begin; what may be at work, or is not ours, is left."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import State
    from prefect.states import Pending, Running, Scheduled
    from sqlalchemy import update

    from flows.dead_runs import process_tag, this_process
    from flows.deployments import remember
    from flows.prefect_runs import HANDED_OUT_AHEAD, PrefectRuns
    from flows.run_watch import RunWatch
    from tasks.stores.presences import PRESENCE, Process
    from tasks.stores.tables import presences

    @flow
    def some() -> None: ...

    now, settings = datetime.now(UTC), Settings()
    database, places, own = settings.platform(), settings.places(), this_process()
    folder = make_use_case("deserted")
    database.add_use_case("deserted", folder, settings.use_case(str(folder)).digest)
    ours = ["driftwheel", "deserted"]
    removed = settings.use_case(str(make_use_case("removed")))
    database.add_use_case("removed", removed.folder, removed.digest)
    remember(removed, database)
    died = Process(own.host, own.process, own.born - 60)  # one before this, of its number
    died_tag = f"process:{died.host}:{died.process}:{died.born!r}"
    cases: dict[str, tuple[list[str], State]] = {
        "killed before it had a name": ([died_tag], Running()),
        "killed as it began": ([died_tag], Pending()),
        "alive": ([process_tag()], Running()),
        "killed in the middle": ([], Running()),
        "elsewhere, silent": ([], Running()),
        "elsewhere, silent for a while": ([], Running()),
        "of nobody knows whom": (["driftwheel"], Running()),
        "deployed, of a use case that never was here": (["driftwheel", "elsewhere's"], Running()),
        "deployed, of nobody knows whom": (ours, Running()),
        "deployed, at work": (ours, Running()),
        "deployed, at work elsewhere": (ours, Running()),
        "deployed, of a use case that was removed": (["driftwheel", "removed"], Running()),
        "deployed, of a process that is known": ([*ours, process_tag()], Running()),
        "handed out": (["driftwheel"], Scheduled(scheduled_time=now - timedelta(days=1))),
        "somebody else's": ([], Scheduled(scheduled_time=now + timedelta(days=5))),
        "handed out days ahead": (["driftwheel"], Scheduled(scheduled_time=now + timedelta(days=5))),
    }
    with get_client(sync_client=True) as client:
        runs = {}
        for name, (tags, state) in cases.items():
            runs[name] = client.create_flow_run(some, tags=tags, state=state).id
            if state.is_scheduled():
                client.set_flow_run_state(runs[name], Pending(name="Submitting"))
        database.remove_use_case("removed")
        moved = "deployed, of a use case that was removed, begun since, by another home"
        runs[moved] = client.create_flow_run(some, tags=["driftwheel", "removed"], state=Running()).id
        database.enter(str(runs["killed in the middle"]), "any", died)
        for run in ("elsewhere, silent", "elsewhere, silent for a while"):
            database.enter(str(runs[run]), "any", Process("another", 1, 0.0))
        far = Process("another", 2, 0.0)
        database.enter(str(runs["deployed, at work"]), "any", own)
        database.enter(str(runs["deployed, at work elsewhere"]), "any", far)
        with database.transaction() as connection:
            elsewhere = (presences.c.host == "another") & (presences.c.process == 1)
            connection.execute(update(presences).where(elsewhere).values(seen=now - 2 * PRESENCE))
        before = {name: client.read_flow_run(run).state.type for name, run in runs.items()}

        def changed() -> dict[str, str]:
            found = {name: client.read_flow_run(run).state for name, run in runs.items()}
            return {
                name: f"{state.name}: {state.message}" for name, state in found.items() if state.type != before[name]
            }

        watch = RunWatch(settings)
        watch.look()
        ended = {
            "killed before it had a name": "Crashed: its process died",
            "killed as it began": "Crashed: its process died",
            "killed in the middle": "Crashed: its process died",
        }
        assert changed() == ended
        assert str(runs["killed in the middle"]) not in database.present()
        database.stay(str(runs["elsewhere, silent for a while"]))  # its database was away
        begun, slow = time.monotonic(), RunWatch(settings)
        handed_out = client.read_flow_run(runs["handed out days ahead"]).state.timestamp

        def look(watching: RunWatch, minutes: int) -> None:
            with PrefectRuns(places.flow_api, places.flow_login) as prefect:
                watching.end(prefect, begun + minutes * 60, handed_out + timedelta(minutes=minutes))

        look(watch, 0)
        ended |= {"elsewhere, silent": "Crashed: its process died"}
        look(slow, 0)
        assert changed() == ended
        look(slow, 20)  # it could not look in between: what waits now may have worked meanwhile
        ended |= {"handed out days ahead": f"Cancelling: {HANDED_OUT_AHEAD}"}  # it had its minute
        for minutes in (4, 8, 12, 14, 16):
            assert changed() == ended
            look(watch, minutes)
        assert changed() == ended | {
            "handed out": "Cancelling: no process began it",
            "deployed, of nobody knows whom": "Crashed: no process works on it",
            "deployed, of a use case that was removed": "Crashed: no process works on it",
        }
        for run in runs.values():
            database.leave(str(run))
            client.delete_flow_run(run)
    database.remove_use_case("deserted")
