"""MLflow: bundles as model versions, and the aliases `champion` and `challenger`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from expectations.errors import BundleError, UnreachableError
from tasks.stores.files import scratch
from tasks.stores.mlflow_faults import ignoring
from tasks.stores.model_words import NOTE, model_note
from tasks.stores.tracking import Tracking

LOADER = "tasks.bundles.pyfunc"
CHAMPION, CHALLENGER = "champion", "challenger"
KEPT_DAYS, REPLAY_KEPT_DAYS = 365, 30
"""How long MLflow keeps the runs that made no version."""
_RETIRED_AT_ONCE = 1000


@dataclass(frozen=True)
class ModelVersion:
    """A registered version, its bundle's hash and the run that made it."""

    version: str
    bundle: str
    run: str


class Registry(Tracking):
    """One use case's experiment and registered model.

    Parameters
    ----------
    uri : str
        Tracking address of MLflow, which is also its registry.
    usecase : str
        Name of both the experiment and the registered model.

    Raises
    ------
    UnreachableError
        If there is no address.
    """

    def retire_runs(self, days: float) -> int:
        """Delete runs that began so many days ago and made no version; returns how many.

        MLflow can restore what is deleted until it collects its garbage.
        """
        experiment, before = self.experiment(), time.time() - days * 86400
        kept = {version.run for version in self.versions()}
        with self._reach():
            found = self._client.search_runs(
                [experiment], f"attributes.start_time < {int(before * 1000)}", max_results=_RETIRED_AT_ONCE
            )
            retired = [run.info.run_id for run in found if run.info.run_id not in kept]
            for run in retired:
                self._client.delete_run(run)
        return len(retired)

    def find(self, bundle: str) -> ModelVersion | None:
        """Return the version that holds a bundle."""
        with self._reach():
            found = self._client.search_model_versions(f"name = '{self.usecase}' and tags.bundle = '{bundle}'")
        ready = [version for version in found if version.status == "READY"]
        return _version(min(ready, key=lambda version: int(version.version))) if ready else None

    def register(
        self,
        run: str,
        folder: Path,
        bundle: str,
        columns: Mapping[str, str],
        metrics: Mapping[str, float],
        outputs: int = 1,
        *,
        title: str = "",
        facts: Mapping[str, str] = MappingProxyType({}),
    ) -> ModelVersion:
        """Register a bundle, once: the same one again is the version it already is.

        Parameters
        ----------
        folder : Path
            The bundle's files.
        bundle : str
            Its content hash.
        columns : mapping of str to str
            Input column -> MLflow type, the model's signature.
        outputs : int
            Scores of a row.
        title : str
            What the model answers, in words.
        facts : mapping of str to str
            What else is known of the version: its tags. Its description is that of the run.
        """
        from mlflow import pyfunc
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, Schema
        from mlflow.types.schema import Array

        known = self.find(bundle)
        if known is not None:
            return known
        experiment = self.experiment()
        with self._reach():
            self._describe_model(title)
            logged = self._client.create_logged_model(
                experiment, name=self.usecase, source_run_id=run, tags={"bundle": bundle}, model_type="pyfunc"
            )
            try:
                with self._reach(), scratch() as beside, warnings.catch_warnings():
                    warnings.filterwarnings(
                        "ignore", message=".*input example was not provided"
                    )  # the signature is given
                    path = beside / "model"
                    pyfunc.save_model(
                        path=str(path),
                        loader_module=LOADER,
                        data_path=str(folder),
                        pip_requirements=["driftwheel"],
                        signature=ModelSignature(
                            inputs=Schema([ColSpec(kind, name, required=False) for name, kind in columns.items()]),
                            outputs=Schema([ColSpec("double" if outputs == 1 else Array(DataType.double))]),
                        ),
                        mlflow_model=Model(
                            artifact_path=logged.artifact_location,
                            model_uuid=logged.model_id,
                            run_id=run,
                            model_id=logged.model_id,
                        ),
                    )
                    self._client.log_model_artifacts(logged.model_id, str(path))
            except UnreachableError:  # to mark it would wait once more
                raise
            except BaseException:
                self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
                raise
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
            self._client.log_outputs(run, [LoggedModelOutput(model_id=logged.model_id, step=0)])
            now = int(time.time() * 1000)
            self._client.log_batch(
                run,
                metrics=[
                    Metric(name, value, now, 0, model_id=logged.model_id)
                    for name, value in metrics.items()
                    if math.isfinite(value)
                ],
            )
            return _version(
                self._client.create_model_version(
                    self.usecase,
                    f"models:/{logged.model_id}",
                    run,
                    tags={"bundle": bundle, **facts},
                    description=self._client.get_run(run).data.tags.get(NOTE),
                    model_id=logged.model_id,
                    await_creation_for=None,
                )
            )

    def _describe_model(self, title: str) -> None:
        """Make the registered model if it is absent, and describe it where it has no description."""
        note = model_note(self.usecase, title)
        with ignoring("RESOURCE_ALREADY_EXISTS"):
            self._client.create_registered_model(self.usecase, description=note)
            return
        if not self._client.get_registered_model(self.usecase).description:  # of an older version
            self._client.update_registered_model(self.usecase, note)

    def alias(self, alias: str) -> ModelVersion | None:
        """Return the version an alias points to."""
        from mlflow.exceptions import MlflowException

        with self._reach():
            try:
                return _version(self._client.get_model_version_by_alias(self.usecase, alias))
            except MlflowException as error:
                if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                    return None
                raise

    def point(self, alias: str, version: str) -> None:
        """Point an alias to a version."""
        with self._reach():
            self._client.set_registered_model_alias(self.usecase, alias, version)

    def unpoint(self, alias: str) -> None:
        """Remove an alias, if it is there."""
        with self._reach(), ignoring("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            self._client.delete_registered_model_alias(self.usecase, alias)

    def versions(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        with self._reach():
            found = self._client.search_model_versions(f"name = '{self.usecase}'")
        return sorted(map(_version, found), key=lambda version: int(version.version))

    def fetch(self, version: str, folder: Path) -> Path:
        """Download a version's bundle below `folder` and return where it lies.

        Raises
        ------
        BundleError
            If MLflow has lost it.
        """
        from mlflow.artifacts import download_artifacts, list_artifacts

        with self._reach():
            # Of `models:/…` MLflow asks its default server, whatever addresses it is given: a file in this folder.
            data = f"{self._client.get_model_version_download_uri(self.usecase, version)}/data"
            if not list_artifacts(artifact_uri=data, tracking_uri=self.uri):
                raise BundleError(
                    f"the bundle of version {version} of {self.usecase} in MLflow",
                    "nothing",
                    f"Deploy another version, or train again: driftwheel run loop {self.usecase}",
                )
            path = download_artifacts(artifact_uri=data, dst_path=str(folder), tracking_uri=self.uri)
        return next(Path(path).iterdir())

    def forget(self) -> None:
        """Delete the registered model and its versions; for replays. The runs of earlier replays stay for a while."""
        with self._reach():
            with ignoring("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                self._client.delete_registered_model(self.usecase)
            for model in self._client.search_logged_models([self.experiment()]):
                self._client.delete_logged_model(model.model_id)


def _version(found: Any) -> ModelVersion:  # noqa: ANN401 - MLflow ships no types we follow
    return ModelVersion(str(found.version), found.tags.get("bundle", ""), str(found.run_id or ""))
