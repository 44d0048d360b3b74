"""MLflow's artifacts in an S3-compatible store, by settings alone: proved against moto's server (from PyPI)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.ports import any_port
from tasks.bundles.bundle import load_bundle
from tasks.stores.registry import Registry
from tests.integration.test_service import made

__all__ = ["made"]
pytestmark = pytest.mark.system
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-central-1"}


def _wait(address: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(address).status_code < 500:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Addresses of an MLflow whose artifacts go to a bucket, and of the S3 server."""
    scripts, s3, tracking = Path(sys.executable).parent, any_port(), any_port()
    store = f"http://127.0.0.1:{s3}"
    environment = {**os.environ, **KEYS, "MLFLOW_S3_ENDPOINT_URL": store, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with (tmp_path / "log").open("wb") as log:
        started = [
            subprocess.Popen([scripts / "moto_server", "--port", str(s3)], stdout=log, stderr=log),
            subprocess.Popen(
                [scripts / "mlflow", "server", "--port", str(tracking), "--workers", "1", "--backend-store-uri",
                 f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", "s3://models/driftwheel"],
                env=environment, stdout=log, stderr=log,
            ),
        ]  # fmt: skip
        try:
            _wait(f"{store}/")
            httpx.put(f"{store}/models", headers={"host": "s3.amazonaws.com"}).raise_for_status()
            _wait(f"http://127.0.0.1:{tracking}/health")
            yield f"http://127.0.0.1:{tracking}", store
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)


def test_a_bundle_goes_to_the_bucket_and_comes_back(
    server, made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking, store = server
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, tracking)
    bundle = made[1]
    registry = Registry(tracking, "rentals")
    run = registry.start_run("train", {})
    version = registry.register(run, bundle.folder, bundle.digest, {"temp": "double"}, {"mae": 1.0})
    import mlflow

    path = mlflow.artifacts.download_artifacts(f"models:/rentals/{version.version}", dst_path=str(tmp_path))
    back = next(Path(path).rglob("bundle.json")).parent
    assert load_bundle(back, bundle.digest).digest == bundle.digest
    assert b"bundle.json" in httpx.get(f"{store}/models", headers={"host": "s3.amazonaws.com"}).content
