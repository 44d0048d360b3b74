"""A worker that runs each flow in a container of its own: ``python -m flows.containers --pool NAME``.

It runs in a container itself, with the engine's socket. What its containers get, it reads from its own: the same image,
volumes, networks and settings, the same lack of privileges; but not the socket. Settings hold passwords, and a pool's
template can be read on Prefect's pages: they go by a file in the volume that both have.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists

from tasks.stores.whole_files import replace_file

TYPE = "docker"
SETTINGS = Path("/data/.run-settings.json")


def template(own: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Write the job template of a pool.

    Parameters
    ----------
    own : mapping
        What the engine says of the container this runs in.
    default : mapping
        Prefect's own template, of which only defaults change.
    """
    host = own["HostConfig"]
    mounts = [each for each in own["Mounts"] if not each["Destination"].endswith("docker.sock")]
    values = {
        "image": own["Image"],
        "image_pull_policy": "Never",
        "command": "python3 -m flows.containers --run",
        "networks": list(own["NetworkSettings"]["Networks"]),
        "volumes": [
            f"{each.get('Name') or each['Source']}:{each['Destination']}:{'rw' if each['RW'] else 'ro'}"
            for each in mounts
        ],
        "auto_remove": True,
        "mem_limit": str(host["Memory"]),
        "container_create_kwargs": {
            "user": own["Config"]["User"],
            "init": True,
            "read_only": host["ReadonlyRootfs"],
            "cap_drop": host["CapDrop"],
            "security_opt": host["SecurityOpt"],
            "pids_limit": host["PidsLimit"],
            "tmpfs": host["Tmpfs"],
        },
    }
    properties = {
        name: {**each, "default": values[name]} if name in values else each
        for name, each in default["variables"]["properties"].items()
    }
    return {**default, "variables": {**default["variables"], "properties": properties}}


def settings_of(own: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables a container was given beyond its image's."""
    known = set(image["Config"]["Env"])
    return dict(line.split("=", 1) for line in own["Config"]["Env"] if line not in known)


def keep_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Write settings where runs alone read them."""
    replace_file(path, json.dumps(settings), 0o600)


def worker_command(pool: str, limit: str) -> list[str]:
    """Return the command of a pool's worker, watched: it starts anew, once idle, when its clock was set back."""
    watched = ["python3", "-m", "flows.worker_clock", "--containers", pool]
    worker = ["prefect", "worker", "start", "--pool", pool, "--type", TYPE, "--limit", limit, "--with-healthcheck"]
    return [*watched, *worker]


def run(path: Path) -> None:
    """Become a flow run, with the worker's settings where the engine did not give others."""
    os.environ.update(json.loads(path.read_text(encoding="utf-8")) | os.environ)
    os.execvp("prefect", ["prefect", "flow-run", "execute"])  # noqa: S606 - no shell is wanted


def main() -> None:
    """Describe the pool's containers by this one, and become the pool's worker; or, in one of those, the flow run."""
    parser = argparse.ArgumentParser(prog="python -m flows.containers", description=main.__doc__)
    parser.add_argument("--pool")
    parser.add_argument("--limit", default="2", help="flow runs at once")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(SETTINGS)
    if not options.pool:
        parser.error("expected --pool NAME")

    import docker
    from prefect_docker.worker import DockerWorker

    engine = docker.from_env()
    own = engine.containers.get(socket.gethostname()).attrs
    keep_settings(SETTINGS, settings_of(own, engine.images.get(own["Image"]).attrs))
    wanted = template(own, DockerWorker.get_default_base_job_template())
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=options.pool, type=TYPE, base_job_template=wanted))
        except ObjectAlreadyExists:
            client.update_work_pool(options.pool, WorkPoolUpdate(base_job_template=wanted))
    command = worker_command(options.pool, options.limit)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
