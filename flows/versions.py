"""Release versions by hand, and go back where a release turned out worse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NamedTuple

from expectations.alerts import Severity
from expectations.errors import BundleError, OvertakenError, ReleaseError
from expectations.production import Release
from flows.stage import FlowResult, send_waiting
from tasks.deployment.rollout import Rollout
from tasks.deployment.steps import bless, choose, release, restore, roll_out, settle
from tasks.monitoring.taking_back import NOT_TAKEN_BACK
from tasks.stores.finding_kinds import SETTLED_BY_RELEASE, describe
from tasks.stores.ledger import Entry, champions
from tasks.stores.measurements import measurement_in
from tasks.stores.places import Job
from tasks.stores.registry import ModelVersion

CHALLENGER, PREVIOUS = "challenger", "previous"
"""Names a version may have instead of its number: what is registered as challenger, and the champion before."""


class Steps(NamedTuple):
    """What a release does, one after another, each reported as it begins: functions, or Prefect's tasks of them."""

    choose: Callable[..., ModelVersion] = choose
    restore: Callable[..., None] = restore
    bless: Callable[..., None] = bless
    roll_out: Callable[..., Rollout] = roll_out
    release: Callable[..., int] = release
    settle: Callable[..., None] = settle


def deploy_version(
    job: Job, wanted: str, plan: Release, steps: Steps | None = None, *, new_signature: bool = False
) -> FlowResult:
    """Bless a registered version, roll it out as planned and make it the champion, or withdraw it.

    Parameters
    ----------
    wanted : str
        Its number, `challenger`, or `previous`, which is released at once.
    steps : Steps, optional
        Functions where not given.
    new_signature : bool
        Whether its inputs may differ from those served today.

    Raises
    ------
    ReleaseError
        If there is no such version, or the service refuses it.
    """
    steps = steps or Steps()
    if wanted == PREVIOUS:
        version, now = _before(job, None)
        with _refusals_reported(job, version):
            words = f"from version {now}, asked for by hand"
            return FlowResult("done", _go_back(job, version, steps, words, "manual"))
    version = steps.choose(job, None if wanted == CHALLENGER else wanted)
    with _refusals_reported(job, version):
        steps.bless(job, version, new_signature=new_signature)
        done = steps.roll_out(job, version, plan, new_signature=new_signature)
        if done.kept:
            words = "asked for by hand"
            summary = _settle(job, version, steps, "promoted", words, done, new_signature=new_signature)
            return FlowResult("done", summary)
    summary = f"version {version.version} was withdrawn {done.summary}"
    key = f"{job.name}/withdrawn/{version.version}/{job.as_of.isoformat()}"
    evidence = {**asdict(version), **done.to_dict()}
    _note(job, key, "withdrawn", "withdrawn", done.cause, summary, "warning", evidence)
    return FlowResult("refused", summary)


@contextmanager
def _refusals_reported(job: Job, version: ModelVersion) -> Iterator[None]:
    """Put into the ledger, and send, that the service (or its image) would not take a version.

    That another release was quicker is no refusal: what they did is in the ledger.
    """
    try:
        yield
    except OvertakenError:
        raise
    except ReleaseError as error:
        key = f"{job.name}/refused/{version.bundle}/{job.as_of.isoformat()}"
        summary = f"version {version.version}: {error}"
        _note(job, key, "not-released", "refused", "service", summary, "failure", asdict(version))
        raise


def _note(
    job: Job, key: str, kind: str, action: str, cause: str, summary: str, severity: Severity, evidence: dict[str, Any]
) -> None:
    entry = Entry(key, job.name, job.as_of, "deploy", action, cause, summary, evidence)
    with job.database.transaction() as connection:
        job.database.report(connection, entry, describe(job.name, kind, severity, summary))
    send_waiting(job)


def take_back(job: Job, decision: Entry) -> str:
    """Roll back to the champion that a decision holds the present one against, and write down why.

    That it cannot be is reported once and returned: it is not tried again, for the same would come of it. Where
    another release was quicker, the next run looks again.

    Raises
    ------
    UnreachableError
        If the service does not answer (the next run tries again), or MLflow does not take the aliases (the version
        answers all the same).
    """
    try:
        version, _ = _before(job, decision.evidence.get("predecessor"))
        worse = measurement_in(decision.evidence)
        why = f"from version {worse.version}, {decision.summary}" if worse else decision.summary
        return _go_back(job, version, Steps(), why, "release")
    except OvertakenError as error:
        return str(error)
    except (ReleaseError, BundleError) as error:
        summary = f"{decision.summary}, and cannot be taken back: {error}"
        key = f"{decision.entry}/{NOT_TAKEN_BACK}"
        _note(job, key, "not-taken-back", NOT_TAKEN_BACK, "release", summary, "failure", {})
        return summary


def _before(job: Job, wanted: str | None) -> tuple[ModelVersion, str]:
    """Return the version to go back to, the champion before where none is wanted, and the number of the present one."""
    desired = job.releases.desired(job.name)
    now = desired.champion if desired else None
    stood = champions(job.database.entries(job.name, kind="deploy"))
    if wanted is not None:
        before = [each for each in stood if each.evidence["bundle"] == wanted]
    else:
        # what is served and lies below the top was a rollback that did not get to its end: finish it
        unfinished = [each for each in stood[:-1] if now is not None and each.evidence["bundle"] == now.bundle]
        before = unfinished or [each for each in stood if now is not None and each.evidence["bundle"] != now.bundle]
    if now is None or not before:
        raise ReleaseError("a champion before the present one", "none in the ledger", "See `driftwheel why`")
    last = before[-1].evidence
    return ModelVersion(last["version"], last["bundle"], last["run"]), now.version


def _go_back(job: Job, version: ModelVersion, steps: Steps, words: str, cause: str) -> str:
    steps.restore(job, version)
    # back to inputs that were served before, so they may differ from today's
    steps.bless(job, version, new_signature=True)
    return _settle(job, version, steps, "rolled back", words, Rollout(()), cause=cause, new_signature=True)


def _settle(
    job: Job,
    version: ModelVersion,
    steps: Steps,
    action: str,
    words: str,
    done: Rollout,
    *,
    cause: str = "manual",
    new_signature: bool = False,
) -> str:
    generation = steps.release(job, version, new_signature=new_signature)
    summary = (
        f"version {version.version} is the champion (bundle {version.bundle[:12]}, generation {generation}): {words}"
    )
    key = f"{job.name}/{action}/{generation}"
    evidence = {**asdict(version), "generation": generation, **done.to_dict()}
    with job.database.transaction() as connection:
        job.database.write(connection, Entry(key, job.name, job.as_of, "deploy", action, cause, summary, evidence))
        if action == "promoted":
            job.database.record(connection, describe(job.name, "promoted", "info", summary), job.as_of)
        for over in ("promoted", *SETTLED_BY_RELEASE):
            if not (action == "rolled back" and over == "rollback"):  # that is what it was decided for
                job.database.resolve(connection, job.name, over, summary, job.as_of)
    steps.settle(job, version)  # after the ledger: a registry that is away must not hide what is served
    send_waiting(job)
    return summary
