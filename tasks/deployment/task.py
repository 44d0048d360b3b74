"""Prefect's door to deployment."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.deployment import releasing
from tasks.stores.stopwatch import timed

register = task(timed("deployment", releasing.register), name="register version", cache_policy=NO_CACHE, persist_result=False)
bless = task(timed("deployment", releasing.bless), name="bless in the service", cache_policy=NO_CACHE, persist_result=False)
release = task(timed("deployment", releasing.release), name="release", cache_policy=NO_CACHE, persist_result=False)
settle = task(timed("deployment", releasing.settle), name="point aliases", cache_policy=NO_CACHE, persist_result=False)
