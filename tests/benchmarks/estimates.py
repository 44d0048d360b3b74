"""Is a metric estimated without labels what it turns out to be? On open data sets, against NannyML and the last window.

    python tests/benchmarks/estimates.py --wheels FOLDER [--nannyml PYTHON] [SET:WINDOW …] [--json FILE]

Champions are trained, judged and refitted as the loop does it, one after the other; each answers up to twelve windows.
Labels are withheld for one to six windows: of a window, what is known are the labels of those that lie at least as many
windows before it, and of those before the champion was trained. Half of the cases are made binary: is the label above
its median? NannyML (``--nannyml``: a Python it is installed for) gets the same holdout as its reference, and is asked
for what it can estimate: RMSE by DLE, the area under the curve by CBPE.

Planted: covariates (rows of a window are drawn again, likelier the larger one of the features is; their labels go with
them, so that nothing else changes), and concepts (the labels are changed so that the champion's loss is 1.2 to 2 times
what it was).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml

from expectations.loading import load_use_case
from flows.backtest import past_of
from tasks.evaluation.expected import Expectation
from tasks.evaluation.metrics import Scored, score
from tasks.training.judging import judge, refit
from tasks.training.learning import labels
from tasks.training.packing import expectation_of
from tests.benchmarks.open_sets import build

Array = npt.NDArray[np.float64]
CASES = (
    *("elecdemand:1w", "computers:1mo", "hotel:2w", "traffic:1mo", "beijing:1mo", "wind:2w"),
    *("elecdemand:1w/binary", "computers:1mo/binary", "hotel:2w/binary", "traffic:1mo/binary"),
    *("beijing:1mo/binary", "wind:2w/binary"),
)
ALIVE = 12
WITHHELD = 6
FEW = 200
METRICS = {"regression": ("rmse", "mae"), "binary_classification": ("roc_auc", "brier")}
RIVAL_METRIC = {"regression": "rmse", "binary_classification": "roc_auc"}


@dataclass(frozen=True)
class Rows:
    """Rows with what a champion said of them."""

    prediction: Array
    matrix: Array
    label: Array

    def taken(self, places: Any) -> Rows:
        """Return some of them."""
        return Rows(self.prediction[places], self.matrix[places], self.label[places])

    def score(self, metric: str) -> float:
        """Score them."""
        return score(metric, Scored(self.label, self.prediction))


@dataclass(frozen=True)
class Champion:
    """A champion, what was learnt of it, and the windows it answers."""

    number: int
    expected: Expectation
    holdout: Rows
    windows: dict[int, Rows]


@dataclass(frozen=True)
class Case:
    """A set with its champions."""

    name: str
    task: str
    categorical: tuple[int, ...]
    champions: tuple[Champion, ...]

    def __iter__(self) -> Iterator[tuple[Champion, int, int]]:
        """Champion, window, and how many windows its labels are behind."""
        for champion in self.champions:
            for window in champion.windows:
                for behind in range(1, min(WITHHELD, window - champion.number + 1) + 1):
                    yield champion, window, behind


def prepare(name: str, wheels: Path, folder: Path) -> Case:
    """Train the champions of a case."""
    plain, _, binary = name.partition("/")
    path = build(plain, wheels, folder / (binary or "numbers")) if ":" in plain else None
    if path is not None and binary:
        _make_binary(path)
    loaded = load_use_case(str(path or plain))
    spec = loaded.spec
    champions = []
    with past_of(loaded, b"benchmark") as past:
        count = len(past.windows)
        every = min(ALIVE, max(4, count // 3))
        for number in range(0, count - 1, every):
            rows = past.known(number)
            judged = judge(rows, spec, None)
            if judged.judgement.outcome != "passed" or judged.holdout is None or judged.prediction is None:
                continue
            trained = refit(rows, spec, judged).trained
            program = trained.program
            expected = expectation_of(spec, rows, judged, program)
            if expected is None:
                continue
            seen = {}
            for window in range(number, min(number + every, count)):
                part, truth = past._rows[window], past._truth[window]
                if len(part) >= spec.monitoring.min_rows:
                    matrix = program.transform(part)
                    seen[window] = Rows(trained.fitted.predict(matrix), matrix, truth)
            holdout = Rows(
                judged.prediction, program.transform(judged.holdout, repaired=True), labels(judged.holdout, spec)
            )
            champions.append(Champion(number, expected, holdout, seen))
        categorical = tuple(at for at, each in enumerate(program.features) if each in program.categorical)
    return Case(name, spec.task, categorical, tuple(champions))


def _make_binary(path: Path) -> None:
    described = yaml.safe_load((path / "usecase.yaml").read_text())
    label = described["label"]["column"]
    frame = pl.read_csv(path / "rows.csv", infer_schema_length=None)
    middle = frame[label].median()
    frame = frame.with_columns((pl.col(label) > middle).cast(pl.Int64).alias(label))
    frame.write_csv(path / "rows.csv")
    described |= {"task": "binary_classification", "gates": [{"metric": "roc_auc", "min": 0.0}]}
    described["evaluation"]["agreement"] = 1.0
    described["monitoring"]["performance"] = [{"metric": "roc_auc", "drop": 0.1}]
    (path / "usecase.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
