"""Move versions by hand, or back where a release turned out worse: promote, deploy, roll back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from expectations.alerts import Severity
from expectations.errors import BundleError, OvertakenError, ReleaseError
from expectations.production import Release
from flows.stage import Verdict, tell
from infra.settings import Settings
from tasks.deployment import releasing, rollout
from tasks.deployment.rollout import Rollout
from tasks.monitoring.deciding import NOT_TAKEN_BACK
from tasks.stores.finding_kinds import SETTLED_BY_RELEASE, describe
from tasks.stores.ledger import Entry, champions
from tasks.stores.places import Job
from tasks.stores.progress import doing
from tasks.stores.registry import ModelVersion


def _job(usecase: str) -> Job:
    settings = Settings()
    return Job(settings.use_case(usecase), settings.places(), datetime.now(UTC))


def promote_version(usecase: str, wanted: str | None) -> str:
    """Bless a registered version in the service and make it the champion.

    Raises
    ------
    ReleaseError
        If there is no such version, or the service refuses it.
    """
    return deploy_version(usecase, wanted, Release()).summary


def deploy_version(usecase: str, wanted: str | None, plan: Release | None, *, new_signature: bool = False) -> Verdict:
    """Bless a registered version, roll it out as planned and make it the champion, or withdraw it.

    Parameters
    ----------
    wanted : str, optional
        The challenger where not given.
    plan : Release, optional
        The use case's own where not given.
    new_signature : bool
        Whether its inputs may differ from those served today.

    Raises
    ------
    ReleaseError
        If there is no such version, or the service refuses it.
    """
    job = _job(usecase)
    version = releasing.choose_version(job, wanted)
    with _refusals_told(job, version):
        doing(f"proving version {version.version} in the service")
        releasing.bless(job, version, new_signature=new_signature)
        steps = rollout.roll_out(job, version, plan or job.usecase.spec.release, new_signature=new_signature)
        if steps.kept:
            return Verdict(
                "done", _settle(job, version, "promoted", "asked for by hand", steps, new_signature=new_signature)
            )
    summary = f"version {version.version} was withdrawn {steps.summary}"
    key = f"{job.name}/withdrawn/{version.version}/{job.as_of.isoformat()}"
    cause = "guardrail" if steps.steps[-1].verdict.status == "violated" else "too few rows"
    _note(job, key, "withdrawn", "withdrawn", cause, summary, "warning", {**asdict(version), **steps.to_dict()})
    return Verdict("refused", summary)


@contextmanager
def _refusals_told(job: Job, version: ModelVersion) -> Iterator[None]:
    """Put into the ledger, and tell, that the service (or its image) would not take a version.

    That somebody else was quicker is no refusal: what they did is in the ledger.
    """
    try:
        yield
    except OvertakenError:
        raise
    except ReleaseError as error:
        key = f"{job.name}/refused/{version.bundle}/{job.as_of.isoformat()}"
        _note(
            job,
            key,
            "not-released",
            "refused",
            "service",
            f"version {version.version}: {error}",
            "failure",
            asdict(version),
        )
        raise


def _note(
    job: Job, key: str, kind: str, action: str, cause: str, summary: str, severity: Severity, evidence: dict[str, Any]
) -> None:
    entry = Entry(key, job.name, job.as_of, "deploy", action, cause, summary, evidence)
    with job.database.transaction() as connection:
        job.database.report(connection, entry, describe(job.name, kind, severity, summary))
    tell(job)


def roll_back(usecase: str) -> str:
    """Make the champion before the present one champion again; the ledger says which that was.

    Raises
    ------
    ReleaseError
        If there was none before.
    """
    job = _job(usecase)
    version, now = _before(job, None)
    with _refusals_told(job, version):
        return _go_back(job, version, f"from version {now}, asked for by hand", "manual")


def take_back(job: Job, decision: Entry) -> str:
    """Roll back to the champion that a decision holds the present one against, and write down why.

    That it cannot be is told once and returned: it is not tried again, for the same would come of it. Where somebody
    else was quicker, the next run looks again.

    Raises
    ------
    UnreachableError
        If the service does not answer (the next run tries again), or MLflow does not take the aliases (the version
        answers all the same).
    """
    try:
        version, _ = _before(job, decision.evidence.get("predecessor"))
        worse = decision.evidence["window"]["version"]
        return _go_back(job, version, f"from version {worse}, {decision.summary}", "release")
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


def _go_back(job: Job, version: ModelVersion, words: str, cause: str) -> str:
    releasing.restore_bundle(job, version)
    doing(f"proving version {version.version} in the service")
    # back to inputs that were served before, so they may differ from today's
    releasing.bless(job, version, new_signature=True)
    return _settle(job, version, "rolled back", words, Rollout(()), cause=cause, new_signature=True)


def _settle(
    job: Job,
    version: ModelVersion,
    action: str,
    words: str,
    steps: Rollout,
    *,
    cause: str = "manual",
    new_signature: bool = False,
) -> str:
    doing(f"releasing version {version.version}")
    generation = releasing.release(job, version, new_signature=new_signature)
    summary = (
        f"version {version.version} is the champion (bundle {version.bundle[:12]}, generation {generation}): {words}"
    )
    with job.database.transaction() as connection:
        job.database.write(
            connection,
            Entry(
                f"{job.name}/{action}/{generation}",
                job.name,
                job.as_of,
                "deploy",
                action,
                cause,
                summary,
                {**asdict(version), "generation": generation, **steps.to_dict()},
            ),
        )
        if action == "promoted":
            job.database.record(connection, describe(job.name, "promoted", "info", summary), job.as_of)
        for over in ("promoted", *SETTLED_BY_RELEASE):
            if not (action == "rolled back" and over == "rollback"):  # that is what it was decided for
                job.database.resolve(connection, job.name, over, summary, job.as_of)
    releasing.settle(job, version)  # after the ledger: a registry that is away must not hide what is served
    tell(job)
    return summary
