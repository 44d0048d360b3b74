"""The report a person reads: Evidently's, in an Evidently workspace."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl

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
        Raw rows; 2,000 of each at most are drawn, the scores that decide are those over the whole window.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with warnings.catch_warnings():  # Evidently warns of its own imports and of constant columns
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
        from evidently.ui.workspace import Workspace

        shared = [
            column
            for column in reference.columns
            if column in current.columns
            and reference[column].null_count() < len(reference)
            and current[column].null_count() < len(current)
        ]
        numbers = [column for column in shared if reference.schema[column].is_numeric()]
        texts = [column for column in shared if reference.schema[column] in (pl.String, pl.Boolean)]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
        sets = [
            Dataset.from_pandas(_sample(frame.select(numbers + texts)).to_pandas(), data_definition=definition)
            for frame in (current, reference)
        ]
        methods = {"num_method": "wasserstein", "cat_method": "jensenshannon"}
        snapshot = Report([DataDriftPreset(**methods)]).run(*sets, name=name, tags=tags)
        place = Workspace.create(str(workspace))
        project = next((found for found in place.search_project(usecase) if found.name == usecase), None)
        project = project or place.create_project(usecase)
        return ReportRef(str(project.id), str(place.add_run(project.id, snapshot).id))


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sample(min(SAMPLE, len(frame)), seed=0)
