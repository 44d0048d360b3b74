"""Which use cases there are, with their YAML and their champion's bundle: each is read once while it is unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from expectations.contradictions import REPLAY
from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase, shipped_use_cases
from expectations.slots import METRICS
from flows.left_out import reason_of
from flows.loaded import LoadedUseCases
from infra.settings import Settings
from tasks.stores.desired_state import Desired, Served
from tasks.stores.glances import LedgerLine
from tasks.stores.releases import Releases


class Packed(msgspec.Struct, frozen=True):
    """What a bundle says of itself, as far as the page shows it."""

    title: str
    cutoff: datetime
    rows: int
    family: str = ""
    learnt_until: datetime | None = None
    """Up to when its model learnt; None in a bundle from before this was told apart from `cutoff`."""


@dataclass(frozen=True)
class Known:
    """A use case the page has something to say about.

    Attributes
    ----------
    loaded : LoadedUseCase or None
        Its YAML; of a replay that of the use case it walked through. None where that is gone, or cannot be read.
    trouble : str
        Why none of its flows runs; empty where they do.
    desired : Desired or None
        What the service should serve.
    packed : Packed or None
        The champion's bundle.
    """

    name: str
    registered: bool
    loaded: LoadedUseCase | None
    trouble: str
    desired: Desired | None
    packed: Packed | None

    @property
    def replay(self) -> bool:
        """Whether it is a replay: over, and only to be looked at."""
        return self.name.endswith(REPLAY)

    @property
    def title(self) -> str:
        """Its question, in words."""
        return self.packed.title if self.packed else self.loaded.spec.title if self.loaded else ""

    @property
    def metric(self) -> str | None:
        """The metric its performance is judged by first."""
        if self.loaded is not None and self.loaded.spec.monitoring.performance:
            return self.loaded.spec.monitoring.performance[0].metric
        return None

    @property
    def runs(self) -> bool:
        """Whether flows can be run for it."""
        return self.registered and not self.trouble


class UseCases:
    """Reads use cases; what did not change is not read again.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._loaded, self.releases = LoadedUseCases(settings), Releases(settings.folder / "releases")
        self._packed: dict[str, Packed | None] = {}
        self.promotions: dict[str, tuple[Served, LedgerLine]] = {}
        """Champion and the entry that made it one, by use case."""

    def names(self, registered: dict[str, Path]) -> list[str]:
        """Return those that are registered, and then the replays and those of which something is still served."""
        return [*sorted(registered), *sorted({*self.releases.names()} - registered.keys())]

    def known(self, name: str, registered: dict[str, Path]) -> Known:
        """Read one."""
        base = name if name in registered else name.removesuffix(REPLAY)
        loaded, trouble = self._load(base, registered)
        try:
            desired, packed = self.releases.desired(name), None
        except DriftwheelError as error:
            desired, packed, trouble = None, None, trouble or str(error)
        if desired is not None and desired.champion is not None:
            packed = self.packed(name, desired.champion.bundle)
        return Known(name, name in registered, loaded, trouble if name in registered else "", desired, packed)

    def _load(self, name: str, registered: dict[str, Path]) -> tuple[LoadedUseCase | None, str]:
        folder = registered.get(name) or shipped_use_cases().get(name)
        if folder is None:
            return None, ""
        try:
            return self._loaded.load(name, folder), ""
        except DriftwheelError as error:
            return None, reason_of(error)

    def packed(self, usecase: str, bundle: str) -> Packed | None:
        """Read what a bundle says of itself; None where it is away or damaged: the service says so louder."""
        if bundle not in self._packed:
            path = self.releases.bundle(usecase, bundle) / "bundle.json"
            try:
                self._packed[bundle] = msgspec.json.decode(path.read_bytes(), type=Packed)
            except (OSError, msgspec.MsgspecError):
                return None
        return self._packed[bundle]


def greater_is_better(metric: str) -> bool | None:
    """Whether more of a metric is better; None where the metric is unknown here."""
    try:
        part = METRICS.find(metric)
    except DriftwheelError:
        return None
    return None if part is None else part.greater_is_better
