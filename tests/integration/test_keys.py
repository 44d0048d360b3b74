"""Keys of a running service: the platform goes on asking it, in whatever order keys come and go."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from expectations.errors import KeyRefusedError, UnreachableError
from flows.cli import main
from infra.ports import any_port
from infra.settings import Settings
from tasks.stores.service import ServiceClient
from tests.integration.test_service import Running


@pytest.fixture
def running(processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    service = Running(tmp_path)
    service.start("--keys", str(Settings().keys_file))
    yield service
    service.stop()


def platform(running: Running) -> ServiceClient:
    return ServiceClient(running.url, Settings().shown_key)


def test_the_platform_goes_on_asking_after_the_last_key_is_removed(running: Running) -> None:
    for arguments in (
        ("add", "app"),
        ("remove", "app"),
        ("remove", "platform"),
        ("add", "app"),
        ("remove", "platform"),
    ):
        assert CliRunner().invoke(main, ["keys", *arguments]).exit_code == 0
        with platform(running) as service:
            assert service.ask("GET", "/version")
    running.wait(lambda: httpx.get(f"{running.url}/version").status_code == 401)  # the door is closed since the first


def test_a_key_that_is_not_taken_is_told_as_one(running: Running) -> None:
    CliRunner().invoke(main, ["keys", "add", "app"])
    running.wait(lambda: httpx.get(f"{running.url}/version").status_code == 401)
    for key in ("", "wrong"):
        with (
            ServiceClient(running.url, key) as service,
            pytest.raises(KeyRefusedError, match="driftwheel keys remove platform"),
        ):
            service.ask("GET", "/version")
    predict = CliRunner().invoke(main, ["keys", "add", "other", "--scope", "predict"]).stdout.strip()
    running.wait(lambda: httpx.get(f"{running.url}/version", headers={"x-api-key": predict}).status_code == 200)
    with ServiceClient(running.url, predict) as service, pytest.raises(KeyRefusedError, match="403"):
        service.ask("POST", "/journal/seal", usecase="rentals")


def test_a_service_that_is_away_is_told_as_before() -> None:
    with (
        ServiceClient(f"http://127.0.0.1:{any_port()}") as service,
        pytest.raises(UnreachableError, match="driftwheel up"),
    ):
        service.ask("GET", "/version")
