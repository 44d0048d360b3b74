"""Deploy: register the bundle, bless it in the running service, roll it out, release it, point the aliases.

What a person asks for (`driftwheel deploy`, `promote`, `rollback`, the page, or this flow's form in Prefect) is the
same flow with a version.
"""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from expectations.contradictions import REPLAY
from expectations.errors import ReleaseError
from expectations.production import Release
from flows.approving import refused_by_a_person
from flows.conclusions import conclude_deployment, conclude_withdrawal
from flows.stage import FlowResult, at_work, open_job, present, run_name
from flows.versions import PREVIOUS, Steps, deploy_version
from tasks.deployment.task import bless, choose, register, release, restore, roll_out, settle
from tasks.stores.places import Job


def planned(job: Job) -> Release:
    """Return how the use case wants it released; a replay's traffic has no clock to wait by, so it replaces."""
    return Release() if job.name.endswith(REPLAY) else job.usecase.spec.release


STEPS = Steps(choose, restore, bless, roll_out, release, settle)


@flow(name="deploy", flow_run_name=run_name, persist_result=False)
def deploy(
    usecase: str,
    as_of: datetime | None = None,
    turn_id: str | None = None,
    namespace: str | None = None,
    announce: bool = True,
    version: str | None = None,
    plan: Release | None = None,
    new_signature: bool = False,
) -> FlowResult:
    """Release the bundle a turn's training left, or a version that a person asks for.

    Parameters
    ----------
    version : str, optional
        The number of a registered version, `challenger`, or `previous`: the champion before the present one.
    plan : Release, optional
        How a version that was asked for is released; as the use case says where not given.
    new_signature : bool
        Whether its inputs may differ from those served today.

    Raises
    ------
    ReleaseError
        If a turn's bundle and a version are asked for at once, or a plan without a version.
    """
    _refuse_contradictions(version, turn_id, plan, new_signature=new_signature)
    job = open_job(usecase, as_of, turn_id, namespace, announce=announce)
    if version:
        with present(job):
            return deploy_version(job, version, plan or planned(job), STEPS, new_signature=new_signature)
    with at_work("deploy", job) as stage:
        bundle, run = stage.product("bundle"), stage.product("run")
        challenger = register(stage.job, bundle, run)
        bless(stage.job, challenger)
        refused = refused_by_a_person(stage, challenger.version)
        if refused is not None:
            return refused
        steps = roll_out(stage.job, challenger, planned(stage.job))
        if not steps.kept:
            return conclude_withdrawal(stage, challenger, steps)
        generation = release(stage.job, challenger)
        settle(stage.job, challenger)
        return conclude_deployment(stage, challenger, generation, steps)


def _refuse_contradictions(
    version: str | None, turn_id: str | None, plan: Release | None, *, new_signature: bool
) -> None:
    """Refuse what would be left out without a word: the form in Prefect takes any of it."""
    given = [name for name, value in (("plan", plan), ("new_signature", new_signature)) if value]
    if version and turn_id:
        raise ReleaseError("a turn, or a version", f"turn {turn_id} and version {version}", "Leave one of them out")
    if given and not version:
        raise ReleaseError(f"a version for {' and '.join(given)}", "none", "Give its number, or `challenger`")
    if given and version == PREVIOUS:
        raise ReleaseError(
            "the champion before, at once, with the inputs it had",
            f"`{PREVIOUS}` with {' and '.join(given)}",
            "Leave these out, or give the version's number",
        )
