"""Fixtures of several unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import Settings
from tests.pages import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home that knows of no servers."""
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home(Settings())
