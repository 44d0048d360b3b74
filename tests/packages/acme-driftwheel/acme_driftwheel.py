"""What a company might add of its own, in one package: a source, a feature step, a metric, a family, a policy
a drift
score and an alert rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from expectations.alert_rules import Condition, Conditions, MeasuredWindow, WindowRule
from expectations.alert_rules import Kind as Words
from expectations.data import Source, SourceContext
from expectations.deciding import History, Policy, Proposal
from expectations.drift_scores import Binned, DriftScore
from expectations.families import Family, Matrix, Report, Rows, Task, Vector
from expectations.fields import Columns
from expectations.metrics import Blocks, Metric, Prepared, Scored
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.modelling.predictors import BatchPredictor


class Shifts(Source):
    """Shifts of a plant, made up: an hour each, by three machines."""

    examples: ClassVar = ({"kind": "acme.shifts", "hours": 24},)
    kind: Literal["acme.shifts"]
    hours: int

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Return one row for each machine and hour."""
        del context
        random = np.random.default_rng(0)
        hours = pl.datetime_range(
            pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(hours=self.hours - 1), "1h", eager=True
        )
        load = random.normal(10, 3, (self.hours, 3))
        return pl.DataFrame(
            {
                "time": hours.repeat_by(3).explode().dt.replace_time_zone("UTC"),
                "machine": ["a", "b", "c"] * self.hours,
                "load": load.ravel().astype(np.float32),
                "wear": (2 * load + random.normal(0, 1, load.shape)).ravel(),
            }
        )


@dataclass(frozen=True)
class Halved(FittedStep):
    """What `Halve` does."""

    step: ClassVar[str] = "halve"
    column: str

    @property
    def touches(self) -> tuple[str, ...]:
        """Its column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Halve the column."""
        return frame.with_columns(pl.col(self.column) * 0.5)

    def row(self, out: RowWriter) -> None:
        """Halve the value."""
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = {name} * 0.5")


class Halve(FeatureStep):
    """Halve numbers."""

    examples: ClassVar = ({"halve": ["x"]},)
    fitted: ClassVar = Halved
    halve: Columns

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.halve, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn nothing."""
        del frame, context
        return Learnt([Halved(column) for column in self.halve])


class WorstMistake(Metric):
    """Largest error of any row."""

    examples: ClassVar = ({"metric": "acme.worst"},)
    tasks: ClassVar = ("regression",)
    greater_is_better: ClassVar = False
    metric: Literal["acme.worst"]

    def prepare(self, rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        """Find the largest error of each block."""
        errors = np.abs(rows.prediction - rows.label)
        worst = np.array([errors[blocks == block].max(initial=0.0) for block in range(n_blocks)])
        return lambda weights: ((weights > 0) * worst).max(axis=1)


class Straight(BatchPredictor):
    """Runs a straight line."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = np.asarray(weights)

    def predict(self, matrix: Matrix) -> Vector:
        """Predict rows of shape (n_rows, n_features)."""
        return np.asarray(matrix @ self._weights[:-1] + self._weights[-1])


class FittedLine(Straight):
    """A line that has learnt."""

    def __init__(self, weights: Vector, recipe: Line, features: tuple[str, ...]) -> None:
        super().__init__(weights.tolist())
        self.recipe, self._features = recipe, features

    def save(self, folder: Path) -> None:
        """Write its weights."""
        (folder / "line.json").write_text(json.dumps(self._weights.tolist()))

    def importance(self) -> dict[str, float]:
        """Share of the sizes of the weights."""
        sizes = np.abs(self._weights[:-1])
        return dict(zip(self._features, (sizes / sizes.sum()).tolist(), strict=True))


class Line(Family):
    """Ordinary least squares."""

    examples: ClassVar = ({"family": "acme.line"},)
    family: Literal["acme.line"]

    def misfits(self, task: Task) -> dict[str, str]:
        """Return that it is none for a classification."""
        return {"family": "a line gives no probabilities"} if task != "regression" else {}

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedLine:
        """Learn in one step."""
        del valid, seed, report, start_from
        known = np.column_stack([train.matrix, np.ones(len(train.matrix))])
        return FittedLine(np.linalg.lstsq(known, train.label, rcond=None)[0], self, train.features)

    @classmethod
    def load(cls, folder: Path) -> Straight:
        """Return a predictor of the weights in `folder`."""
        return Straight(json.loads((folder / "line.json").read_text()))


class Impatient(Policy):
    """Retrains after each window that is not good."""

    examples: ClassVar = ({"trigger": "acme.impatient"},)
    trigger: Literal["acme.impatient"]

    def asks(self, history: History) -> Proposal:
        """Ask where the latest window violates."""
        latest = history.windows[-1]
        return Proposal(retrain=latest.status == "violated", cause="decay", summary=f"the window is {latest.status}")


class Hellinger(DriftScore):
    """Hellinger distance, 0 to 1."""

    examples: ClassVar = ({"score": "acme.hellinger"},)
    score: Literal["acme.hellinger"]

    def of(self, binned: Binned) -> float:
        """Compare the roots of the shares."""
        before, now = (np.sqrt(each) for each in binned.shares)
        return float(np.sqrt(((before - now) ** 2).sum() / 2))


class Busy(WindowRule):
    """Windows with more predictions than the line was built for."""

    examples: ClassVar = ({"rule": "acme.busy", "above": 100},)
    words: ClassVar = Words("the line is too busy", "a holiday", "nothing", "Rent another line")
    rule: Literal["acme.busy"]
    above: int = 1000

    def look(self, window: MeasuredWindow) -> Conditions:
        """Compare the number of rows."""
        found = [Condition(f"{window.rows} rows in {window.window}", "info")] if window.rows > self.above else []
        return Conditions(found, f"{window.rows} rows in {window.window}")
