"""The report for people: drawn of what has values, or an error that says why not."""

from __future__ import annotations

import json
import uuid
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import uuid6

from expectations.errors import ReportError
from tasks.monitoring.report import ColumnVerdict, ReportRef, draw_report
from tasks.monitoring.workspace import drop_old_reports, keep_course, project_of
from tasks.stores.measurements import Measurement
from tests.pages import window as content_of

RANDOM = np.random.default_rng(5)
REFERENCE = pl.DataFrame({"x": RANDOM.normal(size=500), "kind": RANDOM.choice(["a", "b"], 500)})


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_column_without_values_is_left_out_and_named(tmp_path: Path, value: float | None) -> None:
    current = REFERENCE.with_columns(pl.lit(value, pl.Float64).alias("x"))
    drawn = draw_report(tmp_path, "u", REFERENCE, current, name="w", tags=["as_of:2024-01-01"])
    (stored,) = tmp_path.rglob(f"{drawn.snapshot}*")
    assert "without values:x" in stored.read_text()


def test_a_value_outside_the_sample_does_not_count(tmp_path: Path) -> None:
    sparse = pl.DataFrame({"x": [1.0] + [None] * 50_000, "kind": ["a"] * 50_001}, schema=REFERENCE.schema)
    draw_report(tmp_path, "u", REFERENCE, sparse, name="w", tags=[])


@pytest.mark.parametrize("value", [None, 1e300])
def test_what_cannot_be_drawn_says_so_without_a_value(tmp_path: Path, value: float | None) -> None:
    current = pl.DataFrame({"x": [value] * 300}, schema={"x": pl.Float64})
    with pytest.raises(ReportError, match=r"none with any|its \w+Error") as error:
        draw_report(tmp_path, "u", REFERENCE.select("x"), current, name="w", tags=[])
    assert "e+300" not in str(error.value)


@pytest.mark.slow
def test_what_a_report_says_of_drift_is_what_was_measured(tmp_path: Path) -> None:
    moved = REFERENCE.with_columns(pl.col("x") + 5)
    measured = {"x": ColumnVerdict(0.02, drifted=False), "kind": ColumnVerdict(0.3, drifted=True)}
    at = datetime(2024, 2, 1, tzinfo=UTC)
    told = REFERENCE.with_columns(pl.lit(1.0).alias("fee"))

    drawn = draw_report(
        tmp_path,
        "u",
        told,
        moved.with_columns(pl.lit(2.0).alias("fee")),
        name="w",
        tags=[],
        verdicts=measured,
        facts={"status": "good"},
        at=at,
    )

    stored = read_report(tmp_path, drawn)
    scores = {
        each["metric_value_location"]["metric"]["params"]["column"]: each["value"]
        for each in stored["metric_results"].values()
        if each["metric_value_location"]["metric"]["params"]["type"].endswith("ValueDrift")
    }
    assert scores == {"x": 0.02, "kind": 0.3, "fee": 0.0}
    (count,) = (each for each in stored["metric_results"].values() if "count" in each and "share" in each)
    assert count["count"]["value"] == 1
    said = {widget["title"] for widget in stored["widgets"]}
    assert "Drift is detected for 33.333% of columns (1 out of 3)." in said
    assert stored["metadata"] == {"status": "good", "undetermined": "fee"}
    assert stored["timestamp"].startswith("2024-02-01")


def test_only_the_newest_reports_stay_and_windows_are_no_reports(tmp_path: Path) -> None:
    project = project_of(tmp_path, "u")
    folder = tmp_path / project / "snapshots"
    made = [folder / f"{uuid6.uuid7()}.json" for _ in range(5)]
    window = folder / f"{uuid.uuid5(uuid.NAMESPACE_URL, 'w')}.json"
    for path in (*made, window):
        path.write_text("{}")

    assert drop_old_reports(tmp_path, project, 2) == 3

    assert {*folder.iterdir()} == {*sorted(made)[-2:], window}
    assert drop_old_reports(tmp_path, project, 2) == 0


# --- the course -------------------------------------------------------------------------------------------------------

GREATER = {"rmse": False}


def window(day: int, **changes: Any) -> Measurement:
    return Measurement.from_dict(content_of(day, **changes))


def test_evidently_reads_the_course_and_its_dashboard_as_its_own(tmp_path: Path) -> None:
    with warnings.catch_warnings():  # of its own imports
        warnings.simplefilter("ignore")
        from evidently.ui.workspace import Workspace
    kept = [window(day) for day in range(4)]

    project = keep_course(tmp_path, "u", "What is it?", kept, GREATER)

    place = Workspace.create(str(tmp_path))
    found = sorted((place.get_run(project, each) for each in place.list_runs(project)), key=lambda run: run.timestamp)
    assert [each.name for each in found] == [f"window 2024-01-0{day}" for day in (1, 2, 3, 4)]
    assert found[1].metadata == {"window": "2024-01-02", "version": "1", "status": "good", "drifted": "temp"}
    values = {each.display_name: each.value for each in found[1].metric_results.values()}
    assert values == {
        "rmse": 41.0,
        "rmse bar": 55.0,
        "rmse without a model": 75.25,
        "rmse estimated": 43.0,
        "rows": 1001.0,
        "labels known": 0.99,
        "columns that drifted": 1.0,
    }
    panels = place.get_dashboard(project).panels
    drawn = {each.metric_labels["column"] for panel in panels for each in panel.values}
    assert drawn == values.keys()
    (named,) = place.list_projects()
    assert (named.name, named.description) == ("u", "What is it?")


def test_a_window_is_one_entry_however_often_it_is_measured_and_those_that_are_gone_go(tmp_path: Path) -> None:
    unknown = window(1, status="unknown")
    keep_course(tmp_path, "u", "", [window(0), unknown], GREATER)
    (folder,) = tmp_path.glob("*/snapshots")
    (folder.parent / "dashboard.json").write_text('{"tabs": [], "panels": []}')

    keep_course(tmp_path, "u", "", [window(1), window(2)], GREATER)

    assert sorted(json.loads(path.read_text())["metadata"]["window"] for path in folder.iterdir()) == [
        "2024-01-02",
        "2024-01-03",
    ]
    assert {json.loads(path.read_text())["metadata"]["status"] for path in folder.iterdir()} == {"good"}
    assert json.loads((folder.parent / "dashboard.json").read_text()) == {"tabs": [], "panels": []}


def test_labels_that_come_late_show_however_many_windows_came_since(tmp_path: Path) -> None:
    late = [window(day, status="unknown" if day == 0 else "good") for day in range(40)]
    project = keep_course(tmp_path, "u", "", late, GREATER)
    folder = tmp_path / project / "snapshots"
    written = {path: path.stat().st_ino for path in folder.iterdir()}

    keep_course(tmp_path, "u", "", [window(0), *late[1:]], GREATER)

    assert {json.loads(path.read_text())["metadata"]["status"] for path in folder.iterdir()} == {"good"}
    anew = [path for path, number in written.items() if path.stat().st_ino != number]
    assert len(anew) == 1, "an entry whose text is the same is left alone"


@pytest.mark.parametrize("left", [".{}.part", ".{}.json"])
def test_what_a_kill_left_unfinished_harms_nothing_and_goes(tmp_path: Path, left: str) -> None:
    project = keep_course(tmp_path, "u", "", [window(0)], GREATER)
    folder = tmp_path / project
    for place in (folder / "snapshots" / left.format(uuid.uuid4()), folder / left.format("dashboard")):
        place.write_text("{")

    assert drop_old_reports(tmp_path, project) == 0
    keep_course(tmp_path, "u", "", [window(0)], GREATER)

    assert not list(folder.rglob(".*"))
    assert len([*(folder / "snapshots").iterdir()]) == 1


def test_a_kill_while_an_entry_is_written_leaves_no_name_that_is_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    project = keep_course(tmp_path, "u", "", [window(0)], GREATER)
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        keep_course(tmp_path, "u", "", [window(0), window(1)], GREATER)
    assert len([*(tmp_path / project / "snapshots").glob("*.json")]) == 1
    assert drop_old_reports(tmp_path, project) == 0


def test_reports_and_the_course_share_a_project(tmp_path: Path) -> None:
    project = keep_course(tmp_path, "u", "", [window(0)], GREATER)
    drawn = draw_report(tmp_path, "u", REFERENCE, REFERENCE, name="w", tags=[])
    assert drawn.project == project
    keep_course(tmp_path, "u", "", [window(0)], GREATER)
    assert len([*(tmp_path / project / "snapshots").iterdir()]) == 2


def read_report(workspace: Path, drawn: ReportRef) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace / drawn.project / "snapshots" / f"{drawn.snapshot}.json").read_text())
    return found
