"""Deploy: register the bundle, bless it in the running service, roll it out, release it, point the aliases."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from expectations.production import Release
from expectations.usecase import REPLAY
from flows.approving import refused_by_a_person
from flows.conclusions import conclude_deployment, conclude_withdrawal
from flows.stage import Verdict, at_work, open_job, run_name
from tasks.deployment.task import bless, register, release, roll_out, settle
from tasks.stores.places import Job


def planned(job: Job) -> Release:
    """Return how the use case wants it released; a replay's traffic has no clock to wait by, so it replaces."""
    return Release() if job.name.endswith(REPLAY) else job.usecase.spec.release


@flow(name="deploy", flow_run_name=run_name, persist_result=False)
def deploy(
    usecase: str,
    as_of: datetime | None = None,
    turn_id: str | None = None,
    namespace: str | None = None,
    announce: bool = True,
) -> Verdict:
    """Release the bundle a turn's training left."""
    with at_work("deploy", open_job(usecase, as_of, turn_id, namespace, announce=announce)) as stage:
        bundle, run = stage.product("bundle"), stage.product("run")
        version = register(stage.job, bundle, run)
        bless(stage.job, version)
        refused = refused_by_a_person(stage, version.version)
        if refused is not None:
            return refused
        steps = roll_out(stage.job, version, planned(stage.job))
        if not steps.kept:
            return conclude_withdrawal(stage, version, steps)
        generation = release(stage.job, version)
        settle(stage.job, version)
        return conclude_deployment(stage, version, generation, steps)
