"""Settings, read from the environment (prefix ``DRIFTWHEEL_``), and what follows from them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from expectations.alerts import Targets
from expectations.errors import StateError, StorageError
from expectations.loading import FILE, LoadedUseCase, load_use_case, shipped_use_cases
from expectations.variables import Variables, variable_names
from infra.environment import commit, variables_of_children
from infra.secret_files import kept_secret
from tasks.compute.compute import ComputeSettings, host_and_port, known_compute
from tasks.stores.alerts import Channel
from tasks.stores.database import Database
from tasks.stores.files import storing
from tasks.stores.lake_addresses import usable
from tasks.stores.places import Places
from tasks.stores.retries import SECONDS
from tasks.stores.whole_files import replace_file

Port = Annotated[int, Field(ge=0, le=65535)]


def _one_word(value: str) -> str:
    if not re.fullmatch(r"[!-~]*", value):
        raise ValueError(
            "holds a blank, a line end or what is no ASCII; it is one word (a file may end its line by \\r\\n)"
        )
    return value


def _reachable(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in ("http", "https", "file"):
        raise ValueError("is no http address and no file")
    return value


class Addresses(BaseModel):
    """Where a stack that is up answers."""

    model_config = ConfigDict(frozen=True)

    prefect: str
    mlflow: str
    evidently: str
    service: str
    page: str = ""
    """Empty in what a version without it noted."""


class Settings(BaseSettings):
    """What may be set from outside.

    Without any setting everything lives under one folder and listens on loopback.
    """

    model_config = SettingsConfigDict(env_prefix="DRIFTWHEEL_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Path("~/.driftwheel")
    lake: str | None = None
    database: str | None = None
    prefect_api: str | None = Field(None, validation_alias=AliasChoices("DRIFTWHEEL_PREFECT_API", "PREFECT_API_URL"))
    prefect_login: str = Field("", validation_alias=AliasChoices("DRIFTWHEEL_PREFECT_LOGIN", "PREFECT_API_AUTH_STRING"))
    mlflow: str | None = Field(None, validation_alias=AliasChoices("DRIFTWHEEL_MLFLOW", "MLFLOW_TRACKING_URI"))
    service: str | None = None
    reports_ui: str | None = None
    page_url: str = ""
    """Address of the page, as those who get messages reach it; their links begin with it."""
    service_key: Annotated[str, AfterValidator(_one_word)] = ""
    """API key the platform shows the service; the one `driftwheel keys add` made for it where not set."""
    service_keys: Path | None = None
    """File of API keys the service checks; ``keys.json`` in the home where not set."""
    service_workers: Annotated[int, Field(ge=1, le=64)] = 1
    service_durability: Literal["process", "power"] = "process"
    service_answer_unlogged: bool = False
    lineage: Annotated[str, AfterValidator(_reachable)] = ""
    """Where each flow run reports what it read and wrote, as OpenLineage: an http address, or a file of JSON lines."""
    lineage_key: Annotated[str, AfterValidator(_one_word)] = ""
    """API key shown there."""
    compute: Annotated[str, AfterValidator(known_compute)] = "local"
    """Where candidates, folds and trials run: `local`, in the process that trains, or `ray`."""
    ray_address: Annotated[str, AfterValidator(host_and_port)] = ""
    """HOST:PORT of a Ray cluster; without one, each training starts one of this machine and ends it."""
    ray_cores: Annotated[int, Field(ge=1)] = 1
    """Cores of each job on Ray."""
    serving_image: str = f"driftwheel-serving:{version('driftwheel')}"
    """Image that proves bundles before they are served, where an engine here has it; ``none`` to do without."""
    patience: Annotated[float, Field(ge=0)] = SECONDS
    """For how many seconds a command that begins asks again for a server that is away or busy."""
    prefect_port: Port = 4200
    mlflow_port: Port = 5000
    evidently_port: Port = 8011
    service_port: Port = 8080
    page_operators: str = "admin"
    """Logins, with commas between, that may do what can be done on the page behind a login; the others look."""
    page_port: Port = 8070
    """A port of 0 takes any free one."""

    @property
    def home_folder(self) -> Path:
        """The home folder, absolute; it need not be there.

        Raises
        ------
        StorageError
            If this user has none to begin a path with.
        """
        try:
            return self.home.expanduser().absolute()
        except RuntimeError as error:
            raise StorageError(
                f"the folder that {self.home} stands for", str(error), "Set DRIFTWHEEL_HOME to a folder"
            ) from error

    @cached_property
    def folder(self) -> Path:
        """The home folder, absolute; made if absent, for its owner alone.

        Raises
        ------
        StorageError
            If it cannot be made.
        """
        path = usable(self.home_folder)
        with storing("have the home folder (DRIFTWHEEL_HOME)", path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    @property
    def stack_file(self) -> Path:
        """Where `up` notes the addresses of the stack it started."""
        return self.folder / "stack.json"

    def addresses(self) -> Addresses | None:
        """Return where the local stack answers, if one was started from this home.

        Raises
        ------
        StateError
            If its file is damaged.
        """
        path = self.stack_file
        with storing("read the addresses of the stack in", path):
            try:
                return Addresses.model_validate_json(path.read_bytes()) if path.exists() else None
            except ValidationError as error:
                raise StateError(
                    f"the addresses of the stack in {path}",
                    "something else: the file is damaged",
                    "Run `driftwheel down`, which removes it, then `driftwheel up`",
                ) from error

    def platform(self) -> Database:
        """Return the platform database."""
        return Database(self.database or f"sqlite:///{self.folder / 'platform.db'}")

    def use_case(self, reference: str, namespace: str | None = None) -> LoadedUseCase:
        """Load a use case by registered or shipped name or by path; under another name in a namespace.

        Raises
        ------
        UseCaseError, UseCaseNotFoundError
            If it is not valid, or there is none.
        StateError
            If it was registered under another name than it has now: what it collects would not be found.
        """
        registered = self.platform().use_cases()
        loaded = load_use_case(reference, registered)
        if reference in registered and loaded.name != reference:
            raise StateError(
                f"the use case registered as {reference} to have that name",
                f"{loaded.name} in {loaded.folder / FILE}",
                f"Set it back; or `driftwheel remove {reference}`, then add the folder again under its new name",
            )
        loaded = replace(loaded, variables=self._variables(loaded, registered))
        if loaded.code is not None and registered.get(loaded.name) == loaded.folder:
            trusted = self.platform().trusted_code(loaded.name) == loaded.code.digest
            loaded = loaded.having(replace(loaded.code, trusted=trusted))
        return loaded.renamed(namespace) if namespace else loaded

    def _variables(self, loaded: LoadedUseCase, registered: Mapping[str, Path]) -> Variables:
        """Return what sources fill in; nothing where the folder was not added: it may send it to whom it likes."""
        if loaded.folder not in {*registered.values(), *shipped_use_cases().values()}:
            return Variables(withheld=True)
        sources = loaded.spec.sources.values()
        names = {name for source in sources for name in variable_names(source.model_dump_json())}
        return Variables({name: os.environ[name] for name in names if os.environ.get(name)})

    def places(self) -> Places:
        """Return where everything is kept; servers by setting, else of the local stack."""
        stack = self.addresses()
        folder = self.folder
        return Places(
            lake=self.lake or str(folder / "lake"),
            database=self.platform().url,
            tracking=self.mlflow or (stack.mlflow if stack else ""),
            flow_api=self.prefect_api or (f"{stack.prefect}/api" if stack else ""),
            service=self.service or (stack.service if stack else ""),
            reports_ui=self.reports_ui or (stack.evidently if stack else ""),
            releases=folder / "releases",
            journal=folder / "journal",
            reports=folder / "reports",
            secret=self._secret(),
            commit=commit(),
            service_key=self.shown_key,
            flow_login=self.prefect_login,
            compute=self.compute_settings,
            serving_image="" if self.serving_image == "none" else self.serving_image,
        )

    @property
    def compute_settings(self) -> ComputeSettings:
        """Where jobs run."""
        return ComputeSettings(self.compute, self.ray_address, self.ray_cores)

    @property
    def keys_file(self) -> Path:
        """The service's API keys."""
        return self.service_keys.expanduser().absolute() if self.service_keys else self.folder / "keys.json"

    @property
    def own_key_file(self) -> Path:
        """Where the platform's own key to the service lies, for its owner alone."""
        return self.folder / "service.key"

    @property
    def shown_key(self) -> str:
        """The key the platform shows the service; empty where it has none."""
        if self.service_key:
            return self.service_key
        path = self.own_key_file
        with storing("read the platform's own key in", path):
            return path.read_text(encoding="utf-8").strip() if path.exists() else ""

    @property
    def token(self) -> str:
        """What servers of this home prove themselves with (`infra.identity`)."""
        return kept_secret(self.token_file)

    @property
    def token_file(self) -> Path:
        """Where the token lies, for its owner alone."""
        return self.folder / "stack.key"

    def _secret(self) -> bytes:
        return bytes.fromhex(kept_secret(self.folder / "privacy.key"))

    @property
    def tracking_store(self) -> str:
        """Where the local stack's MLflow keeps its runs."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def page_address(self) -> str:
        """Where links of messages lead: as it was set, else the page of the local stack; empty where there is none."""
        stack = self.addresses()
        return (self.page_url or (stack.page if stack else "")).rstrip("/")

    def channels(self, targets: Targets) -> list[Channel]:
        """Fill in the variables of alert addresses from the environment."""
        written = [target.to for target in targets]
        return [
            Channel(target, position, *self.fill(target.to), repeat=written[:position].count(target.to))
            for position, target in enumerate(targets)
        ]

    def fill(self, address: str) -> tuple[str, tuple[str, ...]]:
        """Fill in the variables of an address; empty, and the names of those that are not set, where one is not."""
        names = variable_names(address)
        lacking = tuple(name for name in names if not os.environ.get(name))
        if lacking:
            return "", lacking
        for name in names:
            address = address.replace(f"${{{name}}}", os.environ[name])
        return address, ()

    def child_environment(self, stack: Addresses | None = None) -> dict[str, str]:
        """Return the environment of processes of the stack and of the libraries in this one."""
        variables = variables_of_children(self.folder)
        found = stack or self.addresses()
        if found is not None:
            variables |= {"PREFECT_API_URL": f"{found.prefect}/api"}
        if self.prefect_api:
            variables["PREFECT_API_URL"] = self.prefect_api
        return variables

    def tell_libraries(self, stack: Addresses | None = None) -> None:
        """Set what Prefect and MLflow read from the environment; before either is imported."""
        os.environ.update(self.child_environment(stack))


def write_addresses(settings: Settings, addresses: Addresses) -> None:
    """Note where a stack answers."""
    with storing("note the addresses of the stack in", settings.stack_file):
        replace_file(settings.stack_file, json.dumps(addresses.model_dump(), indent=1))
