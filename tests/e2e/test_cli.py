"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = pytest.mark.process
BIN = Path(sys.executable).parent / "driftwheel"
Make = Callable[..., Path]


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command with a home of its own and any free ports."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))
    }
    environment |= {"DRIFTWHEEL_HOME": str(tmp_path / "home")}
    for program in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE"):
        environment[f"DRIFTWHEEL_{program}_PORT"] = "0"

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN, *arguments], capture_output=True, text=True, env={**environment, **extra}, timeout=280
        )

    return run


def test_help_answers_at_once(call) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = call("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert "replay" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("arguments", [("fly",), ("run", "loop"), ("run", "loop", "flights", "--as-of", "soon")])
def test_wrong_use_is_exit_code_2(call, arguments: tuple[str, ...]) -> None:
    assert call(*arguments).returncode == 2


def test_check_tries_everything_and_tells_all_problems(call, make_use_case: Make) -> None:
    good = call("check", str(make_use_case("good")), "--json")
    assert good.returncode == 0
    assert {finding["what"] for finding in json.loads(good.stdout)} >= {
        "suite",
        "joins",
        "label",
        "features",
        "one prediction",
    }
    folder = make_use_case("bad", {"sources.rides.path": "nowhere.csv"})
    (folder / "suite.yaml").write_text("[{type: expect_wonders, kwargs: {}}]")
    bad = call("check", str(folder))
    assert bad.returncode == 1
    assert "nothing at nowhere.csv" in bad.stdout
    assert "expect_wonders" in bad.stdout
    assert "Traceback" not in bad.stdout + bad.stderr


def test_a_use_case_is_added_once_and_removed(call, make_use_case: Make) -> None:
    folder = make_use_case("mine")
    assert call("add", str(folder)).returncode == 0
    assert call("add", str(folder)).returncode == 0
    listed = json.loads(call("list", "--json").stdout)
    assert [each["name"] for each in listed] == ["bikes", "digits", "flights", "mine"]
    other = make_use_case("elsewhere", {"name": "mine"})
    refused = call("add", str(other))
    assert refused.returncode == 1
    assert "one folder for the name 'mine'" in refused.stderr
    assert call("remove", "mine").returncode == 0
    assert call("remove", "mine").returncode == 1


def test_schema_is_json_and_why_of_nothing_says_so(call) -> None:
    schema = json.loads(call("schema").stdout)
    assert "evaluation" in schema["properties"]
    assert "Nothing was decided about bikes yet" in call("why", "bikes").stdout
    assert call("why", "nobody").returncode == 1
    assert call("down").stdout == "nothing was up\n"


def test_a_taken_port_is_named(call) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = call("up", "--detach", DRIFTWHEEL_MLFLOW_PORT=port)
        assert done.returncode == 1
        assert f"{port} (for mlflow; set DRIFTWHEEL_MLFLOW_PORT" in done.stderr
        doctor = json.loads(call("doctor", "--json", DRIFTWHEEL_MLFLOW_PORT=port).stdout)
        assert [finding["what"] for finding in doctor if not finding["good"]] == [f"port {port}"]


@pytest.mark.system
def test_up_status_down_leave_no_process_also_after_kill_nine(call, tmp_path: Path) -> None:
    home = str(tmp_path / "home")

    def ours() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DRIFTWHEEL_HOME") == home and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.Error, OSError):
                continue
        return found

    up = call("up", "--detach")
    assert up.returncode == 0, up.stderr
    state = json.loads(call("status", "--json").stdout)
    assert {each["program"] for each in state["programs"] if each["answers"]} == {
        "prefect",
        "mlflow",
        "evidently",
        "service",
        "runner",
        "page",
    }
    assert call("up", "--detach").returncode == 1
    assert call("doctor").returncode == 0
    evidently = next(each["address"] for each in state["programs"] if each["program"] == "evidently")
    assert httpx.get(evidently).status_code == 200

    supervisor = int((Path(home) / "stack" / "supervisord.pid").read_text())
    os.kill(supervisor, 9)
    assert ours()
    assert call("down").returncode == 0
    assert ours() == []
    assert call("down").stdout == "nothing was up\n"
