"""Fixtures: small use cases in temporary folders, and one real stack for the tests that run flows."""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import polars as pl
import pytest
import yaml

from expectations.loading import SHIPPED, LoadedUseCase, load_use_case
from expectations.usecase import UseCase
from expectations.windows import TICK
from infra.settings import Addresses, Settings
from infra.stack import Stack
from tasks.stores.database import Database
from tasks.stores.lake import Lake

# two workers share the cores, and tables are small: threads beside a test's own would only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

# how long an example takes is what else the machine does: no example fails for it
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=20)
hypothesis.settings.load_profile("house")

BIKES = SHIPPED / "bikes"
PACKAGES = Path(__file__).parent / "packages"
needs_torch = pytest.mark.skipif(
    "DRIFTWHEEL_WITHOUT_TORCH" in os.environ, reason="torch is left out where make test-pythons tries other Pythons"
)


ENDS_WITHIN = 120
"""Seconds after which a session that is over and does not end has something left that runs."""


def pytest_unconfigure() -> None:
    """Say what holds the session, and end it, where a test left a thread that would hold it for ever."""
    faulthandler.dump_traceback_later(ENDS_WITHIN, exit=True, file=sys.__stderr__)


def examples(number: int, **others: Any) -> hypothesis.settings:
    """Return settings for a number of examples; for a fifth of them, five at least, in `make test-fast`."""
    fast = hypothesis.settings.get_current_profile_name() == "fast"
    return hypothesis.settings(max_examples=min(number, max(5, number // 5)) if fast else number, **others)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def known_by(spec: UseCase, frame: pl.DataFrame) -> datetime:
    """Return the first instant by which all rows are there, and their labels ripe."""
    return spec.label_delay.after(frame[spec.time_column].max()) + TICK


def forget_prefect_services() -> None:
    """Let go of what Prefect keeps of a server here: clients, and for 5 s which tags have no limits."""
    from prefect._internal.concurrency.services import _QueueServiceBase
    from prefect.concurrency.services import _cache_lock, _no_limits_cache

    _QueueServiceBase._instances.clear()
    with _cache_lock:
        _no_limits_cache.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what asks for a fixture that starts a process."""
    for item in items:
        if "processes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.process)


@pytest.fixture(scope="session")
def processes() -> None:
    """Let fixtures say that they start a process of their own: tests that ask for them are marked `process`."""


@pytest.fixture(scope="session")
def bikes() -> LoadedUseCase:
    return load_use_case("bikes")


@pytest.fixture
def make_use_case(tmp_path: Path) -> Callable[..., Path]:
    """Copy `bikes` under a name of its own, LightGBM alone and retrained where its own error grows.

    Keys of the YAML are replaced by dotted path.
    """

    def make(name: str = "rentals", changes: dict[str, object] | None = None) -> Path:
        folder = tmp_path / name
        shutil.copytree(BIKES, folder)
        data = yaml.safe_load((folder / "usecase.yaml").read_text().replace("{on:", "{'on':"))
        data["name"] = name
        data["model"]["candidates"] = [{"family": "lightgbm", "rounds": 60, "leaves": 15, "patience": None}]
        data["monitoring"]["policy"] = {
            "trigger": "performance",
            "violations": 1,
            "of": 1,
            "cooldown": "1mo",
            "min_rows": 300,
        }
        for path, value in (changes or {}).items():
            target, *rest = data, *path.split(".")
            for key in rest[:-1]:
                target = target[int(key)] if isinstance(target, list) else target[key]
            if value is ...:
                del target[rest[-1]]
            elif isinstance(target, list):
                target[int(rest[-1])] = value
            else:
                target[rest[-1]] = value
        (folder / "usecase.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return folder

    return make


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "rentals")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'platform.db'}")


def at_home(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Make a home with a key of its own in a folder, and tell this process of it and of no server."""
    home = folder / "home"
    home.mkdir()
    (home / "privacy.key").write_text("0f" * 32)
    patch.setenv("DRIFTWHEEL_HOME", str(home))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "DRIFTWHEEL_SERVICE"):
        patch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def another_package(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package in `tests/packages`, and install it into a folder that is on no path; no index is asked."""
    source = shutil.copytree(PACKAGES / "acme-driftwheel", tmp_path_factory.mktemp("source") / "acme-driftwheel")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True)
    return target


def write_csv(path: Path, frame: pl.DataFrame) -> None:
    path.write_text(frame.write_csv())


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of its own, any free ports."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTWHEEL_HOME", str(folder))
        for program in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE"):
            patch.setenv(f"DRIFTWHEEL_{program}_PORT", "0")
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="session")
def stack(home: Path) -> Iterator[Addresses]:
    """Prefect, MLflow and the service, really running; told to the libraries of this process."""
    settings = Settings()
    running = Stack(settings)
    addresses = running.start(("prefect", "mlflow", "service"))
    forget_prefect_services()
    before = dict(os.environ)
    settings.tell_libraries(addresses)
    try:
        yield addresses
    finally:
        running.stop()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def only_a_stack_that_was_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell a test that asks for no stack nothing of the one that another test of the session started.

    What it asked of that one's servers it would hold open beyond its end, for whichever test comes next to be blamed.
    """
    if "stack" not in request.fixturenames:
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(stack: Addresses) -> Callable[..., object]:
    """Run a flow in this process against the stack."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.local_runs import run_flow

    def call(flow: str, usecase: str, as_of: str) -> object:
        with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
            return run_flow(flow, usecase, instant(as_of))

    return call
