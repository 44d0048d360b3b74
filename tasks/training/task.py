"""Prefect's door to training."""

from __future__ import annotations

from collections.abc import Callable

from prefect import task
from prefect.artifacts import create_link_artifact
from prefect.cache_policies import NO_CACHE

from tasks.stores.places import Job
from tasks.stores.stopwatch import timed
from tasks.training import training_run, training_set, trial_ledger
from tasks.training.training_run import Challenger
from tasks.training.training_set import TrainingSet


def _train(job: Job, selected: TrainingSet, on_run: Callable[[str], None]) -> Challenger:
    challenger = training_run.train_challenger(job, selected, on_run)
    create_link_artifact(
        key=f"mlflow-{job.name}".replace("_", "-"),
        link=job.registry().run_link(challenger.run),
        link_text=f"the MLflow run as of {job.as_of:%Y-%m-%d %H:%M} UTC: metrics, curves, plots",
        description=f"As of {job.as_of:%Y-%m-%d %H:%M} UTC: {challenger.judgement.rationale}",
    )
    return challenger


select_rows = task(name="select rows", cache_policy=NO_CACHE, persist_result=False)(
    timed("training", training_set.select_rows, "step 1 of 2, selecting rows")
)
try_challenger = task(name="try a challenger", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", trial_ledger.try_now, "step 4 of 8, trying a challenger")
)
train_challenger = task(name="train and judge", cache_policy=NO_CACHE, persist_result=False)(
    timed("training", _train, "step 2 of 2, training and judging")
)
