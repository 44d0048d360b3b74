"""Score: predict a whole table with the champion."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from expectations.masking import mask
from flows.stage import FlowResult, open_job, present, run_name
from tasks.deployment.task import score_table


@flow(name="score", flow_run_name=run_name, persist_result=False)
def score(usecase: str, source: str, output: str, as_of: datetime | None = None) -> FlowResult:
    """Predict every row of `source` (Parquet, or ``lake:clean``) and write keys and predictions to `output`."""
    job = open_job(usecase, as_of)
    with present(job):
        done = score_table(job, source, output)
    return FlowResult("done", f"{done.rows:,} rows predicted by version {done.version} into {mask(done.output)}")
