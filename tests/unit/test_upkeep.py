"""What a home at rest writes by itself has an end: logs are rotated, and Prefect forgets runs by age."""

from __future__ import annotations

import configparser
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings
from supervisor.datatypes import byte_size

from infra.settings import Addresses, Settings
from infra.stack import PROGRAMS, Stack
from infra.supervisor_config import supervisor_config


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path))
    return Settings()


@pytest.fixture
def addresses() -> Addresses:
    return Addresses(**dict.fromkeys(Addresses.model_fields, "http://127.0.0.1:1"))


def test_every_log_of_the_local_stack_is_rotated(settings: Settings, addresses: Addresses) -> None:
    config = configparser.ConfigParser()
    config.read_string(supervisor_config(Stack(settings), PROGRAMS, addresses))
    logs = [("supervisord", ""), *((f"program:{name}", "stdout_") for name in PROGRAMS)]
    assert {section for section, _ in logs} == {
        name for name in config.sections() if "logfile" in "".join(config[name])
    }
    kept = [
        byte_size(config[section][f"{of}logfile_maxbytes"]) * (1 + config.getint(section, f"{of}logfile_backups"))
        for section, of in logs
    ]
    assert all(0 < each <= 100 * 2**20 for each in kept)  # 0 is supervisor's word for no end
    assert all(config[section].getboolean("redirect_stderr") for section, of in logs if of)  # else a log of its own


def test_prefect_forgets_runs_and_events_by_age(
    settings: Settings, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.child_environment(addresses).items():
        monkeypatch.setenv(name, value)
    found = ServerServicesDBVacuumSettings()
    assert found.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert found.retention_period == timedelta(days=90)
