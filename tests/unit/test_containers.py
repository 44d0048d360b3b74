"""What the containers of flow runs get from their worker's own."""

from __future__ import annotations

from flows.containers import template

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
    image = {"Config": {"Env": ["PATH=/bin", "DRIFTWHEEL_HOME=/home"]}}
    made = template(OWN, image, DEFAULT)["variables"]["properties"]
    assert made["image"]["default"] == "sha256:abc"
    assert made["volumes"]["default"] == ["stack_lake:/data/lake:rw", "/home/me/usecases:/usecases:ro"]
    assert made["env"]["default"] == {"DRIFTWHEEL_HOME": "/data", "SLACK_TOKEN": "a=b"}
    assert made["networks"]["default"] == ["stack_data", "stack_control"]
    confined = made["container_create_kwargs"]["default"]
    assert (confined["read_only"], confined["cap_drop"], confined["user"]) == (True, ["ALL"], "10001:10001")
    assert made["stream_output"] == {"title": "stream_output"}
