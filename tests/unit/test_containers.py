"""What the containers of flow runs get from their worker's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows import containers
from flows.containers import keep_settings, settings_of, template

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


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["worker", "worker-docker", "page"])
def test_what_runs_flows_is_told_where_lineage_goes_and_has_the_client_for_it(name: str) -> None:
    environment = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][name]["environment"]
    for variable in ("DRIFTWHEEL_LINEAGE", "DRIFTWHEEL_LINEAGE_KEY"):
        assert environment[variable] == f"${{{variable}:-}}"
    pins = (ROOT / "infra" / "images" / "platform" / "requirements.txt").read_text().splitlines()
    assert [line for line in pins if line.startswith("openlineage-python==")]
