"""Deploy: register the bundle, bless it in the running service, release it, point the aliases."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.conclusions import conclude_deployment
from flows.stage import Verdict, at_work, open_job, run_name
from tasks.deployment.task import bless, register, release, settle


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
        generation = release(stage.job, version)
        settle(stage.job, version)
        return conclude_deployment(stage, version, generation)
