"""From a bundle to the champion: registered, proved in the running service, swapped in, and back again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from expectations.column_types import TYPES_BY_NAME
from expectations.errors import BundleError, OvertakenError, ReleaseError, UnreachableError
from tasks.bundles.bundle import load_bundle
from tasks.bundles.history_state import keep_history
from tasks.bundles.intervals_in_force import learnt_intervals
from tasks.bundles.manifest import Manifest
from tasks.deployment.imaging import has_image, prove_in_image
from tasks.stores.desired_state import CandidateState, Desired, Served, overtaken
from tasks.stores.files import scratch
from tasks.stores.places import Job
from tasks.stores.registry import CHALLENGER, CHAMPION, ModelVersion
from tasks.stores.service import LEAVING_SECONDS, ServiceClient

PATIENCE_SECONDS = 60.0
SILENCE_SECONDS = 5.0
_POLL_SECONDS = 0.05


def register(job: Job, digest: str, run: str) -> ModelVersion:
    """Register a released bundle and call it challenger; the same bundle again is the same version."""
    bundle = load_bundle(job.releases.bundle(job.name, digest), digest)
    registry = job.registry()
    version = registry.register(
        run,
        bundle.folder,
        digest,
        {column.name: TYPES_BY_NAME[column.type].mlflow for column in bundle.manifest.columns},
        bundle.manifest.metrics,
        bundle.manifest.problem.outputs(bundle.classes),
        title=bundle.manifest.title,
        facts=_facts(bundle.manifest) | _recalibrated_from(job, bundle.manifest),
    )
    registry.point(CHALLENGER, version.version)
    return version


def _facts(manifest: Manifest) -> dict[str, str]:
    """Return what MLflow shows of a version as its tags."""
    return {
        "learnt until": f"{manifest.learnt_until:%Y-%m-%d %H:%M} UTC",
        "learnt rows": str(manifest.rows),
        "family": manifest.family,
        "parent": manifest.parent[:12] or "none: the first one",
        "commit": manifest.commit or "not known",
    }


def _recalibrated_from(job: Job, manifest: Manifest) -> dict[str, str]:
    """Say which version's model and features it has, where it is a recalibration."""
    if not manifest.recalibrated_from:
        return {}
    desired = job.releases.desired(job.name)
    champion = desired.champion if desired is not None else None
    known = champion is not None and champion.bundle == manifest.recalibrated_from
    named = f"version {champion.version}" if champion is not None and known else "a version that answers no more"
    return {"recalibrated from": f"{named} (bundle {manifest.recalibrated_from[:12]})"}


def bless(job: Job, version: ModelVersion, *, new_signature: bool = False) -> None:
    """Let the running service load a bundle beside what it serves and prove it on its golden rows.

    Where there is an engine with the service's image, that image proves it first.

    Raises
    ------
    ReleaseError
        If the image or the service refuses it; what was served before is served on.
    UnreachableError
        If the service does not answer.
    """
    releases = job.releases
    if _begun(releases.desired(job.name), version):
        return
    if has_image(job.places.serving_image, job.places.commit):
        prove_in_image(releases.bundle(job.name, version.bundle), version.bundle, job.places.serving_image)
    now = releases.desired(job.name)  # read after what may take minutes: an operator may have changed it meanwhile
    if _begun(now, version):
        return
    champion, generation = (now.champion, now.generation) if now else (None, 0)
    keep_history(job, bundles=[version.bundle])
    learnt = learnt_intervals(job.database, job.name, version.bundle)
    candidate = CandidateState(bundle=version.bundle, version=version.version, intervals=learnt, mode="prove")
    wanted = releases.set_desired(
        job.name, champion=champion, candidate=candidate, new_signature=new_signature, after=generation
    )
    try:
        await_candidate(job, wanted.generation, version)
    except ReleaseError:
        take_back(job, champion, wanted.generation)
        raise


def _begun(now: Desired | None, version: ModelVersion) -> bool:
    """Whether a bundle is the champion already, or its release had begun when this was killed."""
    if now is None:
        return False
    champion, candidate = now.champion, now.candidate
    if champion is not None and champion.bundle == version.bundle:
        return True
    return candidate is not None and candidate.bundle == version.bundle and candidate.mode != "prove"


def take_back(job: Job, champion: Served | None, generation: int) -> None:
    """Desire the champion alone again, unless another state was desired since `generation`."""
    with suppress(OvertakenError):
        job.releases.set_desired(job.name, champion=champion, after=generation)


def release(job: Job, version: ModelVersion, *, new_signature: bool = False) -> int:
    """Make a blessed bundle the champion and wait until the service answers with it; returns the generation.

    Raises
    ------
    ReleaseError
        If another state was desired since it was blessed, or if the service refuses it after all; then the
        champion before is desired again.
    UnreachableError
        If the service does not answer; the desired state stands, and running again heals.
    """
    releases = job.releases
    before = releases.desired(job.name)
    desired = (before.champion, before.candidate) if before else ()
    if not any(each is not None and each.bundle == version.bundle for each in desired):
        raise OvertakenError(
            f"version {version.version} still beside the champion of {job.name}",
            "another release or rollback meanwhile",
            "What was asked for since stands; deploy again if you still want to",
        )
    learnt = learnt_intervals(job.database, job.name, version.bundle)  # also of one that comes back: measured by these
    served = Served(bundle=version.bundle, version=version.version, intervals=learnt)
    wanted = releases.set_desired(
        job.name, champion=served, new_signature=new_signature, after=before.generation if before else 0
    )
    try:
        await_generation(
            job,
            wanted.generation,
            lambda mount: (mount["champion"] or {}).get("bundle") == version.bundle,
            version.bundle,
        )
    except ReleaseError:
        stays = before.champion if before else None
        if before and stays and stays.model_copy(update={"intervals": learnt}) == served:  # it is the champion already
            stays = before.previous
        take_back(job, stays, wanted.generation)
        raise
    return wanted.generation


def settle(job: Job, version: ModelVersion) -> None:
    """Point the registry's aliases to what is served."""
    registry = job.registry()
    registry.point(CHAMPION, version.version)
    registry.unpoint(CHALLENGER)


def choose_version(job: Job, wanted: str | None) -> ModelVersion:
    """Return a registered version by number, or the one called challenger.

    Raises
    ------
    ReleaseError
        If there is none.
    BundleError
        If its bundle is damaged, among the releases and in MLflow.
    """
    registry = job.registry()
    versions = registry.versions()
    found = (
        next((version for version in versions if version.version == wanted), None)
        if wanted is not None
        else registry.alias(CHALLENGER)
    )
    if found is None:
        raise ReleaseError(
            f"version {wanted} of {job.name}" if wanted else f"a challenger of {job.name}",
            f"versions {', '.join(version.version for version in versions) or 'none'}",
            "Name one of these versions" if versions else f"Train first: driftwheel run loop {job.name}",
        )
    restore_bundle(job, found)
    return found


def restore_bundle(job: Job, version: ModelVersion) -> None:
    """Bring a bundle that is damaged or lost among the releases back from MLflow.

    Raises
    ------
    BundleError
        If it is damaged there too.
    """
    if job.usecase.spec.needs_key:
        job.releases.keep_secret(job.places.secret)
    try:
        load_bundle(job.releases.bundle(job.name, version.bundle), version.bundle)
    except BundleError:
        with scratch() as beside:
            folder = job.registry().fetch(version.version, beside)
            load_bundle(folder, version.bundle)
            job.releases.replace_bundle(job.name, folder, version.bundle)


def await_candidate(job: Job, generation: int, version: ModelVersion) -> None:
    """Wait for the service to have a bundle beside its champion; raises as `await_generation`."""
    await_generation(
        job, generation, lambda mount: (mount["candidate"] or {}).get("bundle") == version.bundle, version.bundle
    )


def await_generation(job: Job, generation: int, done: Callable[[dict[str, Any]], bool], bundle: str) -> None:
    """Wait for every replica of the service to reach a generation.

    Raises
    ------
    ReleaseError
        If one refused the bundle, or another state was desired meanwhile.
    UnreachableError
        If it is silent for five seconds, a replica for longer than its name may be out of date, or if they do not get
        there in a minute.
    """
    with job.places.open_service() as service:
        late = _await(job, service, generation, done, bundle)
    if late is not None:
        raise UnreachableError(
            f"the service to reach generation {generation} within {PATIENCE_SECONDS:g} s",
            late.get("trouble") or f"generation {late.get('generation', 'none')}",
            "Is it reading the same releases folder? See its log, then run again",
        )


def _await(
    job: Job, service: ServiceClient, generation: int, done: Callable[[dict[str, Any]], bool], bundle: str
) -> dict[str, Any] | None:
    """Return None once all are there, else what one that is late says."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    heard = time.monotonic()
    late: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            answers = service.ask_once("GET", "/version")
            heard = time.monotonic()
        except httpx.HTTPError as error:  # a service that restarts is back in seconds
            if time.monotonic() - heard > (LEAVING_SECONDS if service.several else SILENCE_SECONDS):
                raise service.fault(error) from error
            time.sleep(_POLL_SECONDS)
            continue
        mounts = [answer["usecases"].get(job.name, {}) for answer in answers]
        waiting = []
        for mount in mounts:
            there = bool(mount) and mount["generation"] >= generation
            if there and bundle in mount["refused"]:
                raise ReleaseError(
                    f"the service to take bundle {bundle[:12]}",
                    mount["refused"][bundle],
                    "The champion before is served on; see the service's log",
                )
            if there and mount["generation"] > generation and not done(mount):
                raise overtaken(job.name, generation, mount["generation"])
            if not there or not done(mount):
                waiting.append(mount)
        if not waiting:
            return None
        late = waiting[0]
        time.sleep(_POLL_SECONDS)
    return late
