"""Evidently's report of a window, drawn where a decision wants one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import polars as pl

from expectations.errors import BundleError, ReportError
from expectations.families import Scores
from expectations.windows import Window
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.champion import answering_manifests, current_champion
from tasks.bundles.served_rows import decode_rows, label_codes, scores_of, true_labels, window_predictions
from tasks.deciding.policy import Decision
from tasks.evaluation.drifted import Drifted
from tasks.monitoring.deciding import Watched
from tasks.monitoring.findings import note
from tasks.monitoring.report import ColumnVerdict, ReportRef, draw_report
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement, measurement_in
from tasks.stores.places import Job

REFERENCE_SAMPLE = 2000


def draw_window(
    job: Job, window: Window, bundle: str | None = None, facts: Mapping[str, str] = MappingProxyType({})
) -> ReportRef | None:
    """Draw Evidently's report of a window against the training rows of a bundle (the champion), both raw.

    Predictions and labels are drawn beside the inputs: those of the training rows by the bundle itself, which has
    learnt them. What it says of drift is what was measured, where that was.
    """
    champion = load_bundle(job.releases.bundle(job.name, bundle), bundle) if bundle else current_champion(job)
    if champion is None:
        return None
    manifest = champion.manifest
    inputs = [column.name for column in manifest.columns if column.role != "key"]
    reference = job.known.rows("raw", columns=[*inputs, manifest.clock, manifest.label])
    reference = reference.filter(pl.col(manifest.clock) <= manifest.learnt_until)
    answered = answering_manifests(job, window)
    served = window_predictions(job.lake, window, {digest: each.cutoff for digest, each in answered.items()})
    if served.is_empty() or reference.is_empty():
        return None
    reference = reference.sample(min(REFERENCE_SAMPLE, len(reference)), seed=0)
    rows = decode_rows(served, manifest.columns)
    labels, _ = true_labels(served, rows, job.known, job.lake, window, manifest)
    classes = {digest: each.classes for digest, each in answered.items()}
    scores = scores_of(served["prediction"], served["bundle"], classes, champion.classes, manifest.problem)
    measured = next(
        (
            each
            for each in job.database.measurements(job.name, since=window.start, champion=champion.digest)
            if each.window == window
        ),
        None,
    )
    return draw_report(
        job.places.reports,
        job.name,
        _table(
            reference.select(inputs),
            champion.predict(reference),
            label_codes(reference[manifest.label], manifest),
            champion,
        ),
        _table(rows.select(inputs), scores, labels, champion),
        name=f"drift in {window.name}",
        tags=["report", f"as_of:{job.as_of:%Y-%m-%d}"],
        verdicts=verdicts_of(measured.drift) if measured else None,
        facts={
            "window": window.name,
            "version": measured.version if measured else "",
            "status": measured.status if measured else "not measured",
            "bundle": champion.digest[:12],
            "as of": f"{job.as_of:%Y-%m-%d %H:%M} UTC",
            "rows": f"{len(served):,}",
            "verdicts": "driftwheel's, over the whole window" if measured else "Evidently's, of 2,000 rows",
            **facts,
        },
        at=window.end,
    )


def verdicts_of(drift: Sequence[Drifted]) -> dict[str, ColumnVerdict]:
    """Return what was found of each column; those without a verdict are not among them."""
    return {
        each.column: ColumnVerdict(float(each.score or 0.0), drifted=each.drifted)
        for each in drift
        if each.status != "undetermined"
    }


def _table(inputs: pl.DataFrame, scores: Scores, codes: pl.Series, champion: Bundle) -> pl.DataFrame:
    """Put what was predicted beside inputs, and labels as they are kept, null where they are not known."""
    problem, label = champion.manifest.problem, champion.manifest.label
    said = problem.columns(scores, champion.classes)
    known = codes.is_finite().fill_null(value=False)
    words = problem.words(codes.filter(known), champion.classes).alias(label)
    places = pl.DataFrame({"at": known.arg_true(), label: words})
    labels = pl.DataFrame({"at": pl.Series(range(len(codes)), dtype=pl.UInt32)}).join(places, on="at", how="left")
    return inputs.with_columns(*said.get_columns(), labels[label])


def due_for_report(job: Job, watched: Watched) -> Watched | None:
    """Return what a report is to be drawn of: what was decided now, or what a run decided that was killed before it."""
    if watched.measurement is not None:
        return watched if watched.decision.action != "keep" else None
    decisions = job.database.entries(job.name, last=1, kind="decision")
    found = measurement_in(decisions[-1].evidence) if decisions else None
    if found is None or decisions[-1].action == "keep":
        return None
    last, key = decisions[-1], _report_key(found)
    with job.database.reading() as connection:
        if any(job.database.stands(connection, f"{job.name}/{each}{key}") for each in ("", "monitor/")):
            return None  # drawn, or said why it could not be
    return Watched(Decision(last.action, last.cause, last.summary), found, last.turn)  # type: ignore[arg-type] # one of its words


def report_decision(job: Job, watched: Watched) -> str | None:
    """Draw the report behind a decision and note it in the ledger; returns its address."""
    measured = watched.measurement
    if measured is None or watched.decision.action == "keep":
        return None
    window = measured.window
    try:
        decision = {
            "decision": watched.decision.action,
            "cause": watched.decision.cause,
            "why": watched.decision.summary,
        }
        drawn = draw_window(job, window, measured.champion, decision)
    except (BundleError, ReportError) as error:  # a picture for people: what was measured and decided stands without it
        note(
            job,
            _report_key(measured),
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
                f"{job.name}/{_report_key(measured)}",
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


def _report_key(found: Measurement) -> str:
    return f"report/{found.end.isoformat()}/{found.status}"
