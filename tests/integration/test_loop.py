"""The flows against real servers: the wheel turns, holds, heals, and survives kill -9 at every commit point."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl
import pytest

from expectations.errors import InstantError, ReleaseError, SourceError, TurnTakenError, UnreachableError
from flows import replay, replay_story, replay_windows
from flows.stage import FlowResult
from infra.settings import Addresses, Settings
from infra.stack import Stack
from tasks.bundles.bundle import load_bundle
from tasks.stores.lake import Lake
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tasks.stores.releases import Releases
from tests.conftest import instant
from tests.integration.crashing import crash
from tests.unit.test_collection import edit

pytestmark = pytest.mark.flow
Make = Callable[..., Path]
Run = Callable[[str, str, str], object]
FIRST, LATER = "2011-03-01", "2011-05-02"


def by_hand(folder: Path, version: str) -> FlowResult:
    from flows.local_runs import deploy_by_hand

    return deploy_by_hand(str(folder), version)


@pytest.fixture(autouse=True)
def told(stack: Addresses) -> Iterator[None]:
    """Point this process's Prefect at the stack."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        yield


def job(name: str, folder: Path) -> Job:
    settings = Settings()
    return Job(settings.use_case(str(folder)), settings.places(), instant("2012-01-01"))


def send(name: str, folder: Path, start: str, end: str) -> replay_story.SentRequests:
    at = job(name, folder)
    traffic = replay_story.SentRequests()
    replay.send(
        at,
        replay_windows.read_history(at.usecase, at.places.secret),
        instant(start),
        instant(end),
        replay_story.champion_bundle(at),
        traffic,
        200,
    )
    return traffic


def entries(name: str) -> list[Entry]:
    return Settings().platform().entries(name)


def names_in_prefect(stack: Addresses, name: str) -> set[str | None]:
    """Return what Prefect's pages call the flow runs of a use case, and what they left there."""
    asked = {"flow_runs": {"name": {"like_": f"{name} as of"}}}
    runs = httpx.post(f"{stack.prefect}/api/flow_runs/filter", json=asked).raise_for_status().json()
    left = httpx.post(f"{stack.prefect}/api/artifacts/filter", json=asked).raise_for_status().json()
    return {each["name"] for each in runs} | {each["key"] for each in left}  # one without a key is listed by a hash


def test_the_wheel_turns_from_nothing_to_a_second_champion(stack: Addresses, make_use_case: Make, run: Run) -> None:
    folder = make_use_case("turning")
    first = run("loop", str(folder), FIRST)
    assert first.outcome == "done"
    assert send("turning", folder, "2011-03-01", "2011-05-01").failed == 0

    verdict = run("loop", str(folder), LATER)

    assert verdict.outcome == "done"
    newest = httpx.post(f"{stack.prefect}/api/logs/filter", json={"sort": "TIMESTAMP_DESC"}).json()  # 200 of them
    logged = [each["message"] for each in newest]
    assert [line for line in logged if line.startswith("deploy: promoted: version 2 is the champion")]
    assert names_in_prefect(stack, "turning") == {
        *(f"turning as of {day} 00:00" for day in (FIRST, LATER)),
        *(f"{each}-turning" for each in ("collected", "quality", "gates", "mlflow", "decision", "report")),
    }
    served = httpx.get(f"{stack.service}/version").json()["usecases"]["turning"]
    registry = job("turning", folder).registry()
    champion = registry.alias("champion")
    assert champion.version == served["champion"]["version"] == "2"
    assert champion.bundle == served["champion"]["bundle"]
    assert registry.alias("challenger") is None
    turned = [entry for entry in entries("turning") if entry.kind not in ("report", "monitor")]
    actions = [(entry.kind, entry.action) for entry in turned]
    assert actions == [
        ("collect", "done"),
        ("train", "done"),
        ("deploy", "promoted"),
        ("decision", "retrain"),
        ("collect", "done"),
        ("train", "done"),
        ("deploy", "promoted"),
    ]
    brought = [entry.summary for entry in entries("turning") if entry.kind == "collect"]
    assert brought[0] == "1337 new rows, 0 corrected, 1337 clean, 0 in quarantine"
    assert brought[1] == "1473 new rows, 0 corrected, 1473 clean, 0 in quarantine since the last turn"
    (rising,) = [entry for entry in entries("turning") if entry.kind == "monitor"]
    assert rising.summary.startswith("the loss by the hour rises")
    decision = turned[3]
    assert decision.evidence["window"]["realised"][0]["status"] == "violated"
    reports = [entry for entry in entries("turning") if entry.kind == "report"]
    assert ["/reports/" in entry.evidence["report"] for entry in reports] == [True]

    before = entries("turning")
    again = run("loop", str(folder), LATER)
    assert again.outcome == "keep"
    assert entries("turning") == before

    import mlflow.pyfunc

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", stack.mlflow)
        mlflow.set_tracking_uri(stack.mlflow)
        loaded = mlflow.pyfunc.load_model("models:/turning@champion")
    bundle = replay_story.champion_bundle(job("turning", folder))
    turning = job("turning", folder)
    rows = replay_windows.read_history(turning.usecase, turning.places.secret).head(5)
    columns = [column.name for column in bundle.manifest.columns]
    inner = loaded._model_impl
    assert inner.predict(rows.select(columns).to_pandas()).tolist() == bundle.predict(rows).tolist()

    at = job("turning", folder)
    first_bundle = at.releases.bundle("turning", registry.versions()[0].bundle)
    (first_bundle / "model.txt").write_text("tree\n")
    decided = Entry(
        "turning/decision/taking-back",
        "turning",
        at.as_of,
        "decision",
        "rollback",
        "release",
        "it is worse",
        {"window": {**decision.evidence["window"], "champion": champion.bundle, "version": "2"}},
    )
    with at.database.transaction() as connection:  # as a run leaves it that is killed right after it decided
        at.database.write(connection, decided)
    run("monitor", str(folder), LATER)
    assert entries("turning")[-1].summary.endswith("from version 2, it is worse")
    assert (entries("turning")[-1].action, entries("turning")[-1].cause) == ("rolled back", "release")
    assert registry.alias("champion").version == "1"
    assert load_bundle(first_bundle, first_bundle.name).digest == first_bundle.name  # brought back from MLflow
    with pytest.raises(ReleaseError, match="none in the ledger"):  # again does not go forward to what was bad
        by_hand(folder, "previous")

    by_hand(folder, "2")  # a person knows better
    asked = {"flow_runs": {"name": {"like_": "by hand"}}, "flows": {"name": {"any_": ["deploy"]}}}
    runs = httpx.post(f"{stack.prefect}/api/flow_runs/filter", json=asked).json()
    states = {
        each["name"].partition(", ")[2]: each["state"]["type"] for each in runs if each["name"].startswith("turning")
    }
    assert states == {"version previous by hand": "FAILED", "version 2 by hand": "COMPLETED"}
    assert run("monitor", str(folder), LATER).outcome != "rollback"
    assert registry.alias("champion").version == "2"
    gone = replace(
        decided,
        entry="turning/decision/gone",
        evidence={"window": decided.evidence["window"], "predecessor": "0" * 64},
    )
    with at.database.transaction() as connection:
        at.database.write(connection, gone)
    for _ in range(2):  # told once, and monitoring goes on
        run("monitor", str(folder), LATER)
    assert [each.action for each in entries("turning")].count("not taken back") == 1


def test_a_champion_is_recalibrated_by_hand_and_released_as_any_other(
    stack: Addresses, make_use_case: Make, run: Run
) -> None:
    from flows.local_runs import run_flow

    folder = make_use_case("levelled", {"evaluation.error_budget": 0.2})
    with gzip.open(folder / "data/rides.csv.gz", "rb") as file:
        rides = pl.read_csv(file.read())
    moved = pl.when(pl.col("time") >= "2011-03-01").then(pl.col("bikers") + 250).otherwise("bikers").alias("bikers")
    with gzip.open(folder / "data/rides.csv.gz", "wb") as file:
        file.write(rides.with_columns(moved).write_csv().encode())
    assert run("loop", str(folder), FIRST).outcome == "done"
    assert run("collect", str(folder), LATER).outcome == "done"

    verdict = run_flow("train", str(folder), instant(LATER), recalibrate=True)
    assert verdict.outcome == "done", verdict.summary
    assert "recalibrated: the champion's model and features, line learnt again from" in verdict.summary
    assert run_flow("deploy", str(folder), instant(LATER)).outcome == "done"

    at = job("levelled", folder)
    tested = [entry.evidence["budget"] for entry in at.database.entries("levelled", kind="train")]
    level = pytest.approx(0.2 / 5.5916, rel=1e-4)  # there was no champion to be compared with before
    assert tested == [None, {"number": 1, "level": level, "budget": 0.2, "won": True}]
    served = httpx.get(f"{stack.service}/version").json()["usecases"]["levelled"]["champion"]
    assert served["version"] == "2"
    bundle = load_bundle(at.releases.bundle("levelled", served["bundle"]))
    kept = load_bundle(at.releases.bundle("levelled", bundle.manifest.recalibrated_from))
    assert bundle.manifest.files["model.txt"] == kept.manifest.files["model.txt"]
    asked = {"name": "levelled", "version": "2"}
    found = httpx.get(f"{stack.mlflow}/api/2.0/mlflow/model-versions/get", params=asked).json()["model_version"]
    tags = {each["key"]: each["value"] for each in found["tags"]}
    assert tags["recalibrated from"] == f"version 1 (bundle {kept.digest[:12]})"


def test_a_run_that_a_schedule_started_measures_what_one_by_hand_does(make_use_case: Make, run: Run) -> None:
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Scheduled

    from flows.monitor import monitor

    folder = make_use_case("scheduled")
    run("loop", str(folder), FIRST)
    assert send("scheduled", folder, "2011-03-01", "2011-05-01").failed == 0
    run("collect", str(folder), LATER)
    given = {"usecase": str(folder)}
    with get_client(sync_client=True) as client:
        planned = client.create_flow_run(monitor, parameters=given, state=Scheduled(scheduled_time=instant(LATER)))

    verdict = run_flow(monitor, flow_run=planned, parameters=given)

    assert verdict.outcome == "retrain"
    assert [each.action for each in entries("scheduled") if each.kind == "decision"] == ["retrain"]
    windows = Settings().platform().measurements("scheduled")
    assert [each.start for each in windows] == [instant("2011-03-01"), instant("2011-04-01")]


def test_a_challenger_that_is_no_better_is_refused(make_use_case: Make, run: Run, stack: Addresses) -> None:
    folder = make_use_case("refusing", {"gates.0": {"metric": "r2", "min": 0.999}})
    verdict = run("loop", str(folder), FIRST)
    assert verdict.outcome == "refused"
    assert "at least 0.999" in verdict.summary
    assert Settings().platform().open_turn("refusing") is None
    found = [(each.kind, each.severity) for each in Settings().platform().open_findings("refusing")]
    assert found == [("refused", "info")]  # on the page and in digests: nobody is sent a message
    assert "refusing" not in httpx.get(f"{stack.service}/version").json()["usecases"]


def answer(stack: Addresses, name: str, said: dict[str, object]) -> None:
    """Say a word in Prefect to the flow run that waits for it, as its page does."""
    asked = {"flow_runs": {"name": {"like_": f"{name} as of"}, "state": {"type": {"any_": ["PAUSED"]}}}}
    end, heard = time.monotonic() + 300, "nobody was asked"
    while time.monotonic() < end:
        waiting = httpx.post(f"{stack.prefect}/api/flow_runs/filter", json=asked).raise_for_status().json()
        for each in waiting:
            resumed = httpx.post(f"{stack.prefect}/api/flow_runs/{each['id']}/resume", json={"run_input": said})
            if resumed.json().get("status") == "ACCEPT":
                return
            # for a moment the run is paused already, and what it asks is not stored yet; or Prefect's database is busy
            assert resumed.status_code == 503 or "Run input schema not found" in resumed.text, resumed.text
            heard = resumed.text
        time.sleep(0.5)
    raise AssertionError(heard)


def test_a_person_allows_a_release_or_does_not(make_use_case: Make, run: Run, stack: Addresses) -> None:
    folder = make_use_case("asking", {"monitoring.policy": {"trigger": "trial", "approval": "4m"}})
    for day, said, outcome in ((FIRST, False, "refused"), ("2011-03-02", True, "done")):
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(answer, stack, "asking", {"release": said, "name": "Anna"})
            verdict = run("loop", str(folder), day)
            answering.result()
        assert verdict.outcome == outcome, verdict.summary
        last = entries("asking")[-1]
        assert ("Anna did not allow version 1: the champion stays" in last.summary) is not said
        assert Releases(Settings().places().releases).desired("asking").candidate is None
    assert httpx.get(f"{stack.service}/version").json()["usecases"]["asking"]["champion"]["version"] == "2"


def test_bad_data_is_held_trains_nothing_and_heals(make_use_case: Make, run: Run) -> None:
    folder = make_use_case("holding")
    whole = (folder / "data" / "rides.csv.gz").read_bytes()
    edit(folder, lambda f: f.with_columns(workingday=pl.lit("5")))
    assert run("loop", str(folder), FIRST).outcome == "held"
    assert [entry.action for entry in entries("holding")][-1] == "held"
    assert "workingday" in entries("holding")[-1].summary
    (folder / "data" / "rides.csv.gz").write_bytes(whole)
    assert run("loop", str(folder), "2011-03-02").outcome == "done"


def test_a_broken_source_ends_the_turn_and_the_ledger_says_so(make_use_case: Make, run: Run) -> None:
    folder = make_use_case("breaking")
    run("collect", str(folder), FIRST)
    (folder / "data" / "rides.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(SourceError, match="is empty"):
        run("loop", str(folder), "2011-03-02")
    assert entries("breaking")[-1].action == "failed"
    assert Settings().platform().open_turn("breaking") is None


def test_a_turn_of_a_clock_that_was_ahead_ends_and_the_next_one_begins(make_use_case: Make, run: Run) -> None:
    folder = make_use_case("ahead")
    database = Settings().platform()
    with database.transaction() as connection:
        turn = database.request_turn(connection, "ahead", "decay", instant("2999-01-01"))
    with pytest.raises(InstantError):
        run("loop", str(folder), FIRST)
    assert (database.turn(turn).state, entries("ahead")[-1].cause) == ("failed", "InstantError")
    assert Lake(Settings().places().lake, "ahead").version("raw") is None
    assert run("loop", str(folder), FIRST).outcome == "done"


def test_labels_all_of_one_class_train_nothing(make_use_case: Make, run: Run) -> None:
    folder = make_use_case("flat")
    edit(folder, lambda f: f.with_columns(bikers=pl.lit("7")))
    with pytest.raises(Exception, match="the same one in all"):
        run("loop", str(folder), FIRST)
    assert entries("flat")[-1].cause == "TrainingError"


def test_an_event_delivered_twice_starts_one_turn(make_use_case: Make, run: Run) -> None:
    from flows.collect import collect

    folder = make_use_case("twice")
    database = Settings().platform()
    with database.transaction() as connection:
        turn = database.request_turn(connection, "twice", "manual", instant(FIRST))
    assert collect(str(folder), None, turn).outcome == "done"
    with pytest.raises(TurnTakenError, match="done already"):
        collect(str(folder), None, turn)
    assert database.turn(turn).state == "training"


def test_mlflow_away_is_told_and_a_rerun_heals_while_the_service_answers(
    stack: Addresses, make_use_case: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_use_case("away")
    with monkeypatch.context() as patch:
        patch.setenv("DRIFTWHEEL_MLFLOW", "http://127.0.0.1:9")
        with pytest.raises(UnreachableError, match="the MLflow server at"):
            run("loop", str(folder), FIRST)
    assert Settings().platform().open_turn("away").state == "training"
    assert httpx.get(f"{stack.service}/livez").status_code == 200
    assert run("loop", str(folder), FIRST).outcome == "done"
    assert Settings().platform().open_turn("away") is None


def test_the_service_away_is_told_and_a_rerun_heals(
    make_use_case: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_use_case("silent")
    with monkeypatch.context() as patch:
        patch.setenv("DRIFTWHEEL_SERVICE", "http://127.0.0.1:9")
        with pytest.raises(UnreachableError, match="the service at"):
            run("loop", str(folder), FIRST)
    assert run("loop", str(folder), FIRST).outcome == "done"


# --- kill -9 ----------------------------------------------------------------------------------------------------------

POINTS = [
    ("tasks.stores.lake:Lake.append", "before"),
    ("tasks.stores.lake:Lake.append", "after"),
    ("tasks.stores.lake:Lake.append", "after#2"),
    ("tasks.stores.turning:Stage.finish", "before"),
    ("tasks.stores.turning:Stage.finish", "after"),
    ("tasks.stores.releases:Releases.add", "before"),
    ("tasks.stores.releases:Releases.add", "after"),
    ("tasks.stores.registry:Registry.register", "before"),
    ("tasks.stores.registry:Registry.register", "after"),
    ("tasks.stores.releases:Releases.set_desired", "after"),
    ("tasks.stores.releases:Releases.set_desired", "after#2"),
    ("tasks.stores.registry:Registry.point", "after#2"),
    ("tasks.stores.turning:Stage.finish", "after#3"),
]


def outcome(name: str, folder: Path, addresses: Addresses) -> dict[str, object]:
    """Everything a run leaves that another one must leave too, whatever happened on the way."""
    at = job(name, folder)
    lake = Lake(at.places.lake, name)
    desired = at.releases.desired(name)
    served = httpx.get(f"{addresses.service}/version").json()["usecases"][name]
    frames = {table: lake.scan(table).collect().drop("_collected").sort("time") for table in ("raw", "clean")}
    return {
        "rows": {table: (len(frame), frame["bikers"].sum()) for table, frame in frames.items()},
        "versions": [(each.version, each.bundle == desired.champion.bundle) for each in at.registry().versions()],
        "alias": at.registry().alias("champion").version,
        "challenger": at.registry().alias("challenger"),
        "desired": (desired.champion.version, desired.candidate),
        "served": served["champion"] == {"bundle": desired.champion.bundle, "version": "1"},
        "refused": served["refused"],
        "ledger": [(entry.kind, entry.action) for entry in entries(name)],
        "open": Settings().platform().open_turn(name),
        "turns": [turn.state for turn in Settings().platform().turns(name)],
    }


EXPECTED = {
    "rows": {"raw": (1337, 86404.0), "clean": (1337, 86404.0)},
    "versions": [("1", True)],
    "alias": "1",
    "challenger": None,
    "desired": ("1", None),
    "served": True,
    "refused": {},
    "ledger": [("collect", "done"), ("train", "done"), ("deploy", "promoted")],
    "open": None,
    "turns": ["done"],
}


def recover(run: Run, folder: Path) -> float:
    """Run again until nobody holds the turn; returns how long that had to be waited for, in seconds."""
    started = time.monotonic()
    while True:
        try:
            waited = time.monotonic() - started
            assert run("loop", str(folder), FIRST).outcome in ("done", "keep")
        except TurnTakenError:
            time.sleep(0.5)
        else:
            return waited


KILLED_AT = POINTS if "DRIFTWHEEL_FLOW_KILLS" in os.environ else POINTS[::2]
"""All of them in `make soak`."""


@pytest.mark.parametrize(("point", "when"), KILLED_AT, ids=[f"{p.rpartition('.')[2]}-{w}" for p, w in KILLED_AT])
def test_killed_at_a_commit_point_and_run_again(
    stack: Addresses, make_use_case: Make, run: Run, point: str, when: str
) -> None:
    name = "k" + "".join(c for c in f"{point}{when}".lower() if c.isalnum())[-40:]
    folder = make_use_case(name)
    died = crash(point, when, "loop", str(folder), f"{FIRST}T00:00:00+00:00")
    assert died.returncode == -signal.SIGKILL
    assert recover(run, folder) <= 10
    assert outcome(name, folder, stack) == EXPECTED
    assert_no_orphans(name, folder)


def test_killed_at_random_and_run_again(stack: Addresses, make_use_case: Make, run: Run) -> None:
    """Kill the same run again and again, a little later each time, then let it finish."""
    folder = make_use_case("randomly")
    seconds = 1.0 + (os.getpid() % 10) / 10
    for _ in range(3):
        crash(str(seconds), "", "loop", str(folder), f"{FIRST}T00:00:00+00:00")
        seconds += 1.3
    assert recover(run, folder) <= 10
    assert outcome("randomly", folder, stack) == EXPECTED
    assert_no_orphans("randomly", folder)


def test_a_run_nobody_could_note_is_closed_by_the_turns_rerun(stack: Addresses, make_use_case: Make) -> None:
    registry = job("unnoted", make_use_case("unnoted")).registry()
    lost, other = (registry.start_run(turn, {"driftwheel.turn": turn}) for turn in ("abc123", "def456"))
    assert registry.fail_orphans("abc123") == 1
    assert registry.fail_orphans("abc123") == 0
    assert [registry._client.get_run(run).info.status for run in (lost, other)] == ["FAILED", "RUNNING"]


def test_a_lost_bundle_comes_back_from_mlflow_by_deploying_its_version(
    make_use_case: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_use_case("losing")
    run("loop", str(folder), FIRST)
    at = job("losing", folder)
    bundle = at.releases.desired("losing").champion.bundle
    shutil.rmtree(at.releases.bundle("losing", bundle))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    assert by_hand(folder, "1").outcome == "done"

    assert load_bundle(at.releases.bundle("losing", bundle), bundle)
    assert list(Path().iterdir()) == []
    assert send("losing", folder, "2011-03-01", "2011-03-08").failed == 0


def test_a_flow_on_another_host_that_fell_silent_is_marked(stack: Addresses, make_use_case: Make) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running
    from sqlalchemy import update

    from flows.dead_runs import close_orphans
    from tasks.stores.presences import PRESENCE, Process
    from tasks.stores.pulses import Presence
    from tasks.stores.tables import presences

    @flow
    def elsewhere() -> None: ...

    here, far = job("away", make_use_case("away")), Process("another", 1, 0.0)
    with get_client(sync_client=True) as client:
        dead, alive = (
            str(client.create_flow_run(elsewhere, name="away as of then", state=Running()).id) for _ in range(2)
        )
        here.database.enter(dead, "away", far)
        with Presence(here.database, alive, "away", far), here.database.transaction() as connection:
            long_ago = datetime.now(UTC) - 2 * PRESENCE
            connection.execute(update(presences).where(presences.c.flow_run == dead).values(seen=long_ago))
        here.database.enter(alive, "away", far)
        close_orphans(here.database, stack.prefect + "/api", "")
        assert [client.read_flow_run(run).state.name for run in (dead, alive)] == ["Crashed", "Running"]
    assert set(here.database.present("away")) == {alive}


def assert_no_orphans(name: str, folder: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    registry = job(name, folder).registry()
    running = registry._client.search_runs([registry.experiment()], "attributes.status = 'RUNNING'")
    assert list(running) == []
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=f"{name} as of")))
    assert found
    assert [each.name for each in found if each.state is None or not each.state.is_final()] == []


def test_the_stack_says_who_is_silent(home: Path, stack: Addresses) -> None:
    health = {each.program: each for each in Stack(Settings()).health()}
    assert {name for name, each in health.items() if each.answers} == {"prefect", "mlflow", "service"}


def test_a_schedule_edited_in_the_ui_wins_until_the_yaml_changes(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule

    from flows.deployments import build, remember

    settings, database = Settings(), Settings().platform()

    def apply(client, folder: Path) -> object:
        usecase = settings.use_case(str(folder))
        applied = {each.flow_name: each.apply() for each in build(client, usecase, database)}
        remember(usecase, database)
        return applied["collect"]

    def cron(client, deployment) -> tuple[str, bool]:
        (schedule,) = client.read_deployment_schedules(deployment)
        return schedule.schedule.cron, schedule.active

    folder = make_use_case("timed", {"schedule": {"collect": "0 3 * * *", "active": False}})
    with get_client(sync_client=True) as client:
        deployment = apply(client, folder)
        assert cron(client, deployment) == ("0 3 * * *", False)
        (schedule,) = client.read_deployment_schedules(deployment)
        client.update_deployment_schedule(
            deployment, schedule.id, active=True, schedule=CronSchedule(cron="0 5 * * *", timezone="UTC")
        )
        apply(client, folder)
        assert cron(client, deployment) == ("0 5 * * *", True)
        text = (folder / "usecase.yaml").read_text()
        (folder / "usecase.yaml").write_text(text.replace("0 3 * * *", "0 4 * * *"))
        apply(client, folder)
        assert cron(client, deployment) == ("0 4 * * *", False)


def test_a_run_reports_its_lineage_where_it_is_asked_to(
    make_use_case: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("DRIFTWHEEL_LINEAGE", str(target))
    folder = make_use_case()
    run("collect", str(folder), FIRST)
    (folder / "data" / "rides.csv.gz").unlink()
    with pytest.raises(SourceError):
        run("collect", str(folder), LATER)
    said = [json.loads(line) for line in target.read_text().splitlines()]
    assert [each["eventType"] for each in said] == ["START", "COMPLETE", "START", "FAIL"]
    assert len({each["run"]["runId"] for each in said}) == 2
    assert "rides.csv.gz" in said[-1]["run"]["facets"]["errorMessage"]["message"]
