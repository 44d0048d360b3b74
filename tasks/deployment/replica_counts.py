"""What the replicas of the service counted while a step of a release went on."""

from __future__ import annotations

import time
from typing import Any

from expectations.errors import UnreachableError
from tasks.deployment.guarding import Traffic
from tasks.stores.places import Job

PATIENCE_SECONDS = 20.0
"""A service that starts again within these seconds does not end a release."""


class Counting:
    """What the replicas counted when a step began, and when they were last heard of: they may come and go."""

    def __init__(self, job: Job) -> None:
        self._job, self._began = job, time.time()
        self._latest = self._ask()
        self._before = {replica: models for replica, (_, models) in self._latest.items()}

    def look(self) -> None:
        """Ask every replica again.

        Raises
        ------
        UnreachableError
            If one does not answer, or does not serve this use case.
        """
        now = self._ask()
        for replica, (started, models) in now.items():
            if replica not in self._before:  # one that was there but not asked: what it did is not of the step
                self._before[replica] = models if started < self._began else {}
        self._latest |= now

    def of(self, bundle: str) -> Traffic:
        """Return what a bundle did since the step began."""
        total = Traffic()
        for replica, (_, models) in self._latest.items():
            if bundle not in models:
                continue
            total += _traffic(models[bundle]) - _traffic(self._before[replica].get(bundle))
        return total

    def _ask(self) -> dict[str, tuple[float, dict[str, Any]]]:
        """Return replica -> when it started, and bundle -> what it did since."""
        job, found = self._job, {}
        with job.places.open_service() as service:
            answers = service.ask("GET", "/version", PATIENCE_SECONDS)
        for answer in answers:
            if job.name not in answer["usecases"]:
                raise UnreachableError(
                    f"the service at {job.places.service} to serve {job.name}",
                    ", ".join(answer["usecases"]) or "nothing",
                    "Is it reading the same releases folder?",
                )
            found[answer["instance"]] = (answer["started"], answer["usecases"][job.name]["models"])
        return found


def _traffic(tally: dict[str, Any] | None) -> Traffic:
    if tally is None:
        return Traffic()
    return Traffic(tally["requests"], tally["failures"], tally["skipped"], tally["seconds"]["total"], tally["expected"])
