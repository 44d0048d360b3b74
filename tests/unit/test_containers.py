"""What the containers of flow runs get from their worker's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import HTTPError as RequestsHTTPError

from flows import containers, worker_clock
from flows.containers import keep_settings, settings_of, template, worker_command
from tasks.stores.database import Database
from tasks.stores.presences import Process

OWN = {
    "Image": "sha256:abc",
    "Config": {"User": "10001:10001", "Env": ["PATH=/bin", "DRIFTWHEEL_HOME=/data", "SLACK_TOKEN=a=b"]},
    "HostConfig": {
        "Memory": 6 * 2**30,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": 512,
        "Tmpfs": {"/tmp": "mode=1777"},
    },
    "Mounts": [
        {"Type": "volume", "Name": "stack_lake", "Source": "/var/x", "Destination": "/data/lake", "RW": True},
        {"Type": "bind", "Source": "/home/me/usecases", "Destination": "/usecases", "RW": False},
        {"Type": "bind", "Source": "/run/engine.sock", "Destination": "/var/run/docker.sock", "RW": True},
    ],
    "NetworkSettings": {"Networks": {"stack_data": {}, "stack_control": {}}},
}
DEFAULT = {
    "job_configuration": {"image": "{{ image }}"},
    "variables": {
        "type": "object",
        "properties": {
            name: {"title": name}
            for name in ("image", "env", "volumes", "networks", "container_create_kwargs", "stream_output")
        },
    },
}


def test_a_run_has_its_workers_volumes_and_lack_of_privileges_but_not_the_engines_socket() -> None:
    made = template(OWN, DEFAULT)["variables"]["properties"]
    assert made["image"]["default"] == "sha256:abc"
    assert made["volumes"]["default"] == ["stack_lake:/data/lake:rw", "/home/me/usecases:/usecases:ro"]
    assert "default" not in made["env"]
    assert "a=b" not in str(made)
    assert made["networks"]["default"] == ["stack_data", "stack_control"]
    confined = made["container_create_kwargs"]["default"]
    assert (confined["read_only"], confined["cap_drop"], confined["user"]) == (True, ["ALL"], "10001:10001")
    assert made["stream_output"] == {"title": "stream_output"}


def test_a_run_has_its_workers_settings_by_a_file_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = {"Config": {"Env": ["PATH=/bin", "DRIFTWHEEL_HOME=/home"]}}
    path, became = tmp_path / "settings.json", []
    for _ in range(2):
        keep_settings(path, settings_of(OWN, image))
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setenv("DRIFTWHEEL_HOME", "/its/own")
    monkeypatch.setenv("SLACK_TOKEN", "")
    monkeypatch.delenv("SLACK_TOKEN")
    monkeypatch.setattr(containers.os, "execvp", lambda *command: became.append(command))
    containers.run(path)
    assert became == [("prefect", ["prefect", "flow-run", "execute"])]
    assert containers.os.environ["SLACK_TOKEN"] == "a=b"
    assert containers.os.environ["DRIFTWHEEL_HOME"] == "/its/own"


def test_a_worker_of_containers_is_watched_and_runs_as_it_would_alone() -> None:
    """It is started anew, as every container of the platform is, once it ended."""
    command = worker_command("driftwheel-docker", "2")
    assert command[:5] == ["python3", "-m", "flows.worker_clock", "--containers", "driftwheel-docker"]
    worker = "prefect worker start --pool driftwheel-docker --type docker --limit 2 --with-healthcheck"
    assert command[5:] == worker.split()
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["worker-docker"]
    assert service["command"] == ["python3", "-m", "flows.containers", "--pool", "driftwheel-docker"]
    assert service["restart"] == "unless-stopped"


class Engine:
    """An engine with containers of flow runs of one pool, by run; None where it does not answer.

    Parameters
    ----------
    refusals : dict of str to Exception
        Runs whose container cannot be killed, and what the engine says then.
    """

    def __init__(self, runs: list[str] | None, refusals: dict[str, Exception] | None = None) -> None:
        self.runs, self.refusals, self.killed, self.closed = runs, refusals or {}, list[str](), 0
        self.containers = self

    def list(self, *, filters: dict[str, str], ignore_removed: bool = False) -> list[SimpleNamespace]:
        assert filters == {"label": "io.prefect.work-pool-name=ours"}
        assert ignore_removed  # else one that is removed while they are listed is a fault
        if self.runs is None:
            raise RequestsConnectionError("unix:///var/run/docker.sock")
        return [
            SimpleNamespace(labels={"io.prefect.flow-run-id": run}, kill=partial(self._kill, run)) for run in self.runs
        ]

    def _kill(self, run: str) -> None:
        if run in self.refusals:
            raise self.refusals[run]
        self.killed.append(run)

    def close(self) -> None:
        self.closed += 1


class DockerError(Exception):
    """As docker's: what its client raises."""


class APIError(RequestsHTTPError, DockerError):
    """As docker's: what the engine answers that it does not do."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine], list[bool]]:
    """Have docker's client ask an engine; returns where it is noted that the process was ended."""

    def answering(engine: Engine) -> list[bool]:
        docker, faults, ended = ModuleType("docker"), ModuleType("docker.errors"), list[bool]()
        faults.DockerException, faults.APIError = DockerError, APIError
        docker.from_env = lambda: engine
        monkeypatch.setitem(sys.modules, "docker", docker)
        monkeypatch.setitem(sys.modules, "docker.errors", faults)
        monkeypatch.setattr(worker_clock.clock_watch, "end_this_process", lambda: ended.append(True))
        return ended

    return answering


@pytest.mark.parametrize(
    ("refusal", "killed", "said"),
    [
        (APIError("409: it is not running"), ["second", "third"], "flow run first was not ended: APIError"),
        (RequestsConnectionError("unix:///var/run/docker.sock"), [], "an answer of the engine"),
    ],
)
def test_a_container_that_ended_meanwhile_keeps_no_other_from_being_ended(
    refusal: Exception,
    killed: list[str],
    said: str,
    answer: Callable[[Engine], list[bool]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(["first", "second", "third"], {"first": refusal})
    ended = answer(engine)
    worker_clock.FlowContainers("ours").end_with_those_that_wait()
    assert engine.killed == killed
    assert said in caplog.text
    assert len(caplog.records) == 1
    assert ended == [True]
    assert engine.closed == 1


def test_a_worker_of_containers_ends_once_none_of_its_flows_works_with_those_that_wait(
    database: Database,
    answer: Callable[[Engine], list[bool]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was to be started anew by hand, once its clock was set back."""
    engine, asked = Engine(None), list[bool]()
    ended = answer(engine)
    monkeypatch.setattr(worker_clock, "sleep", lambda _: look())
    monkeypatch.setattr(worker_clock, "monotonic", lambda: 100.0 * len(asked))
    monkeypatch.setattr(sys, "argv", ["worker_clock.py", *worker_command("ours", "2")[3:]])
    monkeypatch.setattr(worker_clock, "Settings", lambda: SimpleNamespace(platform=lambda: database))
    database.enter("at work", "rentals", Process("a-container", 1, 0.0))
    database.enter("at work elsewhere", "rentals", Process("another", 1, 0.0))

    def look() -> None:
        asked.append(bool(ended))
        if engine.runs is None:  # it answers again
            engine.runs = ["at work", "waits"]
        else:
            database.leave("at work")

    watched: dict[str, object] = {}
    monkeypatch.setattr(worker_clock.clock_watch, "main", lambda end: watched.update(end=end, argv=list(sys.argv)))
    worker_clock.main()
    assert watched["argv"] == ["worker_clock.py", *worker_command("ours", "2")[5:]]
    watched["end"]()
    assert asked == [False, False]  # the engine was away, then one was at work
    assert ended == [True]
    assert engine.killed == ["at work", "waits"]  # none of them works by now
    assert engine.closed == 4
    assert "an answer of the engine" in caplog.text


def test_a_container_that_is_just_beginning_is_not_ended(
    database: Database, answer: Callable[[Engine], list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a minute to say that it is at work; what is of its name later, once it was gone, has one of its own."""
    engine, moment = Engine(["waits"]), [0.0]
    answer(engine)
    monkeypatch.setattr(worker_clock, "monotonic", lambda: moment[0])
    containers = worker_clock.FlowContainers("ours")

    def works(at: float, *runs: str) -> bool:
        moment[0], engine.runs = at, list(runs)
        return containers.at_work(database)

    assert works(1000, "waits")
    assert works(1059, "waits", "begins")
    assert works(1061, "waits", "begins")
    assert works(1118, "waits", "begins")
    database.enter("begins", "rentals", Process("a-container", 1, 0.0))
    assert works(1200, "waits", "begins")
    database.leave("begins")
    assert not works(1210, "waits", "begins")
    assert not works(1220)
    assert works(1230, "waits")
    assert not works(1290, "waits")


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["worker", "worker-docker", "page"])
def test_what_runs_flows_is_told_where_lineage_goes_and_has_the_client_for_it(name: str) -> None:
    environment = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]["environment"]
    for variable in ("DRIFTWHEEL_LINEAGE", "DRIFTWHEEL_LINEAGE_KEY"):
        assert environment[variable] == f"${{{variable}:-}}"
    pins = (ROOT / "infra" / "images" / "platform" / "requirements.txt").read_text().splitlines()
    assert [line for line in pins if line.startswith("openlineage-python==")]
