"""The rules in a real Prometheus: its own tests of them, and a service that it watches."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from infra.ports import any_port
from tasks.stores.desired_state import Served
from tests.integration.test_service import Running, made, sample

__all__ = ["made"]

HERE = all(map(shutil.which, ("promtool", "prometheus")))
FOLDER = Path(__file__).parents[2] / "infra" / "prometheus"
pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not HERE, reason="needs Prometheus: make test-containers"),
]


@pytest.mark.parametrize("what", ["check config prometheus.yml", "check rules rules.yml", "test rules rules_test.yml"])
def test_prometheus_own_tool_takes_them(what: str) -> None:
    done = subprocess.run(["promtool", *what.split()], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def soon(ask, seconds: float = 60):
    """Return what a question is answered with as soon as that is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := ask():
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("waited in vain")


@contextmanager
def watching(folder: Path, port: int) -> Iterator[httpx.Client]:
    """A Prometheus that asks a service every second."""
    content = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(content))
    rules = (FOLDER / "rules.yml").read_text()
    (folder / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 2s", rules))  # how long each waits rules_test.yml has
    own = any_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            # until then it answers everything with 503 and a sentence
            assert soon(lambda: httpx.get(f"http://127.0.0.1:{own}/-/ready").status_code == 200)
            with httpx.Client(base_url=f"http://127.0.0.1:{own}/api/v1") as client:
                yield client
        finally:
            process.terminate()
            process.wait(20)


def test_a_prometheus_sees_what_a_service_answers_and_that_it_ended(made, tmp_path: Path) -> None:
    service = Running(tmp_path)
    service.releases.add("rentals", made[1].folder, made[1].digest)
    service.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    service.start()
    (tmp_path / "prometheus").mkdir()
    try:
        with watching(tmp_path / "prometheus", service.port) as client:

            def value(query: str) -> float:
                assert service.ask({"dataframe_records": sample(made, 3)}).status_code == 200
                assert service.ask({"dataframe_records": [{"wrong": 1}]}).status_code == 400
                found = client.get("/query", params={"query": query}).json()["data"]["result"]
                return float(found[0]["value"][1]) if found else 0.0

            def rings(name: str) -> bool:
                alerts = client.get("/alerts").json()["data"]["alerts"]
                return (name, "firing") in [(each["labels"]["alertname"], each["state"]) for each in alerts]

            assert soon(lambda: value('driftwheel:rows:rate5m{usecase="rentals"}')) > 0
            assert 0 < soon(lambda: value('driftwheel:errors:share5m{usecase="rentals"}')) < 1
            groups = client.get("/rules").json()["data"]["groups"]
            assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
            assert soon(lambda: rings("DriftwheelRefusesRequests"))
            assert not rings("DriftwheelDown")
            service.stop()
            assert soon(lambda: rings("DriftwheelDown"))
    finally:
        service.stop()
