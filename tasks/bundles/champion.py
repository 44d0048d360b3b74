"""The bundle that a use case serves."""

from __future__ import annotations

from contextlib import suppress

import polars as pl

from expectations.errors import BundleError
from tasks.bundles.bundle import Bundle, Manifest, load_bundle, read_manifest
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tasks.stores.releases import Releases


def answering_manifests(job: Job) -> dict[str, Manifest]:
    """Return what each bundle says that answered a prediction in the lake; one that is gone or damaged is left out."""
    return manifests_of(job.lake, job.releases)


def manifests_of(lake: Lake, releases: Releases) -> dict[str, Manifest]:
    """Return what `answering_manifests` does, of a lake."""
    if lake.version("predictions") is None:
        return {}
    answered = lake.scan("predictions").select(pl.col("bundle").unique()).collect(engine="streaming")["bundle"]
    manifests = {}
    for digest in answered.drop_nulls():
        with suppress(BundleError):  # where a window needs it, loading it says what is wrong
            manifests[digest] = read_manifest(releases.bundle(lake.usecase, digest), digest)
    return manifests


def bundle_classes(job: Job) -> dict[str, tuple[str, ...]]:
    """Return the classes of each bundle that answered, in the order of its scores."""
    return {digest: manifest.classes for digest, manifest in answering_manifests(job).items()}


def current_champion(job: Job) -> Bundle | None:
    """Load the bundle the use case serves."""
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        return None
    digest = desired.champion.bundle
    return load_bundle(job.releases.bundle(job.name, digest), digest)
