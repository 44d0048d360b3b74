"""Train: select the rows, let the recipes compete, judge the best against the champion, refit what passes."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.conclusions import conclude_training
from flows.stage import FlowResult, at_work, open_job, run_name
from tasks.evaluation.task import publish_gates
from tasks.training.task import select_rows, train_challenger


@flow(name="train", flow_run_name=run_name, persist_result=False)
def train(
    usecase: str,
    as_of: datetime | None = None,
    turn_id: str | None = None,
    namespace: str | None = None,
    announce: bool = True,
) -> FlowResult:
    """Train a challenger for a turn; if it passes its gates, hand on to `deploy`."""
    with at_work("train", open_job(usecase, as_of, turn_id, namespace, announce=announce)) as stage:
        rows = select_rows(stage.job)
        challenger = train_challenger(stage.job, rows, stage.note_tracking_run)
        judgement = challenger.judgement
        publish_gates(stage.job.name, stage.job.as_of, judgement.outcome, judgement.rationale, judgement.gates)
        return conclude_training(stage, challenger)
