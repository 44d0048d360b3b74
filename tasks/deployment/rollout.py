"""Step by step from challenger to champion: shadow and canary, watched by guardrails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from expectations.durations import spoken
from expectations.errors import ReleaseError, StorageError
from expectations.production import Release
from tasks.bundles.intervals_in_force import learnt_intervals
from tasks.bundles.manifest import Manifest, read_manifest
from tasks.bundles.row_frames import jsonable
from tasks.deployment.guarding import StepVerdict, judge_step
from tasks.deployment.releasing import await_candidate, take_back
from tasks.deployment.replica_counts import Counting
from tasks.deployment.sharing import entity_columns, place_of
from tasks.deployment.step_evidence import gather_evidence
from tasks.stores.database import RELEASE_LOOK
from tasks.stores.desired_state import CandidateState, Served, overtaken
from tasks.stores.places import Job
from tasks.stores.plain import to_json
from tasks.stores.progress import doing, say
from tasks.stores.registry import ModelVersion
from tasks.stores.releases import WATCHED_SECONDS

_LOOKS = 5
"""How often a step is looked at before it ends: a violation ends it at once."""
_MAX_NAP = 60.0
_ENTITIES_TRIED = 10_000
"""Entities that are looked for in a share: of more, each share a plan would name has some."""


@dataclass(frozen=True)
class Step:
    """One step of a release and what it came to."""

    mode: Literal["shadow", "canary"]
    share: float
    verdict: StepVerdict

    def __str__(self) -> str:
        return f"{_name(self.mode, self.share)}: {self.verdict.summary}"


@dataclass(frozen=True)
class Rollout:
    """How the steps of a release went."""

    steps: tuple[Step, ...]

    @property
    def kept(self) -> bool:
        """Whether every step was good: the candidate may take over."""
        return all(step.verdict.status == "good" for step in self.steps)

    @property
    def summary(self) -> str:
        """Say it in words."""
        return "; ".join(map(str, self.steps))

    @property
    def cause(self) -> str:
        """Say why it was withdrawn: a guardrail broke, or too little came to judge by."""
        return "guardrail" if any(step.verdict.status == "violated" for step in self.steps) else "unknown"

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence for the ledger."""
        return {
            "steps": [
                {
                    "mode": step.mode,
                    "share": step.share,
                    "status": step.verdict.status,
                    "rows": step.verdict.rows,
                    "findings": [vars(each) for each in step.verdict.findings],
                }
                for step in self.steps
            ]
        }


def roll_out(job: Job, version: ModelVersion, plan: Release, *, new_signature: bool = False) -> Rollout:
    """Let a blessed bundle score beside the champion, a step at a time; withdraw it where a guardrail breaks.

    With ``replace``, or without a champion to compare with, there are no steps. Killed in the middle, a rerun goes on
    with the step that was reached.

    Raises
    ------
    ReleaseError
        If the service refuses the bundle, or no known entity is in the first share of a canary.
    UnreachableError
        If the service does not answer.
    """
    desired = job.releases.desired(job.name)
    champion = desired.champion if desired else None
    if champion is None or champion.bundle == version.bundle:
        return Rollout(())
    steps, done = _plan(plan), []
    planned = len(steps)
    if plan.strategy == "canary":
        manifest = read_manifest(job.releases.bundle(job.name, version.bundle), version.bundle)
        _require_entities(job, manifest, plan.steps[0])
    begun = desired.candidate if desired else None
    if begun is not None and begun.bundle == version.bundle:  # a rerun goes on where it was killed, if that is a step
        reached = [at for at, step in enumerate(steps) if step == (begun.mode, begun.share)]
        steps = steps[reached[0] :] if reached else steps
    generation = desired.generation if desired else 0
    state = CandidateState(
        bundle=version.bundle,
        version=version.version,
        intervals=learnt_intervals(job.database, job.name, version.bundle),
    )
    for number, (mode, share) in enumerate(steps, planned - len(steps) + 1):
        candidate = state.model_copy(update={"mode": mode, "share": share})
        wanted = job.releases.set_desired(
            job.name, champion=champion, candidate=candidate, new_signature=new_signature, after=generation
        )
        generation = wanted.generation
        try:
            with _watching(job):
                await_candidate(job, wanted.generation, version)
                where = f"step {number} of {planned}, {_name(mode, share)}"
                done.append(Step(mode, share, _watch(job, champion, candidate, plan, wanted.generation, where)))
        except BaseException:  # nobody would watch it: it must not go on answering
            take_back(job, champion, wanted.generation)
            raise
        if done[-1].verdict.status != "good":
            take_back(job, champion, wanted.generation)
            break
    return Rollout(tuple(done))


def _name(mode: Literal["shadow", "canary"], share: float) -> str:
    return "in the shadow" if mode == "shadow" else f"with {share:.0%} of the entities"


def _plan(plan: Release) -> list[tuple[Literal["shadow", "canary"], float]]:
    if plan.strategy == "shadow":
        return [("shadow", 0.0)]
    return [("canary", share) for share in plan.steps] if plan.strategy == "canary" else []


def _require_entities(job: Job, manifest: Manifest, share: float) -> None:
    """Refuse a first share into which no entity falls that was ever collected: nothing could be judged by it.

    Raises
    ------
    ReleaseError
    """
    columns = entity_columns(manifest)
    instants = {column.name for column in manifest.columns if column.type == "instant"}
    if not columns or instants & set(columns) or job.lake.version("clean") is None:
        return
    known = job.lake.scan("clean").select(columns).unique().head(_ENTITIES_TRIED).collect()
    places = sorted(place_of([row[name] for name in columns]) for row in jsonable(known))
    if places and places[0] >= share:
        raise ReleaseError(
            f"an entity ({', '.join(columns)}) among the first {share:.0%} that a canary answers",
            f"none of the {len(places)} known; the first one comes at {places[0]:.1%}",
            "Begin with a larger share (--steps, `release.steps`), or let it score in the shadow (--strategy shadow)",
        )


def _watch(
    job: Job, champion: Served, candidate: CandidateState, plan: Release, generation: int, where: str
) -> StepVerdict:
    """Look at a step until it ends, or until a guardrail breaks.

    Parameters
    ----------
    where : str
        Which step it is, for a person who waits.

    Raises
    ------
    ReleaseError
        If the desired state was changed by another release meanwhile: that stands.
    """
    began, counting = datetime.now(UTC), Counting(job)
    length = plan.step.approximate_seconds
    end = time.monotonic() + length
    until = f"until {began + timedelta(seconds=length):%H:%M:%S} UTC"
    doing(f"{where}: {until}")
    while True:
        time.sleep(max(0.0, min(length / _LOOKS, _MAX_NAP, end - time.monotonic())))
        evidence = gather_evidence(job, champion, candidate, began, counting)
        desired = job.releases.desired(job.name)
        if desired is None or desired.generation != generation:
            raise overtaken(job.name, generation, desired.generation if desired else 0)
        verdict = judge_step(evidence, job.usecase.spec, plan)
        left = spoken(max(0.0, end - time.monotonic()))
        _note(job, candidate, verdict, where, began + timedelta(seconds=length))
        say("%s: %s; %s, %s left", where, verdict.summary, until, left)
        if verdict.status == "violated" or time.monotonic() >= end:
            return verdict


def _note(job: Job, candidate: CandidateState, verdict: StepVerdict, where: str, until: datetime) -> None:
    """Let the page show how the guardrails stand."""
    look = {
        "bundle": candidate.bundle,
        "where": where,
        "at": datetime.now(UTC),
        "until": until,
        "status": verdict.status,
        "rows": verdict.rows,
        "findings": [vars(each) for each in verdict.findings],
    }
    job.database.mark(job.name, RELEASE_LOOK, to_json(look))


@contextmanager
def _watching(job: Job) -> Iterator[None]:
    """Let the service know, as long as this process lives, that the candidate is being judged."""
    ended = threading.Event()

    def keep() -> None:
        while True:
            with suppress(StorageError):  # a disk that is away for a moment; for longer, the candidate is left out
                job.releases.keep_watch(job.name)
            if ended.wait(WATCHED_SECONDS / 6):
                return

    thread = threading.Thread(target=keep, name="watching", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
