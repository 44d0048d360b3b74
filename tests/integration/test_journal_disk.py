"""The journal on a disk of its own: nothing is renamed from one disk to another, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.ports import any_port
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.journal import unreadable
from tasks.stores.lake import Lake
from tests.integration.test_service import Running, made, sample

__all__ = ["made"]  # a fixture


@pytest.fixture
def service(processes: None, tmp_path: Path, made) -> Iterator[Running]:
    if os.geteuid():
        pytest.skip("only root may mount a disk")
    running = Running(tmp_path)
    running.journal.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", running.journal], check=True)
    try:
        running.releases.add("rentals", made[1].folder, made[1].digest)
        running.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
        running.start()
        yield running
        running.stop()
    finally:
        subprocess.run(["/usr/bin/umount", "--lazy", running.journal], check=True)


def test_a_journal_on_another_disk_loses_nothing(service: Running, made) -> None:
    assert service.journal.stat().st_dev != service.releases.root.stat().st_dev
    body, ids = {"dataframe_records": sample(made, 5)}, []
    for _ in range(3):
        ids += service.ask(body).raise_for_status().json()["ids"]
        httpx.post(f"{service.url}/journal/seal").raise_for_status()
    ids += service.ask(body).json()["ids"]  # in a segment that is open when it dies
    service.stop(signal.SIGKILL)
    service.start()
    ids += service.ask(body).json()["ids"]
    httpx.post(f"{service.url}/journal/seal").raise_for_status()
    segment = max(service.journal.glob("rentals/*/predictions-*"))
    with segment.open("ab") as file:
        file.write(b"\xc1 what no journal holds")
    lake = Lake(str(service.releases.root.parent / "lake"), "rentals")

    found = harvest(service.journal, "rentals", lake)

    assert found.predictions == len(ids) == 25
    assert sorted(lake.scan("predictions").collect()["id"]) == sorted(ids)
    assert len(unreadable(service.journal, "rentals")) == 1
    assert not list(service.journal.glob("rentals/*/predictions-*.msgpack"))
    assert harvest(service.journal, "rentals", lake).predictions == 0


@pytest.mark.slow
def test_a_journal_that_cannot_be_kept_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    command = [sys.executable, "-m", "infra.serving", "--port", str(any_port())]
    command += ["--releases", str(tmp_path), "--journal", str(tmp_path / "journal")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "to keep the journal in" in done.stderr
    assert "Move what is in the way" in done.stderr
    assert "Traceback" not in done.stderr
