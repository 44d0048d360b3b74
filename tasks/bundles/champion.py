"""The bundle that a use case serves."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from expectations.errors import BundleError, TrainingError
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.manifest import Manifest, read_manifest
from tasks.stores.places import Job
from tasks.stores.releases import Releases


def answering_manifests(job: Job, window: Window | None = None) -> dict[str, Manifest]:
    """Return what each bundle says that answered a prediction in the lake; one that is gone or damaged is left out.

    Parameters
    ----------
    window : Window, optional
        Those alone that answered about something in it.
    """
    if job.lake.version("predictions") is None:
        return {}
    rows = job.lake.scan("predictions")
    if window is not None:
        rows = rows.filter((pl.col("event_time") >= window.start) & (pl.col("event_time") < window.end))
    return manifests_of(job.releases, job.name, answering_bundles(rows))


def answering_bundles(rows: pl.LazyFrame) -> list[str]:
    """Return which bundles answered some predictions."""
    answered = rows.select(pl.col("bundle").unique()).collect(engine="streaming")["bundle"]
    return sorted(answered.drop_nulls())


def manifests_of(releases: Releases, usecase: str, bundles: Iterable[str]) -> dict[str, Manifest]:
    """Return what bundles say of themselves; one that is gone or damaged is left out."""
    manifests = {}
    for digest in bundles:
        with suppress(BundleError):  # where a window needs it, loading it says what is wrong
            manifests[digest] = read_manifest(releases.bundle(usecase, digest), digest)
    return manifests


def bundle_classes(job: Job) -> dict[str, tuple[str, ...]]:
    """Return the classes of each bundle that answered, in the order of its scores."""
    return {digest: manifest.classes for digest, manifest in answering_manifests(job).items()}


@dataclass(frozen=True)
class Released:
    """A bundle by what it says of itself: nothing of its model is loaded."""

    digest: str
    manifest: Manifest


def refuse_redefined(manifest: Manifest, spec: UseCase) -> None:
    """Refuse a use case under which a champion would read something else from earlier rows than it learnt.

    Raises
    ------
    TrainingError
        If a column of `history` that it reads is declared otherwise now, or no longer.
    """
    now = spec.looked_back
    gone = [name for name in manifest.history if name not in now]
    other = [name for name, column in manifest.history.items() if name in now and now[name] != column]
    if gone or other:
        found = [f"{', '.join(names)} {how}" for names, how in ((gone, "gone"), (other, "declared otherwise")) if names]
        raise TrainingError(
            "`history` as the champion learnt it",
            "; ".join(found),
            "Declare what is new under a new name, and keep the old ones until a model without them is released",
        )


def champion_digest(job: Job) -> str | None:
    """Return which bundle the use case serves; nothing of it is read."""
    desired = job.releases.desired(job.name)
    return desired.champion.bundle if desired is not None and desired.champion is not None else None


def released_champion(job: Job) -> Released | None:
    """Return what the bundle that the use case serves says of itself."""
    digest = champion_digest(job)
    if digest is None:
        return None
    return Released(digest, read_manifest(job.releases.bundle(job.name, digest), digest))


def current_champion(job: Job) -> Bundle | None:
    """Load the bundle the use case serves."""
    digest = champion_digest(job)
    return None if digest is None else load_bundle(job.releases.bundle(job.name, digest), digest)
