"""A folder that was not added is data: to load and to check it runs nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.settings import Settings

Make = Callable[..., Path]
MODULES = (
    "conftest",
    "sitecustomize",
    "usercustomize",
    "setup",
    "click",
    "yaml",
    "polars",
    "pandas",
    "prefect",
    "supervisor",
)


@pytest.fixture
def trapped(make_use_case: Make, tmp_path: Path) -> Path:
    """A use case that is right, among files that leave a trace if they are ever run."""
    folder = make_use_case("trapped")
    trap = f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)\n"
    (folder / "__init__.py").write_text(trap)
    for module in MODULES:
        (folder / f"{module}.py").write_text(trap)
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(trap)
    (folder / "great_expectations.yml").write_text("plugins_directory: .\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text(f"[core]\n\tfsmonitor = touch {tmp_path / 'ran'}\n")
    return folder


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "DRIFTWHEEL_HOME": str(home)}


@pytest.mark.process
def test_check_in_a_folder_of_traps_runs_none(trapped: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "driftwheel"
    done = subprocess.run(
        [script, "check", "."], cwd=trapped, env=environment(tmp_path / "home"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one prediction" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_processes_of_the_stack_import_nothing_from_the_folder_they_are_started_in(
    trapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    children = {**os.environ, **Settings().child_environment()}
    command = [sys.executable, "-m", "supervisor.supervisord", "--version"]
    done = subprocess.run(command, cwd=trapped, env=children, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert not (tmp_path / "ran").exists()
