"""The service in depth: MLflow's own client, explanations, keys, limits, workers, durability, candidates."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import resource
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from infra.serving.journal_writer import Journal
from infra.serving.models import Model
from infra.serving.record_streams import JournalUnwritableError
from tasks.bundles.manifest import seal
from tasks.bundles.row_frames import rows_to_frame
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.harvest import harvest
from tasks.stores.keys import Keys
from tasks.stores.lake import Lake
from tests.integration.test_service import Running, journaled, made, rows, sample

__all__ = ["made"]


@pytest.fixture
def idle(processes: None, tmp_path: Path, made) -> Iterator[Running]:
    """A service that is not started yet."""
    running = Running(tmp_path)
    for bundle in made[1:]:
        running.releases.add("rentals", bundle.folder, bundle.digest)
    running.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    yield running
    running.stop()


@pytest.fixture
def service(idle: Running) -> Running:
    idle.start()
    return idle


# --- protocol ---------------------------------------------------------------------------------------------------------


def test_mlflows_own_client_is_answered(service: Running, made) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", service.port)
    client.ping()
    frame = pd.DataFrame(sample(made, 5))
    frame.loc[2, "temp"] = float("nan")  # MLflow writes it as NaN, which is no JSON
    answer = client.invoke(frame)
    asked = service.ask({"dataframe_records": json.loads(frame.to_json(orient="records"))}).json()
    assert answer["predictions"] == asked["predictions"]
    assert list(answer.get_predictions().iloc[:, 0]) == asked["predictions"]


def test_infinity_is_a_missing_value(service: Running, made) -> None:
    body = json.dumps({"dataframe_records": [{**sample(made, 1)[0], "temp": float("inf")}]})
    answer = httpx.post(f"{service.url}/invocations", content=body, headers={"content-type": "application/json"})
    asked = service.ask({"dataframe_records": [{**sample(made, 1)[0], "temp": None}]}).json()
    assert answer.status_code == 200
    assert answer.json()["predictions"] == asked["predictions"]


def test_types_that_must_be_coerced_give_the_same_answer_as_exact_ones(service: Running, made) -> None:
    exact = sample(made, 1)[0]
    loose = {**exact, "holiday": float(exact["holiday"]), "unheard_of": {"deep": [1]}}
    assert (
        service.ask({"dataframe_records": [loose]}).json()["predictions"]
        == service.ask({"instances": [exact]}).json()["predictions"]
    )


def test_contributions_add_up_to_the_score(service: Running, made) -> None:
    records = sample(made, 3)
    answer = service.ask({"dataframe_records": records}, "/rentals/explain").json()
    predictions = service.ask({"dataframe_records": records}).json()["predictions"]
    assert answer["method"].startswith("exact")
    for each, prediction in zip(answer["explanations"], predictions, strict=True):
        assert each["score"] == pytest.approx(each["base"] + sum(each["contributions"].values()))
        assert each["score"] == pytest.approx(prediction)
    assert service.ask({"dataframe_records": records * 50}, "/explain").status_code == 400


def test_the_service_describes_itself(service: Running) -> None:
    described = httpx.get(f"{service.url}/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    row = described["components"]["schemas"]["rentals.row"]
    assert row["properties"]["temp"]["type"] == ["number", "boolean", "null"]
    assert service.ask({"dataframe_records": [row["example"]]}).status_code == 200
    page = httpx.get(f"{service.url}/docs")
    assert "rentals/invocations" in page.text
    shown = next(each for each in re.findall("<pre>(.*?)</pre>", page.text, re.DOTALL) if "/v2/" in each)
    (address,) = [each for each in shlex.split(html.unescape(shown)) if each.startswith("http")]
    body = json.loads(shlex.split(html.unescape(shown))[-1])
    answered = httpx.post(address, json=body)
    assert (answered.status_code, answered.json()["model_name"]) == (200, "rentals")
    assert described["paths"]["/v2/models/rentals/infer"]["post"]["operationId"] == "rentals.infer"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_requests_have_ids_and_safe_headers(service: Running, made) -> None:
    body = {"dataframe_records": sample(made, 1)}
    own = httpx.post(f"{service.url}/invocations", json=body, headers={"x-request-id": "abc-123"})
    odd = httpx.post(f"{service.url}/invocations", json=body, headers={"x-request-id": "a b<script>"})
    assert own.headers["x-request-id"] == "abc-123"
    assert "<" not in odd.headers["x-request-id"]
    for answer in (own, odd, httpx.get(f"{service.url}/version"), service.ask([])):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


# --- limits -----------------------------------------------------------------------------------------------------------


def test_too_much_is_refused_and_the_next_request_answered(service: Running, made) -> None:
    large = b'{"dataframe_records": [' + b" " * (17 * 1024 * 1024) + b"]}"
    headers = {"content-type": "application/json"}
    assert httpx.post(f"{service.url}/invocations", content=large, headers=headers).status_code == 413
    chunks = (b" " * (1024 * 1024) for _ in range(20))  # of no declared length
    with httpx.Client() as client, contextlib.suppress(httpx.WriteError):  # it hangs up while we still send, as it may
        assert client.post(f"{service.url}/invocations", content=chunks, headers=headers).status_code == 413
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + b"x-large: " + b"y" * 40_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 431")
    text = httpx.post(f"{service.url}/invocations", content=b"a,b", headers={"content-type": "text/plain"})
    assert text.status_code == 415
    assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200


@pytest.mark.parametrize("durability", ["process", "power", "off"])
def test_requests_one_after_the_other_on_one_connection_are_answered_in_order(
    idle: Running, made, durability: str
) -> None:
    idle.start("--durability", durability)

    def post(name: bytes, rows: int) -> bytes:
        body = json.dumps({"dataframe_records": sample(made, rows)}).encode()
        head = b"POST /invocations HTTP/1.1\r\nhost: [::1]\r\ncontent-type: application/json\r\nx-request-id: %s\r\n"
        return head % name + b"content-length: %d\r\n\r\n%s" % (len(body), body)

    get = b"GET /version HTTP/1.1\r\nhost: localhost\r\nx-request-id: second\r\n\r\n"
    many = 2000  # scored beside the event loop, which goes on meanwhile
    with socket.create_connection(("127.0.0.1", idle.port), timeout=10) as connection:
        connection.sendall(post(b"first", many) + get + post(b"third", many) + post(b"fourth", 1) + post(b"fifth", 2))
        received = b""
        while received.count(b"HTTP/1.1 200") < 5 or not received.endswith(b"}"):
            received += connection.recv(65536)
        order = [
            received.index(b"x-request-id: " + name) for name in (b"first", b"second", b"third", b"fourth", b"fifth")
        ]
        assert order == sorted(order)
        connection.sendall(post(b"sixth", 1))  # and it goes on
        assert b"x-request-id: sixth" in connection.recv(65536)


def _post(made, rows: int, name: bytes = b"x") -> bytes:
    body = json.dumps({"dataframe_records": (sample(made, 10) * rows)[:rows]}).encode()
    head = b"POST /invocations HTTP/1.1\r\nhost: [::1]\r\ncontent-type: application/json\r\nx-request-id: %s\r\n" % name
    return head + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def _all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(1 << 20):
        received += part
    return received


def test_small_requests_do_not_wait_for_large_ones(service: Running, made) -> None:
    large = _post(made, 10_000)
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30)) for _ in range(15)
        ]
        for connection in connections:
            connection.sendall(large)
        assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200
        answered = select.select(connections, [], [], 0)[0]
        assert len(answered) < 5
        assert connections[-1] not in answered  # in line, the small one would have been the last
        expected = service.ask({"dataframe_records": sample(made, 10)}).json()["predictions"] * 1000
        for connection in connections:
            connection.settimeout(30)
            connection.shutdown(socket.SHUT_WR)
            assert json.loads(_all(connection).partition(b"\r\n\r\n")[2])["predictions"] == expected


NONSENSE, LONG = b"\x00nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nlong: " + b"y" * 40_000
REFUSED = {NONSENSE: b"HTTP/1.1 400", LONG: b"HTTP/1.1 431"}


def _parted(received: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the head and the body of a first reply, and what follows it."""
    head, _, rest = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?mi)^content-length: (\d+)", head)[1])
    return head, rest[:length], rest[length:]


@pytest.mark.parametrize("rows", [1, 5000])
@pytest.mark.parametrize("behind", [NONSENSE, LONG, b""])
def test_a_reply_that_is_due_comes_before_the_end_of_a_connection(
    service: Running, made, rows: int, behind: bytes
) -> None:
    """What is behind it has an answer of its own only where it came after that reply."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post(made, rows) + behind)
        if not behind:
            connection.shutdown(socket.SHUT_WR)
        received = _all(connection)
    head, body, after = _parted(received)
    assert head.startswith(b"HTTP/1.1 200")
    assert len(json.loads(body)["predictions"]) == rows
    if after:
        head, body, nothing = _parted(after)
        assert head.startswith(REFUSED[behind])
        assert json.loads(body)["error_code"] == "BAD_REQUEST"
        assert not nothing


@pytest.mark.parametrize("behind", [NONSENSE, LONG])
def test_what_comes_after_a_reply_and_cannot_be_read_is_refused(service: Running, made, behind: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post(made, 1))
        first = connection.recv(1 << 20)
        assert first.startswith(b"HTTP/1.1 200")
        connection.sendall(behind)
        head, body, nothing = _parted(_all(connection))
    assert head.startswith(REFUSED[behind])
    assert json.loads(body)["error_code"] == "BAD_REQUEST"
    assert not nothing


def test_a_long_body_is_not_taken_for_headers(service: Running, made) -> None:
    following = _post(made, 1, b"second")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post(made, 400, b"first") + following[:20])
        time.sleep(0.1)
        connection.sendall(following[20:])
        connection.shutdown(socket.SHUT_WR)
        received = _all(connection)
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.index(b"x-request-id: first") < received.index(b"x-request-id: second")


def test_what_comes_behind_a_reply_that_is_due_and_is_no_http_is_refused(service: Running, made) -> None:
    wrong = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(_post(made, 5000) + wrong)
        received = _all(connection)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 400" in received


def test_half_a_body_that_is_no_http_is_refused_at_once(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(b"POST /feedback HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        assert _all(connection).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("durability", ["process", "power"])
def test_clients_that_leave_and_an_orderly_end_lose_nothing(idle: Running, made, durability: str) -> None:
    idle.start("--durability", durability)
    for _ in range(5):  # they leave before their reply
        with socket.create_connection(("127.0.0.1", idle.port)) as connection:
            connection.sendall(_post(made, 2000))
    assert idle.ask({"dataframe_records": sample(made, 1)}).status_code == 200
    with socket.create_connection(("127.0.0.1", idle.port), timeout=20) as connection:
        connection.sendall(_post(made, 10_000))
        idle.process.send_signal(signal.SIGTERM)
        head, _, body = _all(connection).partition(b"\r\n\r\n")
    assert idle.process.wait(15) == 0
    assert head.startswith(b"HTTP/1.1 200")
    assert set(json.loads(body)["ids"]) <= {line["id"] for line in journaled(idle.journal)}


def test_a_disk_that_fails_once_silences_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = []

    def fail(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            if name in failing:
                failing.remove(name)
                raise OSError(5, "Input/output error")
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fdatasync", "ftruncate"):
        fail(name)

    async def go() -> None:
        journal = Journal(tmp_path, "power")
        await journal.append("rentals", "predictions", b"first\n")
        failing.extend(("fdatasync", "ftruncate"))
        outcomes = await asyncio.gather(
            *(journal.append("rentals", "predictions", b"lost\n") for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(each, JournalUnwritableError) for each in outcomes)
        assert journal.trouble
        await journal.append("rentals", "predictions", b"second\n")
        assert not journal.trouble
        journal.close()

    asyncio.run(go())
    assert not failing
    closed = sorted(path.read_text() for path in tmp_path.glob("rentals/*/*.msgpack"))
    assert [lines.splitlines()[0] for lines in closed] == ["first", "second"]


def test_csv_gives_the_same_answers(service: Running, made) -> None:
    records = [{**row, "temp": None} if at == 1 else row for at, row in enumerate(sample(made, 40))]
    text = pd.DataFrame(records).to_csv(index=False)

    def send(content: str | bytes) -> httpx.Response:
        return httpx.post(
            f"{service.url}/invocations", content=content, headers={"content-type": "text/csv; charset=utf-8"}
        )

    assert send(text).json()["predictions"] == service.ask({"dataframe_records": records}).json()["predictions"]
    names, first = text.splitlines()[:2]
    for wrong, said in (
        ("", "the first line must name the columns"),
        (names.replace("temp", "tmp", 1), "the column temp is missing"),
        (f"{names},temp\n{first},1", "names a column twice"),
        (f"{names}\n{first},1", "row 0 must have"),
        (f"{names}\n{first}\n" + "x," * names.count(",") + "x", "in row 1"),
        (f'{names}\n"{first}', "not CSV"),
        (f"{names}\n" + f"{first}\n\n" * 10_001, "at most 10000 rows"),
        (b"\xff\xfe", "not UTF-8"),
    ):
        answer = send(wrong)
        assert (answer.status_code, said in answer.json()["message"]) == (400, True), answer.text


def test_half_a_request_does_not_hold_the_service(service: Running, made, monkeypatch: pytest.MonkeyPatch) -> None:
    sleepers = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(50)]
    for sleeper in sleepers:
        sleeper.sendall(b"POST /invocations HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
    assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200
    sleepers[0].settimeout(30)
    assert sleepers[0].recv(10) == b""  # cut off after twenty seconds
    for sleeper in sleepers:
        sleeper.close()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_open_what_their_scopes_say_and_change_without_a_restart(idle: Running, made, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    idle.start("--keys", str(keys.path))
    body = {"dataframe_records": sample(made, 1)}

    def status(path: str, key: str = "", method: str = "POST") -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.request(
            method, idle.url + path, json=body if method == "POST" else None, headers=headers
        ).status_code

    assert status("/invocations") == 200  # there is no key yet, and this is loopback
    predict, admin = keys.add("app", ["predict"]), keys.add("boss", ["admin"])
    idle.wait(lambda: status("/invocations") == 401)
    assert status("/invocations", predict) == 200
    assert status("/invocations", predict + "x") == 401
    assert status("/rentals/explain", predict) == 200
    assert (status("/feedback", predict), status("/journal/seal", predict), status("/invocations", admin)) == (403,) * 3
    assert status("/journal/seal", admin) == 200
    for path in ("/version", "/metrics", "/docs", "/openapi.json", "/nowhere"):
        assert status(path, method="GET") == 401
    assert status("/version", predict, "GET") == 200
    for path in ("/livez", "/readyz", "/ping"):
        assert status(path, method="GET") == 200
    assert predict not in keys.path.read_text()
    keys.remove("app")
    idle.wait(lambda: status("/invocations", predict) == 401)


def test_pages_from_elsewhere_may_do_nothing_where_everything_is_open(service: Running, made) -> None:
    body = {"dataframe_records": sample(made, 1)}

    def status(origin: str, path: str = "/invocations") -> int:
        return httpx.post(service.url + path, json=body, headers={"origin": origin}).status_code

    assert status(service.url) == 200
    others = ("http://localhost:3000", "http://127.0.0.1", service.url.replace("http:", "https:"), f"{service.url}0")
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://[", *others):
        assert status(origin) == 403
        assert status(origin, "/feedback") == status(origin, "/journal/seal") == 403


def test_names_that_were_made_to_lead_here_open_nothing(service: Running, made) -> None:
    def status(host: str, path: str = "/invocations") -> int:
        body = {"dataframe_records": sample(made, 1)}
        return httpx.post(service.url + path, json=body, headers={"host": host}).status_code

    for own in ("localhost:1", "LOCALHOST", "127.0.0.2", "[::1]:8080"):
        assert status(own) == 200
    for other in ("evil.example", "localhost.evil.example:80", "10.0.0.1", "evil@localhost.evil", "[", ""):
        assert status(other) == status(other, "/feedback") == 403
        for path in ("/version", "/readyz", "/livez"):
            assert httpx.get(service.url + path, headers={"host": other}).status_code == 403


@pytest.mark.slow
def test_without_keys_it_does_not_listen_beyond_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "infra.serving", "--releases", str(tmp_path), "--journal", str(tmp_path / "j")]
    done = subprocess.run([*command, "--port", "0", "--host", "0.0.0.0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected --keys FILE to listen on 0.0.0.0" in done.stderr


# --- the journal ------------------------------------------------------------------------------------------------------


def test_power_durability_groups_writes_and_loses_nothing(idle: Running, made) -> None:
    idle.start("--durability", "power")
    record = {"dataframe_records": sample(made, 2)}
    acknowledged: list[str] = []

    def load() -> None:
        with httpx.Client(base_url=idle.url) as client:
            try:
                while True:
                    acknowledged.extend(client.post("/invocations", json=record).raise_for_status().json()["ids"])
            except httpx.HTTPError:
                return

    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    idle.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    written = [line["id"] for line in journaled(idle.journal)]
    assert len(acknowledged) > 20
    assert set(acknowledged) <= set(written)
    assert len(written) == len(set(written))


def _fill_the_disk(running: Running, limit: int) -> None:
    """Let the service's files grow no further: what a full disk looks like, without needing root to fill one."""
    assert running.process is not None
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_says_so_and_recovers(service: Running, made) -> None:
    body = {"dataframe_records": sample(made, 1)}
    assert service.ask(body).status_code == 200
    before = len(journaled(service.journal))
    _fill_the_disk(service, 100)
    refused = service.ask(body)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    ready = httpx.get(f"{service.url}/readyz")
    assert ready.status_code == 503
    assert "journal" in ready.json()
    assert httpx.get(f"{service.url}/version").json()["journal"]["trouble"]
    assert "driftwheel_journal_writable 0.0" in httpx.get(f"{service.url}/metrics").text
    _fill_the_disk(service, resource.RLIM_INFINITY)
    service.wait(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
    assert service.ask(body).status_code == 200
    assert len(journaled(service.journal)) == before + 1


def test_who_must_may_answer_without_the_log(idle: Running, made) -> None:
    idle.start("--answer-unlogged")
    _fill_the_disk(idle, 100)
    assert idle.ask({"dataframe_records": sample(made, 3)}).status_code == 200
    assert httpx.get(f"{idle.url}/readyz").status_code == 200
    assert 'driftwheel_unlogged_rows_total{usecase="rentals"} 3.0' in httpx.get(f"{idle.url}/metrics").text


# --- workers ----------------------------------------------------------------------------------------------------------


def test_workers_swap_together_seal_together_and_count_together(idle: Running, made) -> None:
    _, _, second = made
    idle.start("--workers", "2")
    idle.wait(lambda: httpx.get(f"{idle.url}/version").json()["workers"] == 2)
    body = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    headers = {"content-type": "application/json"}
    seen: list[tuple[float, str]] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            with httpx.Client(base_url=idle.url) as client:  # few requests a connection: both workers get some
                for _ in range(20):
                    answer = client.post("/invocations", content=body, headers=headers)
                    seen.append((time.monotonic(), answer.raise_for_status().json()["version"]))

    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    wanted = idle.releases.set_desired("rentals", champion=Served(bundle=second.digest, version="2"))
    idle.wait(lambda: idle.mount()["generation"] == wanted.generation)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    seen.sort()
    last_old = max(at for at, version in seen if version == "1")
    first_new = min(at for at, version in seen if version == "2")
    assert last_old - first_new < 0.1  # one version at a time, but for what was being answered
    httpx.post(f"{idle.url}/journal/seal").raise_for_status()
    folders = {path.parent.name for path in idle.journal.glob("rentals/*/predictions-*.msgpack")}
    assert len(folders) == 2
    assert not list(idle.journal.glob("rentals/*/*.open"))
    assert len(journaled(idle.journal)) == len(seen)
    idle.wait(lambda: f'requests_total{{usecase="rentals"}} {len(seen)}.0' in httpx.get(f"{idle.url}/metrics").text)


def test_a_worker_that_dies_is_started_again_and_loses_nothing(idle: Running, made) -> None:
    import psutil

    idle.start("--workers", "2")
    idle.wait(lambda: httpx.get(f"{idle.url}/version").json()["workers"] == 2)
    ids = [idle.ask({"dataframe_records": sample(made, 1)}).json()["ids"][0] for _ in range(20)]
    assert idle.process is not None
    for child in psutil.Process(idle.process.pid).children():
        child.kill()
        time.sleep(0.2)
    idle.wait(lambda: httpx.get(f"{idle.url}/version").json()["workers"] == 2)
    httpx.post(f"{idle.url}/journal/seal").raise_for_status()
    assert set(ids) == {line["id"] for line in journaled(idle.journal)}


def test_what_a_worker_counted_outlives_it(idle: Running, made) -> None:
    import psutil

    def counted() -> tuple[int, int]:
        model = idle.mount()["models"][made[1].digest]
        lines = httpx.get(f"{idle.url}/metrics").text.splitlines()
        total = next(line for line in lines if line.startswith("driftwheel_requests_total"))
        return model["requests"], int(float(total.split()[-1]))

    idle.start("--workers", "2")
    idle.wait(lambda: httpx.get(f"{idle.url}/version").json()["workers"] == 2)
    for _ in range(20):
        idle.ask({"dataframe_records": sample(made, 1)}).raise_for_status()
    idle.wait(lambda: counted() == (20, 20))
    assert idle.process is not None
    for round_ in range(2):
        for child in psutil.Process(idle.process.pid).children():
            child.kill()
            child.wait(5)
            idle.wait(lambda: httpx.get(f"{idle.url}/version").status_code == 200)
            assert counted() == (20 + round_, 20 + round_)  # the other one tells
            idle.wait(lambda: httpx.get(f"{idle.url}/version").json()["workers"] == 2)
        idle.ask({"dataframe_records": sample(made, 1)}).raise_for_status()
        idle.wait(lambda at=21 + round_: counted() == (at, at))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_is_told_in_a_line(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = [sys.executable, "-m", "infra.serving", "--releases", str(tmp_path), "--journal", str(tmp_path / "j")]
        command += ["--port", str(other.getsockname()[1]), "--workers", workers]
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert found.returncode == 3
    assert "ddress already in use" in found.stderr
    assert "Traceback" not in found.stderr


# --- versions ---------------------------------------------------------------------------------------------------------


def test_twenty_swaps_in_a_row_fail_nothing_and_memory_comes_back(service: Running, made) -> None:
    import psutil

    _, first, second = made
    record = {"dataframe_records": sample(made, 1)}
    expected = {
        version: bundle.predict(rows(made[0], "2011-02-01").head(1))[0]
        for version, bundle in (("1", first), ("2", second))
    }
    stop, wrong, count = threading.Event(), [], [0]

    def load() -> None:
        with httpx.Client(base_url=service.url) as client:
            while not stop.is_set():
                answer = client.post("/invocations", json=record)
                count[0] += 1
                if answer.status_code != 200 or answer.json()["predictions"][0] != expected[answer.json()["version"]]:
                    wrong.append(answer.text)

    threads = [threading.Thread(target=load, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert service.process is not None
    process, sizes = psutil.Process(service.process.pid), []
    for swap in range(20):
        bundle, version = ((second, "2"), (first, "1"))[swap % 2]
        wanted = service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version=version))
        service.wait(lambda g=wanted.generation: service.mount()["generation"] == g)
        sizes.append(process.memory_info().rss)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert count[0] > 100
    assert sizes[-1] - sizes[3] < 20 * 2**20


def test_a_bundle_damaged_while_the_service_was_down_gives_way_to_the_one_before(idle: Running, made) -> None:
    _, first, second = made
    idle.releases.set_desired("rentals", champion=Served(bundle=second.digest, version="2"))
    model = idle.releases.bundle("rentals", second.digest) / "model.txt"
    model.write_text(model.read_text()[:5000])
    idle.start()
    assert idle.mount()["champion"]["bundle"] == first.digest
    assert second.digest in idle.mount()["refused"]


def _altered(made, tmp_path: Path, **changes: object):
    import shutil

    folder = tmp_path / "altered"
    shutil.copytree(made[2].folder, folder)
    manifest = made[2].manifest.model_copy(update=changes)
    return folder, seal(folder, manifest)


def test_a_bundle_with_other_inputs_is_refused_unless_that_is_wanted(service: Running, made, tmp_path: Path) -> None:
    columns = tuple(
        column.model_copy(update={"role": "input", "type": "number"}) if column.name == "temp" else column
        for column in made[2].manifest.columns
    )
    more = (*columns, columns[0].model_copy(update={"name": "moon_phase", "role": "input", "type": "number"}))
    folder, digest = _altered(made, tmp_path, columns=more)
    service.releases.add("rentals", folder, digest)
    served = Served(bundle=digest, version="3")
    wanted = service.releases.set_desired("rentals", champion=served)
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert "moon_phase is new" in service.mount()["refused"][digest]
    wanted = service.releases.set_desired("rentals", champion=served, new_signature=True)
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert (service.mount()["refused"], service.mount()["champion"]["version"]) == ({}, "3")


def test_a_pickle_in_a_bundle_is_never_opened(service: Running, made, tmp_path: Path) -> None:
    import pickle
    import shutil

    planted, trace = tmp_path / "planted", tmp_path / "opened"
    shutil.copytree(made[2].folder, planted)

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (trace,)  # type: ignore[return-value]

    for name in ("model.pkl", "python_model.pkl", "MLmodel"):
        (planted / name).write_bytes(pickle.dumps(Bomb()))
    digest = seal(planted, made[2].manifest)
    service.releases.add("rentals", planted, digest)
    wanted = service.releases.set_desired("rentals", champion=Served(bundle=digest, version="2"))
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    assert service.ask({"dataframe_records": sample(made, 1)}).json()["version"] == "2"
    assert not trace.exists()


# --- candidates -------------------------------------------------------------------------------------------------------


def test_a_canary_answers_its_share_of_entities_always_the_same(service: Running, made) -> None:
    _, first, second = made
    candidate = CandidateState(bundle=second.digest, version="2", mode="canary", share=0.3)
    wanted = service.releases.set_desired(
        "rentals", champion=Served(bundle=first.digest, version="1"), candidate=candidate
    )
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    records = sample(made, 300)
    answer = service.ask({"dataframe_records": records}).json()
    again = service.ask({"dataframe_records": records}).json()
    assert answer["versions"] == again["versions"]
    share = answer["versions"].count("2") / 300
    assert 0.2 < share < 0.4
    expected = {
        "1": first.predict(rows(made[0], "2011-02-01").head(300)),
        "2": second.predict(rows(made[0], "2011-02-01").head(300)),
    }
    for at, (version, value) in enumerate(zip(answer["versions"], answer["predictions"], strict=True)):
        assert value == pytest.approx(expected[version][at], rel=1e-9)
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    bundles = [line["bundle"] for line in journaled(service.journal)]
    assert bundles.count(second.digest) == 2 * answer["versions"].count("2")


def test_a_shadow_scores_everything_and_answers_nothing(service: Running, made, tmp_path: Path) -> None:
    _, first, second = made
    candidate = CandidateState(bundle=second.digest, version="2", mode="shadow")
    wanted = service.releases.set_desired(
        "rentals", champion=Served(bundle=first.digest, version="1"), candidate=candidate
    )
    service.wait(lambda: service.mount()["generation"] == wanted.generation)
    answers = [service.ask({"dataframe_records": sample(made, 5)}).json() for _ in range(4)]
    assert {answer["version"] for answer in answers} == {"1"}
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    lake = Lake(str(tmp_path / "lake"), "rentals")
    assert harvest(service.journal, "rentals", lake).predictions == 20
    shadows = lake.scan("shadows").collect()
    assert sorted(shadows["id"]) == sorted(id_ for answer in answers for id_ in answer["ids"])
    expected = second.predict(rows(made[0], "2011-02-01").head(5))
    np.testing.assert_allclose(sorted(shadows["prediction"].unique()), sorted(set(expected)))


def test_one_row_and_many_take_the_same_values(made) -> None:
    from infra.serving.protocol import Reader

    _, bundle, _ = made
    reader = Reader(bundle.manifest.columns, bundle.manifest.clock)
    model = Model(
        "1", bundle, reader, bundle.program.compile(reader.readings(bundle.program)), None, (), 0.0, 0.0, None
    )  # type: ignore[arg-type]
    body = json.dumps({"dataframe_records": sample(made, 300)}).encode()
    read, _ = reader.read(body)
    one_by_one = [model.predict([row])[0] for row in read]
    assert model.predict(read) == one_by_one
    assert bundle.predict(rows_to_frame(sample(made, 300), bundle.manifest.columns)).tolist() == one_by_one


def test_features_computed_before_give_the_same_answer_and_the_same_counts(made) -> None:
    from infra.serving.answering import compose, prepare, score, understand
    from infra.serving.counters import ModelCounters
    from infra.serving.models import make_ready

    def model(bundle) -> Model:
        ready = make_ready(bundle, 1000)
        assert ready.row_seconds > 0
        assert ready.feature_seconds > 0
        entity = (ready.reader.fields["time"],)
        return Model("1", bundle, ready.reader, ready.executor, ModelCounters(), entity, 1.0, 0.0, ready.cost)

    champion, candidate = model(made[1]), model(made[2])
    body = json.dumps({"dataframe_records": sample(made, 60)}).encode()
    alone = understand(body, "json", champion, None, 0.0)
    assert prepare(alone).prepared is not None
    assert score(prepare(alone)).values == score(alone).values
    compose(alone, score(prepare(alone)))
    assert (champion.counters.requests, champion.counters.rows) == (1, 60)
    mixed = understand(body, "json", champion, candidate, 0.5)
    assert 0 < len(mixed.chosen) < 60
    assert prepare(mixed).prepared is None
    assert compose(mixed, score(prepare(mixed))).records
    assert champion.counters.rows + candidate.counters.rows == 120
    unlogged = compose(mixed, score(mixed), logged=False)
    assert (len(unlogged.ids), unlogged.records) == (60, b"")


def test_long_texts_of_a_request_are_not_remembered(made) -> None:
    from infra.serving.protocol import Reader

    reader = Reader(made[1].manifest.columns, made[1].manifest.clock)
    (row,) = sample(made, 1)
    plain, _ = reader.read(json.dumps({"dataframe_records": [row]}).encode())
    long = {**row, "time": row["time"].replace("Z", "") + ("" if "." in row["time"] else ".") + "0" * 100_000}
    read, _ = reader.read(json.dumps({"dataframe_records": [long]}).encode())
    assert read == plain
    names = ["a" * 100_000, *row]
    split = {"dataframe_split": {"columns": names, "data": [[1, *row.values()]]}}
    read, _ = reader.read(json.dumps(split).encode())
    assert read == plain
    assert reader._split == {}


# --- found by readers -------------------------------------------------------------------------------------------------


def test_columns_of_other_types_read_as_text_are_the_same_in_both_executors(made) -> None:
    import polars as pl

    from infra.serving.protocol import Reader
    from tasks.bundles.manifest import BundleColumn
    from tasks.cleaning.steps.map_values import FittedReplace
    from tasks.preprocessing.program import FeatureProgram
    from tasks.preprocessing.reading import Input
    from tasks.preprocessing.steps.encode import FittedOrdinal
    from tasks.preprocessing.steps.expression import FittedExpression

    program = FeatureProgram(
        inputs=(Input("b", "text"), Input("i", "text"), Input("n", "text")),
        repairs=(),
        steps=(
            FittedExpression("five", 'i == "5"'),
            FittedReplace("i", ("5",), ("4",)),
            FittedOrdinal("b", ("false", "true")),
            FittedOrdinal("i", ("4", "5", "9007199254740993")),
            FittedOrdinal("n", ("2", "2.5")),
        ),
        features=("five", "b", "i", "n"),
        categorical=("b", "i", "n"),
    )
    columns = [
        BundleColumn(name=name, type=kind) for name, kind in (("b", "boolean"), ("i", "integer"), ("n", "number"))
    ]
    reader = Reader(columns)
    one = program.compile(reader.readings(program)).one
    for row in (
        {"b": True, "i": 5, "n": 2.0},
        {"b": False, "i": 9007199254740993, "n": 2.5},
        {"b": None, "i": 4, "n": None},
    ):
        read, _ = reader.read(json.dumps({"dataframe_records": [row]}).encode())
        frame = pl.DataFrame([row], schema={"b": pl.Boolean, "i": pl.Int64, "n": pl.Float64})
        assert one(read[0]) == program.transform(frame)[0].tolist()


def test_a_line_break_after_a_path_opens_nothing(idle: Running, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    key = keys.add("app", ["predict"])
    idle.start("--keys", str(keys.path))
    for path in ("/journal/seal%0A", "/feedback%0A", "/rentals/feedback%0A"):
        answer = httpx.post(idle.url + path, json={"id": "a", "label": 1}, headers={"x-api-key": key})
        assert answer.status_code == 404


def test_a_stranger_is_refused_before_the_body_and_one_who_never_reads_is_held_up(
    idle: Running, made, tmp_path: Path
) -> None:
    import psutil

    keys = Keys(tmp_path / "keys.json")
    keys.add("app", ["predict"])
    idle.start("--keys", str(keys.path))
    assert idle.process is not None
    with socket.create_connection(("127.0.0.1", idle.port), timeout=5) as stranger:
        stranger.sendall(b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.1 401")
    keys.add("boss", ["predict", "admin"], "secret")
    idle.wait(lambda: httpx.get(f"{idle.url}/version", headers={"x-api-key": "secret"}).status_code == 200)
    before = psutil.Process(idle.process.pid).memory_info().rss
    request = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\nx-api-key: secret\r\ncontent-length: 2\r\n\r\n{}" * 500
    with socket.create_connection(("127.0.0.1", idle.port)) as greedy:
        greedy.settimeout(2)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(2000):
                greedy.sendall(request)  # and never reads
        assert psutil.Process(idle.process.pid).memory_info().rss - before < 60 * 2**20


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /invocations HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: h2c\r\n", b"400"),
        (b"POST /invocations HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n", b"200"),
        (b"POST /invocations HTTP/1.0\r\n", b"200"),
        (b"POST /invocations?x=1 HTTP/1.1\r\nhost: localhost\r\n", b"200"),
        (b"POST //invocations HTTP/1.1\r\nhost: localhost\r\n", b"200"),
        (b"HEAD /invocations HTTP/1.1\r\nhost: localhost\r\n", b"405"),
    ],
)
def test_odd_ways_of_http_have_plain_answers(service: Running, made, head: bytes, status: bytes) -> None:
    body = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    length = b"content-type: Application/JSON; charset=utf-8\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(head + length + body)
        received = connection.recv(65536)
        if received.startswith(b"HTTP/1.1 100"):
            received = received.partition(b"\r\n\r\n")[2] or connection.recv(65536)
    assert received.split(b" ", 2)[1] == status


def test_a_text_of_half_a_character_is_refused(service: Running, made) -> None:
    record = json.dumps({**sample(made, 1)[0], "weathersit": "\ud800", "temp": float("nan")})
    body = b'{"dataframe_records": [' + record.encode() + b"]}"
    answer = httpx.post(f"{service.url}/invocations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
