"""Evidently's report of a window, drawn where a decision wants one."""

from __future__ import annotations

from typing import Any

import polars as pl

from expectations.errors import BundleError, ReportError
from expectations.windows import Window
from tasks.bundles.bundle import load_bundle
from tasks.bundles.champion import current_champion
from tasks.bundles.served_rows import decode_rows, window_predictions
from tasks.deciding.policy import Decision
from tasks.monitoring.deciding import Watched
from tasks.monitoring.findings import note
from tasks.monitoring.report import ReportRef, draw_report
from tasks.monitoring.watching import cutoffs_of
from tasks.stores.ledger import Entry
from tasks.stores.places import Job

REFERENCE_SAMPLE = 2000


def draw_window(job: Job, window: Window, bundle: str | None = None) -> ReportRef | None:
    """Draw Evidently's report of a window against the training rows of a bundle (the champion), both raw."""
    champion = load_bundle(job.releases.bundle(job.name, bundle), bundle) if bundle else current_champion(job)
    if champion is None:
        return None
    columns = [column.name for column in champion.manifest.columns if column.role == "input"]
    clock = champion.manifest.clock
    reference = job.known.rows("raw", columns=[*columns, clock])
    reference = reference.filter(pl.col(clock) <= champion.manifest.cutoff).select(columns)
    current = decode_rows(window_predictions(job.lake, window, cutoffs_of(job)), champion.manifest.columns)
    if current.is_empty() or reference.is_empty():
        return None
    return draw_report(
        job.places.reports,
        job.name,
        reference.sample(min(REFERENCE_SAMPLE, len(reference)), seed=0),
        current.select(columns),
        name=str(window),
        tags=[f"as_of:{job.as_of:%Y-%m-%d}"],
    )


def due_for_report(job: Job, watched: Watched) -> Watched | None:
    """Return what a report is to be drawn of: what was decided now, or what a run decided that was killed before it."""
    if watched.measurement is not None:
        return watched if watched.decision.action != "keep" else None
    decisions = job.database.entries(job.name, last=1, kind="decision")
    content = decisions[-1].evidence.get("window") if decisions else None
    if content is None or decisions[-1].action == "keep":
        return None
    last, key = decisions[-1], _report_key(content)
    with job.database.reading() as connection:
        if any(job.database.stands(connection, f"{job.name}/{each}{key}") for each in ("", "monitor/")):
            return None  # drawn, or said why it could not be
    return Watched(Decision(last.action, last.cause, last.summary), content, last.turn)  # type: ignore[arg-type] # one of its words


def report_decision(job: Job, watched: Watched) -> str | None:
    """Draw the report behind a decision and note it in the ledger; returns its address."""
    if watched.measurement is None or watched.decision.action == "keep":
        return None
    span = watched.measurement
    window = Window.of(span)
    try:
        drawn = draw_window(job, window, span["champion"])
    except (BundleError, ReportError) as error:  # a picture for people: what was measured and decided stands without it
        note(
            job,
            _report_key(span),
            "undrawn",
            f"no report of {window}: {error}",
            "undrawn",
            kind="monitor",
            severity="warning",
        )
        return None
    if drawn is None:
        return None
    link = drawn.link(job.places.reports_ui)
    with job.database.transaction() as connection:
        job.database.resolve(connection, job.name, "undrawn", f"the report of {window} was drawn", job.as_of)
        job.database.write(
            connection,
            Entry(
                f"{job.name}/{_report_key(span)}",
                job.name,
                job.as_of,
                "report",
                "drawn",
                watched.decision.cause,
                f"drift over {window}",
                {"report": link, **window.to_dict()},
            ),
        )
    return link


def _report_key(content: dict[str, Any]) -> str:
    return f"report/{content['end']}/{content['status']}"
