"""A source that is a JSON API, on a real server: in pages, again where a fault may pass, bounded, and no key told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import polars as pl
import pytest
from pydantic import ValidationError

from expectations.data import SourceContext
from expectations.errors import SourceError, SourceUnreachableError
from expectations.variables import Variables
from tasks.collection.sources.http import HttpSource
from tests.conftest import instant

ROWS = [{"id": 2**53 + number, "x": number / 2, "at": {"day": "2024-05-01"}, "tags": ["a"]} for number in range(7)]
TOKEN = "Xq7api9SECRET"
Answer = tuple[int, dict[str, str], Any]
Answers = Callable[[str, dict[str, str], dict[str, str]], Answer]


class Server:
    """Answers by a function, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: Answers = lambda path, query, headers: (200, {}, ROWS)
        self.asked: list[tuple[str, dict[str, str]]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query))
                server.asked.append((parts.path, query))
                status, headers, body = server.answers(parts.path, query, dict(self.headers))
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("tasks.collection.apis._FIRST_PAUSE", 0.01)
    made = Server()
    thread = Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def read(
    api: Server, *, since: datetime | None = None, declared: tuple[str, ...] = (), **fields: object
) -> pl.DataFrame:
    written = {"kind": "http", "url": f"{api.url}/rows", **fields}
    source = HttpSource.model_validate_json(json.dumps(written))
    variables = Variables({"API_TOKEN": TOKEN})
    until = instant("2024-06-01T10:00")
    return source.read(SourceContext("api", Path(), set(declared), None, since, until, variables))


def numbers(start: int, end: int) -> list[dict[str, Any]]:
    return ROWS[start:end]


def test_records_become_columns(api: Server) -> None:
    rows = read(api)
    assert rows.schema == {"id": pl.Int64, "x": pl.Float64, "at.day": pl.String, "tags": pl.String}
    assert rows["id"].to_list() == [row["id"] for row in ROWS]
    assert rows["tags"].to_list() == ['["a"]'] * 7
    api.answers = lambda path, query, headers: (200, {}, {"data": {"items": ROWS[:2], "n": 2}})
    assert read(api, records="data.items").height == 2


def test_what_changed_since_is_asked_for_and_keys_are_shown(api: Server) -> None:
    def answers(path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        return (200, {}, ROWS) if headers.get("X-Key") == f"key {TOKEN}" else (401, {}, {})

    api.answers = answers
    fields = {
        "url": f"{api.url}/rows?kind=a",
        "headers": {"X-Key": "key ${API_TOKEN}"},
        "params": {"from": ":since", "to": ":until", "token": "${API_TOKEN}", "limit": "5"},
    }
    read(api, **fields)
    read(api, since=instant("2024-05-01T08:30"), **fields)
    whole = {"kind": "a", "to": "2024-06-01T10:00:00Z", "token": TOKEN, "limit": "5"}
    assert [query for _, query in api.asked] == [whole, {**whole, "from": "2024-05-01T08:30:00Z"}]
    with pytest.raises(SourceError, match=r"HTTP 401.*the key it is shown"):
        read(api)


def by_number(path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
    page = int(query["page"])
    return 200, {}, {"rows": numbers(3 * page - 3, 3 * page)}


def by_link(path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
    at = int(query.get("at", "0"))
    return 200, {}, {"rows": numbers(at, at + 3), "links": {"next": f"/rows?at={at + 3}" if at < 6 else None}}


def by_cursor(path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
    at = int(query.get("after", "0"))
    return 200, {}, {"rows": numbers(at, at + 3), "next": str(at + 3) if at < 6 else ""}


@pytest.mark.parametrize(
    ("answers", "pages", "asked"),
    [
        (by_number, {"number": "page"}, 4),
        (by_link, {"link": "links.next"}, 3),
        (by_cursor, {"cursor": "next", "parameter": "after"}, 3),
    ],
)
def test_pages_are_one_table(api: Server, answers: Answers, pages: dict[str, str], asked: int) -> None:
    api.answers = answers
    rows = read(api, records="rows", pages=pages, params={"limit": "3"})
    assert rows["id"].to_list() == [row["id"] for row in ROWS]
    assert len(api.asked) == asked
    assert api.asked[0][1]["limit"] == "3"


@pytest.mark.parametrize(
    ("answer", "pages", "says"),
    [
        ({"rows": ROWS}, {"number": "nix"}, "twice the same page, by nix"),
        ({"rows": ROWS, "next": "/rows"}, {"link": "next"}, "leads to one before it"),
        ({"rows": ROWS, "next": "7"}, {"cursor": "next", "parameter": "nix"}, "leads to one before it"),
        ({"rows": ROWS, "next": "http://elsewhere.example/"}, {"link": "next"}, "a link to another host"),
        ({"rows": ROWS, "next": {"a": 1}}, {"link": "next"}, "dict at next"),
    ],
)
def test_pages_that_lead_nowhere_are_refused(api: Server, answer: Any, pages: dict[str, str], says: str) -> None:
    api.answers = lambda path, query, headers: (200, {}, answer)
    with pytest.raises(SourceError, match=says):
        read(api, records="rows", pages=pages)
    assert len(api.asked) <= 2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(api: Server, status: int) -> None:
    api.answers = lambda path, query, headers: (200 if len(api.asked) == 3 else status, {}, ROWS)
    assert read(api).height == 7
    api.asked.clear()
    api.answers = lambda path, query, headers: (status, {}, ROWS)
    with pytest.raises(SourceUnreachableError, match=f"HTTP {status}"):
        read(api)
    assert len(api.asked) == 6


@pytest.mark.parametrize("status", [301, 400, 403, 404, 410])
def test_what_will_not_pass_is_asked_once(api: Server, status: int) -> None:
    api.answers = lambda path, query, headers: (status, {"location": f"{api.url}/other"}, {})
    with pytest.raises(SourceError, match=f"HTTP {status}") as caught:
        read(api)
    assert type(caught.value) is SourceError
    assert len(api.asked) == 1


def test_it_waits_as_long_as_it_is_asked_to(api: Server) -> None:
    def in_two_seconds() -> str:
        return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)

    for said, least in ((lambda: "1", 0.9), (in_two_seconds, 0.9), (lambda: "nonsense", 0)):
        api.asked.clear()
        wait = {"retry-after": said()}
        api.answers = lambda path, query, headers, wait=wait: (  # type: ignore[misc]
            (200, {}, ROWS) if len(api.asked) > 1 else (429, wait, {})
        )
        begun = time.monotonic()
        assert read(api).height == 7
        assert time.monotonic() - begun >= least
    api.answers = lambda path, query, headers: (429, {"retry-after": "3600"}, {})
    begun = time.monotonic()
    with pytest.raises(SourceUnreachableError, match="HTTP 429"):
        read(api)
    assert time.monotonic() - begun < 5  # not as long as that: the run is tried again later


def test_a_server_that_is_silent_or_away_is_unreachable(api: Server) -> None:
    api.answers = lambda path, query, headers: (time.sleep(2), (200, {}, ROWS))[1]
    with pytest.raises(SourceUnreachableError, match="ReadTimeout"):
        read(api, timeout="1s")
    with pytest.raises(SourceUnreachableError, match="ConnectError"):
        read(api, url="http://127.0.0.1:1/rows")


@pytest.mark.parametrize(
    ("answer", "fields", "says"),
    [
        (b"<html>", {}, "what is no JSON"),
        (b"[" * 100_000, {}, "what is no JSON"),
        ({"data": [], "meta": {}}, {}, "no list, with the keys data, meta.*`records`"),
        ({"data": []}, {"records": "items"}, "no list at items, with the keys data"),
        ([1], {}, "a record that is int"),
        ([{"x": "1" * 2_000_000}], {"max_megabytes": 1}, "at most 1 MB"),
        ([{"x": 1}, {"x": "a"}], {}, "values of one type in the column 'x'"),
        ([], {"url": "${API_TOKEN}"}, "no request over HTTP"),
        ([], {"headers": {"a": "${NIX}"}}, "NIX for the source 'api'"),
    ],
)
def test_other_answers_are_refused(api: Server, answer: Any, fields: dict[str, Any], says: str) -> None:
    api.answers = lambda path, query, headers: (200, {}, answer)
    with pytest.raises(SourceError, match=says) as caught:
        read(api, **fields)
    assert TOKEN not in str(caught.value)


def test_no_key_is_in_a_log_or_an_error(api: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api.answers = lambda path, query, headers: (503, {}, {})
    fields = {
        "url": f"{api.url}/${{API_TOKEN}}/rows?key=${{API_TOKEN}}",
        "params": {"token": "${API_TOKEN}"},
        "headers": {"authorization": "Bearer ${API_TOKEN}"},
    }
    with pytest.raises(SourceUnreachableError) as caught:
        read(api, **fields)
    assert api.asked[0][0] == f"/{TOKEN}/rows"
    assert TOKEN not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "ftp://host/rows"}, "pattern"),
        ({"pages": {}}, "give one of `number`, `link` and `cursor`"),
        ({"pages": {"number": "page", "link": "next"}}, "give one of"),
        ({"pages": {"cursor": "next"}}, "give both"),
        ({"records": "a..b"}, "pattern"),
    ],
)
def test_what_cannot_be_asked_is_not_taken(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HttpSource.model_validate({"kind": "http", "url": "https://host/rows", **fields})


def test_it_is_incremental_where_it_asks_for_what_changed() -> None:
    texts = ({"$filter": "changed ge :since"}, True), ({"q": "grows:sincerely"}, False)
    for params, found in (({"from": ":since"}, True), ({"to": ":until"}, False), ({}, False), *texts):
        source = HttpSource.model_validate({"kind": "http", "url": "https://host/rows", "params": params})
        assert source.incremental is found


def test_instants_stand_within_longer_texts_and_in_the_address_too(api: Server) -> None:
    fields = {"url": f"{api.url}/from/:since", "params": {"$filter": "changed ge :since and x eq '${API_TOKEN}'"}}
    read(api, since=instant("2024-05-01T08:30"), **fields)
    read(api, **fields)
    told = f"and x eq '{TOKEN}'"
    assert api.asked == [
        ("/from/2024-05-01T08:30:00Z", {"$filter": f"changed ge 2024-05-01T08:30:00Z {told}"}),
        ("/from/1000-01-01T00:00:00Z", {"$filter": f"changed ge 1000-01-01T00:00:00Z {told}"}),
    ]
