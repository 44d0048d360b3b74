"""Shadow and canary on a real service under traffic: kept when good, withdrawn within a step when not."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from expectations.durations import Duration
from expectations.errors import ReleaseError, UnreachableError
from expectations.production import Release
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.manifest import Manifest
from tasks.deployment import releasing, rollout
from tasks.deployment.guarding import StepVerdict
from tasks.deployment.rollout import Rollout, roll_out
from tasks.monitoring.harvesting import note_troubles
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.places import Job, Places
from tasks.stores.registry import ModelVersion
from tasks.stores.releases import WATCHED_SECONDS, Releases
from tasks.stores.whole_files import copied
from tests.integration.test_service import Running, made, rows, sample
from tests.unit.test_progress import reported
from tests.unit.test_training import released

__all__ = ["made"]


@pytest.fixture
def job(processes: None, tmp_path: Path, made) -> Iterator[Job]:
    usecase, first, second = made
    wild = rows(usecase, "2011-03-01").with_columns(pl.col(usecase.spec.label.column) * 3)
    third, _, _ = released(usecase, wild, tmp_path / "third")
    service = Running(tmp_path)
    for bundle in (first, second, third):
        service.releases.add("rentals", bundle.folder, bundle.digest)
    service.releases.set_desired("rentals", champion=Served(bundle=first.digest, version="1"))
    service.start()
    places = Places(
        lake=str(tmp_path / "lake"), database=f"sqlite:///{tmp_path}/platform.db", tracking="", flow_api="",
        service=service.url, reports_ui="", releases=service.releases.root, journal=service.journal,
        reports=tmp_path / "reports", secret=b"k",
    )  # fmt: skip
    found = Job(usecase, places, datetime.now(UTC))
    found.third = third.digest  # type: ignore[attr-defined]
    yield found
    service.stop()


@contextmanager
def traffic(job: Job, made) -> Iterator[list[int]]:
    records, stop, statuses = sample(made, 300), threading.Event(), []

    def load() -> None:
        with httpx.Client(base_url=job.places.service) as client:
            at = 0
            while not stop.is_set():
                body = {"dataframe_records": records[at % 290 : at % 290 + 10]}
                statuses.append(client.post("/invocations", json=body).status_code)
                at += 10
                time.sleep(0.005)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def versions(job: Job) -> list[dict]:
    with job.places.open_service() as service:
        return service.ask("GET", "/version")


def plan(strategy: str, **changes: object) -> Release:
    fields = {"strategy": strategy, "steps": (0.2, 0.5), "step": Duration.parse("3s"), "min_rows": 50, **changes}
    return Release.model_validate(fields)


@pytest.mark.parametrize(("strategy", "steps"), [("canary", 2), ("shadow", 1), ("replace", 0)])
def test_a_good_candidate_goes_through_every_step(job: Job, made, strategy: str, steps: int) -> None:
    loose = {"max_drift": 2.0, "min_agreement": 0.3, "max_latency": 50.0}
    with traffic(job, made) as statuses, reported() as lines:
        done = roll_out(job, ModelVersion("2", made[2].digest, "run"), plan(strategy, guardrails=loose))
    assert done.kept, done.summary
    assert len(done.steps) == steps
    said = re.compile(r"step ([0-9]) of ([0-9]), (?:with|in the) .*until [0-9:]{8} UTC, [0-9]+ s left")
    told = {found.groups() for found in map(said.match, lines) if found}
    assert told == {(str(each + 1), str(steps)) for each in range(steps)}
    assert set(statuses) <= {200}
    assert job.releases.desired("rentals").champion.bundle == made[1].digest  # the release itself is the next stage's


@pytest.mark.parametrize("strategy", ["canary", "shadow"])
def test_a_wild_candidate_is_withdrawn_within_a_step_and_nobody_is_failed(job: Job, made, strategy: str) -> None:
    began = time.monotonic()
    with traffic(job, made) as statuses:
        done = roll_out(job, ModelVersion("3", job.third, "run"), plan(strategy, step=Duration.parse("20s")))  # type: ignore[attr-defined]
    assert not done.kept
    assert "distance of the predictions" in done.summary
    assert time.monotonic() - began < 20
    assert set(statuses) == {200}
    desired = job.releases.desired("rentals")
    assert (desired.champion.bundle, desired.candidate) == (made[1].digest, None)


def test_what_the_service_says_is_wrong_reaches_the_ledger_once(job: Job, made) -> None:
    model = job.releases.bundle("rentals", made[2].digest) / "model.txt"
    model.write_text(model.read_text()[:5000])
    job.releases.set_desired("rentals", champion=Served(bundle=made[2].digest, version="2"))
    for _ in range(100):
        version = versions(job)[0]
        if version["usecases"]["rentals"]["refused"]:
            break
        time.sleep(0.1)
    version["journal"]["trouble"] = "No space left on device"  # filling a disk for real is test_serving_depth's
    note_troubles(job, [version, version])
    note_troubles(job, [version, version])
    entries = job.database.entries("rentals")
    assert [entry.action for entry in entries] == ["refused", "unlogged"]
    assert "model.txt as it was sealed" in entries[0].summary
    assert {each.kind: each.times_seen for each in job.database.open_findings("rentals")} == {
        "bundle-refused": 4,
        "unlogged": 4,
    }
    version["journal"]["trouble"] = ""
    note_troubles(job, [version])
    assert [each.kind for each in job.database.open_findings("rentals")] == ["bundle-refused"]


def test_a_share_without_any_known_entity_is_refused_before_it_begins(job: Job, made) -> None:
    keyed = replace_keys(job, ["station"])
    stations = pl.DataFrame({"station": ["north", "south"]})  # at 0.478 and 0.775
    job.lake.append("clean", stations, transactions={"clean": 1})
    with pytest.raises(ReleaseError, match=r"none of the 2 known; the first one comes at 47\.8%"):
        rollout._require_entities(job, keyed, 0.25)
    rollout._require_entities(job, keyed, 0.5)


def replace_keys(job: Job, keys: list[str]) -> Manifest:
    """Return the manifest of a bundle that is served, about entities of another key."""
    desired = job.releases.desired(job.name)
    assert desired is not None
    assert desired.champion is not None
    manifest = load_bundle(job.releases.bundle(job.name, desired.champion.bundle)).manifest
    column = manifest.columns[0].model_copy(update={"name": "station", "type": "text"})
    return manifest.model_copy(update={"keys": tuple(keys), "columns": (*manifest.columns, column)})


def test_a_rerun_judges_the_steps_of_its_own_plan(job: Job, made) -> None:
    left = CandidateState(bundle=made[2].digest, version="2", mode="canary", share=0.9)
    job.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"), candidate=left)
    done = roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary", step=Duration.parse("1s")))
    assert not done.kept
    assert done.steps[0].share == 0.2


def test_what_an_operator_does_meanwhile_stands(job: Job, made) -> None:
    def operate() -> None:
        time.sleep(1.5)
        job.releases.set_desired("rentals", champion=Served(bundle=job.third, version="3"))  # type: ignore[attr-defined]

    thread = threading.Thread(target=operate, daemon=True)
    thread.start()
    with traffic(job, made), pytest.raises(ReleaseError, match="meanwhile"):
        roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary", step=Duration.parse("5s")))
    thread.join()
    with pytest.raises(ReleaseError, match="meanwhile"):  # nor after the last step
        releasing.release(job, ModelVersion("2", made[2].digest, "run"))
    assert job.releases.desired("rentals").champion.bundle == job.third  # type: ignore[attr-defined]


def test_what_an_operator_does_while_a_step_is_judged_stands(job: Job, made, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.deployment import rollout

    gather, desired = rollout.gather_evidence, Served(bundle=job.third, version="3")  # type: ignore[attr-defined]

    def slowly(*arguments: object) -> object:
        found = gather(*arguments)  # type: ignore[arg-type]
        job.releases.set_desired("rentals", champion=desired)
        return found

    monkeypatch.setattr(rollout, "gather_evidence", slowly)
    with pytest.raises(ReleaseError, match="meanwhile"):
        roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary", step=Duration.parse("1s")))
    assert job.releases.desired("rentals").champion == desired


def test_a_release_that_fails_leaves_no_candidate_behind(job: Job, made, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.deployment import rollout

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout, "_watch", fail)
    with pytest.raises(KeyboardInterrupt):
        roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary"))
    assert job.releases.desired("rentals").candidate is None


def test_without_traffic_nothing_is_promoted(job: Job, made) -> None:
    done = roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary"))
    assert not done.kept
    assert "only 0 rows" in done.summary


def test_a_release_whose_watcher_is_killed_answers_nobody_until_somebody_watches_again(job: Job, made) -> None:
    left = CandidateState(bundle=made[2].digest, version="2", mode="canary", share=1.0)
    wanted = job.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"), candidate=left)

    def said() -> dict:
        return versions(job)[0]["usecases"]["rentals"]

    def version() -> str:
        with job.places.open_service() as service:
            return service.client.post("/invocations", json={"dataframe_records": sample(made, 1)}).json()["version"]

    def wait(done: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not done():
            assert time.monotonic() < end
            time.sleep(0.05)

    wait(lambda: said()["generation"] == wanted.generation)
    assert version() == "2"
    watch = job.releases.root / "rentals" / "watched"
    os.utime(watch, (0, time.time() - 2 * WATCHED_SECONDS))
    wait(lambda: version() == "1")
    assert not said()["candidate"]["watched"]
    note_troubles(job, versions(job))
    assert "the champion answers alone" in job.database.entries("rentals")[-1].summary
    job.releases.keep_watch("rentals")
    wait(lambda: version() == "2")


def test_other_inputs_stay_allowed_through_every_step(job: Job, made, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.deployment import rollout

    allowed = []

    def look(job: Job, *_: object) -> StepVerdict:
        allowed.append(job.releases.desired("rentals").new_signature)
        return StepVerdict("good", 0, ())

    monkeypatch.setattr(rollout, "_watch", look)
    roll_out(job, ModelVersion("2", made[2].digest, "run"), plan("canary"), new_signature=True)
    assert allowed == [True, True]


def test_a_disk_that_is_away_for_a_moment_refuses_nothing(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.serving import mounts as module

    releases = Releases(tmp_path)
    for bundle, version in ((made[1], "1"), (made[2], "2")):
        releases.add("rentals", bundle.folder, bundle.digest)
        releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version=version))
    mounts, away = module.Mounts(releases), [made[2].digest]

    def load(folder: Path, digest: str) -> Bundle:
        if digest in away:
            raise OSError("libgomp.so.1: cannot open shared object file")
        return load_bundle(folder, digest)

    monkeypatch.setattr(module, "load_bundle", load)
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.0)
    asyncio.run(mounts.reconcile())
    mount = mounts.by_name["rentals"]
    assert (mount.champion.version, mount.refused) == ("1", {})  # the one before, meanwhile
    assert mount.trouble == f"bundle {made[2].digest[:12]}: libgomp.so.1: cannot open shared object file"
    away.clear()
    asyncio.run(mounts.reconcile())
    assert (mount.champion.version, mount.trouble) == ("2", "")
    assert (mount.again_at, mounts.prepared()["rentals"][0]) == (None, 2)


def test_a_damaged_champion_that_is_mended_is_served_again(job: Job, made, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ModelVersion("2", made[2].digest, "run")
    model = job.releases.bundle("rentals", version.bundle) / "model.txt"
    model.write_text("tree")
    job.releases.set_desired("rentals", champion=Served(bundle=version.bundle, version="2"))
    for _ in range(100):
        if versions(job)[0]["usecases"]["rentals"]["refused"]:
            break
        time.sleep(0.1)

    class Registry:  # MLflow itself brings one back in test_loop
        def fetch(self, version: str, folder: Path) -> Path:
            return made[2].folder

    monkeypatch.setattr(Job, "registry", lambda _: Registry())
    releasing.restore_bundle(job, version)
    releasing.bless(job, version)
    releasing.release(job, version)
    said = versions(job)[0]["usecases"]["rentals"]
    assert (said["champion"]["version"], said["refused"]) == ("2", {})
    assert not list(job.releases.bundle("rentals", version.bundle).parent.glob(".*"))


@pytest.mark.process
def test_a_release_concerns_every_replica(job: Job, made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.deployment.replica_counts import Counting
    from tasks.monitoring.harvesting import harvest_journal

    first = httpx.URL(job.places.service)
    second = Running(tmp_path)
    second.port, second.url = first.port, f"http://127.0.0.2:{first.port}"
    second.start("--host", "127.0.0.2")
    listed = ["127.0.0.1", "127.0.0.2"]
    monkeypatch.setattr("tasks.stores.service.resolve", lambda _: listed)
    monkeypatch.setattr("tasks.deployment.releasing.LEAVING_SECONDS", 1.0)
    job = Job(job.usecase, dataclasses.replace(job.places, service=f"http://localhost:{first.port}"), job.as_of)
    try:
        counting = Counting(job)
        for url, requests in ((str(first), 2), (second.url, 3)):
            for _ in range(requests):
                httpx.post(f"{url}/invocations", json={"dataframe_records": sample(made, 4)}).raise_for_status()
        counting.look()
        assert counting.of(made[1].digest).requests == 5
        listed[1] = "127.0.0.1"  # what it did counts, also where it has gone
        httpx.post(f"{first}/invocations", json={"dataframe_records": sample(made, 4)}).raise_for_status()
        counting.look()
        assert counting.of(made[1].digest).requests == 6
        late = Counting(job)
        listed[1] = "127.0.0.2"  # nor does what it did before it was known
        late.look()
        assert late.of(made[1].digest).requests == 0
        assert harvest_journal(job).predictions == 24

        version = ModelVersion("2", made[2].digest, "run")
        releasing.bless(job, version)
        releasing.release(job, version)
        for url in (str(first), second.url):
            answer = httpx.post(f"{url}/invocations", json={"dataframe_records": sample(made, 1)}).json()
            assert answer["version"] == "2"
    finally:
        second.stop()
    with pytest.raises(UnreachableError, match="connection refused"):
        releasing.bless(job, ModelVersion("1", made[1].digest, "run"))


@pytest.mark.parametrize(
    ("address", "environment", "found"),
    [
        ("http://127.0.0.1:8080", {}, []),
        ("http://localhost:8080/prefix", {}, []),
        ("http://behind.example", {"http_proxy": "http://proxy:3128"}, []),
        ("http://nowhere.invalid", {}, httpx.ConnectError),
    ],
)
def test_what_a_name_stands_for(
    address: str, environment: dict[str, str], found: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.stores.service import resolve

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if isinstance(found, list):
        assert resolve(httpx.URL(address)) == found
    else:
        with pytest.raises(httpx.ConnectError):
            resolve(httpx.URL(address))


def test_one_family_of_addresses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from tasks.stores import service

    both = [(socket.AF_INET6, 1, 6, "", ("::2", 80, 0, 0)), (socket.AF_INET, 1, 6, "", ("10.0.0.2", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*both, *both])
    assert service.resolve(httpx.URL("http://service.example")) == ["10.0.0.2"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both[:1])
    assert service.resolve(httpx.URL("http://service.example")) == ["::2"]


def test_an_operators_wish_while_a_bundle_is_proved_stands(job: Job, made, monkeypatch: pytest.MonkeyPatch) -> None:
    third = Served(bundle=job.third, version="3")  # type: ignore[attr-defined]
    monkeypatch.setattr(releasing, "has_image", lambda *_: True)
    monkeypatch.setattr(releasing, "prove_in_image", lambda *_: job.releases.set_desired("rentals", champion=third))
    releasing.bless(job, ModelVersion("2", made[2].digest, "run"))
    desired = job.releases.desired("rentals")
    assert desired.champion == third
    assert desired.candidate.bundle == made[2].digest


def test_a_wish_that_comes_between_ends_a_release_at_once_and_stands(
    job: Job, made, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = ModelVersion("2", made[2].digest, "run")
    releasing.bless(job, version)
    third = Served(bundle=job.third, version="3")  # type: ignore[attr-defined]
    waiting = releasing.await_generation

    def meanwhile(*arguments: object) -> None:
        job.releases.set_desired("rentals", champion=third)
        waiting(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(releasing, "await_generation", meanwhile)
    began = time.monotonic()
    with pytest.raises(ReleaseError, match="another release or rollback was made meanwhile"):
        releasing.release(job, version)
    assert time.monotonic() - began < 10
    assert job.releases.desired("rentals").champion == third


def test_what_is_forgotten_and_begun_anew_at_once_is_served(job: Job, made) -> None:
    first, second = made[1:]
    job.releases.set_desired("rentals", champion=Served(bundle=second.digest, version="2"))
    job.releases.forget("rentals")
    assert job.releases.names() == []
    job.releases.add("rentals", first.folder, first.digest)
    wanted = job.releases.set_desired("rentals", champion=Served(bundle=first.digest, version="7"))
    assert wanted.generation == 3  # a count that began anew would be taken for one that is past
    releasing.await_generation(
        job,
        wanted.generation,
        lambda mount: bool(mount["champion"]) and mount["champion"]["version"] == "7",
        first.digest,
    )


def test_a_damaged_wish_is_forgotten_too(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    releases.set_desired("rentals", champion=Served(bundle="a", version="1"))
    (tmp_path / "rentals" / "desired.json").write_text("half")
    releases.forget("rentals")
    assert releases.names() == []
    assert not releases.are_away()
    assert releases.set_desired("rentals", champion=Served(bundle="a", version="1")).champion.version == "1"


def test_a_copy_that_was_killed_is_removed_by_the_next_and_nobody_elses_file(tmp_path: Path) -> None:
    folder, killed = tmp_path / "sealed", tmp_path / "models" / f".mine.{'0' * 32}"
    other = killed.with_name(f".abc.{'1' * 32}")
    for each in (folder, killed, other):
        each.mkdir(parents=True)
        (each / "bundle.json").write_text("{}")
    with pytest.raises(OSError, match="full"), copied(folder, killed.with_name("mine")):
        raise OSError("full")
    assert [*killed.parent.iterdir()] == [other]
    with copied(folder, killed.with_name("mine")) as copy:
        copy.rename(killed.with_name("mine"))
    assert (killed.with_name("mine") / "bundle.json").read_text() == "{}"


def test_of_wishes_at_once_none_is_lost(tmp_path: Path) -> None:
    releases = Releases(tmp_path)

    def wanted(number: int) -> int:
        return releases.set_desired("x", champion=Served(bundle=str(number), version=str(number))).generation

    with ThreadPoolExecutor(16) as pool:
        generations = list(pool.map(wanted, range(64)))
    assert sorted(generations) == list(range(1, 65))
    with pytest.raises(ReleaseError, match="generation 64"):
        releases.set_desired("x", champion=None, after=63)
    assert releases.set_desired("x", champion=None, after=64).generation == 65


@pytest.mark.parametrize(
    ("history", "present", "expected"),
    [
        ("1 2", "2", "1"),
        ("1 2 2", "2", "1"),
        ("1 2 1", "1", "2"),
        ("1 2 3 1", "1", "3"),
        ("1 2 3 <2", "2", "1"),
        ("1 2 3 <2 4", "4", "2"),
        ("1 2 3", "2", "2"),  # a rollback that was killed between the service and the ledger
        ("1", "1", None),
        ("1 2 <1", "1", None),
    ],
)
def test_a_rollback_goes_to_the_champion_before(
    job: Job, monkeypatch: pytest.MonkeyPatch, history: str, present: str, expected: str | None
) -> None:
    from flows import versions
    from tasks.stores.ledger import Entry

    for at, step in enumerate(history.split()):
        action, bundle = ("rolled back", step[1:]) if step.startswith("<") else ("promoted", step)
        evidence = {"version": bundle, "bundle": bundle, "run": "r"}
        with job.database.transaction() as connection:
            job.database.write(
                connection, Entry(str(at), "rentals", job.as_of, "deploy", action, "manual", "", evidence)
            )
    job.releases.set_desired("rentals", champion=Served(bundle=present, version=present))
    chosen = []
    monkeypatch.setattr(versions, "_settle", lambda _, version, *__, **___: chosen.append(version.bundle))
    steps = versions.Steps(restore=lambda *_: None, bless=lambda *_, **__: None)
    if expected is None:
        with pytest.raises(ReleaseError, match="none in the ledger"):
            versions.deploy_version(job, "previous", Release(), steps)
    else:
        versions.deploy_version(job, "previous", Release(), steps=steps)
        assert chosen == [expected]


def test_a_version_the_service_refuses_by_hand_is_in_the_ledger(
    job: Job, made, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import versions

    version = ModelVersion("2", made[2].digest, "run")
    model = job.releases.bundle("rentals", made[2].digest) / "model.txt"
    model.write_text(model.read_text()[:5000])
    monkeypatch.setattr(versions, "send_waiting", lambda _: None)
    with pytest.raises(ReleaseError, match="as it was sealed"):
        versions.deploy_version(job, "2", Release(), steps=versions.Steps(choose=lambda *_: version))
    (entry,) = job.database.entries("rentals")
    assert (entry.action, entry.evidence["bundle"]) == ("refused", made[2].digest)
    assert [each.kind for each in job.database.open_findings("rentals")] == ["not-released"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"version": "2", "turn_id": "abc"}, "a turn, or a version"),
        ({"plan": Release()}, "a version for plan"),
        ({"new_signature": True, "version": ""}, "a version for new_signature"),
        ({"version": "previous", "plan": Release()}, "at once, with the inputs it had"),
    ],
)
def test_what_would_be_left_out_of_a_form_is_refused(asked: dict[str, Any], said: str) -> None:
    from flows.deploy import deploy

    with pytest.raises(ReleaseError, match=said):
        deploy.fn("rentals", **asked)


def test_that_somebody_was_quicker_is_no_refusal(job: Job, made) -> None:
    from flows import versions

    third = Served(bundle=job.third, version="3")  # type: ignore[attr-defined]
    version = ModelVersion("2", made[2].digest, "run")

    def overtaken(*_: object, **__: object) -> Rollout:
        job.releases.set_desired("rentals", champion=third)
        return Rollout(())

    with pytest.raises(ReleaseError, match="meanwhile"):
        versions.deploy_version(
            job, "2", Release(), steps=versions.Steps(choose=lambda *_: version, roll_out=overtaken)
        )
    assert job.database.entries("rentals") == []
    assert job.releases.desired("rentals").champion == third
