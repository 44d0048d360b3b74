"""The same flow by hand and by Prefect at once, all round the wheel: one does it, the other waits or says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import polars as pl
import pytest

from expectations.errors import ReleaseError, TurnTakenError
from infra.settings import Settings
from tasks.stores.lake import Lake
from tests.conftest import instant
from tests.e2e.conftest import Whole, wait
from tests.integration.crashing import start
from tests.integration.test_loop import FIRST, LATER, assert_no_orphans, job, send

pytestmark = pytest.mark.system
NAME = "both"
ONE_DID_IT = (["Completed", "taken"], ["done", "taken"])


def test_by_prefect_and_by_hand(whole: Whole, make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, DeploymentFilterName
    from prefect.client.schemas.objects import StateType

    from flows.collect import collect

    folder = make_use_case(NAME)
    whole.register(folder)
    database, at = Settings().platform(), job(NAME, folder)
    scored = tmp_path / "scored.parquet"

    with get_client(sync_client=True) as client:

        def deployment(flow: str) -> UUID:
            return client.read_deployment_by_name(f"{flow}/{NAME}").id

        def create(flow: str, **parameters: object) -> UUID:
            given = {"usecase": NAME, "as_of": f"{LATER}T00:00:00Z", **parameters}
            return client.create_flow_run_from_deployment(deployment(flow), parameters=given).id

        def made(flow: str) -> UUID:
            """Wait for the run that an automation makes."""
            of = DeploymentFilter(id=DeploymentFilterId(any_=[deployment(flow)]))
            return wait(lambda: client.read_flow_runs(deployment_filter=of))[0].id

        def beside(run: UUID, flow: str, as_of: str, *rest: str, sooner: bool = False) -> list[str]:
            """Run a flow by hand as soon as Prefect's run goes, or a little sooner; returns how both ended."""
            waits = {StateType.SCHEDULED} if sooner else {StateType.SCHEDULED, StateType.PENDING}
            wait(lambda: client.read_flow_run(run).state.type not in waits)
            try:
                by_hand = start(flow, str(folder), instant(as_of), rest)
            except (TurnTakenError, ReleaseError):  # at work on it, or done with it
                by_hand = "taken"
            wait(lambda: client.read_flow_run(run).state.is_final() is True)
            state = client.read_flow_run(run).state
            if state.type == StateType.FAILED:  # in a sentence
                assert "TurnTakenError: expected" in state.message
            return [by_hand, "taken" if state.type == StateType.FAILED else state.name]

        with database.transaction() as connection:
            turn = database.request_turn(connection, NAME, "manual", instant(FIRST))
        assert collect(str(folder), None, turn).outcome == "done"
        # each stage ends with an event, for which an automation starts the next
        trained = beside(made("train"), "train", FIRST)
        deployed = beside(made("deploy"), "deploy", FIRST, sooner=True)
        assert sorted(trained) in ONE_DID_IT
        assert sorted(deployed) in ONE_DID_IT
        assert_versions(whole, folder, "1")

        run = create("score", source="lake:clean", output=str(scored))
        assert beside(run, "score", LATER, "lake:clean", str(scored)) == ["done", "Completed"]
        assert pl.read_parquet(scored)["time"].n_unique() == len(pl.read_parquet(scored)) == 1337
        assert [path.name for path in tmp_path.iterdir() if "parquet" in path.name] == ["scored.parquet"]

        sent = send(NAME, folder, "2011-03-01", "2011-05-01")
        start("collect", str(folder), instant(LATER), [])
        run = create("monitor")
        monitored = beside(run, "monitor", LATER)
        looped = beside(made("collect"), "loop", LATER)
        print(trained, deployed, monitored, looped)
        wait(lambda: database.open_turn(NAME) is None)
        ours = DeploymentFilter(name=DeploymentFilterName(any_=[NAME]))
        wait(lambda: all(each.state.is_final() for each in client.read_flow_runs(deployment_filter=ours)))

    # as one run alone leaves it: test_events.py, test_loop.py
    assert_versions(whole, folder, "1", "2")
    entries = [(each.kind, each.action) for each in database.entries(NAME) if each.turn or each.kind == "report"]
    assert sorted(entries) == sorted(
        [("collect", "done"), ("train", "done"), ("deploy", "promoted")] * 2
        + [("decision", "retrain"), ("report", "drawn")]
    )
    assert [(turn.cause, turn.state) for turn in database.turns(NAME)] == [("manual", "done"), ("decay", "done")]
    assert [event for event in database.unsent() if event.usecase == NAME] == []
    lake = Lake(at.places.lake, NAME)
    for table in ("raw", "clean"):
        rows = lake.scan(table).collect()
        assert len(rows) == rows["time"].n_unique() == 2810
    predictions = lake.scan("predictions").collect()
    assert len(predictions) == predictions["id"].n_unique() == sent.rows
    measured = [each.start for each in database.measurements(NAME)]
    assert len(measured) == len(set(measured)) == 2
    assert_no_orphans(NAME, folder)


def assert_versions(whole: Whole, folder: Path, *versions: str) -> None:
    at = job(NAME, folder)
    assert [each.version for each in at.registry().versions()] == list(versions)
    assert at.registry().alias("champion").version == versions[-1]
    assert at.registry().alias("challenger") is None
    served = httpx.get(f"{whole.addresses.service}/version").json()["usecases"][NAME]
    assert served["champion"]["version"] == versions[-1]
