"""Every command of the command line in every wrong surrounding: a sentence that says what to do, and nothing half-done.

The table is made from the commands themselves, so that none can be forgotten; what a command is to say in a surrounding
stands beside it. The surroundings are real: a disk without room, a folder for reading only, a locked database, sockets
that are closed, silent or answer 500.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner, Result

from expectations.errors import DriftwheelError
from expectations.loading import load_use_case
from flows.cli import main
from infra import backup, copying
from tasks.stores import engines
from tasks.stores.database import Database
from tasks.stores.desired_state import Served
from tasks.stores.finding_kinds import describe
from tasks.stores.hashing import hash_file
from tasks.stores.keys import Keys
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED
from tasks.stores.ledger import Entry
from tasks.stores.releases import Releases
from tests.conftest import instant, make_use_case
from tests.fronts import serving
from tests.unit.test_training import released, rows

Home = Path
Says = dict[str, str]
ROOT = os.geteuid() == 0
MODEL = Path(__file__).parents[2] / "tasks/modelling/smallest_trees.txt"


def _leaves(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*above, name))
        else:
            yield " ".join((*above, name))


# What each command is given; those that change something come last.
ARGUMENTS: dict[str, list[str]] = {
    "schema": [],
    "parts": [],
    "list": [],
    "status": [],
    "doctor": [],
    "why": ["rentals"],
    "evidence": ["rentals"],
    "lineage": ["1", "--usecase", "rentals"],
    "prove": ["nobody", "--usecase", "rentals"],
    "rows": ["rentals", "clean"],
    "suggest": ["rentals"],
    "value": ["rentals"],
    "profile": ["rentals", "--candidate", "lightgbm", "--out", "{home}-profile"],
    "quarantine": ["rentals", "list"],
    "forget": ["rentals", "--where", "bikers == 7", "--dry-run"],
    "alert list": [],
    "alert test": ["rentals"],
    "alert acknowledge": ["rentals", "held"],
    "keys list": [],
    "personal-keys list": [],
    "decide": ["rentals", "--dry-run"],
    "check": ["{usecase}"],
    "backtest": ["{usecase}", "--from", "2011-01-01"],
    "score": ["rentals", "--input", "lake:clean", "--output", "{home}-predicted.parquet"],
    "report": ["rentals", "2011-02-15"],
    "restore": ["{backup}"],
    "stack wait": ["--folder", "{compose}", "--seconds", "1"],
    "stack backup": ["{outside}", "--folder", "{compose}"],
    "stack restore": ["{backup}", "--folder", "{compose}"],
    "new": ["found", "--from", "{usecase}/data/rides.csv.gz", "--target", "bikers"],
    "adopt": [
        *("found", "--model", str(MODEL), "--from", "{usecase}/data/rides.csv.gz", "--target", "workingday"),
        *("--features", "holiday,casual,bikers"),
    ],
    "run": ["loop", "rentals", "--as-of", "2011-03-05"],
    "replay": ["rentals", "--to", "2011-04-01"],
    "promote": ["rentals", "--version", "1"],
    "deploy": ["rentals", "--version", "1"],
    "rollback": ["rentals"],
    "up": ["--detach"],
    "backup": ["{outside}"],
    "stack init": ["--folder", "{compose}"],
    "keys add": ["another"],
    "personal-keys rotate": [],
    "keys remove": ["app"],
    "add": ["{usecase}"],
    "remove": ["rentals"],
    "down": [],
}
ASK_SERVERS = ("run", "replay", "promote", "deploy", "rollback")
ASK_DATABASE = (
    "list",
    "status",
    "why",
    "evidence",
    "lineage",
    "prove",
    "rows",
    "suggest",
    "value",
    "profile",
    "quarantine",
    "forget",
    "alert list",
    "alert test",
    "alert acknowledge",
    "decide",
    "check",
    "new",
    "adopt",
    "backtest",
    "score",
    "report",
    *ASK_SERVERS,
    "up",
    "add",
    "remove",
)
"""Commands that cannot go on without the platform database; `doctor` says so and goes on, `backup` copies it."""
WRITE = (
    "score",
    *ASK_SERVERS,
    "up",
    "keys add",
    "keys remove",
    "personal-keys rotate",
    "add",
    "remove",
    "alert acknowledge",
)
"""Commands that write into the home."""
ALWAYS: Says = {  # what holds in every surrounding: no server is up, and none can be started
    **dict.fromkeys(ASK_SERVERS, "the Prefect server at .* to answer"),
    "up": "free ports",
    "backtest": "windows after a history to learn from",
    "report": "harvested predictions",
    "prove": "an answer of this id",
    "restore": "an empty home",
    **dict.fromkeys(("stack wait", "stack backup", "stack restore"), "docker compose, or docker-compose"),
}


UNCOUNTED = ("platform.db", "-wal", "-shm", ".desired.lock", ".lock", "stack/starting")
"""Ends of names of locks, and of the platform database, whose rows count."""


def test_no_command_is_forgotten() -> None:
    assert sorted(ARGUMENTS) == sorted(_leaves(main))


# --- a home at work ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    home: Path
    usecase: Path
    backup: Path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A home with a champion, rows, keys and decisions, made without a server; and a backup of it."""
    folder = tmp_path_factory.mktemp("template")
    usecase = make_use_case.__wrapped__(folder)()
    for file in usecase.glob("data/*.csv.gz"):
        lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
        file.write_bytes(gzip.compress(b"".join(lines[:1000])))
    loaded, home = load_use_case(str(usecase)), folder / "home"
    frame = rows(loaded, "2011-03-01")
    bundle, _, _ = released(loaded, frame, folder / "bundle")
    database = Database(f"sqlite:///{home / 'platform.db'}")
    database.add_use_case("rentals", usecase, loaded.digest)
    with database.transaction() as connection:
        evidence = {"bundle": bundle.digest, "version": "1", "run": ""}
        entry = Entry("r/1", "rentals", instant("2011-03-01"), "deploy", "promoted", "passed", "version 1", evidence)
        database.write(connection, entry)
        database.record(connection, describe("rentals", "held", "failure", "rows failed"), instant("2011-03-01"))
    releases = Releases(home / "releases")
    releases.add("rentals", bundle.folder, bundle.digest)
    releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version="1"))
    stamped = frame.with_columns(
        pl.lit(1, dtype=pl.Int64).alias(BATCH), pl.lit(instant("2011-03-01")).dt.cast_time_unit("us").alias(COLLECTED)
    )
    for table in ("raw", "clean"):
        Lake(str(home / "lake"), "rentals").append(table, stamped, transactions={"test": 1})
    keys = Keys(home / "keys.json")
    keys.add("app", ("predict",))
    keys.add("platform", ("admin",), "secret")
    (home / "service.key").write_text("secret")
    (home / "privacy.key").write_text("0f" * 32)
    (home / "stack.key").write_text("0f" * 32)
    engines.close_engines()
    return Template(home, usecase, backup.back_up(home, folder / "backups").folder)


@dataclass
class Place:
    """Where commands run: the home, what lies around it, and what the environment says."""

    home: Path
    usecase: Path
    backup: Path
    outside: Path
    compose: Path
    taken: str
    """A port that somebody listens on."""
    full: Path | None = None
    """A disk to fill before each command: SQLite gives room back when it closes its log."""
    emptied: bool = False
    """Whether each command finds no home."""

    def begin(self) -> State:
        """Prepare the home for a command, and return what is there before it."""
        if self.emptied:
            engines.close_engines()
            shutil.rmtree(self.home, ignore_errors=True)
        return self.state()

    def call(self, command: str) -> Result:
        if self.full is not None:
            engines.close_engines()  # as between processes: what is open may write into a log that has its room already
            fill(self.full)
        names = {name: str(value) for name, value in vars(self).items()}
        arguments = [argument.format(**names) for argument in ARGUMENTS[command]]
        port = self.taken if command == "up" else "0"  # nothing is to be started here
        ports = {f"DRIFTWHEEL_{name}_PORT": port for name in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE")}
        return CliRunner(env=ports).invoke(main, [*command.split(), *arguments], prog_name="driftwheel")

    def state(self) -> State:
        """Return what a command may leave half-written."""
        if (here := Path.cwd() / "found").exists():  # whole, or not at all
            held = {path.name for path in here.iterdir()} - {"model.txt"}  # which one that was adopted has, too
            assert held == {"profile.html", "suite.yaml", "usecase.yaml"}
            shutil.rmtree(here)
        assert list(Path.cwd().iterdir()) == []
        files = {
            f"{folder.name}/{name}": digest for folder in self._folders() for name, digest in hashes(folder).items()
        }
        for path in self.home.parent.glob("*predicted*"):
            files[path.name] = hash_file(path)
        return State(files, known(self.home / "platform.db", "rentals"))

    def _folders(self) -> list[Path]:
        return [folder for folder in (self.home, self.outside, self.compose) if folder.is_dir()]


@dataclass(frozen=True)
class State:
    """Hashes of files by name, and the rows of the platform database."""

    files: dict[str, str]
    rows: object

    def changes(self, now: State) -> list[str]:
        """Name what is not as it was."""
        either = {**self.files, **now.files}
        changed = sorted(name for name in either if self.files.get(name) != now.files.get(name))
        return changed + ["rows of the platform database"] * (self.rows != now.rows)


def hashes(folder: Path) -> dict[str, str]:
    """Hash the files in a folder; of what is none, such as a link that leads nowhere, the name counts."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir()]
    counted = [path for path in paths if not str(path).endswith(UNCOUNTED)]
    return {str(path.relative_to(folder)): hash_file(path) if path.is_file() else "" for path in counted}


def known(file: Path, usecase: str) -> object:
    """Return the rows of the platform database; of one that cannot be read, its hash."""
    try:
        if not file.is_file():
            return None
        database = Database(f"sqlite:///{file}")
        of_it = [database.entries, database.turns, database.measurements, database.findings, database.present]
        rows = [database.use_cases(), database.unsent(), *(read(usecase) for read in of_it)]
        return rows if any(rows) else None  # a database without a row is as good as none
    except (DriftwheelError, OSError):
        return hash_file(file) if file.is_file() else None


@pytest.fixture
def place(template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    home = tmp_path / "home"
    shutil.copytree(template.home, home)
    compose = tmp_path / "compose"
    compose.mkdir()
    (compose / "docker-compose.yml").write_text("services: {}\n")
    (tmp_path / "no programs").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(engines, "_BUSY_SECONDS", 0)
    monkeypatch.setattr(copying, "_BUSY_SECONDS", 0.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = {"DRIFTWHEEL_HOME": str(home), "DRIFTWHEEL_PATIENCE": "0", "PATH": str(tmp_path / "no programs")}
        os.environ.update(settings | servers(closed_port()))
        outside, port = tmp_path / "outside", str(taken.getsockname()[1])
        yield Place(home, template.usecase, template.backup, outside, compose, port)
    engines.close_engines()
    os.environ.clear()
    os.environ.update(before)


def servers(port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    return {"PREFECT_API_URL": f"{address}/api", "MLFLOW_TRACKING_URI": address, "DRIFTWHEEL_SERVICE": address}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- surroundings -----------------------------------------------------------------------------------------------------


Surrounding = Callable[[Place], contextlib.AbstractContextManager[Says]]
SURROUNDINGS: dict[str, Surrounding] = {}


def surrounding(make: Callable[[Place], Iterator[Says]]) -> Callable[[Place], Iterator[Says]]:
    SURROUNDINGS[make.__name__.replace("_", " ")] = contextmanager(make)
    return make


@surrounding
def nothing_wrong(_: Place) -> Iterator[Says]:
    yield {}


@surrounding
def a_full_disk(place: Place) -> Iterator[Says]:
    if not ROOT:
        pytest.skip("only root may mount a small disk; `no room for a byte` is the same without it")
    disk = place.home.with_name("disk")
    disk.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        shutil.copytree(place.home, disk / "home")
        move_home(place, disk / "home")
        place.full = disk
        no_room = "MB free on the disk"
        yield {
            "doctor": "GB free",
            **dict.fromkeys(("score", "profile"), "no space left"),
            **dict.fromkeys((*ASK_SERVERS, "up"), no_room),
            **dict.fromkeys(("keys add", "keys remove", "personal-keys rotate"), "no space left"),
            **dict.fromkeys(("add", "remove", "alert acknowledge"), "no space left on its disk"),
        }
    finally:
        engines.close_engines()
        subprocess.run(["/usr/bin/umount", disk], check=True)


@surrounding
def no_room_for_a_byte(place: Place) -> Iterator[Says]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield {
            **dict.fromkeys(
                ("score", "keys add", "keys remove", "personal-keys rotate", "stack init"), "file too large"
            ),
            "backup": "disk I/O error",
            **dict.fromkeys(ASK_DATABASE, "the platform database"),
            "doctor": "platform database",
        }
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@surrounding
def a_home_for_reading_only(place: Place) -> Iterator[Says]:
    with read_only(place.home):
        denied = "read-only file system" if ROOT else "permission denied"
        yield {
            "doctor": "cannot be written by this user",
            **dict.fromkeys(("keys add", "keys remove", "personal-keys rotate"), denied),
            **dict.fromkeys((*ASK_SERVERS, "up"), "to write to the home"),
            **dict.fromkeys(("add", "remove", "alert acknowledge"), "no permission to write there"),
            **({"down": denied} if ROOT else {}),
        }


@surrounding
def a_file_in_place_of_the_home(place: Place) -> Iterator[Says]:
    shutil.rmtree(place.home)
    place.home.write_text("")
    in_the_way = dict.fromkeys(ARGUMENTS, "home folder .*found +file exists")
    yield in_the_way | WITHOUT_A_HOME | {"restore": "an empty home"}


@surrounding
def a_home_below_a_file(place: Place) -> Iterator[Says]:
    move_home(place, place.usecase / "usecase.yaml" / "home")
    in_the_way = dict.fromkeys(ARGUMENTS, "home folder .*found +not a directory")
    yield in_the_way | WITHOUT_A_HOME | {"restore": "to restore into .*found +not a directory"}


@surrounding
def a_home_of_nobody(place: Place) -> Iterator[Says]:
    move_home(place, Path("~there-is-no-such-user/home"))
    nobody = dict.fromkeys(ARGUMENTS, "the folder that ~there-is-no-such-user/home stands for")
    yield nobody | WITHOUT_A_HOME


@surrounding
def no_home(place: Place) -> Iterator[Says]:
    place.emptied = True
    unknown = (
        *("evidence", "rows", "suggest", "value", "profile", "quarantine", "forget", "score", "report"),
        "alert test",
        *ASK_SERVERS,
    )
    yield {
        **dict.fromkeys(unknown, "a use case: one of bikes, digits, flights, or a folder .*found +'rentals'"),
        "why": "a use case with decisions",
        "decide": "a use case: one of bikes, digits, flights",
        "lineage": "a prediction, version, bundle or run of this name",
        "backup": "a home of driftwheel in .*found +no platform.db",
        "keys remove": "one of no keys",
        "remove": "a registered use case",
        "alert acknowledge": "an open finding",
        "restore": "",
    }


@surrounding
def a_dangling_link_in_the_home(place: Place) -> Iterator[Says]:
    (place.home / "artifacts").symlink_to("a disk that is not mounted")
    yield {"backup": "the link artifacts, which leads nowhere"}


WITHOUT_A_HOME: Says = {
    "schema": "",
    "parts": "",
    "stack init": "",
    **{name: says for name, says in ALWAYS.items() if name.startswith("stack")},
}


@surrounding
def a_database_of_garbage(place: Place) -> Iterator[Says]:
    (place.home / "platform.db").write_bytes(b"garbage " * 4096)
    yield damaged_database("file is not a database")


@surrounding
def half_a_database(place: Place) -> Iterator[Says]:
    cut(place.home / "platform.db", 0.5)
    yield damaged_database("malformed")


def damaged_database(how: str) -> Says:
    return dict.fromkeys((*ASK_DATABASE, "doctor", "backup"), f"it is damaged: .*{how}")


@surrounding
def a_database_of_another_version(place: Place) -> Iterator[Says]:
    with contextlib.closing(sqlite3.connect(place.home / "platform.db")) as database, database:
        database.execute("alter table use_cases rename column folder to place")
    asked = set(ASK_DATABASE) - {"why", "lineage", "prove", "remove", "alert acknowledge"}  # which read no folder
    yield dict.fromkeys((*asked, "doctor", "backup"), "no such column: (use_cases.)?folder")


@surrounding
def a_database_that_is_written(place: Place) -> Iterator[Says]:
    with contextlib.closing(sqlite3.connect(place.home / "platform.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield dict.fromkeys(
            ("add", "remove", "alert acknowledge"), "another process that holds it locked"
        )  # who reads does not wait


@surrounding
def a_database_that_is_locked(place: Place) -> Iterator[Says]:
    with contextlib.closing(sqlite3.connect(place.home / "platform.db", isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        yield dict.fromkeys((*ASK_DATABASE, "doctor", "backup"), "another process that holds it locked")


@surrounding
def half_an_entry_of_a_log(place: Place) -> Iterator[Says]:
    for file in place.home.glob("lake/rentals/*/_delta_log/*0.json"):
        cut(file, 0.3)
    yield damaged_lake("the table (raw|clean) of rentals .*whole")


@surrounding
def an_empty_entry_of_a_log(place: Place) -> Iterator[Says]:
    for file in place.home.glob("lake/rentals/*/_delta_log/*0.json"):
        file.write_bytes(b"")
    yield damaged_lake("nothing in its entry")


@surrounding
def a_log_that_is_gone(place: Place) -> Iterator[Says]:
    for folder in place.home.glob("lake/rentals/*/_delta_log"):
        shutil.rmtree(folder)
    yield damaged_lake("none beside its rows")


@surrounding
def rows_that_are_gone(place: Place) -> Iterator[Says]:
    for file in place.home.glob("lake/rentals/*/*.parquet"):
        file.unlink()
    yield damaged_lake("the file .*parquet of the table")


@surrounding
def rows_that_are_cut(place: Place) -> Iterator[Says]:
    for file in place.home.glob("lake/rentals/*/*.parquet"):
        cut(file, 0.9)
    yield damaged_lake(r"\d+ bytes in the file")


@surrounding
def rows_of_garbage(place: Place) -> Iterator[Says]:
    for file in place.home.glob("lake/rentals/*/*.parquet"):
        content = bytearray(file.read_bytes())
        content[8 : len(content) // 2] = bytes(len(content) // 2 - 8)  # both ends are Parquet's
        file.write_bytes(content)
    yield damaged_lake("the table (raw|clean) of rentals .*whole")


def damaged_lake(how: str) -> Says:
    return dict.fromkeys(("evidence", "rows", "suggest", "value", "profile", "forget", "score", "report"), how)


@surrounding
def a_damaged_bundle(place: Place) -> Iterator[Says]:
    cut(next(place.home.glob("releases/rentals/bundles/*/model.txt")), 0.9)
    yield dict.fromkeys(("score", "value", "profile", "report"), "model.txt as it was sealed")


@surrounding
def half_a_desired_state(place: Place) -> Iterator[Says]:
    cut(place.home / "releases" / "rentals" / "desired.json", 0.5)
    yield dict.fromkeys(
        ("status", "doctor", "forget", "score", "value", "profile", "report", "remove"),
        "what (the service should serve|is served)",
    )


@surrounding
def addresses_of_garbage(place: Place) -> Iterator[Says]:
    (place.home / "stack.json").write_text('{"prefect":')
    yield dict.fromkeys(
        ("check", "backtest", "forget", "score", "value", "profile", "report", *ASK_SERVERS, "status", "doctor"),
        "addresses of (the|a) stack",
    )


@surrounding
def addresses_of_a_stack_that_is_gone(place: Place) -> Iterator[Says]:
    gone = f"http://127.0.0.1:{closed_port()}"
    (place.home / "stack.json").write_text(
        json.dumps(dict.fromkeys(("prefect", "mlflow", "evidently", "service"), gone))
    )
    yield {"doctor": "addresses of a stack that is gone"}


@surrounding
def keys_of_garbage(place: Place) -> Iterator[Says]:
    (place.home / "keys.json").write_text("garbage")
    yield dict.fromkeys(("doctor", "keys list", "keys add", "keys remove"), "API keys")


@surrounding
def keys_of_personal_values_of_garbage(place: Place) -> Iterator[Says]:
    (place.home / "personal-keys.json").write_text("garbage")
    yield dict.fromkeys(("personal-keys list", "personal-keys rotate"), "a file of keys of personal values")


@surrounding
def half_a_privacy_key(place: Place) -> Iterator[Says]:
    cut(place.home / "privacy.key", 0.5)
    yield dict.fromkeys(
        ("check", "backtest", "forget", "score", "value", "profile", "report", *ASK_SERVERS),
        "64 hexadecimal digits in .*privacy.key",
    )


class Failing(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()
        self.server.asked.append(self.path)  # type: ignore[attr-defined]

    do_GET = do_POST = do_CONNECT = answer  # noqa: N815 - named by the library

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def failing_server() -> Iterator[tuple[int, list[str]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    server.asked = []  # type: ignore[attr-defined]
    with serving(server):
        yield server.server_port, server.asked  # type: ignore[attr-defined]


@surrounding
def servers_that_answer_500(_: Place) -> Iterator[Says]:
    with failing_server() as (port, _asked):
        os.environ.update(servers(port))
        yield dict.fromkeys(ASK_SERVERS, "the Prefect server at .*found +status 500")


@surrounding
def servers_that_are_silent(_: Place) -> Iterator[Says]:
    from infra import reaching

    with socket.socket() as silent, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reaching, "_TIMEOUT", 0.2)
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        os.environ.update(servers(silent.getsockname()[1]))
        yield dict.fromkeys(ASK_SERVERS, "the Prefect server at .*found +no answer in time")


@surrounding
def a_dead_proxy(_: Place) -> Iterator[Says]:
    with failing_server() as (port, asked):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            os.environ[name] = os.environ[name.lower()] = f"http://127.0.0.1:{port}"
        yield dict.fromkeys(ASK_SERVERS, "the Prefect server at .*found +connection refused")
        assert asked == []  # nothing that is on this machine is asked for through it


def move_home(place: Place, home: Path) -> None:
    place.home = home
    os.environ["DRIFTWHEEL_HOME"] = str(home)


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def fill(disk: Path) -> None:
    assert disk.is_mount()  # not the disk of this machine
    with contextlib.suppress(OSError), (disk / "filling").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Forbid to write into a folder; root is forbidden only by how it is mounted."""
    if ROOT:
        subprocess.run(["/usr/bin/mount", "--bind", folder, folder], check=True)
        subprocess.run(["/usr/bin/mount", "-o", "remount,bind,ro", folder], check=True)
        try:
            yield
        finally:
            engines.close_engines()
            subprocess.run(["/usr/bin/umount", folder], check=True)
        return
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in reversed(paths):
        path.chmod(modes[path] & ~0o222)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


@pytest.mark.process
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_every_command_ends_with_a_sentence(name: str, place: Place) -> None:
    wrong = []
    with SURROUNDINGS[name](place) as says:
        for command in ARGUMENTS:
            before = place.begin()
            done = place.call(command)
            expected = (ALWAYS | says).get(command, "")
            problem = problem_of(done, expected)
            changed = before.changes(place.state()) if done.exit_code else []
            if problem or changed:
                wrong.append(f"{command}: {problem or 'it changed ' + ', '.join(changed)}\n{done.output}")
    assert not wrong, "\n".join(wrong)


def altered(backup: Path) -> None:
    file = next(backup.glob("home/lake/rentals/clean/*.parquet"))
    file.write_bytes(file.read_bytes()[::-1])


def linked(backup: Path) -> None:
    (backup / "home" / "keys.json").unlink()
    (backup / "home" / "keys.json").symlink_to("a disk that is not mounted")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file altered": (altered, r"1 missing, altered or added, home/lake/rentals/clean/.*parquet first.*→ Use another"),
    "a dangling link": (linked, r"1 missing, altered or added, home/keys\.json first.*→ Use another"),
    "half a list": (lambda backup: cut(backup / "backup.json", 0.5), "the list of the backup's files"),
    "half a database": (lambda backup: cut(backup / "home" / "platform.db", 0.5), r"home/platform\.db first"),
    "nothing": (lambda backup: None, ""),
}


@pytest.mark.process
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_backup_meets_an_empty_home(damage: str, place: Place, tmp_path: Path) -> None:
    """In the table above `restore` ends at a home that is not empty."""
    do, expected = DAMAGE[damage]
    shutil.rmtree(place.home)
    shutil.copytree(place.backup, tmp_path / "copy")
    place.backup = tmp_path / "copy"
    do(place.backup)
    before = sorted(tmp_path.iterdir())
    done = place.call("restore")
    assert problem_of(done, expected) == "", done.output
    if expected:
        assert sorted(tmp_path.iterdir()) == before  # no home, and nothing hidden beside it
    else:
        assert hashes(place.home) == hashes(place.backup / "home")
        assert known(place.home / "platform.db", "rentals") is not None


def problem_of(done: Result, expected: str) -> str:
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"{type(done.exception).__name__}: {done.exception}"
    if "Traceback" in done.output or "a fault of driftwheel" in done.output:
        return "a fault"
    if done.exit_code != bool(expected):
        return f"exit code {done.exit_code}"
    if expected and not re.search(expected, done.output, re.DOTALL):
        return f"it does not say {expected!r}"
    if expected and not re.search("→|✗", done.output):
        return "it does not say what to do"
    return ""
