"""Evidently's report of a window on request."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.errors import LakeError, UseCaseNotFoundError
from expectations.loading import LoadedUseCase
from expectations.usecase import REPLAY
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
    window = usecase.spec.windows.window_of(moment)
    job = Job(usecase, settings.places(), datetime.now(UTC))
    drawn = draw_window(job, window)
    if drawn is None:
        raise LakeError(
            f"harvested predictions of {usecase.name} from {window}",
            "none",
            "Run the monitor flow first, or choose a moment in which it served",
        )
    ui = job.places.reports_ui
    return drawn.link(ui) if ui else f"drawn into {job.places.reports}; `driftwheel up` shows it under {usecase.name}"


def _use_case(settings: Settings, name: str) -> LoadedUseCase:
    try:
        return settings.use_case(name)
    except UseCaseNotFoundError:
        if not name.endswith(REPLAY):
            raise
        return settings.use_case(name.removesuffix(REPLAY), name)
