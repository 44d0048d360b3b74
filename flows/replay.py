"""Replay: a use case's history, window by window, through the real loop.

Rows reach the live service over HTTP at the instant they would have, labels ripen when they would have, and the flows
get the `as_of` a schedule would have given. Everything is kept under a name of its own, ``NAME-replay``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import polars as pl
from prefect import flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from expectations.contradictions import REPLAY
from expectations.errors import ReleaseError, SourceError
from expectations.loading import LoadedUseCase
from expectations.windows import Window
from flows.collect import collect
from flows.loop import loop
from flows.replay_requests import send_rows
from flows.replay_story import SentRequests, Story, champion_bundle, note, score_story
from flows.replay_windows import between, plan_windows, read_history
from flows.stage import open_job
from infra.settings import Settings
from tasks.bundles.bundle import Bundle
from tasks.bundles.champion import released_champion
from tasks.evaluation.metrics import Scored, score
from tasks.stores.files import storing
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tasks.stores.progress import Pace, part, say
from tasks.stores.registry import REPLAY_KEPT_DAYS
from tasks.stores.stopwatch import timed
from tasks.training.labelled import classes_of, score_rows, training_window
from tasks.training.learning import learn
from tasks.training.packing import training_rows

BATCH = 500
_TIMEOUT, _POLL_SECONDS = 60.0, 0.05


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
    """Walk a use case's history through the loop and report what it gained."""
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
    world = read_history(job.usecase, job.places.secret)
    windows = plan_windows(job.usecase, world, start, end)
    reset(job)  # not before its windows are known: a wrong date leaves the earlier replay as it is
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
    traffic, moment, pace = SentRequests(), windows[0].start, Pace(len(windows))
    for number, window in enumerate(windows, 1):
        due = job.usecase.spec.label.available_after.after(window.end)
        with part(f"window {number} of {len(windows)}"):
            if looks_back(job):
                bring_ahead(usecase, job, moment, due)
            send(job, world, moment, due, frozen, traffic, batch)
            verdict = loop(usecase, due, namespace)
        note(story, job, window, verdict)
        moment = due
        record = story.windows[-1]
        say(
            "window %d of %d, %s: %s rows, %s (%s)%s%s",
            number,
            len(windows),
            window.name,
            f"{record['rows']:,}",
            record["decision"],
            record["cause"],
            f", version {record['promoted']} promoted" if record["promoted"] else "",
            pace.left(number),
        )
        update_progress_artifact(progress, 100.0 * number / len(windows), description=f"{window}: {verdict.outcome}")
    world = job.moved(moment).known.earlier(job.usecase.spec.looked_back).beside(world)
    score_story(story, job, windows, world, frozen, traffic)
    if compare:
        story.compare = compare_policies(job, windows, frozen, world, story.metric)
    return story


def looks_back(job: Job) -> bool:
    """Whether the champion reads earlier rows: what is declared and read by no feature the service keeps nothing of."""
    champion = released_champion(job) if job.usecase.spec.history else None
    return champion is not None and bool(champion.manifest.history)


def bring_ahead(usecase: str, job: Job, since: datetime, due: datetime) -> None:
    """Bring in a window's rows before it is sent, and wait until the service looks back into them.

    A live service learns of rows as time goes by; a window is sent at once. A row sees only what lies `known_after`
    before its own time, so rows that are there early change nothing of it; corrected ones are seen as they are now.
    """
    mark = collect(usecase, due, None, job.name, announce=False, asked_since=since).history
    give_up = time.monotonic() + _TIMEOUT
    with job.places.open_service() as service:
        while any(each["usecases"][job.name]["history"] != [mark] for each in service.ask("GET", "/version")):
            if time.monotonic() > give_up:
                raise ReleaseError(
                    "the service to look back into what was collected", f"not in {_TIMEOUT:.0f} s", "See its log"
                )
            time.sleep(_POLL_SECONDS)


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


def _send(
    job: Job, world: pl.DataFrame, start: datetime, end: datetime, shape: Bundle, traffic: SentRequests, batch: int
) -> None:
    columns = [column.name for column in shape.manifest.asked]
    rows = between(world, job.usecase.spec.time_column, start, end).select(columns)
    with job.places.open_service() as service:
        for some in rows.iter_slices(batch):
            send_rows(service.client, job.name, some, traffic)


send = timed("scoring", _send, "its rows go through the service")


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
        rows = between(world, clock, window.start, window.end).filter(pl.col(label).is_not_null())
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
