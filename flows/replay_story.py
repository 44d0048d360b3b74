"""What a replay found: what was decided about each window, and what its models scored on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from expectations.deciding import RECALIBRATE, TURNED
from expectations.errors import SourceError
from expectations.windows import Window
from flows.replay_windows import between
from flows.stage import FlowResult
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.champion import bundle_classes, released_champion
from tasks.bundles.served_rows import request_types, scores_of
from tasks.evaluation.metrics import score
from tasks.stores.ledger import TRIAL
from tasks.stores.places import Job
from tasks.stores.request_columns import read_requests
from tasks.stores.stopwatch import spent, timed
from tasks.training.labelled import classes_of, score_rows


@dataclass
class SentRequests:
    """What was sent."""

    requests: int = 0
    failed: int = 0
    rows: int = 0


@dataclass
class Story:
    """What a replay found; its fields are the JSON's."""

    usecase: str
    metric: str
    windows: list[dict[str, Any]] = field(default_factory=list)
    mean: dict[str, float] = field(default_factory=dict)
    trials: int = 0
    retrains: int = 0
    recalibrations: int = 0
    promotions: int = 0
    refused: int = 0
    requests: int = 0
    failed_requests: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    compare: dict[str, dict[str, float]] = field(default_factory=dict)


def champion_bundle(job: Job) -> Bundle:
    """Load what the namespace serves."""
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        raise _no_champion()
    return load_bundle(job.releases.bundle(job.name, desired.champion.bundle), desired.champion.bundle)


def _no_champion() -> SourceError:
    return SourceError("a champion", "none", "Run the replay again")


def note(story: Story, job: Job, window: Window, verdict: FlowResult) -> None:
    """Keep what was decided about a window."""
    decisions, reports = (job.database.entries(job.name, kind=kind, last=20) for kind in ("decision", "report"))
    due = job.usecase.spec.label.available_after.after(window.end)
    decision = next((entry for entry in reversed(decisions) if entry.as_of == due), None)
    report = next((entry for entry in reversed(reports) if entry.as_of == due), None)
    found = reversed(job.database.measurements(job.name))
    measured = next((each for each in found if window.start < each.end <= window.end), None)
    turned = decision is not None and decision.action in TURNED and decision.turn is not None
    recalibrated = turned and decision is not None and decision.action == RECALIBRATE
    promoted = turned and verdict.outcome == "done"
    story.trials = sum(entry.action != "undetermined" for entry in job.database.entries(job.name, kind=TRIAL))
    story.retrains += turned and not recalibrated
    story.recalibrations += recalibrated
    story.promotions += promoted
    story.refused += turned and not promoted
    desired = job.releases.desired(job.name)
    story.windows.append(
        {
            **window.to_dict(),
            "rows": measured.rows if measured else 0,
            "static": None,
            "loop": None,
            "champion": measured.version if measured else None,
            "drifted_columns": [each.column for each in measured.drifted] if measured else [],
            "cause": decision.cause if decision else "none",
            "decision": decision.action if decision else "keep",
            "summary": decision.summary if decision else "",
            "promoted": desired.champion.version if promoted and desired and desired.champion else None,
            "report": report.evidence["report"] if report else None,
        }
    )


def _score(
    story: Story, job: Job, windows: Sequence[Window], world: pl.DataFrame, frozen: Bundle, traffic: SentRequests
) -> None:
    spec = job.usecase.spec
    served, classes = served_predictions(job, world), bundle_classes(job)
    order = classes_of(world, spec)
    for window, record in zip(windows, story.windows, strict=True):
        rows = between(served, spec.time_column, window.start, window.end).filter(
            pl.col(spec.label.column).is_not_null() & pl.col("_served").is_not_null()
        )
        record["static"] = score(story.metric, score_rows(rows, spec, order, frozen.predict(rows), frozen.classes))
        answered = scores_of(rows["_served"], rows["_bundle"], classes, order, spec.problem)
        record["loop"] = score(story.metric, score_rows(rows, spec, order, answered))
    story.mean = {name: float(np.nanmean([record[name] for record in story.windows])) for name in ("static", "loop")}
    story.requests, story.failed_requests = traffic.requests, traffic.failed


score_story = timed("scoring", _score, "scoring what was served and the first model on each window")


def served_predictions(job: Job, world: pl.DataFrame) -> pl.DataFrame:
    """Attach to each row of the world what the service answered for it."""
    keys = list(job.usecase.spec.keys)
    champion = released_champion(job)
    if champion is None:
        raise _no_champion()
    types = request_types(column for column in champion.manifest.columns if column.name in keys)
    served = {"prediction": "_served", "bundle": "_bundle"}
    found = read_requests(job.lake.scan("predictions").rename(served), types, tuple(served.values()))
    rows = job.lake.collect("predictions", found)
    instants = [key for key in keys if isinstance(world.schema[key], pl.Datetime)]
    rows = rows.with_columns(pl.col(instants).str.to_datetime(time_unit="us", time_zone="UTC")) if instants else rows
    rows = rows.cast({key: world.schema[key] for key in keys})
    return world.join(rows.unique(keys, keep="last"), on=keys, how="left", maintain_order="left")


def account(story: Story, started: float, servers: float, before: dict[str, float]) -> None:
    """Fill in where the time went, in seconds; what no stage claims is `other`."""
    now = spent()
    stages = {
        name: now.get(name, 0.0) - before.get(name, 0.0)
        for name in ("collection", "validation", "training", "deployment", "scoring", "monitoring")
    }
    if story.compare:
        stages["comparison"] = now["comparison"] - before.get("comparison", 0.0)
    total = time.perf_counter() - started
    story.seconds = {"total": total, "servers": servers, **stages, "other": total - servers - sum(stages.values())}
