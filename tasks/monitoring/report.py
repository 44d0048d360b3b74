"""The report a person reads: Evidently's, in an Evidently workspace, with the verdicts that were measured here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

import polars as pl

from expectations.errors import ReportError
from tasks.monitoring.workspace import drop_old_reports, held, project_of

if TYPE_CHECKING:
    from evidently import Dataset

SAMPLE = 2000
JUDGE = "driftwheel"
"""Name under which Evidently knows our verdicts."""
_OWN = MappingProxyType({"num_method": "wasserstein", "cat_method": "jensenshannon"})


@dataclass(frozen=True)
class ColumnVerdict:
    """What was found of a column over the whole window.

    Attributes
    ----------
    score : float
        How far it lies from the training rows; Evidently shows it as the drift score.
    """

    score: float
    drifted: bool


@dataclass(frozen=True)
class ReportRef:
    """Where a report stands in the workspace."""

    project: str
    snapshot: str

    def link(self, ui: str) -> str:
        """Address of its page."""
        return f"{ui}/projects/{self.project}/reports/{self.snapshot}"


def draw_report(
    workspace: Path,
    usecase: str,
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    name: str,
    tags: list[str],
    verdicts: Mapping[str, ColumnVerdict] | None = None,
    facts: Mapping[str, str] = MappingProxyType({}),
    at: datetime | None = None,
) -> ReportRef:
    """Add a drift report to the project of a use case, which is made if absent; the oldest beyond 100 is deleted.

    Parameters
    ----------
    reference, current : polars.DataFrame
        Raw rows, with predictions and labels; 2,000 of each at most are drawn, the scores that decide are those over
        the whole window. Evidently takes no column without a value: such are left out, and named among the tags.
    verdicts : mapping of str to ColumnVerdict, optional
        What the report says of drift. A column that is not among them is shown as one that did not drift, and named in
        the metadata as undetermined. Evidently's own distances where nothing was measured.
    facts : mapping of str to str
        What else is kept with it, as its metadata.
    at : datetime, optional
        What it is dated by; now where not given.

    Raises
    ------
    ReportError
        If no column is left, or Evidently fails: its report is for reading, and nothing depends on it.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    both = [
        column
        for column, dtype in reference.schema.items()
        if column in current.columns and (dtype.is_numeric() or dtype in (pl.String, pl.Boolean))
    ]
    with warnings.catch_warnings():  # Evidently warns of its own imports and of constant columns
        warnings.simplefilter("ignore")
        from evidently import Report
        from evidently.presets import DataDriftPreset
        from evidently.ui.workspace import Workspace

        sets = [_sample(frame.select(_finite(frame[column]) for column in both)) for frame in (current, reference)]
        shared = [column for column in both if all(frame[column].null_count() < len(frame) for frame in sets)]
        if not shared:
            raise ReportError("a column with values to draw", "none with any in both", "See the window's measurement")
        datasets = [_dataset(frame.select(shared)) for frame in sets]
        noted = [f"without values:{column}" for column in both if column not in shared]
        if verdicts is None:
            preset = DataDriftPreset(**_OWN)
        else:
            _judge_by(verdicts)
            unknown = [column for column in shared if column not in verdicts]
            facts = {**facts, "undetermined": ", ".join(unknown)} if unknown else facts
            # one column that drifted is drift, as everywhere else here
            preset = DataDriftPreset(method=JUDGE, drift_share=0.5 / len(shared))
        try:
            snapshot = Report([preset]).run(
                *datasets, name=name, tags=[*tags, *noted], metadata=dict(facts), timestamp=at
            )
        except Exception as error:  # whatever it meets in the values: NumPy's and SciPy's errors, and its own
            raise ReportError(
                "a report of Evidently's", f"its {type(error).__name__}", "See the window's measurement"
            ) from error
        with held(workspace):
            project = project_of(workspace, usecase)
            made = str(Workspace.create(str(workspace)).add_run(UUID(project), snapshot).id)
            drop_old_reports(workspace, project)
            return ReportRef(project, made)


def _dataset(frame: pl.DataFrame) -> Dataset:
    from evidently import DataDefinition, Dataset

    numbers = [column for column, dtype in frame.schema.items() if dtype.is_numeric()]
    texts = [column for column in frame.columns if column not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    return Dataset.from_pandas(frame.select(numbers + texts).to_pandas(), data_definition=definition)


def _judge_by(verdicts: Mapping[str, ColumnVerdict]) -> None:
    """Make verdicts known to Evidently as a test of drift, in the place of those of an earlier report."""
    from evidently.legacy.calculation_engine.python_engine import PythonEngine
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.calculations.stattests.registry import add_stattest_impl, create_impl_wrapper
    from evidently.legacy.core import ColumnType

    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    test = StatTest(JUDGE, "driftwheel, over the whole window", kinds)

    def found(reference: object, current: object, kind: object, threshold: float) -> tuple[float, bool]:
        del reference, kind, threshold
        verdict = verdicts.get(str(getattr(current, "name", "")), ColumnVerdict(0.0, drifted=False))
        return verdict.score, verdict.drifted

    register_stattest(test)
    add_stattest_impl(test, PythonEngine, create_impl_wrapper(found))


def _finite(values: pl.Series) -> pl.Series:
    """Take what is not finite for missing, as the scores do."""
    if not values.dtype.is_float():
        return values
    return values.to_frame().select(pl.when(pl.col(values.name).is_finite()).then(pl.col(values.name))).to_series()


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(min(SAMPLE, len(frame)), seed=0)
