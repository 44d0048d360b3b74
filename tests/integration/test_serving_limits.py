"""What the service keeps to: headers, bodies and shadows without end, folders that go away, models that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import shutil
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from expectations.problems import ScoreMeaning, problem_of
from infra.serving import offloading, shadowing
from infra.serving.access import Access
from infra.serving.admission import Limits
from infra.serving.app import Service
from infra.serving.bad_requests import BadRequestError
from infra.serving.journal_writer import Journal
from infra.serving.models import Model, make_ready
from infra.serving.mounts import Mounts
from infra.serving.outputs import present
from infra.serving.predicting import Predictions
from infra.serving.random_ids import random_texts
from infra.serving.replies import Reply
from infra.serving.timestamps import present_instant
from infra.serving.workers import Workers
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.manifest import seal
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.keys import Keys
from tasks.stores.releases import Releases
from tests.integration.test_service import Running, made, sample
from tests.integration.test_serving_depth import idle, service

__all__ = ["idle", "made", "service"]


def _received(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(1 << 16):
        received += part
    return received


def _send(connection: socket.socket, content: bytes, size: int) -> None:
    for _ in range(size // len(content)):
        connection.sendall(content)


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


# --- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endless",
    [b"x-more: and more\r\n" * 100, b"x" * 2000],
    ids=["lines", "one line"],
)
def test_what_follows_a_body_in_pieces_has_an_end(idle: Running, tmp_path: Path, endless: bytes) -> None:
    Keys(tmp_path / "keys.json").add("app", ["predict"])
    idle.start("--keys", str(tmp_path / "keys.json"))
    with socket.create_connection(("127.0.0.1", idle.port), timeout=5) as connection:
        connection.sendall(b"POST /livez HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        with pytest.raises(ConnectionError):
            _send(connection, endless, 20 * 2**20)


@pytest.mark.parametrize("size", [40_000, 100_000, 300_000])
def test_headers_beyond_the_limit_are_refused_however_they_come(service: Running, size: int) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"y" * size + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 431")


def test_many_small_requests_at_once_are_no_large_headers(service: Running) -> None:
    one = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-some: " + b"y" * 150 + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(one * 300 + one[:40])
        time.sleep(0.3)
        connection.sendall(one[40:])
        connection.shutdown(socket.SHUT_WR)
        assert _received(connection).count(b"HTTP/1.1 200") == 301


def test_a_board_that_cannot_be_written_silences_nobody(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    workers, journal = Workers(tmp_path / "workers", 0), Journal(tmp_path / "journal")
    mounts = Mounts(Releases(tmp_path / "releases"), workers)
    service = Service(mounts, journal, Access(None, loopback=True), workers)
    (tmp_path / "workers" / ".0.json").mkdir()  # fails as a full disk does

    async def ask() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://localhost") as client:
            return [(await client.get(path)).status_code for path in ("/metrics", "/version")]

    try:
        with pytest.raises(OSError, match="directory"):
            workers.say({}, {})
        assert asyncio.run(ask()) == [200, 200]
    finally:
        service.close()
        journal.close()


@pytest.fixture
def few_files() -> Iterator[None]:
    """As few handles as many a shell gives; the service takes more for itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


PROBES = ("/livez", "/readyz", "/ping", "/health")


def test_idle_sockets_in_any_number_shut_nobody_out(idle: Running, made, few_files: None, tmp_path: Path) -> None:
    key = Keys(tmp_path / "keys.json").add("app", ["predict"])
    idle.start("--keys", str(tmp_path / "keys.json"))
    headers = {"authorization": f"Bearer {key}"}
    with contextlib.ExitStack() as stack, httpx.Client(base_url=idle.url, headers=headers) as client:
        assert client.get("/version").status_code == 200
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for _ in range(2100):
            stack.enter_context(socket.create_connection(("127.0.0.1", idle.port), timeout=10))
        for path in PROBES:
            assert httpx.get(f"{idle.url}{path}").status_code == 200
        asked = httpx.post(f"{idle.url}/invocations", json={"dataframe_records": sample(made, 1)}, headers=headers)
        assert asked.status_code == 200
        answer = client.get("/metrics")  # by the connection it had before
        assert answer.status_code == 200
        seen = [line.split() for line in answer.text.splitlines() if line.startswith("driftwheel_connections_closed")]
        assert float(dict(seen)['driftwheel_connections_closed_total{why="quiet"}']) >= 1100
        assert 'driftwheel_refused_total{status="503"} 0.0\n' in answer.text


def test_a_request_to_upgrade_does_nothing(service: Running, made) -> None:
    service.ask({"dataframe_records": sample(made, 1)})
    upgrade = "connection: upgrade\r\nupgrade: h2c"
    large = json.dumps({"dataframe_records": sample(made, 3000)}).encode()
    smuggled = _post("/journal/seal", b"")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post("/journal/seal", b"", upgrade))
        assert _received(connection).startswith(b"HTTP/1.1 400")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post("/invocations", large) + _post("/feedback", smuggled, upgrade))
        answers = _received(connection)
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1") == 1
    assert not list(service.journal.glob("rentals/*/*.msgpack"))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/feedback", 405, "BAD_REQUEST"),
        ("POST", "/feedback/", 404, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_every_error_has_one_shape(service: Running, method: str, path: str, status: int, code: str) -> None:
    answer = httpx.request(method, f"{service.url}{path}", headers={"host": "localhost:1"})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        head, _, body = _received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["error_code"] == "BAD_REQUEST"


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"dataframe_records": [' + b"{}," * 4_000_000 + b"{}]}",
        b'{"dataframe_split": {"columns": ["a"], "data": [' + b"[]," * 4_000_000 + b"[]]}}",
        b'{"inputs": {"a": [' + b"1.5," * 3_000_000 + b"1]}}",
    ],
    ids=["records", "split", "inputs"],
)
def test_a_body_of_too_many_values_is_refused_before_it_costs_memory(service: Running, body: bytes) -> None:
    import psutil

    assert service.process is not None
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    answer = httpx.post(f"{service.url}/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 413)
    assert process.memory_info().rss - before < 80 * 2**20


def test_a_number_beyond_all_bounds_is_told_by_its_column(service: Running, made) -> None:
    body = json.dumps({"dataframe_records": sample(made, 2)}).encode()
    at = body.rindex(b'"temp": ') + len(b'"temp": ')
    body = body[:at] + b"1e999" + body[body.index(b",", at) :]
    answer = httpx.post(f"{service.url}/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "temp" in answer.json()["message"]
    assert "row 1" in answer.json()["message"]


def test_what_is_no_text_is_told_by_its_place_alone(service: Running) -> None:
    body = b'{"dataframe_records": [{"a": "\xfe"}]}'
    answer = httpx.post(f"{service.url}/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "fe" not in answer.json()["message"].replace("feature", "")


def test_a_text_the_program_reads_as_an_instant_is_checked_as_one(service: Running, made, tmp_path: Path) -> None:
    columns = tuple(
        column.model_copy(update={"type": "text"}) if column.type == "instant" else column
        for column in made[2].manifest.columns
    )
    bundle = _altered(made[2], tmp_path, columns=columns)
    reader = make_ready(bundle, 100).reader
    record = sample(made, 1)[0]
    name = next(column.name for column in bundle.program.inputs if column.kind == "instant")
    with pytest.raises(BadRequestError, match=f"column {name} needs an ISO 8601 instant in row 0") as raised:
        reader.read(json.dumps({"dataframe_records": [{**record, name: "Secret-4711"}]}).encode())
    assert "Secret" not in str(raised.value)


# --- folders and models -----------------------------------------------------------------------------------------------


def _altered(bundle: Bundle, tmp_path: Path, **changes: object) -> Bundle:
    folder = tmp_path / f"altered-{random_texts(8, 1)[0]}"
    shutil.copytree(bundle.folder, folder)
    return load_bundle(folder, seal(folder, bundle.manifest.model_copy(update=changes)))


def test_a_folder_of_releases_that_goes_away_unloads_nothing(service: Running, made) -> None:
    away, body = service.releases.root.with_name("away"), {"dataframe_records": sample(made, 1)}
    service.ask(body)
    service.releases.root.rename(away)
    service.wait(lambda: "away" in service.mount()["trouble"])
    assert service.ask(body).status_code == 200
    assert httpx.get(f"{service.url}/readyz").status_code == 200
    service.releases.root.mkdir()  # a mount point without its disk
    time.sleep(1)
    assert service.ask(body).status_code == 200
    service.releases.root.rmdir()
    away.rename(service.releases.root)
    service.wait(lambda: not service.mount()["trouble"])
    service.releases.set_desired("rentals", champion=Served(bundle=made[2].digest, version="2"))
    service.wait(lambda: service.mount()["champion"]["version"] == "2")
    assert service.mount()["swaps"] == 2


def test_a_use_case_that_is_removed_is_served_no_more(service: Running) -> None:
    (service.releases.root / ".releases").unlink()  # a folder from before there was a mark
    service.releases.forget("rentals")
    service.wait(lambda: not httpx.get(f"{service.url}/version").json()["usecases"])
    assert httpx.get(f"{service.url}/readyz").status_code == 200


def test_one_refused_bundle_does_not_take_the_others_out_of_service(idle: Running, made, tmp_path: Path) -> None:
    bundle = made[1]
    for name in ("broken", "desired"):
        folder = idle.releases.add(name, bundle.folder, bundle.digest)
        (folder / "model.txt").write_text("no model")
    idle.releases.set_desired("broken", champion=Served(bundle=bundle.digest, version="1"))
    idle.releases.set_desired("desired", champion=None, candidate=CandidateState(bundle=bundle.digest, version="1"))
    idle.start()
    said = httpx.get(f"{idle.url}/readyz").json()
    assert said == {"ready": True, "waiting_for": ["broken"]}
    idle.stop()
    idle.releases.forget("rentals")
    idle.process = None
    with pytest.raises(AssertionError):  # nothing is left that answers
        idle.start(ready_within=4)


def test_a_service_that_cannot_read_what_it_should_serve_is_not_ready(idle: Running, made) -> None:
    path = idle.releases.root / "rentals" / "desired.json"
    whole = path.read_text()
    path.write_text(whole[:20])
    with pytest.raises(AssertionError):
        idle.start(ready_within=4)
    idle.wait(lambda: httpx.get(f"{idle.url}/readyz").status_code == 503, 60)  # it may answer by then, or begin still
    answer = httpx.get(f"{idle.url}/readyz")
    assert (answer.status_code, answer.json()["waiting_for"]) == (503, ["rentals"])
    assert "cannot be read" in idle.mount()["trouble"]
    path.write_text(whole)
    idle.wait(lambda: httpx.get(f"{idle.url}/readyz").status_code == 200)
    assert idle.mount()["trouble"] == ""


def test_workers_begin_although_one_bundle_cannot_be_read_yet(idle: Running, made) -> None:
    bundle = made[1]
    idle.releases.add("away", bundle.folder, bundle.digest)
    idle.releases.set_desired("away", champion=Served(bundle=bundle.digest, version="1"))
    model = idle.releases.bundle("away", bundle.digest) / "model.txt"
    model.unlink()
    model.symlink_to("/proc/self/mem")  # says EIO where it is read, as a disk that fails
    idle.start("--workers", "2")  # once their patience is over
    assert service_answers(idle, made)
    assert idle.mount("away")["trouble"]


def service_answers(running: Running, made) -> bool:
    return running.ask({"dataframe_records": sample(made, 1)}, "/rentals/invocations").status_code == 200


def test_an_explanation_is_of_the_model_that_read_the_rows(service: Running, made, tmp_path: Path) -> None:
    other = _altered(made[1], tmp_path, columns=tuple(reversed(made[1].manifest.columns)))
    service.releases.add("rentals", other.folder, other.digest)
    body = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    before = httpx.post(f"{service.url}/explain", content=body, headers={"content-type": "application/json"}).json()
    request = _post("/explain", body, "connection: close")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(request[:-20])
        service.releases.set_desired("rentals", champion=Served(bundle=other.digest, version="2"))
        service.wait(lambda: service.mount()["champion"]["version"] == "2")
        connection.sendall(request[-20:])
        after = json.loads(_received(connection).partition(b"\r\n\r\n")[2])
    assert after["version"] == "2"
    assert after["explanations"] == before["explanations"]


@pytest.mark.parametrize("parameters", [{"objective": "poisson"}, {"boosting": "rf", "bagging_freq": 1}])
def test_trees_whose_shares_are_not_their_predictions_are_not_explained(
    make_use_case: Callable[..., Path], tmp_path: Path, parameters: dict[str, object]
) -> None:
    from expectations.loading import load_use_case
    from tests.unit.test_training import released, rows

    candidate = {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None, "params": parameters}
    if "boosting" in parameters:
        candidate["params"] = {**parameters, "bagging_fraction": 0.6}
    usecase = load_use_case(str(make_use_case(changes={"model.candidates": [candidate]})))
    bundle, _, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "bundle")
    assert not make_ready(bundle, 100).explainable


@pytest.mark.slow
def test_models_that_were_swapped_out_are_gone(made, tmp_path: Path) -> None:
    def kinds() -> int:
        made_for_it = {"Row", "transform_rows", "words_of"}
        found = (each for each in gc.get_objects() if issubclass(type(each), type | FunctionType))
        return sum(each.__name__ in made_for_it for each in found)

    async def swap() -> None:
        releases = Releases(tmp_path / "releases")
        mounts = Mounts(releases)
        for number in range(24):
            bundle = _altered(made[1], tmp_path, commit=str(number))
            releases.add("rentals", bundle.folder, bundle.digest)
            releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version=str(number)))
            await mounts.reconcile()
        assert mounts.by_name["rentals"].swaps == 24

    gc.collect()
    before = kinds()
    try:
        asyncio.run(swap())
        gc.unfreeze()
        assert kinds() - before < 3 * 14
    finally:
        gc.unfreeze()


# --- what waits -------------------------------------------------------------------------------------------------------


class _Slow:
    """A predictor that takes its time, without the interpreter."""

    holds_interpreter = False

    def __init__(self, bundle: Bundle, seconds: float) -> None:
        self._own, self._seconds = bundle.predictor, seconds

    def predict_row(self, values: list[float]) -> float:
        time.sleep(self._seconds)
        return self._own.predict_row(values)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds)
        return self._own.predict(matrix)


def _slowed(model: Model, seconds: float) -> Model:
    bundle = replace(model.bundle, predictor=_Slow(model.bundle, seconds))  # type: ignore[arg-type]
    return replace(model, bundle=bundle, row_seconds=1.0)


def _with_predictions(
    made, tmp_path: Path, ask: Callable[[Predictions, Mounts], Coroutine[Any, Any, None]], **want: object
) -> None:
    async def go() -> None:
        releases = Releases(tmp_path / "releases")
        for bundle in made[1:]:
            releases.add("rentals", bundle.folder, bundle.digest)
        releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"), **want)  # type: ignore[arg-type]
        mounts, journal = Mounts(releases), Journal(tmp_path / "journal")
        await mounts.reconcile()
        predictions = Predictions(mounts, journal, Access(None, loopback=True), Limits())
        try:
            await ask(predictions, mounts)
        finally:
            predictions.close()
            journal.close()

    asyncio.run(go())


async def _reply(predictions: Predictions, body: bytes) -> Reply:
    admitted = predictions.admit([(b"content-type", b"application/json")])
    assert not isinstance(admitted, Reply)
    return await predictions.reply("/invocations", admitted, body)


@pytest.mark.slow
def test_a_shadow_that_cannot_keep_up_is_left_behind_and_counted(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "MAX_SHADOW_BYTES", 50_000)
    small = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    large = json.dumps({"dataframe_records": sample(made, 300)}).encode()

    async def ask(predictions: Predictions, mounts: Mounts) -> None:
        mount = mounts.by_name["rentals"]
        assert mount.candidate is not None
        mount.candidate = _slowed(mount.candidate, 0.02)
        for _ in range(100):
            reply = await _reply(predictions, small)
            assert reply.after is not None
            reply.after()
        started = time.monotonic()
        assert (await _reply(predictions, large)).status == 200
        assert time.monotonic() - started < 0.5  # the shadows that wait would take longer
        assert mount.candidate.counters.skipped > 50
        while predictions.shadows.waiting_bytes:
            await asyncio.sleep(0.02)
        assert mount.candidate.counters.requests + mount.candidate.counters.skipped == 100

    candidate = CandidateState(bundle=made[2].digest, version="2", mode="shadow")
    _with_predictions(made, tmp_path, ask, candidate=candidate)


def test_large_requests_wait_their_turn_and_no_more_of_them_than_memory_allows(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = json.dumps({"dataframe_records": sample(made, 300)}).encode()
    monkeypatch.setattr(offloading, "MAX_WAITING_BYTES", 3 * len(large))

    async def ask(predictions: Predictions, mounts: Mounts) -> None:
        mount = mounts.by_name["rentals"]
        assert mount.champion is not None
        mount.champion = _slowed(mount.champion, 0.01)
        replies = await asyncio.gather(*[_reply(predictions, large) for _ in range(12)])
        assert [reply.status for reply in replies] == [200] * 6 + [503] * 6  # two at work, four of which the last fits
        assert dict(replies[-1].headers)[b"retry-after"]
        assert mount.counters.errors == {"busy": 6}
        assert (await _reply(predictions, large)).status == 200

    _with_predictions(made, tmp_path, ask)


def test_large_requests_have_their_turn_beside_many_small_ones(made, tmp_path: Path) -> None:
    small = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    large = json.dumps({"dataframe_records": sample(made, 300)}).encode()

    async def ask(predictions: Predictions, mounts: Mounts) -> None:
        mount = mounts.by_name["rentals"]
        assert mount.champion is not None
        mount.champion = _slowed(mount.champion, 0.002)
        ended = asyncio.Event()

        async def client() -> None:
            while not ended.is_set():
                assert (await _reply(predictions, small)).status == 200

        clients = [asyncio.create_task(client()) for _ in range(6)]
        await asyncio.sleep(0.05)
        try:
            replies = await asyncio.wait_for(asyncio.gather(*[_reply(predictions, large) for _ in range(3)]), 5)
        finally:
            ended.set()
            await asyncio.gather(*clients)
        assert [reply.status for reply in replies] == [200] * 3

    _with_predictions(made, tmp_path, ask)


def test_a_request_that_fails_in_its_turn_does_not_hold_up_those_behind_it(made, tmp_path: Path) -> None:
    large = json.dumps({"dataframe_records": sample(made, 300)}).encode()
    wrong = large.replace(b'"temp"', b'"tamp"')

    async def ask(predictions: Predictions, mounts: Mounts) -> None:
        mount = mounts.by_name["rentals"]
        assert mount.champion is not None
        mount.champion = replace(mount.champion, row_seconds=1.0)
        bodies = [large, large, wrong, b"x" * 9000, large, wrong, large]
        replies = await asyncio.gather(*[_reply(predictions, body) for body in bodies])
        assert [reply.status for reply in replies] == [200, 200, 400, 400, 200, 400, 200]

    _with_predictions(made, tmp_path, ask)


def test_texts_of_noise_are_handed_out_once() -> None:
    texts = [text for number in (1, 2, 100, 3000, 5) for text in random_texts(24, number)]
    assert len(set(texts)) == len(texts) == 3108
    assert {len(text) for text in texts} == {24}


def test_an_instant_is_written_in_one_form() -> None:
    from datetime import UTC, datetime, timedelta

    for _ in range(3):
        written = datetime.fromisoformat(present_instant())
        assert len(present_instant()) == len("2011-01-01T00:00:00.000000+00:00")
        assert timedelta(0) <= datetime.now(UTC) - written < timedelta(seconds=1)
        time.sleep(0.6)


@pytest.mark.parametrize("size", [1, 30, 300])
def test_a_body_in_many_pieces_and_a_connection_long_in_use_are_no_large_headers(
    service: Running, made, size: int
) -> None:
    body = b" " * 40_000 * size + json.dumps({"dataframe_records": sample(made, 60)}).encode()
    lines = [
        "POST /invocations HTTP/1.1",
        "host:   localhost",
        "content-type:  application/json",
        "transfer-encoding: chunked",
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    pieces = b"".join(b"%04x\r\n%s\r\n" % (len(part), part) for part in parts)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for _ in range(2):
            connection.sendall(head + pieces + b"0\r\n\r\n")
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(1 << 16)
            assert received.startswith(b"HTTP/1.1 200")


def test_notes_beside_the_pieces_of_a_body_have_an_end(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"POST /feedback HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            _send(connection, b"1;note=" + b"y" * 500 + b"\r\n \r\n", 20 * 2**20)


def test_a_label_is_what_the_threshold_of_its_own_model_says() -> None:
    def model(threshold: float) -> SimpleNamespace:
        answers = ScoreMeaning("y", "", ("0", "1"), threshold)
        manifest = SimpleNamespace(problem=problem_of("binary_classification"), answers=answers)
        return SimpleNamespace(bundle=SimpleNamespace(manifest=manifest), outputs=1, names=())

    assert present([0.4, 0.4], "label", [model(0.3), model(0.5)]) == [1, 0]  # type: ignore[list-item]
    assert present([0.25], "probabilities", [model(0.3)]) == [[0.75, 0.25]]  # type: ignore[list-item]
    assert present([], "label", []) == []
