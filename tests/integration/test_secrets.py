"""No secret is ever written: planted everywhere one may be, they are looked for in all a whole loop leaves behind."""

from __future__ import annotations

import gzip
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import polars as pl
import psutil
import pytest

from expectations.errors import DriftwheelError, SourceError, UnreachableError
from expectations.loading import SHIPPED
from flows import replay
from infra.settings import Addresses, Settings
from infra.stack import PROGRAMS, Stack
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tests.conftest import instant

pytestmark = pytest.mark.flow
Make = Callable[..., Path]
Run = Callable[[str, str, str], object]
FIRST, LATER = "2011-03-01", "2011-05-02"
NAME = "guarded"
KEPT_IN = {"privacy.key", "service.key", "stack.key"}
"""Files that are to hold a secret, for their owner alone."""


def planted(what: str) -> str:
    return f"Xq7{what}9SECRET"


SECRETS = {
    what: planted(what) for what in ("alert", "prefect", "service", "gate", "database", "mlflow", "source", "other")
}


@pytest.fixture
def source() -> Iterator[tuple[str, dict[str, int]]]:
    """The rides on a web server that wants a token; what it answers may be set."""
    rides = gzip.decompress((SHIPPED / "bikes" / "data" / "rides.csv.gz").read_bytes())
    answers = {"status": 200}

    class Rides(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.path.endswith(f"token={SECRETS['source']}")
            self.send_response(answers["status"] if allowed else 403)
            self.send_header("content-length", str(len(rides)))
            self.end_headers()
            self.wfile.write(rides)

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            """Nothing: a server of somebody else's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rides)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/rides.csv?token={SECRETS['source']}", answers
    server.shutdown()
    server.server_close()
    thread.join()


def with_login(address: str, user: str, password: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=f"{user}:{password}@{parts.netloc}").geturl()


def texts_of(path: Path) -> Iterator[str]:
    """Every value of every table: in the file's bytes a text may be cut in two by a page."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for row in database.execute(f'SELECT * FROM "{name}"'):
                yield " ".join(each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in row)
    database.close()


def found_in(home: Path, secrets: dict[str, str]) -> list[str]:
    """Where a secret stands in what a home holds."""
    found = []
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.name in KEPT_IN or "ui" in path.relative_to(home).parts:
            continue
        content = "\n".join(texts_of(path)) if path.suffix == ".db" else path.read_bytes().decode("latin-1")
        found += [f"{what} in {path.relative_to(home)}" for what, secret in secrets.items() if secret in content]
    for table in ("raw", "clean", "quarantine", "predictions", "labels"):
        lake = Lake(Settings().places().lake, NAME)
        if lake.version(table) is not None:
            content = lake.scan(table).select(pl.all().cast(pl.String)).collect().write_csv()
            found += [f"{what} in {table}" for what, secret in secrets.items() if secret in content]
    return found


def driftwheel(*arguments: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [Path(sys.executable).parent / "driftwheel", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=200,
    )
    return done.stdout + done.stderr


def test_no_secret_is_written_anywhere(
    stack: Addresses,
    home: Path,
    make_use_case: Make,
    run: Run,
    source: tuple[str, dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    address, answers = source
    token = "${CHAT_TOKEN}"
    alerts = [f"json://bot:{token}@127.0.0.1:9/{token}?to={token}", token, f"slack://{token}", f"odd://{token}@x"]
    folder = make_use_case(NAME, {"sources.rides.path": address, "alerts": alerts, "personal": {"registered": "hash"}})
    for name, value in {
        "CHAT_TOKEN": SECRETS["alert"],
        "ANOTHER_PASSWORD": SECRETS["other"],
        "DRIFTWHEEL_PREFECT_LOGIN": f"admin:{SECRETS['prefect']}",
        "DRIFTWHEEL_SERVICE_KEY": f"dw_platform_{SECRETS['service']}",
        "DRIFTWHEEL_SERVICE": with_login(stack.service, "gate", SECRETS["gate"]),
        "DRIFTWHEEL_MLFLOW": with_login(stack.mlflow, "mlops", SECRETS["mlflow"]),
    }.items():
        monkeypatch.setenv(name, value)
    secrets = dict(SECRETS)
    dead = {name: with_login("http://127.0.0.1:9", name, SECRETS[name]) for name in ("mlflow", "gate")}
    told = []

    def fails(flow: str, as_of: str, kind: type[DriftwheelError], **environment: str) -> None:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(kind) as error:
                run(flow, str(folder), as_of)
        told.append(f"{error.value!r} {error.value}")

    # the wheel turns, and each server is away once
    fails("loop", FIRST, UnreachableError, DRIFTWHEEL_MLFLOW=dead["mlflow"])
    assert run("loop", str(folder), FIRST).outcome == "done"
    job = Job(Settings().use_case(str(folder)), Settings().places(), instant(LATER))
    world, bundle, traffic = replay.read_world(job), replay.champion_bundle(job), replay.Traffic()
    replay.send(job, world, instant("2011-03-02"), instant("2011-05-01"), bundle, traffic, 200)
    assert traffic.failed == 0
    sent = httpx.post(f"{stack.service}/{NAME}/feedback", json={"id": "nobody", "label": 5}, timeout=30)
    assert sent.status_code == 200
    fails("monitor", LATER, UnreachableError, DRIFTWHEEL_SERVICE=dead["gate"])
    assert run("loop", str(folder), LATER).outcome == "done"
    assert job.database.undelivered(NAME)  # no channel took any
    answers["status"] = 404
    fails("collect", "2011-06-01", SourceError)
    answers["status"] = 500
    fails("collect", "2011-06-02", SourceError)

    # what people see
    database = f"postgresql+psycopg://wheel:{SECRETS['database']}@127.0.0.1:9/platform"
    told += [
        driftwheel("why", NAME, "--last", "50", "--json"),
        driftwheel("check", str(folder)),
        driftwheel("why", NAME, DRIFTWHEEL_DATABASE=database),
        driftwheel("score", str(folder), "--input", address, "--output", f"{address}.parquet"),
    ]
    assert "unmatched" in told[-4]
    written = capfd.readouterr()
    seen = "\n".join((*told, caplog.text, written.out, written.err))
    # what is kept
    secrets |= {name: (home / f"{name}.key").read_text().strip() for name in ("privacy", "stack")}
    assert min(map(len, secrets.values())) > 10
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all()
    assert [what for what, secret in secrets.items() if secret in seen] == []
    assert found_in(home, secrets) == []

    # what all users of the machine see
    commands = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DRIFTWHEEL_HOME") == str(home):
                commands.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    commands.append(Stack(Settings())._config(PROGRAMS, stack))
    assert len(commands) > 3
    assert [what for what, secret in secrets.items() if any(secret in command for command in commands)] == []
