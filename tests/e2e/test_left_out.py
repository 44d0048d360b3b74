"""One broken use case beside a sound one, in the whole stack: the others' flows run, and everybody is told."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from infra.vital_signs import FRESH_SECONDS, RUNNER
from tests.e2e.test_cli import Make, call

pytestmark = pytest.mark.system
__all__ = ["call"]


def runner_of(home: Path) -> psutil.Process:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.cmdline()[-2:] == ["-m", "flows.deployments"] and process.environ()["DRIFTWHEEL_HOME"] == str(
                home
            ):
                return process
    raise AssertionError("no runner")


def wait(done: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.5)


def test_one_that_is_broken_stops_nobody_else(call, make_use_case: Make, tmp_path: Path) -> None:
    for name in ("sound", "template", "gone"):
        assert call("add", str(make_use_case(name))).returncode == 0
    good = (tmp_path / "template" / "usecase.yaml").read_text()
    (tmp_path / "template" / "usecase.yaml").write_text("title: {{ project }}")
    (tmp_path / "gone").rename(tmp_path / "elsewhere")

    def status() -> tuple[int, dict[str, dict], dict[str, dict]]:
        done = call("status", "--json")
        found = json.loads(done.stdout)
        programs = {each["program"]: each for each in found["programs"]}
        return done.returncode, programs, {each["usecase"]: each for each in found["usecases"]}

    started = call("up", "--detach")
    try:
        assert started.returncode == 0, started.stderr
        assert "template is left out" in started.stderr
        assert "gone is left out" in started.stderr
        code, programs, usecases = status()
        assert code == 1
        assert {name for name, each in programs.items() if each["answers"]} == set(programs) >= {"runner", "prefect"}
        assert usecases["sound"]["trouble"] is None
        assert "a key must be a text" in usecases["template"]["trouble"]
        for name in ("template", "gone"):
            (entry,) = json.loads(call("why", name, "--json").stdout)
            assert entry["action"] == "left out"

        # a flow of the sound one runs, started in Prefect; its client comes again where SQLite is busy (503)
        api = f"{programs['prefect']['address']}/api"
        with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("collect/sound").id
            parameters = {"usecase": "sound", "as_of": "2011-02-01T00:00:00Z"}
            run = client.create_flow_run_from_deployment(deployment, parameters=parameters).id
            wait(lambda: (state := client.read_flow_run(run).state) is not None and state.is_completed(), 120)

        # a runner that is there and does nothing is not running
        sign = tmp_path / "home" / "stack" / RUNNER
        runner = runner_of(tmp_path / "home")
        runner.send_signal(signal.SIGSTOP)
        time.sleep(2)  # a sign that was on its way is written
        long_ago = time.time() - FRESH_SECONDS - 1
        os.utime(sign, (long_ago, long_ago))
        code, programs, _ = status()
        assert (code, programs["runner"]["state"], programs["runner"]["answers"]) == (1, "SILENT", False)
        runner.send_signal(signal.SIGCONT)
        wait(lambda: status()[1]["runner"]["answers"])

        # corrected and added again, it has its flows
        (tmp_path / "template" / "usecase.yaml").write_text(good)
        assert "can be read again" in status()[2]["template"]["trouble"]
        assert call("add", str(tmp_path / "template")).returncode == 0
        wait(lambda: httpx.get(f"{api}/deployments/name/collect/template").status_code == 200)
        wait(lambda: status()[2]["template"]["trouble"] is None)
    finally:
        call("down")
