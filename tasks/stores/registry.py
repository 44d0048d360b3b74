"""MLflow: runs, figures, bundles as model versions, and the aliases `champion` and `challenger`."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from expectations.errors import AccessError, BundleError, UnreachableError
from expectations.masking import split_login
from tasks.stores.files import scratch, storage_error
from tasks.stores.model_words import EXPERIMENT, MODEL_PAGES, NOTE, model_note
from tasks.stores.plain import to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Metric

LOADER = "tasks.bundles.pyfunc"
CHAMPION, CHALLENGER = "champion", "challenger"
KEPT_DAYS, REPLAY_KEPT_DAYS = 365, 30
"""How long MLflow keeps the runs that made no version."""
_RETIRED_AT_ONCE = 1000
_MAX_METRICS = 1000
"""Most that MLflow takes in a request."""
_AWAY = {
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
}
"""What MLflow calls a server that does not answer, or fails at what it was asked."""
_DENIED = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}
_log = logging.getLogger(__name__)
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development", NOTE: EXPERIMENT}
"""Without a kind MLflow's page shows an experiment as one of language models: no runs, no metrics."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version, its bundle's hash and the run that made it."""

    version: str
    bundle: str
    run: str


class Registry:
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

    def __init__(self, uri: str, usecase: str) -> None:
        # MLflow's own default waits four minutes for a server that is away; it reads these when it is asked to. Faults
        # that pass are asked again after 0 and 2 s; a server that is silent is given up after 3 x 5 + 2 s, and the
        # jitter of two pauses: 18 s.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0.5")
        os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        self.uri, login = split_login(uri)
        if login is not None:  # MLflow writes its address into errors and links
            os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = login
        from mlflow import MlflowClient

        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # what is asked again needs no line each
        if not uri:  # MLflow would take a file in this folder for its server
            raise UnreachableError(
                "the address of an MLflow server", "none", "Start one (`driftwheel up`), or set MLFLOW_TRACKING_URI"
            )
        self.usecase = usecase
        self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def _reach(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        expected = f"the MLflow server at {self.uri}"
        remedy = "Start it (`driftwheel up`), or see its log, and run again; nothing was lost"
        try:
            yield
        except RequestException as error:
            raise UnreachableError(f"{expected} to answer", _reason(error), remedy) from error
        except OSError as error:
            raise storage_error("keep what goes to MLflow in", tempfile.gettempdir(), error) from error
        except MlflowException as error:
            if error.error_code in _DENIED:
                login = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what it asks for"
                raise AccessError(f"{expected} to let the platform in", str(error.error_code), login) from error
            if error.error_code in _AWAY:
                raise UnreachableError(f"{expected} to answer", _reason(error), remedy) from error
            raise

    @contextmanager
    def _ignore(self, *codes: str) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code not in codes:
                raise

    # --- runs -----------------------------------------------------------------------------------------------------

    def experiment(self) -> str:
        """Return the experiment's id; it is made if absent and restored if deleted."""
        with self._reach():
            found = self._client.get_experiment_by_name(self.usecase)
            if found is None:
                with self._ignore("RESOURCE_ALREADY_EXISTS"):
                    return str(self._client.create_experiment(self.usecase, tags=_EXPERIMENT_TAGS))
                found = self._client.get_experiment_by_name(self.usecase)
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            for tag in _EXPERIMENT_TAGS.keys() - found.tags.keys():  # of an older version; what people write stays
                self._client.set_experiment_tag(found.experiment_id, tag, _EXPERIMENT_TAGS[tag])
            return str(found.experiment_id)

    def start_run(self, name: str, tags: Mapping[str, str]) -> str:
        """Start a run and return its id."""
        experiment = self.experiment()
        with self._reach():
            return str(self._client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)

    def log(
        self,
        run: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log parameters, metrics, curves (one value a step) and tags, in as few requests as MLflow allows."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        values = [Metric(key, value, now, 0) for key, value in (metrics or {}).items() if math.isfinite(value)]
        values += [
            Metric(key, value, now, step)
            for key, curve in (curves or {}).items()
            for step, value in enumerate(curve)
            if math.isfinite(value)
        ]
        with self._reach():
            self._client.log_batch(
                run,
                metrics=values[:_MAX_METRICS],
                params=[Param(key, str(value)[:6000]) for key, value in (params or {}).items()],
                tags=[RunTag(key, value) for key, value in (tags or {}).items()],
            )
            self._log_metrics(run, values[_MAX_METRICS:])

    def _log_metrics(self, run: str, values: Sequence[Metric]) -> None:
        for start in range(0, len(values), _MAX_METRICS):
            self._client.log_batch(run, metrics=values[start : start + _MAX_METRICS])

    def log_window(self, run: str, metrics: Mapping[str, float], at: datetime, step: int) -> bool:
        """Log what was measured over a window, dated by its end, also to a run that has ended.

        Returns
        -------
        bool
            False where somebody deleted the run: nothing is logged to it.
        """
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        stamp = int(at.timestamp() * 1000)
        values = [Metric(key, value, stamp, step) for key, value in metrics.items()]
        with self._reach():
            try:
                self._client.log_batch(run, metrics=values)
            except MlflowException as error:
                if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST") or not self._deleted(
                    run
                ):
                    raise
                return False
        return True

    def _deleted(self, run: str) -> bool:
        """Whether a run was deleted, for good or to MLflow's bin."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run).info.lifecycle_stage != "active")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return True

    def log_points(self, run: str, points: Sequence[tuple[str, float, int, float]]) -> None:
        """Log points of curves while they grow: name, value, step, and seconds since 1970."""
        from mlflow.entities import Metric

        values = [Metric(name, value, int(at * 1000), step) for name, value, step, at in points]
        with self._reach():
            self._log_metrics(run, values)

    def log_trial(
        self,
        parent: str,
        name: str,
        *,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        state: str,
        start: float,
        seconds: float,
    ) -> str:
        """Record a trial of a search as a run below another one, and return its id.

        Parameters
        ----------
        start, seconds : float
            When it began (since 1970), and how long it took.
        """
        experiment = self.experiment()
        tags = {"mlflow.parentRunId": parent, "driftwheel.usecase": self.usecase, "driftwheel.trial": state}
        begun = int(start * 1000)
        with self._reach():
            run = str(self._client.create_run(experiment, start_time=begun, run_name=name, tags=tags).info.run_id)
        self.log(run, params=params, metrics=metrics)
        with self._reach():
            status = "FAILED" if state == "failed" else "FINISHED"
            self._client.set_terminated(run, status, end_time=begun + int(seconds * 1000))
        return run

    def log_figures(self, run: str, figures: Mapping[str, Figure]) -> None:
        """Log figures as images under ``plots/``, in one directory upload."""
        with scratch() as folder, self._reach():
            for name, figure in figures.items():
                figure.savefig(folder / f"{name}.png", dpi=90)
            self._client.log_artifacts(run, str(folder), "plots")

    def log_json(self, run: str, name: str, content: object) -> None:
        """Log a value as a file of JSON."""
        with scratch() as folder, self._reach():
            (folder / name).write_text(to_json(content, indent=1), encoding="utf-8")
            self._client.log_artifact(run, str(folder / name))

    def log_dataset(self, run: str, name: str, digest: str, source: Mapping[str, object], rows: int, use: str) -> None:
        """Log what a data set is (never its rows): where it lies, its own content hash, how many rows."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:36],
            source_type="delta",
            source=json.dumps(source),
            profile=json.dumps({"num_rows": rows}),
        )
        with self._reach():
            self._client.log_inputs(run, datasets=[DatasetInput(dataset, tags=[InputTag("mlflow.data.context", use)])])

    def end_run(self, run: str, status: str = "FINISHED") -> None:
        """End a run: FINISHED, FAILED or KILLED."""
        with self._reach():
            self._client.set_terminated(run, status)

    def fail_orphan(self, run: str) -> bool:
        """Mark the run of a dead process failed, if it still says running."""
        with self._reach():
            if self._client.get_run(run).info.status != "RUNNING":
                return False
            self._client.set_terminated(run, "FAILED")
            return True

    def fail_orphans(self, turn: str) -> int:
        """Mark runs of a turn failed whose process died before it could note them; returns how many."""
        experiment = self.experiment()
        with self._reach():
            found = self._client.search_runs(
                [experiment], f"attributes.status = 'RUNNING' and tags.`driftwheel.turn` = '{turn}'"
            )
            for run in found:
                self._client.set_terminated(run.info.run_id, "FAILED")
        return len(found)

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

    def run_link(self, run: str) -> str:
        """Address of a run's page."""
        return f"{self.uri}/#/experiments/{self.experiment()}/runs/{run}?{MODEL_PAGES}"

    # --- versions ---------------------------------------------------------------------------------------------------

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
        """Make the registered model if it is absent, and describe it where nobody did."""
        note = model_note(self.usecase, title)
        with self._ignore("RESOURCE_ALREADY_EXISTS"):
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
        with self._reach(), self._ignore("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
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
            with self._ignore("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                self._client.delete_registered_model(self.usecase)
            for model in self._client.search_logged_models([self.experiment()]):
                self._client.delete_logged_model(model.model_id)


def _reason(error: Exception) -> str:
    """Say in a few words why a request failed: MLflow's own hold addresses and types of three libraries."""
    from urllib3.exceptions import ReadTimeoutError

    inner = error.__cause__ or error.__context__
    outermost = inner.args[0] if inner is not None and inner.args else None
    reason = getattr(outermost, "reason", None)
    if isinstance(reason, ReadTimeoutError):
        return "no answer in time"
    said = str(reason or error).splitlines()[0]
    return said.rpartition(": ")[2][:300] if inner is not None else said[:300]


def _version(found: Any) -> ModelVersion:  # noqa: ANN401 - MLflow ships no types we follow
    return ModelVersion(str(found.version), found.tags.get("bundle", ""), str(found.run_id or ""))
