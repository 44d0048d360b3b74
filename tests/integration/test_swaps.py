"""A service whose models are swapped for ever holds no more files and hardly more memory than at first."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import httpx
import psutil

from tasks.bundles.manifest import seal
from tasks.stores.desired_state import CandidateState, Served
from tests.integration.test_service import Running, made, sample, service

__all__ = ["made", "service"]  # fixtures

SWAPS = int(os.environ.get("DRIFTWHEEL_SWAPS", "20"))
FIRST_SWAPS = 8
"""After so many each kind of bundle was there, and what is kept once is kept."""
MAX_GROWTH = 24 * 2**20
"""Bytes of memory the allocator may keep on top; a bundle that is not let go of takes about 1 MB a swap."""


def held(service: Running) -> tuple[int, int, int]:
    """Files, threads and bytes of memory of the service's processes, once what they let go of is gone."""
    time.sleep(1.5)
    process = psutil.Process(service.process.pid)
    family = [process, *process.children(recursive=True)]
    return (
        sum(each.num_fds() for each in family),
        sum(each.num_threads() for each in family),
        sum(each.memory_info().rss for each in family),
    )


def test_swaps_leave_nothing_behind(service: Running, made, tmp_path: Path) -> None:
    body = {"dataframe_records": sample(made, 5)}
    candidates = [
        None,
        CandidateState(bundle=made[1].digest, version="1", mode="shadow", share=0.0),
        None,
        CandidateState(bundle=made[1].digest, version="1", mode="canary", share=0.5),
    ]

    def another(number: int) -> str:
        """A bundle that was never served."""
        folder = tmp_path / "another"
        shutil.copytree(made[1 + number % 2].folder, folder)
        digest = seal(folder, made[1 + number % 2].manifest.model_copy(update={"commit": f"{number}"}))
        service.releases.add("rentals", folder, digest)
        shutil.rmtree(folder)
        return digest

    before = held(service)
    with httpx.Client(base_url=service.url) as client:
        for number in range(SWAPS + FIRST_SWAPS):
            if number == FIRST_SWAPS:
                client.post("/journal/seal").raise_for_status()
                before = held(service)
            wanted = service.releases.set_desired(
                "rentals",
                champion=Served(bundle=another(number), version=str(number)),
                candidate=candidates[number % 4],
            )
            service.wait(lambda wanted=wanted: service.mount().get("generation") == wanted.generation)
            for _ in range(3):
                assert client.post("/invocations", json=body).status_code == 200
            client.get("/metrics").raise_for_status()
        client.post("/journal/seal").raise_for_status()
        after = held(service)
    print(f"{SWAPS} swaps: files {before[0]} to {after[0]}, threads {before[1]} to {after[1]}")
    print(f"memory {before[2] / 2**20:.1f} to {after[2] / 2**20:.1f} MB")
    assert after[0] == before[0]
    assert after[1] <= before[1] + 2  # pools grow when they are first busy
    assert after[2] - before[2] < MAX_GROWTH
