"""Evidently's report of a window on request."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.contradictions import REPLAY
from expectations.errors import LakeError, UseCaseNotFoundError
from expectations.loading import LoadedUseCase
from expectations.windows import Grid, Window
from infra.settings import Settings
from tasks.monitoring.reporting import draw_window
from tasks.stores.places import Job


def report_window(settings: Settings, name: str, moment: datetime) -> str:
    """Draw the report and say where it is.

    Raises
    ------
    LakeError
        If nothing was served in that window, or nothing is served at all.
    """
    usecase = _use_case(settings, name)
    job = Job(usecase, settings.places(), datetime.now(UTC))
    window = _window_at(job, moment)
    drawn = draw_window(job, window)
    if drawn is None:
        raise LakeError(
            f"harvested predictions of {usecase.name} from {window}",
            "none",
            "Run the monitor flow first, or choose a moment in which it served",
        )
    ui = job.places.reports_ui
    return drawn.link(ui) if ui else f"drawn into {job.places.reports}; `driftwheel up` shows it under {usecase.name}"


def _window_at(job: Job, moment: datetime) -> Window:
    windows = job.usecase.spec.windows
    if isinstance(windows, Grid):
        return windows.window_of(moment)
    found = [each.window for each in job.database.measurements(job.name)]
    inside = next((each for each in found if each.start <= moment < each.end), None)
    if inside is None:
        spans = (
            f"{len(found)}, from {found[0].start:%Y-%m-%d %H:%M} to {found[-1].end:%Y-%m-%d %H:%M}" if found else "none"
        )
        raise LakeError(
            f"a window of {job.name} of {windows.rows} rows that was measured and holds {moment:%Y-%m-%d %H:%M}",
            spans,
            "Run the monitor flow first, or choose a moment in which it served",
        )
    return inside


def _use_case(settings: Settings, name: str) -> LoadedUseCase:
    try:
        return settings.use_case(name)
    except UseCaseNotFoundError:
        if not name.endswith(REPLAY):
            raise
        return settings.use_case(name.removesuffix(REPLAY), name)
