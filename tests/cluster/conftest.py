"""A real Ray of a head without cores, which is this machine's driver, and two nodes of one core each, on loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tasks.compute.compute import ComputeSettings, computing

HERE = find_spec("ray") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and not HERE:
            item.add_marker(pytest.mark.skip(reason="Ray is not installed: `make test-ray` brings it"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Start it; a token is asked for, as where strangers share a network."""
    folder = Path(tempfile.mkdtemp(prefix="dw-nodes-"))
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "ray").mkdir()  # Ray writes the newest cluster's address there, before it has made the folder
    os.environ |= {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "4",
    }
    from ray.cluster_utils import Cluster

    given = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 200 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **given})
    made.node_arguments = given
    for _ in range(2):
        made.add_node(num_cpus=1, **given)
    yield made
    made.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_ray(cluster: Any) -> Iterator[Any]:
    """Run the jobs of a test there."""
    with computing(ComputeSettings("ray", cluster.address)):
        yield cluster
