"""Evidently's workspace on disk: a project for each use case, its dashboard, and an entry for each window measured.

Its files are plain JSON, written here as Evidently itself would: importing it takes seconds, and the course of a use
case is written after every window. Reports (`tasks.monitoring.report`) are drawn by Evidently.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from expectations.errors import ReportError
from tasks.stores.files import storing
from tasks.stores.locking import alone
from tasks.stores.measurements import Measurement

REPORTS = 100
"""Reports of a use case that are kept, the newest; each is some megabytes."""
WINDOWS = 400
"""Windows whose course is kept."""
_METRIC = "evidently:metric_v2:MeanValue"
"""What a number of an entry is to Evidently, which plots no metric of a type that it does not know."""
_COURSE = "course"
ROWS, KNOWN, DRIFTED = "rows", "labels known", "columns that drifted"


class _Project(msgspec.Struct):
    id: str
    name: str


@contextmanager
def held(workspace: Path) -> Iterator[None]:
    """Hold the workspace, which is made if absent: two at once would both make a project."""
    with alone(workspace.with_name(f".{workspace.name}"), "another report"):
        yield


def project_of(workspace: Path, usecase: str, description: str = "") -> str:
    """Return the id of a use case's project, which is made if absent; the workspace is to be held."""
    with storing("keep Evidently's reports in", workspace):
        for path in sorted(workspace.glob("*/metadata.json")):
            found = _read_project(path)
            if found.name == usecase:
                return found.id
        made = str(uuid.uuid4())
        folder = workspace / made
        (folder / "snapshots").mkdir(parents=True, exist_ok=True)
        content = {"id": made, "name": usecase, "description": description or None, "org_id": None, "version": "2"}
        _write(folder / "metadata.json", content)
    return made


def _read_project(path: Path) -> _Project:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Project)
    except msgspec.MsgspecError as error:
        raise ReportError(
            f"a project as Evidently writes it in {path}", "another content", "Remove that folder, or restore the file"
        ) from error


def keep_course(
    workspace: Path, usecase: str, title: str, measured: Sequence[Measurement], greater: Mapping[str, bool]
) -> str:
    """Write an entry for each window that was measured, and a dashboard of them where there is none yet.

    Parameters
    ----------
    measured : sequence of Measurement
        Windows, oldest first.
    greater : mapping of str to bool
        Watched metric -> whether more of it is better.

    Returns
    -------
    str
        Id of the project.

    Raises
    ------
    ReportError
        If a project in the workspace is none.
    StorageError
        If the workspace cannot be read or written.
    """
    with held(workspace), storing("keep Evidently's reports in", workspace):
        project = project_of(workspace, usecase, title)
        folder = workspace / project
        (folder / "snapshots").mkdir(exist_ok=True)
        if not (folder / "dashboard.json").exists():  # what people make of it stays theirs
            _write(folder / "dashboard.json", dashboard(usecase, title, greater))
        kept = list(measured)[-WINDOWS:]
        paths = [folder / "snapshots" / f"{_entry_id(usecase, each)}.json" for each in kept]
        for path, each in zip(paths, kept, strict=True):
            _write(path, entry_of(each, greater))
        for path in (_entries(folder, version=5) - {*paths}) | _left_by_kills(folder):
            path.unlink(missing_ok=True)
    return project


def drop_old_reports(workspace: Path, project: str, most: int = REPORTS) -> int:
    """Delete the oldest reports of a project beyond so many; returns how many that were."""
    with storing("keep Evidently's reports in", workspace):
        # their ids begin with the instant at which they were made
        old = sorted(_entries(workspace / project, version=7), key=lambda path: path.stem)[:-most]
        for path in old:
            path.unlink(missing_ok=True)
    return len(old)


def _entries(folder: Path, version: int) -> set[Path]:
    """Return the files of reports (version 7 of UUIDs), or of windows (5)."""
    found = (path for path in (folder / "snapshots").glob("*.json") if not path.name.startswith("."))
    return {path for path in found if _version(path) == version}


def _version(path: Path) -> int | None:
    try:
        return uuid.UUID(path.stem).version
    except ValueError:  # a file that neither Evidently nor driftwheel wrote: it is left alone
        return None


def _left_by_kills(folder: Path) -> set[Path]:
    """Return what `_write` left unfinished; the workspace is to be held. It wrote `.NAME.json` once."""
    return {
        path
        for pattern in (".*.part", ".*.json", "snapshots/.*.part", "snapshots/.*.json")
        for path in folder.glob(pattern)
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file where its text differs, in one step: the page of Evidently reads while we write."""
    text = json.dumps(content)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(f".{path.stem}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _entry_id(usecase: str, measured: Measurement) -> uuid.UUID:
    span = f"{measured.start.isoformat()}/{measured.end.isoformat()}"
    return uuid.uuid5(uuid.NAMESPACE_URL, f"driftwheel:{usecase}/{span}")


def values_of(measured: Measurement, greater: Mapping[str, bool]) -> dict[str, float]:
    """Return the numbers of a window that its course is drawn by.

    Examples
    --------
    >>> rule = {"metric": "rmse", "value": 4.0, "reference": 3.0, "drop": 2.0, "baselines": {"last": 8.0}}
    >>> window = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z", "rows": 9, "status": "good"}
    >>> measured = Measurement.from_dict(window | {"realised": [rule]})
    >>> list(values_of(measured, {"rmse": False}).items())[:3]
    [('rmse', 4.0), ('rmse bar', 5.0), ('rmse without a model', 8.0)]
    """
    found: dict[str, float | None] = {}
    for rule in measured.realised:
        if rule.metric in greater:
            best = rule.best(greater[rule.metric])
            found[rule.metric] = rule.value
            found[f"{rule.metric} bar"] = rule.bar(greater[rule.metric])
            found[f"{rule.metric} without a model"] = best[1] if best else None
    for made in measured.estimated:
        if made.metric in greater:
            found[f"{made.metric} estimated"] = made.first.value
    found |= {
        ROWS: float(measured.rows),
        KNOWN: float(measured.coverage),
        DRIFTED: float(len(measured.drifted)),
    }
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def entry_of(measured: Measurement, greater: Mapping[str, bool]) -> dict[str, Any]:
    """Return a window as a snapshot of Evidently's: its numbers, and in words what was found."""
    values = values_of(measured, greater)
    results, counters = {}, []
    for name, value in values.items():
        key = uuid.uuid5(uuid.NAMESPACE_OID, name).hex
        results[key] = {
            "type": "evidently:metric_result_v2:SingleValue",
            "display_name": name,
            "metric_value_location": {
                "metric": {"metric_id": key, "params": {"type": _METRIC, "column": name}},
                "param": {},
            },
            "widget": [],
            "tests": [],
            "value": value,
        }
        counters.append({"value": f"{value:,.4g}", "label": name})
    window = measured.name
    drifted = [each.column for each in measured.drifted]
    title = f"{window}: {measured.status}" + (f"; drifted: {', '.join(drifted)}" if drifted else "")
    widget = {"type": "counter", "title": title, "size": 2, "id": f"course-{window}", "params": {"counters": counters}}
    return {
        "report": {"items": []},
        "name": f"window {window}",
        "timestamp": measured.end.isoformat(),
        "metadata": {
            "window": window,
            "version": measured.version,
            "status": measured.status,
            "drifted": ", ".join(drifted),
        },
        "tags": [_COURSE, f"version:{measured.version}", measured.status],
        "metric_results": results,
        "top_level_metrics": list(results),
        "widgets": [widget],
        "tests_widgets": [],
    }


def dashboard(usecase: str, title: str, greater: Mapping[str, bool]) -> dict[str, Any]:
    """Return a dashboard of the course: what a use case is judged by, its drift, its rows and labels."""
    subtitle = (
        f"{title} A point is a window, at its end. What counts as drift is what driftwheel found over the whole "
        "window, here and in the reports; Evidently's own tests decide nothing."
    )
    panels = [_panel(usecase, "text", (), subtitle.strip(), "full")]
    for metric in greater:
        of_it = [metric, f"{metric} estimated", f"{metric} bar", f"{metric} without a model"]
        panels.append(_panel(f"{metric} by window", "line", of_it, "beside what it was estimated to be", "full"))
    panels += [
        _panel(DRIFTED.capitalize(), "bar", [DRIFTED], "held against the champion's training rows", "half"),
        _panel("Labels known", "line", [KNOWN], "share of the champion's predictions", "half"),
        _panel("Rows by window", "bar", [ROWS], "predictions that were asked for", "half"),
    ]
    tab = {"id": str(uuid.uuid4()), "title": "Course", "panels": [panel["id"] for panel in panels]}
    return {"tabs": [tab], "panels": panels}


def _panel(title: str, kind: str, names: Iterable[str], subtitle: str, size: str) -> dict[str, Any]:
    values = [
        {
            "legend": name,
            "tags": [_COURSE],
            "metadata": {},
            "metric": _METRIC,
            "metric_labels": {"column": name},
            "view_params": {},
        }
        for name in names
    ]
    return {
        "id": str(uuid.uuid4()),
        "title": title,
        "subtitle": subtitle,
        "size": size,
        "values": values,
        "plot_params": {"plot_type": kind} | ({"is_stacked": False} if kind == "bar" else {}),
    }
