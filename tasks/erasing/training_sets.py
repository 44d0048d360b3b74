"""Which versions of models were promoted, and the versions of the clean table that they learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from expectations.errors import BundleError
from tasks.bundles.manifest import Manifest, read_manifest
from tasks.stores.places import Job


def promoted_models(job: Job, name: str) -> Iterator[tuple[str, Manifest]]:
    """Return the versions that were promoted, as far as their bundles are here."""
    for entry in job.database.entries(name, kind="deploy"):
        if entry.action == "promoted":
            digest = entry.evidence["bundle"]
            with suppress(BundleError):  # of a version that is gone
                yield entry.evidence["version"], read_manifest(job.releases.bundle(name, digest), digest)


def training_sets(job: Job, name: str) -> tuple[int, ...]:
    """Return the versions of the clean table that models which were promoted refer to."""
    return tuple(sorted({manifest.data_version for _, manifest in promoted_models(job, name)}))
