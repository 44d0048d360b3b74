"""The course of the windows is told from the newest of them, each at its number among all of its bundle."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from expectations.errors import StorageError, UnreachableError
from infra.settings import Settings
from tasks.monitoring import workspace
from tasks.monitoring.courses import TRACKED, show_course, track_windows
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tests.conftest import instant

START = instant("2026-01-01")


@dataclass
class Watched:
    """A job whose registry only remembers what it was asked to log."""

    job: Job
    logged: list[tuple[str, int]] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)
    away_after: int | None = None

    def find(self, bundle: str) -> SimpleNamespace:
        self.found.append(bundle)
        return SimpleNamespace(run=f"run of {bundle}", version="1")

    def take(self, run: str, figures: object, end: datetime, step: int) -> bool:
        if run in self.deleted:
            return False
        if len(self.logged) == self.away_after:
            raise UnreachableError("MLflow", "no answer", "Start it")
        self.logged.append((run, step))
        return True

    def measure(self, day: int, bundle: str, status: str = "good") -> None:
        start, end = START + timedelta(days=day), START + timedelta(days=day + 1)
        content = {"start": start.isoformat(), "end": end.isoformat(), "champion": bundle, "status": status}
        content |= {"rows": 10, "realised": [], "estimated": [], "drift": [], "coverage": 1.0, "labelled": 10}
        self.job.database.put_measurement(self.job.name, Measurement.from_dict(content))

    def track(self, last: int = 100) -> int:
        return track_windows(self.job, self.job.database.measurements(self.job.name, last=last), {})


@pytest.fixture
def watched(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings = Settings()
    made = Watched(Job(settings.use_case(str(make_use_case())), settings.places(), START))
    registry = SimpleNamespace(find=made.find, log_window=made.take)
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


def test_what_was_logged_before_mlflow_failed_is_not_logged_again(watched: Watched) -> None:
    for day in range(3):
        watched.measure(day, "a")
    watched.away_after = 2
    with pytest.raises(UnreachableError):
        watched.track()
    watched.away_after = None
    assert watched.track() == 1
    assert watched.logged == [("run of a", 0), ("run of a", 1), ("run of a", 2)]


def test_each_version_is_looked_for_once_however_many_windows_it_has(watched: Watched) -> None:
    for day, bundle in enumerate("aabab"):
        watched.measure(day, bundle)
    watched.track()
    assert watched.found == ["a", "b"]
    watched.track()
    assert watched.found == ["a", "b"], "nothing is due: nothing is asked"


@pytest.mark.parametrize("foreign", ["", "{}", '{"id": 1, "name": 2}'])
def test_a_workspace_with_a_foreign_file_is_a_finding_and_monitoring_goes_on(watched: Watched, foreign: str) -> None:
    watched.measure(0, "a")
    reports = watched.job.places.reports
    (reports / "theirs").mkdir(parents=True)
    (reports / "theirs" / "metadata.json").write_text(foreign)
    show_course(watched.job)
    assert watched.logged == [("run of a", 0)]
    (finding,) = watched.job.database.open_findings(watched.job.name)
    assert (finding.kind, finding.severity) == ("course", "warning")
    assert "theirs" in finding.body
    (reports / "theirs" / "metadata.json").unlink()
    show_course(watched.job)
    assert watched.job.database.open_findings(watched.job.name) == []


def test_a_workspace_that_cannot_be_written_ends_no_run_of_monitor(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("room", "none", "Make some")

    watched.measure(0, "a")
    monkeypatch.setattr(workspace, "project_of", full)
    show_course(watched.job)
    assert [each.kind for each in watched.job.database.open_findings(watched.job.name)] == ["course"]


def test_files_that_are_no_entries_are_left_alone(watched: Watched) -> None:
    watched.measure(0, "a")
    show_course(watched.job)
    (snapshots,) = watched.job.places.reports.glob("*/snapshots")
    (snapshots / "notes.json").write_text("mine")
    show_course(watched.job)
    assert watched.job.database.open_findings(watched.job.name) == []
    assert (snapshots / "notes.json").read_text() == "mine"
