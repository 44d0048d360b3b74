"""The bodies the service takes: tables and compressed ones as JSON, large ones in steps, explanations beside them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import html
import http.client
import io
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from infra.serving import explainer as explainer_module
from infra.serving import explaining, predicting
from infra.serving.access import Access
from infra.serving.admission import Admitted
from infra.serving.app import Service
from infra.serving.asgi import JOINED_BYTES
from infra.serving.bad_requests import BadRequestError
from infra.serving.docs_page import address_of
from infra.serving.explainer import Explainer
from infra.serving.explaining import answer
from infra.serving.journal_writer import Journal
from infra.serving.models import make_model
from infra.serving.mounts import Mounts
from infra.serving.offloading import Offloader, QueueFullError
from infra.serving.replies import Reply
from tasks.stores.desired_state import Served
from tasks.stores.journal import JournalSegment, read_records
from tasks.stores.releases import Releases
from tests.integration.test_hostile_input import service
from tests.integration.test_service import Running, made, rows, sample

__all__ = ["made", "service"]

TABLES = {
    "application/vnd.apache.parquet": pl.DataFrame.write_parquet,
    "application/x-parquet": partial(pl.DataFrame.write_parquet, compression="gzip"),
    "application/vnd.apache.arrow.stream": pl.DataFrame.write_ipc_stream,
    "application/vnd.apache.arrow.file; version=1": pl.DataFrame.write_ipc,
}
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "Deflate": zlib.compress}


def logged_rows(journal: Path) -> dict[str, tuple[Any, ...]]:
    """Return the rows in the journal by their ids."""
    found = {}
    for path in journal.glob("rentals/*/predictions-*"):
        records, odd = read_records(JournalSegment(path))
        assert not odd
        for record in records:
            found |= dict(zip(record.ids, map(tuple, record.rows), strict=True))
    return found


@contextlib.asynccontextmanager
async def service_in_process(made, folder: Path) -> AsyncIterator[Service]:
    releases = Releases(folder / "releases")
    releases.add("rentals", made[1].folder, made[1].digest)
    releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    mounts, journal = Mounts(releases), Journal(folder / "journal")
    await mounts.reconcile()
    service = Service(mounts, journal, Access(None, loopback=True))
    try:
        yield service
    finally:
        service.close()
        journal.close()


def admitted(service: Service, *headers: tuple[bytes, bytes]) -> Admitted:
    found = service.predictions.admit(headers)
    assert isinstance(found, Admitted)
    return found


def frame_of(made, n: int) -> pl.DataFrame:
    usecase, bundle, _ = made
    return rows(usecase, "2011-02-01").select([column.name for column in bundle.manifest.columns]).head(n)


def written(frame: pl.DataFrame, media: str) -> bytes:
    out = io.BytesIO()
    TABLES[media](frame, out)
    return out.getvalue()


def post(service: Running, content: bytes, media: str, path: str = "/invocations", **headers: str) -> httpx.Response:
    return httpx.post(f"{service.url}{path}", content=content, headers={"content-type": media, **headers}, timeout=60)


@pytest.mark.parametrize("media", sorted(TABLES))
def test_a_table_is_answered_and_logged_as_json_of_its_rows(service: Running, made, media: str) -> None:
    records = sample(made, 300)
    asked = service.ask({"dataframe_records": records}).json()
    answer = post(service, written(frame_of(made, 300), media), media)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == asked["predictions"]
    logged = logged_rows(service.journal)
    assert [logged[each] for each in answer.json()["ids"]] == [logged[each] for each in asked["ids"]]


@pytest.mark.parametrize("coding", sorted(COMPRESSED))
@pytest.mark.parametrize("number", [1, 300])
def test_a_compressed_body_is_what_was_compressed(service: Running, made, coding: str, number: int) -> None:
    body = json.dumps({"dataframe_records": sample(made, number)}).encode()
    expected = post(service, body, "application/json").json()["predictions"]
    for _ in range(2):  # parsed, and then known by its head
        packed = post(service, COMPRESSED[coding](body), "application/json", **{"content-encoding": coding})
        assert packed.json()["predictions"] == expected
    media = "application/x-parquet"
    both = post(
        service, COMPRESSED[coding](written(frame_of(made, number), media)), media, **{"content-encoding": coding}
    )
    assert both.json()["predictions"] == expected
    table = frame_of(made, number).write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()
    lines = post(service, COMPRESSED[coding](table), "text/csv", **{"content-encoding": coding})
    assert lines.json()["predictions"] == expected
    explained = post(service, COMPRESSED[coding](body), "application/json", "/explain", **{"content-encoding": coding})
    assert explained.status_code == (200 if number == 1 else 400)
    told = json.dumps({"id": packed.json()["ids"][0], "label": 1}).encode()
    answer = post(service, COMPRESSED[coding](told), "application/json", "/feedback", **{"content-encoding": coding})
    assert answer.json() == {"accepted": 1}


@pytest.mark.parametrize("path", ["/invocations", "/explain", "/feedback"])
def test_what_is_not_known_is_refused_and_never_ignored(service: Running, made, path: str) -> None:
    body = json.dumps({"dataframe_records": sample(made, 1)}).encode()
    for coding in ("br", "zstd", "gzip, gzip", "gzip,br", "x"):
        answer = post(service, body, "application/json", path, **{"content-encoding": coding})
        assert answer.status_code == 415, coding
        assert answer.headers["accept-encoding"] == "gzip, deflate"
        assert "gzip or deflate" in answer.json()["message"]
    for media in ("text/plain", "application/octet-stream", "application/vnd.apache.orc"):
        answer = post(service, body, media, path)
        assert answer.status_code == 415, media
        assert "application/json" in answer.json()["message"]
    assert post(service, body, "application/json", path, **{"content-encoding": "br"}).json()["error_code"]


def test_a_bomb_is_refused(service: Running, made) -> None:
    bombs = {
        "application/json": gzip.compress(b" " * 17 * 2**20),
        "text/csv": gzip.compress(b"\n" * 17 * 2**20),
        "application/x-parquet": gzip.compress(bytes(17 * 2**20)),
    }
    for media, bomb in bombs.items():
        answer = post(service, bomb, media, **{"content-encoding": "gzip"})
        assert answer.status_code == 413
        assert "once it is unpacked" in answer.json()["message"]
    column = next(column.name for column in made[1].manifest.columns if column.type == "text")
    texts = written(pl.DataFrame({column: ["x" * 2**20] * 2000}), "application/x-parquet")
    assert len(texts) < 2**20
    assert post(service, texts, "application/x-parquet").status_code == 413
    damaged = post(service, b"PAR1", "application/x-parquet")
    assert (damaged.status_code, damaged.json()["message"]) == (400, "the body is not Parquet, or damaged")
    assert service.ask({"dataframe_records": sample(made, 1)}).status_code == 200


MILLION = b"{}," * 1_000_000 + b"{}"


def test_params_without_end_are_not_read(service: Running, made) -> None:
    one = json.dumps({"dataframe_records": sample(made, 1)}).encode()[:-1]
    for params, status, words in (
        (b'{"a":[%s]}' % MILLION, 400, "`params` has more than 16384 bytes; at most 16384 are read"),
        (b'{"a":[%s]}' % MILLION[:30_000].rstrip(b","), 400, "`params` has 30007 bytes; at most 16384 are read"),
    ):
        answer = post(service, b'%s,"params":%s}' % (one, params), "application/json")
        assert answer.status_code == status
        assert words in answer.json()["message"]
    answer = post(service, b'%s,"odd":{"a":[%s]}}' % (one, MILLION), "application/json")
    assert answer.status_code == 400
    assert "parts of more than 262144 bytes" in answer.json()["message"]
    answer = post(service, b'%s,"params":{"a":[%s]}}' % (one, MILLION[:9000].rstrip(b",")), "application/json")
    assert answer.status_code == 200
    blanks = b'{"params":%s{},"odd":[%s],%s}' % (b" " * 20_000, MILLION[:90_000].rstrip(b","), one[1:])
    assert post(service, blanks, "application/json").status_code == 200


def test_a_client_that_reads_no_answer_before_it_has_sent_all_sees_why_it_was_refused(service: Running) -> None:
    """Its connection was reset under it."""
    for body, status, says in (
        (b" " * (24 * 2**20), 413, b"the body is larger than"),
        (b'{"instances": [1], "params": {' + b'"a": 1, ' * 2**20, 400, b"`params` has more than"),
    ):
        connection = http.client.HTTPConnection(httpx.URL(service.url).netloc.decode(), timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/rentals/invocations", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == status
            assert says in answer.read()
            assert answer.getheader("connection") == "close"


def test_feedback_without_end_is_not_read(service: Running) -> None:
    answer = post(service, b'{"feedback":[%s]}' % MILLION, "application/json", "/feedback")
    assert answer.status_code == 413


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_request_on_the_page_can_be_made_as_it_stands(service: Running) -> None:
    page = httpx.get(f"{service.url}/docs").text
    command = html.unescape(re.search("<pre>(.*?)</pre>", page, re.DOTALL)[1])  # type: ignore[index]
    assert shlex.split(command)[:3] == ["curl", "-s", f"{service.url}/rentals/invocations"]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predictions"]
    described = httpx.get(f"{service.url}/openapi.json").json()
    taken = set(described["paths"]["/rentals/invocations"]["post"]["requestBody"]["content"])
    assert {"application/json", "text/csv", *(media.partition(";")[0] for media in TABLES)} == taken


@pytest.mark.parametrize(
    ("scheme", "host", "address"),
    [
        ("http", "127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("https", "rides.example.org", "https://rides.example.org"),
        ("http", "[::1]:80", "http://[::1]:80"),
        ("javascript", "a.b", "http://a.b"),
        ("http", "", "http://localhost:7"),
        ("http", "a' ; rm -r '", "http://localhost:7"),
        ("http", "<script>", "http://localhost:7"),
    ],
)
def test_the_page_names_the_address_it_was_asked_by(scheme: str, host: str, address: str) -> None:
    assert address_of(scheme, host, 7) == address


# --- what waits -------------------------------------------------------------------------------------------------------


def test_a_queue_has_an_end() -> None:
    async def ask() -> list[object]:
        queue = Offloader(3)
        asked = [asyncio.create_task(queue.result(partial(int, str(number)), 1)) for number in range(9)]
        try:
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            queue.close()

    found = asyncio.run(ask())
    assert found[:5] == [0, 1, 2, 3, 4]  # two at work, three that wait
    assert [type(each) for each in found[5:]] == [QueueFullError] * 4


def test_explanations_wait_in_a_line_of_their_own_which_has_an_end(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, threads = threading.Event(), set[int]()

    def slow(*_: object) -> dict[str, object]:
        threads.add(threading.get_ident())
        assert gate.wait(20)
        return {}

    monkeypatch.setattr(predicting, "MAX_EXPLAINING", 3)
    monkeypatch.setattr(explaining, "explain", slow)
    body = {"dataframe_records": sample(made, 1)}

    async def ask() -> None:
        async with (
            service_in_process(made, tmp_path) as service,
            httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://localhost") as client,
        ):
            asked = [asyncio.create_task(client.post("/explain", json=body)) for _ in range(16)]
            await asyncio.wait(asked, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            assert (await client.post("/invocations", json=body)).status_code == 200
            gate.set()
            answers = await asyncio.gather(*asked)
            assert [answer.status_code for answer in answers] == [200] * 5 + [503] * 11
            assert answers[-1].headers["retry-after"] == "5"
            assert service.mounts.by_name["rentals"].counters.errors == {"busy": 11}
            assert len(threads) == 1

    asyncio.run(ask())


def test_large_bodies_are_read_while_small_ones_are_answered(made, tmp_path: Path) -> None:
    records = sample(made, 100) * 40
    by_column = {name: [row[name] for row in records] for name in records[0]}
    large = {
        b"application/json": json.dumps({"dataframe_records": records}).encode(),
        b"application/json; by=column": json.dumps({"inputs": by_column}).encode(),
        b"text/csv": pl.DataFrame(records).write_csv().encode(),
    }
    small = json.dumps({"dataframe_records": sample(made, 1)}).encode()

    async def ask() -> None:
        async with service_in_process(made, tmp_path) as service:
            predictions, expected = service.predictions, None
            for media, body in large.items():
                waits: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
                predictions.answer("/invocations", admitted(service, (b"content-type", media)), body, waits.set_result)
                for _ in range(5):  # asked later, and answered first
                    assert (await predictions.reply("/invocations", admitted(service), small)).status == 200
                    assert not waits.done(), media
                reply = await waits
                assert reply.status == 200
                found = json.loads(reply.body)["predictions"]
                expected = expected or found
                assert found == expected

    asyncio.run(ask())
    assert len(logged_rows(tmp_path / "journal")) == 3 * (4000 + 5)


def test_a_large_body_that_cannot_be_read_does_not_hold_up_those_behind_it(made, tmp_path: Path) -> None:
    large = json.dumps({"dataframe_records": sample(made, 100) * 20}).encode()
    wrong = large.replace(b'"temp"', b'"tamp"', 1500)
    bodies = [large, wrong, b"[" * 300_000, large, wrong[:-9], large, gzip.compress(large), b"junk" * 50_000, large]

    async def ask() -> list[int]:
        async with service_in_process(made, tmp_path) as service:
            coded = [admitted(service, *([(b"content-encoding", b"gzip")] if b[:1] == b"\x1f" else [])) for b in bodies]
            asked = [service.predictions.reply("/invocations", *each) for each in zip(coded, bodies, strict=True)]
            return [reply.status for reply in await asyncio.gather(*asked)]

    assert asyncio.run(ask()) == [200, 400, 400, 200, 400, 200, 200, 400, 200]


def test_a_body_in_parts_is_answered_as_the_whole(made, tmp_path: Path) -> None:
    body = json.dumps({"dataframe_records": sample(made, 100) * 60}).encode()
    assert len(body) > JOINED_BYTES
    parts = [body[at : at + 60_000] for at in range(0, len(body), 60_000)]

    async def ask() -> list[Any]:
        async with service_in_process(made, tmp_path) as service:
            found = []
            for few in (parts, [b"".join(parts)], [body[:40_000], body[40_000:]]):
                waits: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
                service.predictions.answer_parts("/invocations", admitted(service), [*few], waits.set_result)
                reply = await waits
                assert reply.status == 200
                found.append(json.loads(reply.body)["predictions"])
            return found

    in_parts, whole, in_two = asyncio.run(ask())
    assert in_parts == whole == in_two
    assert len(whole) == 6000


# --- the process that explains ----------------------------------------------------------------------------------------


@pytest.fixture
def explainer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Explainer]:
    monkeypatch.setattr(explainer_module, "MANY_SECONDS", 0.0)
    monkeypatch.setattr(explainer_module, "PAUSE_SECONDS", 0.0)
    made = Explainer()
    yield made
    made.close()


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_the_process_that_explains_answers_to_the_byte_what_is_answered_here(
    made, explainer: Explainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    model, records = make_model(made[1], "7", 1000), sample(made, 101)
    body = json.dumps({"dataframe_records": records[:3]}).encode()
    table = pl.DataFrame(records[:3]).write_csv().encode()
    here, of_table = answer(model, body, "json"), answer(model, table, "csv")
    assert explainer.explain(model, body, "json") == here  # which begins the process
    until(lambda: explainer.is_at_hand(model))
    process = explainer.helper.process
    assert process is not None
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    if sys.platform == "linux":  # a turn comes also beside others that are busy
        assert os.sched_getscheduler(process.pid) == os.SCHED_OTHER
    with monkeypatch.context() as nowhere:
        nowhere.delattr(explainer_module, "answer")
        assert explainer.explain(model, body, "json") == here
        assert explainer.explain(model, table, "csv") == of_table
        assert json.loads(explainer.explain(replace(model, version="8"), body, "json"))["version"] == "8"
        for bad, words in ((records, "at most 100 rows"), ([{}], "is missing in row 0")):
            with pytest.raises(BadRequestError, match=words):
                explainer.explain(model, json.dumps({"dataframe_records": bad}).encode(), "json")
    other = make_model(made[2], "9", 1000)
    away = replace(other, bundle=replace(other.bundle, folder=tmp_path / "away"))
    until(lambda: explainer.is_at_hand(away) or "cannot load it" in caplog.text)
    assert explainer.explain(away, body, "json") == answer(other, body, "json")
    assert not explainer.is_at_hand(away)
    assert caplog.text.count("cannot load it") == 1
    assert explainer.is_at_hand(model)
    explainer.close()
    assert process.returncode == -signal.SIGKILL
    assert explainer.explain(model, body, "json") == here
    assert explainer.helper.process is None


@pytest.mark.slow
def test_what_the_process_that_explains_was_asked_as_it_was_killed_is_answered_here(made, explainer: Explainer) -> None:
    model, body = make_model(made[1], "7", 1000), json.dumps({"dataframe_records": sample(made, 2)}).encode()
    here = answer(model, body, "json")
    until(lambda: explainer.is_at_hand(model))
    first = explainer.helper.process
    assert first is not None
    first.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as thread:
        asked = thread.submit(explainer.explain, model, body, "json")
        time.sleep(0.05)
        first.kill()
        assert asked.result(60) == here
    until(lambda: explainer.is_at_hand(model))
    second = explainer.helper.process
    assert second is not None
    assert second.pid != first.pid
    assert explainer.explain(model, body, "json") == here
    assert second.stdin is not None
    second.stdin.close()  # as where whoever asks ended
    assert second.wait(60) == 0


def test_a_large_explanation_is_sent_in_pieces_between_which_others_have_their_turn(made, tmp_path: Path) -> None:
    body = json.dumps({"dataframe_records": sample(made, 100)}).encode()
    pieces, turns = list[dict[str, Any]](), 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal turns
        pieces.append(message | {"turns": turns})

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def ask() -> None:
        async with service_in_process(made, tmp_path) as service:
            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/rentals/explain", "headers": headers}
            beside = asyncio.create_task(others())
            await service({**scope, "query_string": b"", "http_version": "1.1"}, receive, send)
            beside.cancel()

    asyncio.run(ask())
    start, *parts = pieces
    whole = b"".join(part["body"] for part in parts)
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(whole)
    assert len(json.loads(whole)["explanations"]) == 100
    assert len(parts) == -(-len(whole) // 16384) > 1
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(later["turns"] > earlier["turns"] for earlier, later in itertools.pairwise(parts))
