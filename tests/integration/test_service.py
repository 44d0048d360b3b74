"""The service as a process: its protocol, its journal under kill -9, its swaps."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from expectations.loading import LoadedUseCase, load_use_case
from infra.ports import any_port
from tasks.bundles.bundle import Bundle
from tasks.bundles.golden_rows import redact_golden
from tasks.bundles.manifest import seal
from tasks.bundles.row_frames import jsonable
from tasks.modelling.intervals import Intervals
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.harvest import harvest
from tasks.stores.journal import JournalSegment, read_records, unreadable
from tasks.stores.keys import SCOPES, Keys
from tasks.stores.lake import Lake
from tasks.stores.releases import Releases
from tests.unit.test_training import released, rows

Make = Callable[..., Path]


class Running:
    """A service process with its folders."""

    def __init__(self, folder: Path) -> None:
        self.releases, self.journal = Releases(folder / "releases"), folder / "journal"
        self.port = any_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.key = ""

    def start(self, *options: str, ready_within: float = 60) -> None:
        """Start it, and wait until it is ready: a busy machine takes its time."""
        self.releases.root.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "infra.serving",
                "--releases",
                str(self.releases.root),
                "--journal",
                str(self.journal),
                "--port",
                str(self.port),
                *options,
            ]
        )
        self.wait(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, ready_within)

    def wait(self, done: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if done():
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise AssertionError("waited in vain")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def mount(self, name: str = "rentals") -> dict:
        return httpx.get(f"{self.url}/version").json()["usecases"].get(name, {})

    def ask(self, body: object, path: str = "/invocations") -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedUseCase, Bundle, Bundle]:
    from tests.conftest import make_use_case

    folder = tmp_path_factory.mktemp("made")
    usecase = load_use_case(str(make_use_case.__wrapped__(folder)()))
    first, _, _ = released(usecase, rows(usecase, "2011-03-01"), folder / "first")
    second, _, _ = released(usecase, rows(usecase, "2011-04-01"), folder / "second")
    return usecase, first, second


@pytest.fixture
def service(processes: None, tmp_path: Path, made) -> Iterator[Running]:
    running = Running(tmp_path)
    for bundle in made[1:]:
        running.releases.add("rentals", bundle.folder, bundle.digest)
    running.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    running.start()
    yield running
    running.stop()


def sample(made, n: int = 3) -> list[dict]:
    usecase, bundle, _ = made
    return jsonable(rows(usecase, "2011-02-01").select([c.name for c in bundle.manifest.columns]).head(n))


def test_every_form_of_the_protocol_gives_the_same_predictions(service: Running, made) -> None:
    records = sample(made)
    columns = list(records[0])
    forms = [
        {"dataframe_records": records},
        {"dataframe_split": {"columns": columns, "data": [list(r.values()) for r in records]}},
        {"instances": records},
        {"inputs": {column: [r[column] for r in records] for column in columns}},
    ]
    answers = [service.ask(form).json() for form in forms]
    expected = made[1].predict(rows(made[0], "2011-02-01").head(3))
    for answer in answers:
        np.testing.assert_allclose(answer["predictions"], expected)
        assert answer["version"] == "1"
        assert len(set(answer["ids"])) == 3


def test_many_rows_take_the_batch_path_and_agree_with_one_by_one(service: Running, made) -> None:
    records = sample(made, 400)
    whole = service.ask({"dataframe_records": records}).json()["predictions"]
    parts = [
        service.ask({"dataframe_records": [r]}, "/rentals/invocations").json()["predictions"][0] for r in records[::40]
    ]
    assert parts == whole[::40]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"dataframe_records": [{"time": "2011-01-01T00:00:00Z"}]}, 400, "is missing in row 0"),
        ({"dataframe_records": "x"}, 400, "must be a list of objects"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, 400, "names a column twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, 400, "row 0 must be a list of 1"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, 400, "lists of one length"),
        ({"rows": []}, 400, "exactly one of"),
        ([], 400, "must be an object"),
        ({"dataframe_records": [{}] * 10_001}, 400, "at most 10000 rows"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(service: Running, body: object, status: int, message: str) -> None:
    answer = service.ask(body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("temp", "warm", "temp needs a number in row 0"),
        ("time", "soon", "time needs an ISO 8601 instant"),
        ("weathersit", {"a": 1}, "weathersit needs a text"),
        ("holiday", 0.5, "holiday needs a whole number"),
    ],
)
def test_a_wrong_value_names_its_column_and_row_and_is_not_echoed(
    service: Running, made, column, value, message
) -> None:
    answer = service.ask({"dataframe_records": [{**sample(made, 1)[0], column: value}]})
    assert answer.status_code == 400
    assert message in answer.json()["message"]
    assert str(value) not in answer.json()["message"]


def test_not_json_and_wrong_paths(service: Running) -> None:
    assert httpx.post(f"{service.url}/invocations", content=b"{NaN").status_code == 400
    assert httpx.get(f"{service.url}/invocations").status_code == 405
    assert service.ask({}, "/nobody/invocations").status_code == 404
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_an_unknown_category_and_a_missing_value_are_predicted(service: Running, made) -> None:
    odd = {**sample(made, 1)[0], "weathersit": "hail", "temp": None, "unknown": 1}
    assert service.ask({"dataframe_records": [odd]}).status_code == 200


def test_a_new_version_is_swapped_in_under_load_without_a_failed_request(service: Running, made) -> None:
    _, first, second = made
    record = {"dataframe_records": sample(made, 1)}
    expected = {
        "1": float(first.predict(rows(made[0], "2011-02-01").head(1))[0]),
        "2": float(second.predict(rows(made[0], "2011-02-01").head(1))[0]),
    }
    answers, stop = [], threading.Event()

    def load() -> None:
        with httpx.Client(base_url=service.url) as client:
            while not stop.is_set():
                answers.append(client.post("/invocations", json=record))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for swap in range(6):
        bundle, version = ((second, "2"), (first, "1"))[swap % 2]
        wanted = service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version=version))
        service.wait(lambda g=wanted.generation: service.mount()["generation"] == g)
    stop.set()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in answers} == {200}
    seen = [answer.json() for answer in answers]
    assert {each["version"] for each in seen} == {"1", "2"}
    assert all(each["predictions"][0] == expected[each["version"]] for each in seen)


def test_a_damaged_bundle_is_refused_and_the_old_one_serves_on(service: Running, made) -> None:
    _, first, second = made
    model = service.releases.bundle("rentals", second.digest) / "model.txt"
    model.write_text(model.read_text()[:5000])
    wanted = service.releases.set_desired("rentals", champion=Served(bundle=second.digest, version="2"))
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert "model.txt as it was sealed" in service.mount()["refused"][second.digest]
    assert service.mount()["champion"]["bundle"] == first.digest
    assert service.ask({"dataframe_records": sample(made, 1)}).json()["version"] == "1"


def test_a_candidate_is_proved_beside_the_champion(service: Running, made) -> None:
    _, first, second = made
    candidate = CandidateState(bundle=second.digest, version="2")
    wanted = service.releases.set_desired(
        "rentals", champion=Served(bundle=first.digest, version="1"), candidate=candidate
    )
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert service.mount()["candidate"]["bundle"] == second.digest
    assert service.ask({"dataframe_records": sample(made, 1)}).json()["version"] == "1"


def journaled(journal: Path) -> list[dict]:
    """Return every prediction in the journal, those in open segments too."""
    found = []
    for path in journal.glob("rentals/*/predictions-*"):
        records, odd = read_records(JournalSegment(path))
        assert not odd
        for record in records:
            clock = record.origin.clock
            found += [
                {"id": id_, "bundle": record.origin.bundle, "event_time": None if clock is None else row[clock]}
                for id_, row in zip(record.ids, record.rows, strict=True)
            ]
    return found


@pytest.mark.parametrize("round_", range(int(os.environ.get("DRIFTWHEEL_KILLS", "10"))))
def test_nothing_acknowledged_is_lost_to_kill_nine(service: Running, made, round_: int) -> None:
    record = {"dataframe_records": sample(made, 2)}
    acknowledged: list[str] = []

    def load() -> None:
        with httpx.Client(base_url=service.url) as client:
            try:
                while True:
                    acknowledged.extend(client.post("/invocations", json=record).raise_for_status().json()["ids"])
            except httpx.HTTPError:
                return

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    service.wait(lambda: bool(acknowledged), 60)  # on a busy machine the first answer may take seconds
    time.sleep(random.random())
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    for thread in threads:
        thread.join()

    written = [line["id"] for line in journaled(service.journal)]
    assert acknowledged
    assert set(acknowledged) <= set(written)
    assert len(written) == len(set(written))

    service.start()  # the successor closes what the dead one left
    lake = Lake(str(service.journal.parent / "lake"), "rentals")
    found = harvest(service.journal, "rentals", lake)
    again = harvest(service.journal, "rentals", lake)
    assert found.predictions == len(written)
    assert again.predictions == 0
    assert set(lake.scan("predictions").collect()["id"]) == set(written)


def test_a_harvest_killed_between_commit_and_removal_does_not_double(service: Running, made, monkeypatch) -> None:
    from tasks.stores import harvest as module

    service.ask({"dataframe_records": sample(made, 5)})
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    lake = Lake(str(service.journal.parent / "lake"), "rentals")
    with monkeypatch.context() as patch:
        patch.setattr(module, "clear", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            harvest(service.journal, "rentals", lake)
    harvest(service.journal, "rentals", lake)
    assert lake.scan("predictions").collect().height == 5
    assert not list(service.journal.glob("rentals/*/*.msgpack"))


def test_feedback_is_journaled_and_harvested(service: Running, made) -> None:
    ids = service.ask({"dataframe_records": sample(made, 2)}).json()["ids"]
    one = service.ask({"id": ids[0], "label": 12}, "/feedback")
    two = service.ask({"feedback": [{"id": ids[1], "label": 3.5}]}, "/rentals/feedback")
    wrong = service.ask({"id": ids[0], "label": "many"}, "/feedback")
    low, high = made[1].manifest.label_bounds
    much = service.ask({"feedback": [{"id": ids[0], "label": 1}, {"id": ids[1], "label": high + 1}]}, "/feedback")
    assert (one.status_code, two.status_code, wrong.status_code, much.status_code) == (200, 200, 400, 400)
    assert much.json()["message"] == f"item 1 needs a `label`: a number from {low:g} to {high:g}"
    assert labels_of(service) == {(3.5, ""), (12.0, "")}  # nothing of a request that is refused


def labels_of(service: Running) -> set[tuple[float, str]]:
    """Return the labels in the lake after a harvest, and who sent them."""
    key = {"authorization": f"Bearer {service.key}"} if service.key else {}
    httpx.post(f"{service.url}/journal/seal", headers=key).raise_for_status()
    lake = Lake(str(service.journal.parent / "lake"), "rentals")
    harvest(service.journal, "rentals", lake)
    return set(lake.scan("labels").select("label", "sender").collect().iter_rows())


def test_who_sent_a_label_is_recorded(service: Running, made, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    clients = {name: keys.add(name, [scope]) for name, scope in (("asks", "predict"), ("tells", "feedback"))}
    service.key = keys.add("platform", SCOPES)
    service.stop()
    service.start("--keys", str(keys.path))
    with httpx.Client(base_url=service.url) as client:
        statuses = {
            name: client.post("/feedback", json={"id": "a", "label": 5}, headers={"x-api-key": key}).status_code
            for name, key in {**clients, "nobody": "wrong"}.items()
        }
    assert statuses == {"asks": 403, "tells": 200, "nobody": 401}
    assert labels_of(service) == {(5.0, "tells")}


def test_feedback_that_is_not_wanted_is_refused_with_the_reason(service: Running, made, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    shutil.copytree(made[1].folder, folder)
    digest = seal(folder, made[1].manifest.model_copy(update={"accepts_feedback": False}))
    service.releases.add("rentals", folder, digest)
    wanted = service.releases.set_desired("rentals", champion=Served(bundle=digest, version="3"))
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    refused = service.ask({"id": "a", "label": 5}, "/feedback")
    assert refused.status_code == 403
    assert "feedback: {accept: false}" in refused.json()["message"]
    assert "/rentals/feedback" not in httpx.get(f"{service.url}/openapi.json").json()["paths"]
    assert not list(service.journal.glob("rentals/*/feedback-*"))


def test_a_bundle_from_before_labels_had_bounds_takes_any_number(service: Running, made, tmp_path: Path) -> None:
    folder = tmp_path / "former"
    shutil.copytree(made[1].folder, folder)
    kept = made[1].manifest.model_dump(mode="json", exclude={"label_bounds", "accepts_feedback"})
    (folder / "bundle.json").write_text(json.dumps(kept))
    digest = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    service.releases.add("rentals", folder, digest)
    wanted = service.releases.set_desired("rentals", champion=Served(bundle=digest, version="3"))
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert service.mount()["champion"]["bundle"] == digest
    assert service.ask({"id": "a", "label": 1e299}, "/feedback").status_code == 200


def test_a_journal_that_cannot_be_written_answers_503_and_recovers(service: Running, made) -> None:
    assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    folder = next(service.journal.glob("rentals/*"))
    hidden = folder.rename(folder.with_name("hidden"))
    folder.write_text("in the way")  # root may write anywhere, so a file stands where the folder was
    refused = service.ask({"dataframe_records": sample(made, 1)})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"
    folder.unlink()
    hidden.rename(folder)
    assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200


def test_sigterm_closes_the_journal_and_exits_cleanly(service: Running, made) -> None:
    service.ask({"dataframe_records": sample(made, 1)})
    assert service.stop() == 0
    assert [path.suffix for path in service.journal.glob("rentals/*/*")] == [".msgpack"]


def test_metrics_count_what_happened(service: Running, made) -> None:
    service.ask({"dataframe_records": sample(made, 3)})
    service.ask({"dataframe_records": "x"})
    text = httpx.get(f"{service.url}/metrics").text
    assert 'driftwheel_requests_total{usecase="rentals"} 2.0' in text
    assert 'driftwheel_rows_total{usecase="rentals"} 3.0' in text
    assert 'driftwheel_errors_total{kind="bad_request",usecase="rentals"} 1.0' in text


@pytest.mark.parametrize("rows_", [3, 400])
@pytest.mark.parametrize(
    "form",
    [
        "2011-01-01T05:00:00Z",
        "2011-01-01T05:00:00",
        "2011-01-01 05:00:00",
        "20110101T050000Z",
        "2011-01-01T06:00:00+01:00",
    ],
)
def test_every_form_of_an_instant_is_one_instant(service: Running, made, form: str, rows_: int) -> None:
    records = sample(made, rows_)
    plain = service.ask({"dataframe_records": [{**r, "time": "2011-01-01T05:00:00.000000Z"} for r in records]})
    asked = service.ask({"dataframe_records": [{**r, "time": form} for r in records]})
    assert asked.status_code == 200
    assert asked.json()["predictions"] == plain.json()["predictions"]
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    assert {line["event_time"] for line in journaled(service.journal)} == {"2011-01-01T05:00:00.000000Z"}


@pytest.mark.parametrize("rows_", [1, 300])
@pytest.mark.parametrize(
    ("column", "value"),
    [("temp", 10**400), ("holiday", 2**70), ("weathersit", "a\u0000b"), ("time", "0001-01-01T00:00:00Z")],
)
def test_values_nothing_can_hold_are_refused_whatever_the_size(service: Running, made, column, value, rows_) -> None:
    answer = service.ask({"dataframe_records": [{**record, column: value} for record in sample(made, rows_)]})
    assert answer.status_code == 400
    assert f"{column} needs" in answer.json()["message"]


def test_no_rows_have_no_predictions_and_no_text_is_no_json(service: Running) -> None:
    assert service.ask({"dataframe_records": []}).json()["predictions"] == []
    headers = {"content-type": "application/json"}
    for path in ("/invocations", "/feedback"):
        for body in (b"\xff\xfe", b"[" * 5000, b'{"id": "a", "label": 1' + b"0" * 400 + b"}"):
            assert httpx.post(f"{service.url}{path}", content=body, headers=headers).status_code == 400


def test_the_keeper_outlives_a_wish_that_is_no_json(service: Running, made) -> None:
    path = service.releases.root / "rentals" / "desired.json"
    good = path.read_text()
    path.write_bytes(b"\xff\xfe{")
    time.sleep(0.6)
    path.write_text(good)
    wanted = service.releases.set_desired("rentals", champion=Served(bundle=made[2].digest, version="2"))
    service.wait(lambda: service.mount()["generation"] == wanted.generation)


@pytest.mark.parametrize("text", ["light\train", "a\\b", "C:\\users\\u0041", "a\x01b", 'quote" and \\', "a\\"])
def test_a_row_is_harvested_as_it_was_asked(service: Running, made, tmp_path: Path, text: str) -> None:
    from tasks.bundles.served_rows import decode_rows

    columns = made[1].manifest.columns
    asked = [{**record, "weathersit": text, "temp": temp} for record in sample(made, 2) for temp in (1e300, -1e-7, 0.1)]
    assert service.ask({"dataframe_records": asked}).status_code == 200
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    lake = Lake(str(tmp_path / "lake"), "rentals")
    assert harvest(service.journal, "rentals", lake).predictions == 6
    found = decode_rows(lake.scan("predictions").collect(), columns)
    assert set(found["weathersit"]) == {text}
    assert sorted(found["temp"]) == sorted(row["temp"] for row in asked)


def test_what_is_no_record_is_set_aside_and_holds_nothing_back(service: Running, made, tmp_path: Path) -> None:
    for _ in range(3):
        service.ask({"dataframe_records": sample(made, 1)})
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    (segment,) = service.journal.glob("rentals/*/predictions-*.msgpack")
    good = segment.read_bytes()
    first = good[: 5 + int.from_bytes(good[1:5], "big")]
    garbled = first[:-1] + bytes([first[-1] ^ 1])
    segment.write_bytes(b"\0" * 4096 + good + garbled + first[:-1])
    lake = Lake(str(tmp_path / "lake"), "rentals")
    assert harvest(service.journal, "rentals", lake).predictions == 3
    (kept,) = unreadable(service.journal, "rentals")
    assert kept.read_bytes() == b"\0" * 4096 + garbled + first[:-1]
    assert harvest(service.journal, "rentals", lake).predictions == 0
    assert lake.scan("predictions").collect()["id"].n_unique() == 3


def test_an_answer_says_how_far_it_may_be_off_where_that_is_asked_for(service: Running, made) -> None:
    records = sample(made, 5)
    plain = service.ask({"dataframe_records": records}).json()
    assert "intervals" not in plain
    said = service.ask({"dataframe_records": records, "params": {"output": "interval"}}).json()
    assert said["predictions"] == plain["predictions"]
    assert said["coverage"] == 0.9
    assert all(low < value < high for value, (low, high) in zip(said["predictions"], said["intervals"], strict=True))
    schema = httpx.get(f"{service.url}/openapi.json").json()["components"]["schemas"]["rentals.answer"]["properties"]
    assert schema["intervals"]["items"]["type"] == "array"


def test_intervals_that_learnt_since_surround_the_same_predictions_and_the_champion_is_the_same(
    service: Running, made
) -> None:
    asked = {"dataframe_records": sample(made, 5), "params": {"output": "interval"}}
    before, was = service.ask(asked).json(), service.mount()
    learnt = Intervals(coverage=0.8, rows=500, reach=(20.0,), below=(-10.0,))
    served = service.releases.desired("rentals")
    service.releases.set_desired("rentals", champion=served.champion.model_copy(update={"intervals": learnt}))
    service.wait(lambda: service.mount()["champion"].get("intervals") == learnt.name)
    said, now = service.ask(asked).json(), service.mount()
    assert said["predictions"] == before["predictions"]
    assert said["intervals"] == [[value + 10, value + 20] for value in said["predictions"]]
    assert said["coverage"] == 0.8
    assert {name: now[name] for name in ("swaps", "previous")} == {name: was[name] for name in ("swaps", "previous")}
    assert service.releases.desired("rentals").previous == served.previous
    service.releases.set_desired("rentals", champion=served.champion)  # and back to those of the bundle
    service.wait(lambda: "intervals" not in service.mount()["champion"])
    assert service.ask(asked).json()["intervals"] == before["intervals"]


def test_a_version_without_intervals_says_so(service: Running, made, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(made[1].folder, older)
    (older / "intervals.json").unlink()
    digest = seal(older, made[1].manifest)
    service.releases.add("rentals", older, digest)
    service.releases.set_desired("rentals", champion=Served(bundle=digest, version="7"))
    service.wait(lambda: service.mount()["champion"]["version"] == "7")
    refused = service.ask({"dataframe_records": sample(made), "params": {"output": "interval"}})
    assert refused.status_code == 400
    assert "version 7 has no intervals" in refused.json()["message"]


def test_a_candidate_without_intervals_leaves_them_to_the_champion(service: Running, made, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(made[2].folder, lacking)
    (lacking / "intervals.json").unlink()
    digest = seal(lacking, made[2].manifest)
    service.releases.add("rentals", lacking, digest)
    candidate = CandidateState(bundle=digest, version="8", mode="canary", share=1.0)
    service.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"), candidate=candidate)
    service.wait(lambda: (service.mount()["candidate"] or {}).get("version") == "8")
    service.releases.keep_watch("rentals")
    asked = {"dataframe_records": sample(made), "params": {"output": "interval"}}
    service.wait(lambda: service.ask({"dataframe_records": sample(made)}).json()["version"] == "8")
    answer = service.ask(asked)
    assert (answer.status_code, answer.json()["version"]) == (200, "1")
    assert service.mount()["models"][digest]["failures"] == 0  # one would end its release


def test_a_bundle_whose_golden_rows_were_all_erased_is_served(service: Running, made, tmp_path: Path) -> None:
    redacted = tmp_path / "redacted"
    shutil.copytree(made[2].folder, redacted)
    digest = seal(redacted, made[2].manifest)
    folder = service.releases.add("rentals", redacted, digest)
    redact_golden(folder, range(len(made[2].golden()[0])))
    service.releases.set_desired("rentals", champion=Served(bundle=digest, version="9"))
    service.wait(lambda: service.mount()["champion"]["version"] == "9")
    assert service.ask({"dataframe_records": sample(made)}).status_code == 200
