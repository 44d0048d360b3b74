"""The course of the windows is told from the newest of them, each at its number among all of its bundle."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.settings import Settings
from tasks.monitoring.courses import TRACKED, track_windows
from tasks.stores.places import Job
from tests.conftest import instant

START = instant("2026-01-01")


@dataclass
class Watched:
    """A job whose registry only remembers what it was asked to log."""

    job: Job
    logged: list[tuple[str, int]] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def take(self, run: str, figures: object, end: datetime, step: int) -> bool:
        if run in self.deleted:
            return False
        self.logged.append((run, step))
        return True

    def measure(self, day: int, bundle: str, status: str = "good") -> None:
        start, end = START + timedelta(days=day), START + timedelta(days=day + 1)
        content = {"start": start.isoformat(), "end": end.isoformat(), "champion": bundle, "status": status}
        content |= {"rows": 10, "realised": [], "estimated": [], "drift": [], "coverage": 1.0, "labelled": 10}
        self.job.database.put_measurement(self.job.name, start, end, content)

    def track(self, last: int = 100) -> int:
        return track_windows(self.job, self.job.database.measurements(self.job.name, last=last), {})


@pytest.fixture
def watched(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings = Settings()
    made = Watched(Job(settings.use_case(str(make_use_case())), settings.places(), START))
    registry = SimpleNamespace(
        find=lambda bundle: SimpleNamespace(run=f"run of {bundle}", version="1"), log_window=made.take
    )
    monkeypatch.setattr(Job, "registry", lambda _: registry)
    return made


def test_a_window_has_its_number_though_only_the_newest_are_read(watched: Watched) -> None:
    for day, bundle in enumerate("aababb"):
        watched.measure(day, bundle)
    assert watched.track(last=4) == 4
    assert watched.logged == [("run of b", 0), ("run of a", 2), ("run of b", 1), ("run of b", 2)]
    assert watched.track(last=4) == 0


def test_a_window_whose_labels_come_after_those_of_a_newer_one_is_logged_too(watched: Watched) -> None:
    for day, status in enumerate(["good", "unknown", "good"]):
        watched.measure(day, "a", status)
    assert watched.track() == 2
    watched.measure(1, "a")
    assert watched.track() == 1
    assert watched.logged == [("run of a", 0), ("run of a", 2), ("run of a", 1)]
    assert watched.track() == 0


def test_a_mark_of_the_last_window_alone_is_still_read(watched: Watched) -> None:
    for day, status in enumerate(["good", "unknown", "good"]):
        watched.measure(day, "a", status)
    last = (START + timedelta(days=3)).isoformat()
    watched.job.database.mark(watched.job.name, TRACKED, json.dumps({"a": last}))
    assert watched.track() == 0
    watched.measure(1, "a")
    assert watched.track() == 1
    assert watched.logged == [("run of a", 1)]


def test_the_mark_holds_no_more_than_the_windows_that_are_read(watched: Watched) -> None:
    for day in range(6):
        watched.measure(day, "a")
        watched.track(last=2)
    assert len(json.loads(watched.job.database.marked(watched.job.name, TRACKED) or "")["a"]) == 2
    assert len(watched.logged) == 6


def test_a_run_that_somebody_deleted_keeps_no_other_from_its_windows(watched: Watched) -> None:
    watched.deleted.add("run of a")
    watched.measure(0, "a")
    watched.measure(1, "b")
    assert watched.track() == 1
    assert watched.logged == [("run of b", 0)]
    assert watched.track() == 0
