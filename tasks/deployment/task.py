"""Prefect's door to deployment."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.deployment import releasing, rollout, scoring
from tasks.stores.stopwatch import timed

register = task(name="register version", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.register)
)
bless = task(name="bless in the service", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.bless)
)
roll_out = task(name="roll out", cache_policy=NO_CACHE, persist_result=False)(timed("deployment", rollout.roll_out))
release = task(name="release", cache_policy=NO_CACHE, persist_result=False)(timed("deployment", releasing.release))
settle = task(name="point aliases", cache_policy=NO_CACHE, persist_result=False)(timed("deployment", releasing.settle))
score_table = task(name="score a table", cache_policy=NO_CACHE, persist_result=False)(
    timed("scoring", scoring.score_table)
)
