"""One stack with a runner for the tests whose runs are started by Prefect."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.settings import Addresses, Settings
from infra.stack import Stack
from tests.conftest import forget_prefect_services

PROGRAMS = ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE")


def wait(done: Callable[[], object], seconds: float = 120) -> object:
    """Return what is there, as soon as it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = done()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


@dataclass(frozen=True)
class Whole:
    """A stack that runs what Prefect starts."""

    home: Path
    addresses: Addresses

    def register(self, folder: Path) -> None:
        """Let the runner run a use case."""
        from prefect.client.orchestration import get_client

        settings = Settings()
        loaded = settings.use_case(str(folder))
        settings.platform().add_use_case(loaded.name, folder, loaded.digest)
        Stack(settings).restart("runner")
        with get_client(sync_client=True) as client:
            wait(lambda: any(each.name == f"driftwheel: deploy {loaded.name}" for each in client.read_automations()))


def point(patch: pytest.MonkeyPatch, home: Path) -> Settings:
    """Let this process work in a home of its own, on any free ports."""
    for name in [name for name in os.environ if name.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))]:
        patch.delenv(name)
    patch.setenv("DRIFTWHEEL_HOME", str(home))
    for program in PROGRAMS:
        patch.setenv(f"DRIFTWHEEL_{program}_PORT", "0")
    return Settings()


@pytest.fixture(scope="session")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    home = tmp_path_factory.mktemp("whole") / "home"
    with pytest.MonkeyPatch.context() as patch:
        stack = Stack(point(patch, home))
        addresses = stack.start(("prefect", "mlflow", "service", "runner"))
    yield Whole(home, addresses)
    stack.stop()


@pytest.fixture
def whole(_whole: Whole, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    """The stack, made known to this process."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    for name, value in point(monkeypatch, _whole.home).child_environment(_whole.addresses).items():
        monkeypatch.setenv(name, value)
    forget_prefect_services()
    with temporary_settings({PREFECT_API_URL: f"{_whole.addresses.prefect}/api"}):
        yield _whole
    forget_prefect_services()
