"""The report a person reads: Evidently's, in an Evidently workspace."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from expectations.errors import ReportError
from tasks.stores.locking import alone

SAMPLE = 2000


@dataclass(frozen=True)
class ReportRef:
    """Where a report stands in the workspace."""

    project: str
    snapshot: str

    def link(self, ui: str) -> str:
        """Address of its page."""
        return f"{ui}/projects/{self.project}/reports/{self.snapshot}"


def draw_report(
    workspace: Path, usecase: str, reference: pl.DataFrame, current: pl.DataFrame, *, name: str, tags: list[str]
) -> ReportRef:
    """Add a drift report to the project of a use case, which is made if absent.

    Parameters
    ----------
    reference, current : polars.DataFrame
        Raw rows; 2,000 of each at most are drawn, the scores that decide are those over the whole window. Evidently
        takes no column without a value: such are left out, and named among the report's tags.

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
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
        from evidently.ui.workspace import Workspace

        sets = [_sample(frame.select(_finite(frame[column]) for column in both)) for frame in (current, reference)]
        shared = [column for column in both if all(frame[column].null_count() < len(frame) for frame in sets)]
        if not shared:
            raise ReportError("a column with values to draw", "none with any in both", "See the window's measurement")
        numbers = [column for column in shared if reference.schema[column].is_numeric()]
        texts = [column for column in shared if column not in numbers]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
        datasets = [
            Dataset.from_pandas(frame.select(numbers + texts).to_pandas(), data_definition=definition) for frame in sets
        ]
        methods = {"num_method": "wasserstein", "cat_method": "jensenshannon"}
        report = Report([DataDriftPreset(**methods)])
        empty = [f"without values:{column}" for column in both if column not in shared]
        try:
            snapshot = report.run(*datasets, name=name, tags=[*tags, *empty])
        except Exception as error:  # whatever it meets in the values: NumPy's and SciPy's errors, and its own
            raise ReportError(
                "a report of Evidently's", f"its {type(error).__name__}", "See the window's measurement"
            ) from error
        with alone(workspace.with_name(f".{workspace.name}"), "another report"):  # of two at once both made a project
            place = Workspace.create(str(workspace))
            project = next((found for found in place.search_project(usecase) if found.name == usecase), None)
            project = project or place.create_project(usecase)
            return ReportRef(str(project.id), str(place.add_run(project.id, snapshot).id))


def _finite(values: pl.Series) -> pl.Series:
    """Take what is not finite for missing, as the scores do."""
    if not values.dtype.is_float():
        return values
    return values.to_frame().select(pl.when(pl.col(values.name).is_finite()).then(pl.col(values.name))).to_series()


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(min(SAMPLE, len(frame)), seed=0)
