"""The course of the windows is told from the newest of them, each at its number among all of its bundle."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.settings import Settings
from tasks.monitoring.courses import track_windows
from tasks.stores.places import Job
from tests.conftest import instant

START = instant("2026-01-01")


def test_a_window_has_its_number_though_only_the_newest_are_read(
    make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings = Settings()
    job = Job(settings.use_case(str(make_use_case())), settings.places(), START)
    logged: list[tuple[str, int]] = []
    registry = SimpleNamespace(
        find=lambda bundle: SimpleNamespace(run=f"run of {bundle}"),
        log_window=lambda run, figures, end, step: logged.append((run, step)),
    )
    monkeypatch.setattr(Job, "registry", lambda _: registry)
    for day, bundle in enumerate("aababb"):
        start, end = START + timedelta(days=day), START + timedelta(days=day + 1)
        content = {"start": start.isoformat(), "end": end.isoformat(), "champion": bundle, "status": "good"}
        content |= {"rows": 10, "realised": [], "estimated": [], "drift": [], "coverage": 1.0, "labelled": 10}
        job.database.put_measurement(job.name, start, end, content)
    assert track_windows(job, job.database.measurements(job.name, last=4), {}) == 4
    assert logged == [("run of b", 0), ("run of a", 2), ("run of b", 1), ("run of b", 2)]
    assert track_windows(job, job.database.measurements(job.name, last=4), {}) == 0
