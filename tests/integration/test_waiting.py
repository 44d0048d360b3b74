"""A start that does not come to its end: what is waited for is said again and again, and then it is given up."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from expectations.errors import StackError
from flows import progress as progressing
from flows.progress import Progress
from infra import identity
from infra import stack as stacking
from infra.settings import Settings
from infra.stack import Stack
from infra.supervised import MARKER

PAGE = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[-1])))
time.sleep(600)
"""


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack of a home whose MLflow takes its port and never answers."""
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    for program in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE"):
        monkeypatch.setenv(f"DRIFTWHEEL_{program}_PORT", "0")
    monkeypatch.setattr(identity, "_TIMEOUT", 0.1)
    (tmp_path / "page.py").write_text(PAGE)
    silence = f"'{tmp_path / 'page.py'}'"
    real = stacking.supervisor_config
    monkeypatch.setattr(
        stacking, "supervisor_config", lambda *given: real(*given).replace("-m infra.pages mlflow", silence)
    )
    return Stack(Settings())


def ours(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARKER) == stack.identity:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_what_is_waited_for_is_said_again_and_then_given_up(
    silent: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stacking, "FIRST_START_SECONDS", 2.0)
    monkeypatch.setattr(stacking, "LATE_SECONDS", 1.0)
    monkeypatch.setattr(progressing, "_QUIET_SECONDS", 0.5)
    with (
        Progress("starting") as progress,
        pytest.raises(StackError, match=r"mlflow to answer within 3 s; found silence.*doctor"),
    ):
        silent.start(("mlflow",), report=progress.now)
    said = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert sum(line.endswith("waiting for mlflow (given up after 3 s)") for line in said) >= 2
    assert not silent.running()
    assert ours(silent) == []
    assert not silent.settings.stack_file.exists()


@pytest.mark.parametrize(("known", "limit"), [("", 180), ("12.5", 80), ("70.0\n91.0\n65.0", 111)])
def test_it_is_given_up_twenty_seconds_after_its_usual_time(known: str, limit: int, silent: Stack) -> None:
    """The usual time is that of the slowest of this home's last starts; of a first start it is longer."""
    silent.folder.mkdir(parents=True)
    if known:
        (silent.folder / "seconds").write_text(known)
    assert silent._usual_seconds() + stacking.LATE_SECONDS == limit
