"""Where everything a stage needs is kept, handed down as one value by the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from expectations.loading import LoadedUseCase
from tasks.compute.compute import ComputeSettings
from tasks.stores.database import Database
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.personal_keys import PERSONAL_KEYS
from tasks.stores.registry import Registry
from tasks.stores.releases import Releases
from tasks.stores.service import ServiceClient


@dataclass(frozen=True)
class Places:
    """Addresses and folders.

    Attributes
    ----------
    flow_api, tracking, service, reports_ui : str
        Addresses of Prefect's API, MLflow, the service (see `ServiceClient` on replicas) and Evidently's UI.
    service_key : str
        API key with every scope, where the service asks for one.
    flow_login : str
        ``user:password`` for Prefect's API, where it asks for one.
    serving_image : str
        Image that proves bundles before they are served, where an engine has it; empty for none.
    compute : ComputeSettings
        Where candidates, folds and trials run.
    secret : bytes
        Key of the hashes that replace personal columns; never shown.
    """

    lake: str = field(repr=False)
    database: str = field(repr=False)
    tracking: str = field(repr=False)
    flow_api: str = field(repr=False)
    service: str = field(repr=False)
    reports_ui: str
    releases: Path
    journal: Path
    reports: Path
    secret: bytes = field(repr=False)
    service_key: str = field(default="", repr=False)
    flow_login: str = field(default="", repr=False)
    commit: str = ""
    serving_image: str = ""
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    @property
    def unfinished(self) -> Path:
        """Folder of what runs that were killed go on with."""
        return self.reports.parent / "unfinished"

    @property
    def personal_keys(self) -> Path:
        """File of the keys of personal values that are encrypted."""
        return self.reports.parent / PERSONAL_KEYS

    def open_service(self) -> ServiceClient:
        """Open the service, as flows see it."""
        return ServiceClient(self.service, self.service_key)


class Job:
    """One stage at work: which use case, as of when, for which turn.

    Not a dataclass: Prefect walks through those among a task's arguments, looking for futures.

    Parameters
    ----------
    announce : bool
        Whether events go out; not where one process runs the whole turn itself.
    """

    def __init__(
        self, usecase: LoadedUseCase, places: Places, as_of: datetime, turn: str | None = None, *, announce: bool = True
    ) -> None:
        self.usecase, self.places, self.as_of, self.turn, self.announce = usecase, places, as_of, turn, announce

    def moved(self, as_of: datetime) -> Job:
        """Return the same job as of another instant."""
        return Job(self.usecase, self.places, as_of, self.turn, announce=self.announce)

    @property
    def name(self) -> str:
        """Name everything of this use case is kept under."""
        return self.usecase.name

    @property
    def lake(self) -> Lake:
        """Its tables."""
        return Lake(self.places.lake, self.name)

    @property
    def known(self) -> Known:
        """What may be read at this instant."""
        return Known(self.lake, self.usecase.spec, self.as_of)

    @property
    def database(self) -> Database:
        """The platform database."""
        return Database(self.places.database)

    @property
    def releases(self) -> Releases:
        """The folder of releases."""
        return Releases(self.places.releases)

    def registry(self) -> Registry:
        """Open its registry; MLflow is imported now."""
        return Registry(self.places.tracking, self.name)
