"""What a release does, step by step: each is reported as it begins, and timed."""

from __future__ import annotations

from tasks.deployment import releasing, rollout
from tasks.stores.stopwatch import timed

register = timed("deployment", releasing.register, "step 1 of 5, registering the version")
choose = timed("deployment", releasing.choose_version, "step 1 of 5, choosing the version")
restore = timed("deployment", releasing.restore_bundle, "step 1 of 5, looking after the bundle")
bless = timed("deployment", releasing.bless, "step 2 of 5, proving the bundle in the service")
roll_out = timed("deployment", rollout.roll_out, "step 3 of 5, rolling out")
release = timed("deployment", releasing.release, "step 4 of 5, releasing")
settle = timed("deployment", releasing.settle, "step 5 of 5, pointing the aliases")
