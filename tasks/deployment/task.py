"""Prefect's door to deployment."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.deployment import scoring, steps
from tasks.stores.stopwatch import timed

register = task(name="register version", cache_policy=NO_CACHE, persist_result=False)(steps.register)
choose = task(name="choose a version", cache_policy=NO_CACHE, persist_result=False)(steps.choose)
restore = task(name="restore the bundle", cache_policy=NO_CACHE, persist_result=False)(steps.restore)
bless = task(name="bless in the service", cache_policy=NO_CACHE, persist_result=False)(steps.bless)
roll_out = task(name="roll out", cache_policy=NO_CACHE, persist_result=False)(steps.roll_out)
release = task(name="release", cache_policy=NO_CACHE, persist_result=False)(steps.release)
settle = task(name="point aliases", cache_policy=NO_CACHE, persist_result=False)(steps.settle)
score_table = task(name="score a table", cache_policy=NO_CACHE, persist_result=False)(
    timed("scoring", scoring.score_table)
)
