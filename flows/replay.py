"""Replay: a use case's history, window by window, through the real loop.

Rows reach the live service over HTTP at the instant they would have, labels ripen when they would have, and the flows
get the `as_of` a schedule would have given. Everything is kept under a name of its own, ``NAME-replay``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import numpy as np
import polars as pl
from prefect import flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from expectations.errors import SourceError
from expectations.loading import LoadedUseCase
from expectations.usecase import REPLAY
from expectations.windows import Count, Grid, Window
from flows.loop import loop
from flows.stage import Verdict, open_job
from infra.settings import Settings
from tasks.bundles.bundle import Bundle, jsonable, load_bundle
from tasks.bundles.champion import bundle_classes
from tasks.bundles.served_rows import scores_of
from tasks.collection.joining import join_sources
from tasks.evaluation.metrics import Scored, score
from tasks.stores.files import storing
from tasks.stores.ledger import TRIAL
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tasks.stores.progress import Pace, part, say
from tasks.stores.registry import REPLAY_KEPT_DAYS
from tasks.stores.stopwatch import spent, timed
from tasks.training.labelled import classes_of, score_rows, training_window
from tasks.training.learning import learn
from tasks.training.packing import training_rows

BATCH = 500
MIN_COVERED = 0.9
"""Share of a window the history must cover for it to be replayed."""
_TIMEOUT = 60.0


@dataclass
class Traffic:
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
    promotions: int = 0
    refused: int = 0
    requests: int = 0
    failed_requests: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    compare: dict[str, dict[str, float]] = field(default_factory=dict)


def namespace_of(usecase: str) -> str:
    """Name a replay keeps everything under."""
    return f"{usecase}{REPLAY}"


def walk_name() -> str:
    """Name a flow run by the use case whose history it walks through."""
    return f"{Path(str(flow_run.parameters['usecase'])).name} through its history"


@flow(name="replay", flow_run_name=walk_name, persist_result=False, validate_parameters=False)
def replay(
    usecase: str,
    start: datetime | None = None,
    end: datetime | None = None,
    compare: bool = False,
    batch: int = BATCH,
) -> Story:
    """Walk a use case's history through the loop and tell what it gained."""
    settings = Settings()
    original = settings.use_case(usecase)
    namespace = namespace_of(original.name)
    lock = settings.folder / "replays" / f".{namespace}"
    with alone(lock, f"another replay of {original.name}", wait=False):  # they share a name, and each begins anew
        return _walk(usecase, original, namespace, start, end, compare=compare, batch=batch)


def _walk(
    usecase: str,
    original: LoadedUseCase,
    namespace: str,
    start: datetime | None,
    end: datetime | None,
    *,
    compare: bool,
    batch: int,
) -> Story:
    job = open_job(usecase, datetime.now(UTC), None, namespace)
    reset(job)
    world = read_history(job.usecase, job.places.secret)
    windows = plan_windows(job.usecase, world, start, end)
    own = original.spec.monitoring.policy
    if job.usecase.walked and (own.cooldown.approximate_seconds or own.budget):
        say("without a clock no time goes by between windows: cooldown and budget do not bind in this replay")
    story = Story(original.name, job.usecase.spec.monitoring.performance[0].metric)
    progress = artifact_id(
        create_progress_artifact(0.0, key=f"replay-{original.name}".replace("_", "-"), description="first model")
    )
    with part("the first model"):
        first = loop(usecase, windows[0].start, namespace)
    if first.outcome != "done":
        raise SourceError(
            "a first model to begin with",
            f"{first.outcome}: {first.summary}",
            "Correct what the message names" + ("" if job.usecase.walked else ", or start the replay later (--from)"),
        )
    frozen = champion_bundle(job)
    say("the first model is trained; %d windows to walk through", len(windows))
    traffic, moment, pace = Traffic(), windows[0].start, Pace(len(windows))
    for number, window in enumerate(windows, 1):
        due = job.usecase.spec.label.available_after.after(window.end)
        with part(f"window {number} of {len(windows)}"):
            send(job, world, moment, due, frozen, traffic, batch)
            verdict = loop(usecase, due, namespace)
        note(story, job, window, verdict)
        moment = due
        told = story.windows[-1]
        say(
            "window %d of %d, %s: %s rows, %s (%s)%s%s",
            number,
            len(windows),
            window.name,
            f"{told['rows']:,}",
            told["decision"],
            told["cause"],
            f", version {told['promoted']} promoted" if told["promoted"] else "",
            pace.left(number),
        )
        update_progress_artifact(progress, 100.0 * number / len(windows), description=f"{window}: {verdict.outcome}")
    tell_story(story, job, windows, world, frozen, traffic)
    if compare:
        story.compare = compare_policies(job, windows, frozen, world, story.metric)
    return story


def artifact_id(created: object) -> UUID:
    """Narrow what Prefect returns: an id here, a coroutine only in async code."""
    if not isinstance(created, UUID):
        raise TypeError("an artifact made in a sync flow has an id")
    return created


def reset(job: Job) -> None:
    """Remove what an earlier replay of this use case left; the live one has another name."""
    registry = job.registry()
    registry.forget()
    registry.retire_runs(REPLAY_KEPT_DAYS)
    job.database.forget(job.name)
    job.releases.forget(job.name)
    with job.places.open_service() as service:
        service.ask("POST", "/journal/seal", usecase=job.name)
    left = [job.places.journal / job.name]
    if "://" not in job.places.lake:
        left.append(Path(job.places.lake) / job.name)
    for folder in left:  # what stays would be taken for rows of this replay
        with storing("remove what an earlier replay left in", folder):
            if folder.exists():
                shutil.rmtree(folder)


def read_history(usecase: LoadedUseCase, secret: bytes) -> pl.DataFrame:
    """Read the whole history once: it plays the outside world, which sends rows as time goes by."""
    far = datetime.now(UTC) + timedelta(days=36500)
    return join_sources(usecase, since=None, until=far, secret=secret).rows.sort(
        usecase.spec.time_column, maintain_order=True
    )


def plan_windows(
    usecase: LoadedUseCase, world: pl.DataFrame, start: datetime | None, end: datetime | None
) -> list[Window]:
    """Lay the windows of a replay over a history.

    Raises
    ------
    SourceError
        If there is no window between start and end.
    """
    spec = usecase.spec
    clock = spec.time_column
    if spec.clock is None:
        return _plan_by_order(usecase, world, given=bool(start or end))
    first: datetime = world[clock].min()  # type: ignore[assignment] # an instant column
    last: datetime = world[clock].max()  # type: ignore[assignment]
    begin = start or spec.start or first + (last - first) / 5
    if isinstance(spec.windows, Count):
        times = world.filter(pl.col(clock) >= begin)[clock].sort()
        windows = spec.windows.cut(times.filter(times < end) if end else times, begin=begin)
    else:
        windows = _covered(spec.windows, begin, min(end, last) if end else last, end)
    if not windows or windows[0].start <= first:
        raise SourceError(
            f"windows after a history to learn from, {first:%Y-%m-%d} to {last:%Y-%m-%d}",
            f"{len(windows)} from {start or spec.start}",
            "Choose --from and --to inside the history",
        )
    return windows


def _plan_by_order(usecase: LoadedUseCase, world: pl.DataFrame, *, given: bool) -> list[Window]:
    """Lay windows by count over what follows the first third of a history without a clock."""
    windows = usecase.spec.windows
    name = usecase.name.removesuffix(REPLAY)
    if given:
        raise SourceError(
            f"no --from and no --to: {name} has no clock",
            "an instant",
            "Leave them out: the first third of its rows is learnt from, and the rest walked through in their order",
        )
    if not isinstance(windows, Count):
        raise TypeError("without a clock windows are by count")
    left = len(world) - -(-len(world) // 3)
    number = left // windows.rows
    if not number:
        raise SourceError(
            f"a window of {windows.rows} rows after the first third of the history, which is learnt from",
            f"{len(world)} rows in all",
            f"Lower `monitoring.every` of {name}: {{rows: {max(2, left // 10)}}} makes ten of them",
        )
    times = world[usecase.spec.time_column]
    return windows.cut(times[len(times) - number * windows.rows :])


def _covered(grid: Grid, begin: datetime, stop: datetime, end: datetime | None) -> list[Window]:
    """Return the windows of time from one on that a history covers up to an instant, none beyond `end`."""
    windows: list[Window] = []
    window = grid.window_of(begin)
    while end is None or window.end <= end:
        if (stop - window.start) / (window.end - window.start) < MIN_COVERED:
            break
        windows.append(window)
        window = grid.window_of(window.end)
    return windows


def champion_bundle(job: Job) -> Bundle:
    """Load what the namespace serves."""
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        raise SourceError("a champion", "none", "Run the replay again")
    return load_bundle(job.releases.bundle(job.name, desired.champion.bundle), desired.champion.bundle)


def _between(world: pl.DataFrame, clock: str, start: datetime, end: datetime) -> pl.DataFrame:
    return world.filter((pl.col(clock) >= start) & (pl.col(clock) < end))


def _send(
    job: Job, world: pl.DataFrame, start: datetime, end: datetime, shape: Bundle, traffic: Traffic, batch: int
) -> None:
    columns = [column.name for column in shape.manifest.columns]
    rows = _between(world, job.usecase.spec.time_column, start, end).select(columns)
    with job.places.open_service() as service:
        for part in rows.iter_slices(batch):
            values = pl.DataFrame(jsonable(part), schema=dict.fromkeys(columns), infer_schema_length=None).rows()
            body = msgspec.json.encode({"dataframe_split": {"columns": columns, "data": values}})
            traffic.requests += 1
            traffic.rows += len(part)
            try:
                answer = service.client.post(
                    f"/{job.name}/invocations",
                    content=body,
                    headers={"content-type": "application/json"},
                    timeout=_TIMEOUT,
                )
                traffic.failed += answer.status_code != httpx.codes.OK
            except httpx.HTTPError:
                traffic.failed += 1


send = timed("scoring", _send, "its rows go through the service")


def note(story: Story, job: Job, window: Window, verdict: Verdict) -> None:
    """Keep what was decided about a window."""
    decisions, reports = (job.database.entries(job.name, kind=kind, last=20) for kind in ("decision", "report"))
    due = job.usecase.spec.label.available_after.after(window.end)
    decision = next((entry for entry in reversed(decisions) if entry.as_of == due), None)
    report = next((entry for entry in reversed(reports) if entry.as_of == due), None)
    found = reversed(job.database.measurements(job.name))
    measured: dict[str, Any] = next((m for m in found if window.start < Window.of(m).end <= window.end), {})
    turned = decision is not None and decision.action == "retrain" and decision.turn is not None
    promoted = turned and verdict.outcome == "done"
    story.trials = sum(entry.action != "untold" for entry in job.database.entries(job.name, kind=TRIAL))
    story.retrains += turned
    story.promotions += promoted
    story.refused += turned and not promoted
    desired = job.releases.desired(job.name)
    story.windows.append(
        {
            **window.to_dict(),
            "rows": measured.get("rows", 0),
            "static": None,
            "loop": None,
            "champion": measured.get("version"),
            "drifted_columns": [each["column"] for each in measured.get("drift", []) if each["drifted"]],
            "cause": decision.cause if decision else "none",
            "decision": decision.action if decision else "keep",
            "summary": decision.summary if decision else "",
            "promoted": desired.champion.version if promoted and desired and desired.champion else None,
            "report": report.evidence["report"] if report else None,
        }
    )


def _tell(
    story: Story, job: Job, windows: Sequence[Window], world: pl.DataFrame, frozen: Bundle, traffic: Traffic
) -> None:
    spec = job.usecase.spec
    served, classes = served_predictions(job, world), bundle_classes(job)
    order = classes_of(world, spec)
    for window, told in zip(windows, story.windows, strict=True):
        rows = _between(served, spec.time_column, window.start, window.end).filter(
            pl.col(spec.label.column).is_not_null() & pl.col("_served").is_not_null()
        )
        told["static"] = score(story.metric, score_rows(rows, spec, order, frozen.predict(rows), frozen.classes))
        answered = scores_of(rows["_served"], rows["_bundle"], classes, order, spec.problem)
        told["loop"] = score(story.metric, score_rows(rows, spec, order, answered))
    story.mean = {name: float(np.nanmean([told[name] for told in story.windows])) for name in ("static", "loop")}
    story.requests, story.failed_requests = traffic.requests, traffic.failed


tell_story = timed("scoring", _tell, "scoring what was served and the first model on each window")


def served_predictions(job: Job, world: pl.DataFrame) -> pl.DataFrame:
    """Attach to each row of the world what the service answered for it."""
    from tasks.bundles.served_rows import decode_rows

    keys = list(job.usecase.spec.keys)
    columns = champion_bundle(job).manifest.columns
    predictions = job.lake.collect("predictions", job.lake.scan("predictions").select("bundle", "prediction", "row"))
    rows = (
        decode_rows(predictions, columns)
        .select(keys)
        .with_columns(predictions["prediction"].alias("_served"), predictions["bundle"].alias("_bundle"))
    )
    instants = [key for key in keys if isinstance(world.schema[key], pl.Datetime)]
    rows = rows.with_columns(pl.col(instants).str.to_datetime(time_unit="us", time_zone="UTC")) if instants else rows
    rows = rows.cast({key: world.schema[key] for key in keys})
    return world.join(rows.unique(keys, keep="last"), on=keys, how="left", maintain_order="left")


def _compare(
    job: Job, windows: Sequence[Window], frozen: Bundle, world: pl.DataFrame, metric: str
) -> dict[str, dict[str, float]]:
    """Score two other policies on the same windows: never retrain, and refit on everything ripe after every window.

    The second is fitted here, plainly, without gates: what a blind schedule would have served.
    """
    spec = job.usecase.spec
    clock, label = spec.time_column, spec.label.column
    order = classes_of(world, spec)
    never, every = [], []
    models, pace = [], Pace(len(windows))
    for number, window in enumerate(windows, 1):
        rows = _between(world, clock, window.start, window.end).filter(pl.col(label).is_not_null())
        never.append(score(metric, score_rows(rows, spec, order, frozen.predict(rows), frozen.classes)))
        known = training_rows(job.moved(window.start).known.labelled())
        with part(f"comparison, window {number} of {len(windows)}"):
            models.append(learn(training_window(known, spec), spec))
        # the model of the window before answers until this one's labels are ripe
        turned = spec.label.available_after.after(window.start)
        parts = [
            (rows.filter(pl.col(clock) < turned), models[-2] if len(models) > 1 else models[-1]),
            (rows.filter(pl.col(clock) >= turned), models[-1]),
        ]
        answered = [
            score_rows(some, spec, order, model.predict(some, repaired=False), model.classes)
            for some, model in parts
            if len(some)
        ]
        truth, scores = (np.concatenate([getattr(one, each) for one in answered]) for each in ("label", "prediction"))
        every.append(score(metric, Scored(truth, scores, spec.threshold)))
        say(
            "comparison, window %d of %d, %s: %s %.3f never retraining, %.3f retrained before it%s",
            number,
            len(windows),
            window.name,
            metric,
            never[-1],
            every[-1],
            pace.left(number),
        )
    return {
        "never": {"mean": float(np.nanmean(never)), "retrains": 0},
        "every window": {"mean": float(np.nanmean(every)), "retrains": len(windows)},
    }


compare_policies = timed("comparison", _compare, "comparing with other policies")


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
