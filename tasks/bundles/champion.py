"""The bundle that a use case serves."""

from __future__ import annotations

from tasks.bundles.bundle import Bundle, load_bundle
from tasks.stores.places import Job


def current_champion(job: Job) -> Bundle | None:
    """Load the bundle the use case serves."""
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        return None
    digest = desired.champion.bundle
    return load_bundle(job.releases.bundle(job.name, digest), digest)
