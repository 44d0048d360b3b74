"""Prefect's door to deployment."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.deployment import releasing, rollout, scoring
from tasks.stores.stopwatch import timed

register = task(name="register version", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.register, "step 1 of 5, registering the version")
)
choose = task(name="choose a version", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.choose_version, "step 1 of 5, choosing the version")
)
restore = task(name="restore the bundle", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.restore_bundle, "step 1 of 5, looking after the bundle")
)
bless = task(name="bless in the service", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.bless, "step 2 of 5, proving the bundle in the service")
)
roll_out = task(name="roll out", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", rollout.roll_out, "step 3 of 5, rolling out")
)
release = task(name="release", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.release, "step 4 of 5, releasing")
)
settle = task(name="point aliases", cache_policy=NO_CACHE, persist_result=False)(
    timed("deployment", releasing.settle, "step 5 of 5, pointing the aliases")
)
score_table = task(name="score a table", cache_policy=NO_CACHE, persist_result=False)(
    timed("scoring", scoring.score_table)
)
