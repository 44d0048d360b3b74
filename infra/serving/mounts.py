"""What the service serves: bundles loaded beside the old ones, proved, then swapped in by one assignment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from expectations.errors import BundleError
from infra.serving.protocol import Reader
from tasks.deployment.bundle import Bundle, load_bundle, rows_to_frame
from tasks.modelling.family import Vector
from tasks.stores.releases import Desired, Releases, Served

_log = logging.getLogger("driftwheel.serving")

FEW_ROWS = 256
"""Up to this many rows the one-row executor is the faster one."""


@dataclass(frozen=True)
class Model:
    """A proved bundle, ready to answer."""

    version: str
    bundle: Bundle
    reader: Reader
    transform_row: Callable[[Mapping[str, object]], list[float]]

    def predict(self, rows: list[dict[str, Any]]) -> Vector:
        """Predict checked rows."""
        if not rows:
            return np.empty(0)
        if len(rows) == 1:
            return np.array([self.bundle.predictor.predict_row(self.transform_row(rows[0]))])
        if len(rows) <= FEW_ROWS:
            return self.bundle.predictor.predict(np.array([self.transform_row(row) for row in rows]))
        return self.bundle.predict(rows_to_frame(rows, self.bundle.manifest.columns))


@dataclass
class Mount:
    """One use case: the champion that answers, the candidate beside it, and the champion before."""

    usecase: str
    generation: int = 0
    champion: Model | None = None
    candidate: Model | None = None
    previous: Model | None = None
    swaps: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Bundle -> why it is not served."""

    def describe(self) -> dict[str, Any]:
        """Return what `/version` says."""

        def said(model: Model | None) -> dict[str, str] | None:
            return {"bundle": model.bundle.digest, "version": model.version} if model else None

        return {
            "generation": self.generation,
            "champion": said(self.champion),
            "candidate": said(self.candidate),
            "previous": said(self.previous),
            "swaps": self.swaps,
            "refused": dict(self.refused),
        }


class Mounts:
    """Keeps what is served equal to what is desired."""

    def __init__(self, releases: Releases) -> None:
        self.releases = releases
        self.by_name: dict[str, Mount] = {}

    def ready(self) -> list[str]:
        """Names of use cases that have a desired champion and none loaded: empty when ready."""
        lacking = []
        for name in self.releases.names():
            mount = self.by_name.get(name)
            if mount is None or mount.champion is None:
                lacking.append(name)
        return lacking

    async def reconcile(self) -> None:
        """Bring every mount to its desired state; what cannot be loaded is refused and said, and the old serves on."""
        names = self.releases.names()
        for name in [name for name in self.by_name if name not in names]:
            del self.by_name[name]
        for name in names:
            try:
                desired = self.releases.desired(name)
            except (ValueError, OSError) as error:  # also what is no UTF-8 or no JSON
                _log.error("the desired state of %s cannot be read: %s", name, type(error).__name__)
                continue
            mount = self.by_name.setdefault(name, Mount(name))
            if desired is not None and desired.generation != mount.generation:
                await self._adopt(mount, desired)

    async def _adopt(self, mount: Mount, desired: Desired) -> None:
        wanted = {wish.bundle for wish in (desired.champion, desired.candidate) if wish}
        mount.refused = {bundle: why for bundle, why in mount.refused.items() if bundle in wanted}
        champion = await self._model(mount, desired.champion) if desired.champion else None
        candidate = await self._model(mount, desired.candidate) if desired.candidate else None
        mount.candidate = candidate
        if champion is not None and (mount.champion is None or champion.bundle.digest != mount.champion.bundle.digest):
            mount.previous = mount.champion
            mount.champion = champion  # the swap: requests that began go on with the model they hold
            mount.swaps += 1
            _log.info(
                "%s now serves version %s (bundle %s)", mount.usecase, champion.version, champion.bundle.digest[:12]
            )
        elif champion is not None:
            mount.champion = champion
        mount.generation = desired.generation

    async def _model(self, mount: Mount, wish: Served) -> Model | None:
        for model in (mount.champion, mount.candidate, mount.previous):
            if model is not None and model.bundle.digest == wish.bundle:
                return replace(model, version=wish.version)
        if wish.bundle in mount.refused:
            return None
        try:
            return await asyncio.to_thread(self._load, mount.usecase, wish)
        except (BundleError, ValidationError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            mount.refused[wish.bundle] = f"{type(error).__name__}: {error}"
            _log.error("%s refuses bundle %s: %s", mount.usecase, wish.bundle[:12], error)
            return None

    def _load(self, usecase: str, wish: Served) -> Model:
        bundle = load_bundle(self.releases.bundle(usecase, wish.bundle), wish.bundle)
        bundle.prove()
        return Model(
            wish.version,
            bundle,
            Reader(bundle.manifest.columns, bundle.manifest.clock, bundle.manifest.timezone),
            bundle.program.compile(),
        )
