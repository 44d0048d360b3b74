"""No secret is ever written: planted everywhere one may be, they are looked for in all a whole loop leaves behind."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import polars as pl
import psutil
import pytest

from expectations.errors import DriftwheelError, SourceError, UnreachableError
from expectations.loading import SHIPPED
from flows import replay, replay_story, replay_windows
from infra.backup import USE_CASES
from infra.settings import Addresses, Settings
from infra.stack import PROGRAMS, Stack
from infra.supervisor_config import supervisor_config
from tasks.stores.lake import Lake
from tasks.stores.personal_keys import PERSONAL_KEYS, kept_keyring
from tasks.stores.places import Job
from tests.conftest import forget_prefect_services, instant
from tests.e2e.conftest import point, wait
from tests.fronts import serving

pytestmark = pytest.mark.system
Make = Callable[..., Path]
FIRST, LATER = "2011-03-01", "2011-05-02"
NAME = "guarded"
KEPT_IN = {"privacy.key", "service.key", "stack.key", PERSONAL_KEYS}
"""Files that are to hold a secret, for their owner alone."""
TABLES = ("raw", "clean", "quarantine", "predictions", "labels")


def planted(what: str) -> str:
    return f"Xq7{what}9SECRET"


SECRETS = {
    what: planted(what)
    for what in ("alert", "prefect", "service", "gate", "database", "mlflow", "source", "other", "person")
}


@pytest.fixture
def source() -> Iterator[tuple[str, dict[str, int]]]:
    """The rides on a web server that wants a token; what it answers may be set."""
    table = pl.read_csv(SHIPPED / "bikes" / "data" / "rides.csv.gz", infer_schema=False)
    rides = table.with_columns(email=pl.lit(f"{SECRETS['person']}@example.org")).write_csv().encode()
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

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Rides)) as server:
        yield f"http://127.0.0.1:{server.server_port}/rides.csv?token={SECRETS['source']}", answers


@dataclass(frozen=True)
class Planted:
    """A whole stack at work, with secrets wherever one may be."""

    home: Path
    folder: Path
    stack: Addresses
    source: str
    answers: dict[str, int]


@pytest.fixture
def planted_stack(
    source: tuple[str, dict[str, int]], make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Planted]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address, answers = source
    point(monkeypatch, tmp_path / "home")
    for name, value in {
        "CHAT_TOKEN": SECRETS["alert"],
        "ANOTHER_PASSWORD": SECRETS["other"],
        "DRIFTWHEEL_PREFECT_LOGIN": f"admin:{SECRETS['prefect']}",
        "DRIFTWHEEL_SERVICE_KEY": f"dw_platform_{SECRETS['service']}",
    }.items():
        monkeypatch.setenv(name, value)
    token = "${CHAT_TOKEN}"
    alerts = [f"json://bot:{token}@127.0.0.1:9/{token}?to={token}", token, f"slack://{token}", f"odd://{token}@x"]
    changes = {
        "alerts": alerts,
        "heartbeat": {"ping": f"http://127.0.0.1:9/{token}"},
        "personal": {"registered": "hash", "email": "encrypt"},
    }
    folder = make_use_case(NAME, {"sources.rides.path": address, **changes})
    settings = Settings()
    settings.platform().add_use_case(NAME, folder, settings.use_case(str(folder)).digest)
    stack = Stack(settings)
    addresses = stack.start()
    try:
        for name, value in settings.child_environment(addresses).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", with_login(addresses.service, "gate", SECRETS["gate"]))
        monkeypatch.setenv("DRIFTWHEEL_MLFLOW", with_login(addresses.mlflow, "mlops", SECRETS["mlflow"]))
        forget_prefect_services()
        with temporary_settings({PREFECT_API_URL: f"{addresses.prefect}/api"}):
            yield Planted(settings.folder, folder, addresses, address, answers)
        forget_prefect_services()
    finally:
        stack.stop()


def run_by_deployment(flow: str, as_of: str) -> str:
    """Let the runner run a flow; returns what its state says."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{flow}/{NAME}").id
        given = {"usecase": NAME, "as_of": f"{as_of}T00:00:00Z"}
        made = client.create_flow_run_from_deployment(deployment, parameters=given).id
        wait(lambda: client.read_flow_run(made).state.is_final() is True)
        state = client.read_flow_run(made).state
    return f"{state.name}: {state.message}"


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
    """Where a secret stands in what a home, or a backup of one, holds."""
    found = []
    for path in sorted(home.rglob("*")):
        apart = {"ui", USE_CASES} & set(path.relative_to(home).parts)  # use cases are their owner's
        if not path.is_file() or path.name in KEPT_IN or apart:
            continue
        content = "\n".join(texts_of(path)) if path.suffix == ".db" else path.read_bytes().decode("latin-1")
        found += [f"{what} in {path.relative_to(home)}" for what, secret in secrets.items() if secret in content]
    return found


def found_in_lake(secrets: dict[str, str]) -> list[str]:
    """Where a secret stands in the tables: their files are compressed."""
    found = []
    for name in (NAME, f"{NAME}-replay"):
        lake = Lake(Settings().places().lake, name)
        for table in [each for each in TABLES if lake.version(each) is not None]:
            content = lake.scan(table).select(pl.all().cast(pl.String)).collect().write_csv()
            found += [f"{what} in {table}" for what, secret in secrets.items() if secret in content]
    return found


def driftwheel(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "driftwheel", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=200,
    )
    return done.stdout + done.stderr


def test_no_secret_is_written_anywhere(
    planted_stack: Planted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from flows.local_runs import run_flow

    home, folder, stack, address, answers = vars(planted_stack).values()
    secrets = dict(SECRETS)
    dead = {name: with_login("http://127.0.0.1:9", name, SECRETS[name]) for name in ("mlflow", "gate")}
    told = []

    def fails(flow: str, as_of: str, kind: type[DriftwheelError], **environment: str) -> None:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(kind) as error:
                run_flow(flow, str(folder), instant(as_of))
        told.append(f"{error.value!r} {error.value}")

    # the wheel turns, and each server is away once
    fails("loop", FIRST, UnreachableError, DRIFTWHEEL_MLFLOW=dead["mlflow"])
    assert run_flow("loop", str(folder), instant(FIRST)).outcome == "done"
    job = Job(Settings().use_case(str(folder)), Settings().places(), instant(LATER))
    world, bundle, traffic = (
        replay_windows.read_history(job.usecase, job.places.secret),
        replay_story.champion_bundle(job),
        replay_story.SentRequests(),
    )
    replay.send(job, world, instant("2011-03-02"), instant("2011-05-01"), bundle, traffic, 200)
    assert traffic.failed == 0
    sent = httpx.post(f"{stack.service}/{NAME}/feedback", json={"id": "nobody", "label": 5}, timeout=30)
    assert sent.status_code == 200
    fails("monitor", LATER, UnreachableError, DRIFTWHEEL_SERVICE=dead["gate"])
    assert run_flow("loop", str(folder), instant(LATER)).outcome == "done"
    answers["status"] = 404
    fails("collect", "2011-06-01", SourceError)
    tried = job.database.target_reports([NAME])
    assert len(tried) == len({each.label for each in tried}) == 4
    assert all(each.attempts and each.last_error and not each.last_success for each in tried)  # no channel took any
    answers["status"] = 500
    said = run_by_deployment("collect", "2011-06-02")
    assert "SourceUnreachableError" in said
    told.append(said)
    answers["status"] = 200

    # what people see
    database = f"postgresql+psycopg://wheel:{SECRETS['database']}@127.0.0.1:9/platform"
    secrets["app"] = re.findall(r"^dw_app_\S+$", driftwheel("keys", "add", "app"), re.MULTILINE)[0]
    told += [
        driftwheel("replay", str(folder), "--to", "2011-04-01", DRIFTWHEEL_SERVICE=stack.service),  # by the key
        driftwheel("backup", str(tmp_path / "backups")),
        driftwheel("why", NAME, "--last", "50", "--json"),
        driftwheel("check", str(folder)),
        driftwheel("why", NAME, DRIFTWHEEL_DATABASE=database),
        driftwheel("score", str(folder), "--input", address, "--output", f"{address}.parquet"),
    ]
    assert "unmatched" in told[-4]
    assert "0 failed" in told[-6], told[-6]
    assert "every one with its hash" in told[-5]
    written = capfd.readouterr()
    seen = "\n".join((*told, caplog.text, written.out, written.err))
    # what is kept
    secrets |= {name: (home / f"{name}.key").read_text().strip() for name in ("privacy", "stack")}
    secrets["personal"] = kept_keyring(home / PERSONAL_KEYS).newest.key
    assert min(map(len, secrets.values())) > 10
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all()
    assert [what for what, secret in secrets.items() if secret in seen] == []
    assert found_in(home, secrets) == found_in(tmp_path / "backups", secrets) == found_in_lake(secrets) == []

    # what all users of the machine see
    commands = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DRIFTWHEEL_HOME") == str(home):
                commands.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    commands.append(supervisor_config(Stack(Settings()), PROGRAMS, stack))
    assert len(commands) > len(PROGRAMS)
    assert [what for what, secret in secrets.items() if any(secret in command for command in commands)] == []
