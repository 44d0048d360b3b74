"""One look at production: harvest, measure every window that is due, decide about the newest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import httpx
import polars as pl

from expectations.errors import UnreachableError
from tasks.cleaning.cleaning import HELD
from tasks.deployment.bundle import Bundle
from tasks.monitoring.harvest import Harvested, harvest
from tasks.monitoring.measuring import Measurement, decode_rows, measure, window_predictions
from tasks.monitoring.policy import Decision, Seen, Situation, decide
from tasks.monitoring.report import ReportRef, draw_report
from tasks.monitoring.windows import Window, closed_windows
from tasks.stores.database import Alert, Entry
from tasks.stores.events import DATASET_READY, MODEL_PROMOTED, RETRAIN_REQUESTED
from tasks.stores.places import Job
from tasks.training.packing import PREDICTION
from tasks.training.running import current_champion

REFERENCE_SAMPLE = 2000
SILENCE = timedelta(minutes=2)
"""How long an open turn may lie untouched before it is announced again."""
_SEVERITIES: dict[str, Literal["info", "warning", "failure"]] = {
    "warn": "warning",
    "hold": "failure",
    "retrain": "info",
}


@dataclass(frozen=True)
class Watched:
    """What a look at production came to.

    Attributes
    ----------
    turn : str or None
        The turn a decision to retrain opened.
    """

    decision: Decision
    measurement: dict[str, Any] | None
    turn: str | None
    report: str | None


def harvest_journal(job: Job) -> Harvested:
    """Ask the service to close its segments, then bring them into the lake.

    Raises
    ------
    UnreachableError
        If the service does not answer: what it journaled cannot be told to be complete.
    """
    try:
        httpx.post(f"{job.places.service}/journal/seal", params={"usecase": job.name}, timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"the service at {job.places.service} to close its journal",
            str(error),
            "Start it (`driftwheel up`) and run again; nothing is lost",
        ) from error
    return harvest(job.places.journal, job.name, job.lake)


def measure_windows(job: Job) -> list[Measurement]:
    """Measure every closed window with predictions that is not final yet, oldest first."""
    champion = current_champion(job)
    desired = job.releases.desired(job.name)
    if champion is None or desired is None or desired.champion is None or job.lake.version("predictions") is None:
        return []
    spec = job.usecase.spec
    first = job.lake.scan("predictions").select(pl.col("event_time").min()).collect().item()
    final = {
        (datetime.fromisoformat(known["start"]), datetime.fromisoformat(known["end"]))
        for known in job.database.measurements(job.name)
        if known["ripe"] and all(each["status"] != "unknown" for each in known["realised"])
    }
    measured = []
    for window in closed_windows(spec.monitoring.every, first, job.as_of):
        if (window.start, window.end) in final:
            continue
        found = measure(window, spec, champion, desired.champion.version, job.lake, job.as_of, _best(job, champion))
        job.database.put_measurement(job.name, window.start, window.end, champion.digest, found.to_dict())
        measured.append(found)
    return measured


def _best(job: Job, champion: Bundle) -> dict[str, float]:
    best: dict[str, float] = {}
    better = job.usecase.spec.greater_is_better
    for known in job.database.measurements(job.name):
        if known["champion"] != champion.digest:
            continue
        for each in known["realised"]:
            if each["value"] is not None:
                choose = max if better[each["metric"]] else min
                best[each["metric"]] = choose(best.get(each["metric"], each["value"]), each["value"])
    return best


def draw_window(job: Job, window: Window) -> ReportRef | None:
    """Draw Evidently's report of a window against the champion's training rows, both raw."""
    champion = current_champion(job)
    if champion is None:
        return None
    columns = [column.name for column in champion.manifest.columns if column.role == "input"]
    known = job.known
    reference = known.rows("raw", columns=columns)
    cutoff, clock = champion.manifest.cutoff, champion.manifest.clock
    if clock in reference.columns:
        reference = reference.filter(pl.col(clock) <= cutoff)
    predictions = window_predictions(job.lake, window)
    current = decode_rows(predictions, champion.manifest.columns)
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


def decide_now(job: Job, measured: list[Measurement]) -> Watched:
    """Decide about the newest measured window and record it: ledger, alert, turn and event in one transaction.

    Deciding again about what was decided already changes nothing.
    """
    spec, database = job.usecase.spec, job.database
    held = tuple(json.loads(database.marked(job.name, HELD) or "[]"))
    latest = measured[-1] if measured else None
    if latest is None and not held:
        nothing = Decision("keep", "unchanged", "no window to decide about that was not decided already")
        return Watched(nothing, None, None, None)
    champion = current_champion(job)
    known = [m for m in database.measurements(job.name) if champion is not None and m["champion"] == champion.digest]
    turns = database.turns(job.name)
    history = [_seen(measurement) for measurement in known]
    situation = Situation(
        as_of=job.as_of,
        last_turn=max((turn.as_of for turn in turns), default=None),
        new_labelled=_new_labelled(job, champion),
        open_turn=database.open_turn(job.name) is not None,
        held=held,
    )
    decision = decide(history, spec.monitoring.policy, situation)
    report = None
    if decision.action != "keep" and latest is not None:
        drawn = draw_window(job, latest.window)
        report = drawn.link(job.places.reports_ui) if drawn else None
    phase = (
        f"{latest.window.end.isoformat()}/{'ripe' if latest.ripe else 'closed'}" if latest else job.as_of.isoformat()
    )
    content = latest.to_dict() if latest else None
    turn = _record(job, decision, f"{job.name}/decision/{phase}", {"window": content, "report": report})
    return Watched(decision, content, turn, report)


def _record(job: Job, decision: Decision, key: str, evidence: dict[str, Any]) -> str | None:
    database = job.database
    turn = None
    with database.transaction() as connection:
        if database.stands(connection, key):  # decided before; a turn opened now would be a second one for it
            return None
        if decision.action == "retrain":
            turn = database.request_turn(connection, job.name, decision.cause, job.as_of, key)
        entry = Entry(
            key, job.name, job.as_of, "decision", decision.action, decision.cause, decision.summary, evidence, turn
        )
        database.write(connection, entry)
        if turn is not None:
            database.post(
                connection,
                job.name,
                RETRAIN_REQUESTED,
                {"driftwheel.turn": turn, "driftwheel.cause": decision.cause},
                {"turn_id": turn, "as_of": job.as_of.isoformat(), "decision": key},
                deliver=job.announce,
            )
        if decision.action != "keep":
            severity = _SEVERITIES[decision.action]
            database.alert(
                connection,
                Alert(key, job.name, f"{job.name}: {decision.action} ({decision.cause})", decision.summary, severity),
            )
    return turn


def announce_stalled(job: Job) -> str | None:
    """Ask again for the next stage of an open turn nobody has touched for a while; returns the turn.

    A stage killed on a server leaves its turn open, and the event that started it is spent. Asking twice is harmless:
    a stage claims its turn before it works.
    """
    turn = job.database.stalled_turn(job.name, SILENCE)
    if turn is None or not job.announce:
        return None
    event = {"requested": RETRAIN_REQUESTED, "collecting": RETRAIN_REQUESTED, "training": DATASET_READY}.get(
        turn.state, MODEL_PROMOTED
    )
    with job.database.transaction() as connection:
        job.database.post(
            connection,
            job.name,
            event,
            {"driftwheel.turn": turn.id, "driftwheel.cause": turn.cause},
            {"turn_id": turn.id, "as_of": turn.as_of.isoformat(), "decision": turn.decision},
        )
    return turn.id


def _seen(content: dict[str, Any]) -> Seen:
    parts = [
        f"{each['metric']} {each['value']:.4f} against {each['reference']:.4f}"
        if each["value"] is not None
        else f"{each['metric']} unknown (labels of {content['coverage']:.0%} of {content['champion_rows']} predictions)"
        for each in content["realised"]
    ]
    return Seen(
        content["status"],
        content["rows"],
        tuple(
            "the predictions" if each["column"] == PREDICTION else each["column"]
            for each in content["drift"]
            if each["drifted"]
        ),
        ", ".join(parts),
    )


def _new_labelled(job: Job, champion: Bundle | None) -> int:
    if job.lake.version("clean") is None:
        return 0
    since = champion.manifest.cutoff if champion else None
    rows = job.known.labelled(columns=[job.usecase.spec.clock.column, job.usecase.spec.label.column], since=since)
    return len(rows)
