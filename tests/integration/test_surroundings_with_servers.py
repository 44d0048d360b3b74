"""Commands that need servers, where the servers are up and what lies behind or beside them is wrong.

Without servers (`test_surroundings`) they end before they meet a damaged table or a full disk. Here one stack is up,
with a champion and one before it. Each row is tried with the commands it tells most about; all of them are tried where
``DRIFTWHEEL_SURROUNDINGS`` is ``all``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from infra.identity import proves
from infra.settings import Addresses, Settings
from infra.stack import Stack
from infra.volumes import size_of
from tasks.deployment import releasing
from tasks.stores.harvest import harvest
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tasks.stores.registry import Registry
from tasks.stores.releases import Releases
from tests.conftest import forget_prefect_services, instant, make_use_case
from tests.fronts import front
from tests.integration.test_loop import FIRST, LATER, send, told
from tests.integration.test_surroundings import ROOT, Says, cut, fill, hashes, known, problem_of, read_only
from tests.unit.test_training import released, rows

__all__ = ["told"]  # a fixture
pytestmark = pytest.mark.flow

ALL = os.environ.get("DRIFTWHEEL_SURROUNDINGS") == "all"
NAME = "surrounded"
MAX_WAIT = 20.0
"""Seconds for which a server that does not answer is waited for at most."""
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "loop", NAME, "--as-of", "{as_of}"],
    "run collect": ["run", "collect", NAME, "--as-of", "{as_of}"],
    "run train": ["run", "train", NAME, "--as-of", "{as_of}"],
    "deploy": [
        *("deploy", NAME, "--version", "1", "--strategy", "canary"),
        *("--steps", "0.9", "--step", "1s", "--min-rows", "2"),
    ],
    "replay": ["replay", NAME, "--from", "2011-03-01", "--to", "2011-04-01"],
    "promote": ["promote", NAME, "--version", "1"],
    "rollback": ["rollback", NAME],
    "status": ["status"],
}


@dataclass
class Served:
    """A home with a stack that is up, and a use case with two versions, the second its champion."""

    home: Path
    addresses: Addresses
    as_of: datetime

    def go_on(self) -> None:
        """Let time go by, so that there are rows to bring in."""
        self.as_of += timedelta(weeks=1)

    def arguments(self, command: str) -> list[str]:
        return [each.format(as_of=self.as_of.isoformat()) for each in COMMANDS[command]]

    def call(self, command: str) -> Result:
        return CliRunner().invoke(main, self.arguments(command), prog_name="driftwheel")

    def again(self) -> None:
        """Make the first version champion, then the second: nothing that went wrong may stand in the way."""
        for version in ("1", "2"):
            done = CliRunner().invoke(main, ["promote", NAME, "--version", version])
            assert done.exit_code == 0, done.output

    def end_turn(self) -> None:
        """Release what was trained, and then the two versions again."""
        if Settings().platform().open_turn(NAME) is not None:
            done = self.call("run")
            assert done.exit_code == 0, done.output
        self.again()

    def state(self, *, whole: bool) -> dict[str, object]:
        """Return what may be left half-written; `whole` with what a run commits step by step."""
        desired = Releases(self.home / "releases").desired(NAME)
        assert desired is not None
        keys = self.home / "keys.json"
        found: dict[str, object] = {
            "champion": desired.champion,
            "candidate": desired.candidate,
            "bundles": hashes(self.home / "releases" / NAME / "bundles"),
            "keys": keys.read_bytes() if keys.exists() else b"",
        }
        if whole:
            found |= {"lake": hashes(self.home / "lake" / NAME), "rows": known(self.home / "platform.db", NAME)}
        return found


@pytest.fixture(scope="module")
def served(stack: Addresses, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path_factory.mktemp("served")
    usecase = make_use_case.__wrapped__(folder)(NAME)
    settings = Settings()
    loaded = settings.use_case(str(usecase))
    settings.platform().add_use_case(NAME, usecase, loaded.digest)
    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        done = CliRunner().invoke(main, ["run", "loop", NAME, "--as-of", FIRST])
        assert done.exit_code == 0, done.output
        bundle, _, _ = released(loaded, rows(loaded, "2011-04-01"), folder / "second")
        job = Job(settings.use_case(NAME), settings.places(), instant(LATER))
        job.releases.add(NAME, bundle.folder, bundle.digest)
        releasing.register(job, bundle.digest, job.registry().start_run("second", {}))
        found = Served(home, stack, instant(LATER))
        found.again()
        assert send(NAME, usecase, FIRST, "2011-03-02").failed == 0
        with job.places.open_service() as service:
            service.ask("POST", "/journal/seal", usecase=NAME)
        harvest(job.places.journal, NAME, job.lake)  # a canary is judged by what it finds there
    return found


# --- what lies beside the servers -------------------------------------------------------------------------------------


Surrounding = Callable[[Served, Path], AbstractContextManager[Says]]
SURROUNDINGS: dict[str, Surrounding] = {}
TELLING: dict[str, tuple[str, ...]] = {}
FIVE = ("run", "run collect", "deploy", "replay", "promote", "rollback")
READ_TABLES = ("run", "run collect", "deploy")
"""The others read none; a replay has its own."""


def surrounding(*telling: str) -> Callable[[Callable[[Served, Path], Iterator[Says]]], object]:
    def add(make: Callable[[Served, Path], Iterator[Says]]) -> object:
        name = make.__name__.replace("_", " ")
        SURROUNDINGS[name], TELLING[name] = contextmanager(make), telling
        return make

    return add


@contextmanager
def spared(*folders: Path) -> Iterator[None]:
    """Bring folders back, as they were, that are damaged meanwhile."""
    copies = [folder.with_name(f".{folder.name}.sound") for folder in folders]
    for folder, copy in zip(folders, copies, strict=True):
        shutil.copytree(folder, copy)
    try:
        yield
    finally:
        for folder, copy in zip(folders, copies, strict=True):
            shutil.rmtree(folder)
            copy.rename(folder)


@surrounding("run", "deploy")
def a_damaged_lake_table(served: Served, _: Path) -> Iterator[Says]:
    lake = served.home / "lake" / NAME
    with spared(lake):
        for file in lake.glob("*/_delta_log/*0.json"):
            cut(file, 0.3)
        yield dict.fromkeys(READ_TABLES, f"the table (raw|clean|predictions) of {NAME}.*whole")


@surrounding()
def rows_that_are_gone(served: Served, _: Path) -> Iterator[Says]:
    lake = served.home / "lake" / NAME
    with spared(lake):
        for file in lake.glob("*/*.parquet"):
            file.unlink()
        yield dict.fromkeys(READ_TABLES, "the file .*parquet of the table")


@surrounding("run", "promote")
def a_damaged_bundle(served: Served, _: Path) -> Iterator[Says]:
    """Damaged among the releases and in MLflow: where it is sound there, it is brought back."""
    bundles = served.home / "releases" / NAME / "bundles"
    artifacts = served.home / "artifacts" / Registry(served.addresses.mlflow, NAME).experiment()
    with spared(bundles, artifacts):
        for file in [*bundles.glob("*/model.txt"), *artifacts.rglob("model.txt")]:
            cut(file, 0.9)
        yield dict.fromkeys(("run", "deploy", "promote", "rollback"), "model.txt as it was sealed")


@surrounding("run collect", "replay", "rollback")
def disks_for_reading_only(served: Served, _: Path) -> Iterator[Says]:
    with read_only(served.home / "lake"), read_only(served.home / "releases"):
        yield dict.fromkeys(FIVE, "read-only file system" if ROOT else "permission denied")


@surrounding("run collect", "deploy")
def full_disks(served: Served, scratch: Path) -> Iterator[Says]:
    if not ROOT:
        pytest.skip("only root may mount a small disk")
    folders, disk = [served.home / "lake", served.home / "releases"], scratch / "disk"
    disk.mkdir()
    size = 2 * sum(map(size_of, folders)) + 2**22
    with ExitStack() as undo:
        mount(undo, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk)
        for folder in folders:  # copied before the service may see it
            shutil.copytree(folder, disk / folder.name)
        for folder in folders:
            mount(undo, "--bind", disk / folder.name, folder)
        fill(disk)
        yield dict.fromkeys(FIVE, "no space left|MB free on the disk of the lake")


def mount(undo: ExitStack, *arguments: str | Path) -> None:
    subprocess.run(["/usr/bin/mount", *arguments], check=True)
    undo.callback(subprocess.run, ["/usr/bin/umount", arguments[-1]], check=True)


@pytest.mark.parametrize("name", [name for name in SURROUNDINGS if ALL or TELLING[name]])
def test_what_is_wrong_beside_the_servers_ends_with_a_sentence(name: str, served: Served, tmp_path: Path) -> None:
    wrong = []
    served.go_on()
    with SURROUNDINGS[name](served, tmp_path) as says:
        for command in FIVE if ALL else TELLING[name]:
            whole = not command.startswith("run")  # which goes step by step: what is committed stays
            before = served.state(whole=whole)
            done = served.call(command)
            problem = problem_of(done, says.get(command, ""))
            after = served.state(whole=whole)
            changed = [part for part in before if done.exit_code and before[part] != after[part]]
            if problem or changed:
                wrong.append(f"{command}: {problem or 'it changed ' + ', '.join(changed)}\n{done.output}")
    assert not wrong, "\n".join(wrong)
    served.again()
    for command in ("run", "run collect") if ALL else ("run collect",):
        done = served.call(command)
        assert done.exit_code == 0, done.output
    for table in ("raw", "clean"):
        assert len(Lake(str(served.home / "lake"), NAME).scan(table).collect())


# --- servers that are silent ------------------------------------------------------------------------------------------


@contextmanager
def silenced(served: Served, program: str) -> Iterator[Callable[[], object]]:
    """Give what stops a server of the stack, its connections open; it goes on when the block ends."""
    with Stack(Settings())._supervisor() as supervisor:
        process = psutil.Process(supervisor.getProcessInfo(program)["pid"])
    processes = [process, *process.children(recursive=True)]
    try:
        yield lambda: any(each.suspend() for each in processes)
    finally:
        for each in processes:
            each.resume()
        address = getattr(served.addresses, program)
        while not proves(address, program, Settings().token):
            time.sleep(0.1)
        forget_prefect_services()


SILENT: dict[str, tuple[str, ...]] = {
    "prefect": ("run collect", "status"),
    "mlflow": ("promote",),
    "service": ("deploy",),
}
VARIABLES = {"prefect": "DRIFTWHEEL_PREFECT_API", "mlflow": "DRIFTWHEEL_MLFLOW", "service": "DRIFTWHEEL_SERVICE"}
ASKED = {"prefect": "the Prefect server at", "mlflow": "the MLflow server at", "service": "the service at"}


@pytest.mark.parametrize("program", SILENT)
def test_a_silent_server_is_said_in_time_and_the_next_run_works(program: str, served: Served) -> None:
    commands = ("run collect", "run train", "promote", "deploy", "rollback", "status") if ALL else SILENT[program]
    before = served.state(whole=True)
    with silenced(served, program) as stop:
        stop()
        for command in commands:
            began = time.monotonic()
            done = served.call(command)
            waited = time.monotonic() - began
            if command == "status":
                assert done.exit_code == 1
                assert "SILENT" in done.output
            else:
                assert problem_of(done, f"{ASKED[program]} .*found +no answer in time") == "", done.output
            assert waited < MAX_WAIT
    assert served.state(whole=True) == before
    for command in commands:
        done = served.call(command)
        assert done.exit_code in (0, 3), done.output  # 3: nobody asked the canary
    served.end_turn()


# Where a server falls silent in the middle of a command: what is asked of it then.
MIDDLE: dict[str, tuple[str, str, str]] = {
    "mlflow, training": ("mlflow", "/runs/log-batch", "run train"),
    "service, releasing": ("service", "/version", "promote"),
    "mlflow, choosing": ("mlflow", "/model-versions/search", "promote"),
    "service, watching": ("service", "/journal/seal", "deploy"),
}
GIVEN_UP = {"mlflow": 4.0, "service": 10.0}
"""Seconds after which a request is given up."""
TELLING_MIDDLE = ("mlflow, training",)


@pytest.mark.parametrize("when", MIDDLE if ALL else TELLING_MIDDLE)
def test_a_server_that_falls_silent_is_said_in_time_and_a_rerun_heals(when: str, served: Served) -> None:
    """In a process of its own: what hangs when it ends, hangs."""
    program, path, command = MIDDLE[when]
    asked: list[float] = []
    with silenced(served, program) as stop:

        def fault(_: str, address: str) -> int:
            if path in address and not asked:
                stop()
            if asked or path in address:
                asked.append(time.monotonic())
            return 0

        with front(getattr(served.addresses, program), fault) as server:
            api = "/api" if program == "prefect" else ""
            done = subprocess.run(
                [sys.executable, "-m", "flows.cli", *served.arguments(command)],
                env={**os.environ, VARIABLES[program]: f"{server.url}{api}"},
                capture_output=True,
                text=True,
                timeout=120,
            )
    assert done.returncode == 1, done.stderr
    assert re.search(f"{ASKED[program]} .*found +no answer in time\n→", done.stderr, re.DOTALL), done.stderr
    assert "Traceback" not in done.stderr
    assert asked[-1] + GIVEN_UP[program] - asked[0] < MAX_WAIT
    again = served.call(command)
    assert again.exit_code in (0, 3), again.output  # 3: what it trained is no better
    served.end_turn()
