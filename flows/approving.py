"""A person's word before a release: the deploy flow pauses in Prefect, whose page asks for it."""

from __future__ import annotations

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from expectations.contradictions import REPLAY
from flows.stage import FlowResult, send_waiting
from tasks.deployment.releasing import take_back
from tasks.stores.finding_kinds import describe
from tasks.stores.progress import doing
from tasks.stores.turning import Stage


class Approval(RunInput):
    """What the page asks: whether the version may be released, and who says so."""

    release: bool
    name: str = ""


def refused_by_a_person(stage: Stage, version: str) -> FlowResult | None:
    """Wait for a person where the policy wants one; returns how the turn ended where the release is not allowed.

    A replay asks no one. A run that is killed while it waits asks again when its turn is taken up.
    """
    job = stage.job
    patience = job.usecase.spec.monitoring.policy.approval
    if patience is None or job.name.endswith(REPLAY):
        return None
    waiting = f"version {version} waits for a person: open the flow run {flow_run.name!r} in Prefect, and resume it"
    with job.database.transaction() as connection:
        job.database.record(connection, describe(job.name, "approval", "warning", waiting), job.as_of)
    send_waiting(job)
    doing(waiting)
    try:
        said = pause_flow_run(Approval, timeout=round(patience.approximate_seconds), poll_interval=2)
    except FlowPauseTimeout:
        return _refuse(stage, "nobody", f"version {version} was not allowed within {patience}: the champion stays")
    by = said.name or "a person"
    if not said.release:
        return _refuse(stage, "person", f"{by} did not allow version {version}: the champion stays")
    job.database.end(job.name, ["approval"], f"{by} allowed version {version}", job.as_of)
    return None


def _refuse(stage: Stage, cause: str, summary: str) -> FlowResult:
    desired = stage.job.releases.desired(stage.job.name)
    asked = stage.product("bundle")
    # it need not lie beside the champion any more; another that was put there meanwhile stays
    if desired is not None and desired.candidate is not None and desired.candidate.bundle == asked:
        take_back(stage.job, desired.champion, desired.generation)
    stage.finish("refused", "refused", cause, summary, {}, over=["approval"])
    return FlowResult("refused", summary, stage.job.turn)
