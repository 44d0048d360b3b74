"""What the README tells a newcomer to do works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent / "driftwheel"


def test_every_command_it_names_exists() -> None:
    from flows.cli import main

    named = set(re.findall(r"`?driftwheel (?:\{)?([a-z]+)", README)) - {"keeps", "is", "on"}
    assert named <= set(main.commands)
    targets = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_place_it_names_exists() -> None:
    for place in re.findall(r"`((?:expectations|tasks|infra|flows|tests)/[\w./]*)`", README):
        assert (ROOT / place).exists(), place


@pytest.mark.system
def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    for block in re.findall(r"```(?:python|yaml)\n# (pumps/[\w.]+)[^\n]*\n(.*?)```", README, re.DOTALL):
        path = tmp_path / block[0]
        path.parent.mkdir(exist_ok=True)
        path.write_text(block[1])
    assert sorted(path.name for path in (tmp_path / "pumps").iterdir()) == [
        "make_data.py",
        "suite.yaml",
        "usecase.yaml",
    ]
    subprocess.run([sys.executable, "pumps/make_data.py"], cwd=tmp_path, check=True)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))
    }
    environment |= {"DRIFTWHEEL_HOME": str(tmp_path / "home")}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=280
        )

    check = call("check", "pumps")
    assert check.returncode == 0, check.stdout + check.stderr
    replay = call("replay", "pumps", "--compare")
    assert replay.returncode == 0, replay.stdout + replay.stderr
    assert "0 failed" in replay.stdout
