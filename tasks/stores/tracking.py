"""MLflow: runs of one experiment, what they measured, and their figures."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.errors import UnreachableError
from expectations.masking import split_login
from tasks.stores.files import scratch
from tasks.stores.mlflow_faults import ignoring, reaching
from tasks.stores.model_words import EXPERIMENT, MODEL_PAGES, NOTE
from tasks.stores.plain import to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Metric

_MAX_METRICS = 1000
"""Most that MLflow takes in a request."""
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development", NOTE: EXPERIMENT}
"""Without a kind MLflow's page shows an experiment as one of language models: no runs, no metrics."""


class Tracking:
    """One use case's experiment: its runs, and what is logged to them.

    Parameters
    ----------
    uri : str
        Tracking address of MLflow.
    usecase : str
        Name of the experiment.

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

    def _reach(self) -> AbstractContextManager[None]:
        return reaching(self.uri)

    def experiment(self) -> str:
        """Return the experiment's id; it is made if absent and restored if deleted."""
        with self._reach():
            found = self._client.get_experiment_by_name(self.usecase)
            if found is None:
                with ignoring("RESOURCE_ALREADY_EXISTS"):
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
            False where the run was deleted: nothing is logged to it.
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

    def log_folder(self, run: str, folder: Path, under: str) -> None:
        """Log the files of a folder below a name."""
        with self._reach():
            self._client.log_artifacts(run, str(folder), under)

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

    @contextmanager
    def ending(self, run: str) -> Iterator[None]:
        """End a run with what is done for it: FAILED where that fails.

        Where MLflow is away it is not asked again, which would be waited for once more: whoever takes the turn next
        fails a training's run.
        """
        try:
            yield
        except UnreachableError:
            raise
        except BaseException:
            self.end_run(run, "FAILED")
            raise
        self.end_run(run)

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

    def run_link(self, run: str) -> str:
        """Address of a run's page."""
        return f"{self.uri}/#/experiments/{self.experiment()}/runs/{run}?{MODEL_PAGES}"
