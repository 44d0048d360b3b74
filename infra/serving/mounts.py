"""What the service serves: bundles loaded beside the old ones, proved, then swapped in by one assignment.

With several workers a swap has two steps: each loads and proves, and says so in a file; when all living ones have,
all swap at the same instant.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from expectations.errors import BundleError, StateError, StorageError
from infra.serving.counters import ModelCounters
from infra.serving.looking_back import KeptHistory
from infra.serving.models import Model, check_signature, make_model
from infra.serving.mount import Mount, Pending
from infra.serving.workers import SETTLE_SECONDS, Workers
from tasks.bundles.bundle import load_bundle
from tasks.bundles.manifest import Manifest
from tasks.stores.desired_state import Desired, Served
from tasks.stores.releases import Releases

_log = logging.getLogger("driftwheel.serving")

_PATIENCE_SECONDS = 20.0
_AGAIN_SECONDS = 1.0
_AWAY = "the folder of releases is away"
_UNREADABLE = "the desired state cannot be read"
_KEPT_COUNTERS = 8


class Mounts:
    """Keeps what is served equal to what is desired.

    Parameters
    ----------
    releases : Releases
    workers : Workers, optional
        Of the other workers of this service.
    most_rows : int
        Rows a request may have.
    """

    def __init__(self, releases: Releases, workers: Workers | None = None, most_rows: int = 10_000) -> None:
        self.releases, self.workers, self.most_rows = releases, workers, most_rows
        self.announce: Callable[[], None] = lambda: None
        """Called when something is ready for a swap, so that the other workers learn of it at once."""
        self.by_name: dict[str, Mount] = {}
        self.looked = False
        """Whether the releases were read once."""

    def unserved(self) -> list[str]:
        """Names of use cases for which a champion is desired and none answers."""
        return [name for name, mount in self.by_name.items() if mount.wanted and mount.champion is None]

    def ready(self) -> bool:
        """Whether all was tried that is desired, and some of it, if there is any, answers.

        One use case whose bundle is refused does not take the others out of service.
        """
        tried = all(mount.tried for mount in self.by_name.values())
        answering = any(mount.champion is not None for mount in self.by_name.values())
        return self.looked and tried and (answering or not self.unserved())

    def prepared(self) -> dict[str, tuple[int, float]]:
        """Return, for the other workers, which generation of each use case is ready here and since when."""
        return {
            name: (0, 0.0)  # it lacks something still: the others wait for it, as they do for one that hangs
            if mount.again_at is not None
            else (mount.pending.generation, mount.pending.at)
            if mount.pending
            else (mount.generation, 0.0)
            for name, mount in self.by_name.items()
        }

    async def reconcile(self) -> None:
        """Bring every mount nearer to its desired state; what cannot be loaded is refused, and the old serves on."""
        if self.by_name and self.releases.are_away():
            for mount in self.by_name.values():
                if mount.trouble != _AWAY:
                    _log.error("%s: %s is served on as it was", _AWAY, mount.usecase)
                mount.trouble, mount.again_at = _AWAY, time.monotonic()
            return
        names = self.releases.names()
        self.looked = True
        for name in [name for name in self.by_name if name not in names]:
            del self.by_name[name]
        for mount in self.by_name.values():
            if mount.history is not None and mount.history.is_stale():
                mount.history.needed = mount.looked_back()
                await asyncio.to_thread(mount.history.refresh)
        for name in names:
            await self._reconcile(name)

    async def _reconcile(self, name: str) -> None:
        stamp = self.releases.stamp(name)
        known = self.by_name.get(name)
        if known is not None and known.candidate is not None and known.mode != "prove":
            self._look_for_a_watch(known)
        again = known is not None and known.again_at is not None and time.monotonic() >= known.again_at
        if known is not None and known.pending is None and known.stamp == stamp and not again:
            return
        mount = self.by_name.setdefault(name, Mount(name))
        try:
            desired = self.releases.desired(name)
        except (StateError, StorageError) as error:
            mount.wanted, mount.tried = True, True
            mount.trouble = f"{_UNREADABLE}: {type(error).__name__}"
            _log.error("%s of %s", mount.trouble, name)
            return
        if mount.trouble.startswith(_UNREADABLE):
            mount.trouble = ""
        mount.stamp = stamp
        if desired is None:
            mount.tried = True
            return
        mount.wanted = desired.champion is not None
        reached = mount.pending.generation if mount.pending else mount.generation
        if desired.generation != reached or (again and mount.pending is None):
            mount.pending = await self._prepare(mount, desired, again=again and desired.generation == reached)
            mount.tried = True
            self.announce()
        if mount.pending is not None:
            self._agree(mount, mount.pending)

    def _look_for_a_watch(self, mount: Mount) -> None:
        watched = self.releases.watched(mount.usecase)
        if mount.watched and not watched:
            _log.error("no release watches the candidate of %s: the champion answers alone", mount.usecase)
        mount.watched = watched

    def _agree(self, mount: Mount, pending: Pending) -> None:
        """Swap once every living worker is ready; all at the same instant."""
        if self.workers is None:
            mount.adopt()
            return
        latest = pending.at
        for other in self.workers.others():
            generation, at = other.get("prepared", {}).get(mount.usecase, (0, 0.0))
            if generation != pending.generation:
                if time.monotonic() - pending.at < _PATIENCE_SECONDS:
                    return
                continue  # one that hangs must not hold back the rest for ever
            latest = max(latest, at)
        wait = latest + SETTLE_SECONDS - time.monotonic()
        asyncio.get_running_loop().call_later(max(0.0, wait), self._adopt, mount, pending)

    @staticmethod
    def _adopt(mount: Mount, pending: Pending) -> None:
        if mount.pending is pending:
            mount.adopt()

    async def _prepare(self, mount: Mount, desired: Desired, *, again: bool) -> Pending:
        if not again:
            mount.refused = {}  # a new desired state: what was refused before may have been corrected
        said, mount.trouble, mount.again_at = mount.trouble, "", None
        champion = await self._model(mount, desired.champion, desired) if desired.champion else None
        stands_in = champion is None and mount.champion is None and desired.previous is not None
        if stands_in and desired.previous is not None:
            champion = await self._model(mount, desired.previous, desired)  # a cold start beside a damaged bundle
        candidate = await self._model(mount, desired.candidate, desired) if desired.candidate else None
        if mount.trouble and mount.trouble != said:
            _log.error("what %s should serve cannot be read: %s", mount.usecase, mount.trouble)
        mode = desired.candidate.mode if desired.candidate else "prove"
        share = desired.candidate.share if desired.candidate else 0.0
        watched = self.releases.watched(mount.usecase)
        return Pending(desired.generation, champion, candidate, mode, share, watched, stands_in, time.monotonic())

    async def _model(self, mount: Mount, wanted: Served, desired: Desired) -> Model | None:
        loaded = (mount.champion, mount.candidate, mount.previous)
        try:
            for model in loaded:
                if model is not None and model.bundle.digest == wanted.bundle:
                    if (kept := model.reader.history.kept) is not None:
                        kept.require(model.reader.history.columns)
                    return replace(model, version=wanted.version, learnt=wanted.intervals)
            if wanted.bundle in mount.refused:
                return None
            return await asyncio.to_thread(self._load, mount, wanted, desired)
        except (StorageError, OSError) as error:  # a disk that is away for a while: what can be served is, and again
            said = error.found if isinstance(error, StorageError) else error.strerror or error
            mount.trouble = f"bundle {wanted.bundle[:12]}: {said}"
            mount.again_at = time.monotonic() + _AGAIN_SECONDS
            return None
        except Exception as error:  # noqa: BLE001 - whatever a bundle does: it is refused, said, and the old serves on
            mount.refused[wanted.bundle] = str(error) if isinstance(error, BundleError) else type(error).__name__
            _log.error("%s refuses bundle %s: %s", mount.usecase, wanted.bundle[:12], mount.refused[wanted.bundle])
            return None

    def _secret_for(self, manifest: Manifest) -> bytes | None:
        hidden = [each.name for each in manifest.columns if (how := each.replaced_by) is not None and how.needs_key]
        secret = self.releases.secret() if hidden else None
        if hidden and secret is None:
            raise BundleError(
                f"the key of the pseudonyms of {', '.join(hidden)} in the folder of releases",
                "none",
                "Bring privacy.key there from where it was trained, or train once more",
            )
        return secret

    def _load(self, mount: Mount, wanted: Served, desired: Desired) -> Model:
        bundle = load_bundle(self.releases.bundle(mount.usecase, wanted.bundle), wanted.bundle)
        manifest = bundle.manifest
        if manifest.usecase != mount.usecase:
            raise BundleError(f"a bundle of {mount.usecase}", f"one of {manifest.usecase}", "Deploy the right one")
        returns = mount.stands_in and wanted == desired.champion  # to the inputs clients knew before
        if mount.champion is not None and not desired.new_signature and not returns:
            check_signature(mount.champion.bundle.manifest, manifest)

        def counters() -> ModelCounters:
            mount.counters.forget(_KEPT_COUNTERS, mount.in_use())
            return mount.counters.model(bundle.digest, wanted.version)

        model = make_model(bundle, wanted.version, self.most_rows, self._secret_for(manifest), counters)
        if manifest.history:
            mount.history = mount.history or KeptHistory(self.releases.history(mount.usecase))
            model.reader.history.kept = mount.history.serve(manifest.history)
            model.reader.history.counts = model.counters.history
        return replace(model, learnt=wanted.intervals)
