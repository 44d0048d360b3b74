"""The examples of docstrings give what stands below them."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("expectations", "tasks", "flows", "infra")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if ">>>" in path.read_text())


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[2:] if parts[:2] == ("flows", "python") else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", [module_of(path) for path in FILES])
def test_examples_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path))
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
