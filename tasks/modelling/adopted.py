"""A model that others trained, taken as it is: the first champion of a use case that has one already."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Predictor, Report, Rows, Scores, Task, Vector
from expectations.problems import problem_of
from expectations.shipped_files import read_shipped
from tasks.modelling.adopted_proofs import LibraryProof, prove
from tasks.modelling.feature_groups import IMPORTANCE_ALONE
from tasks.modelling.importance import permuted
from tasks.modelling.model_files import read_model
from tasks.modelling.model_kinds import BUNDLED, FILES, Kind, ModelFile
from tasks.modelling.onnx_scores import OnnxScores
from tasks.modelling.predictors import TreePredictor
from tasks.modelling.translated import translated
from tasks.modelling.xgboost_trees import XGBoostTrees

SETTINGS = "adopted.json"
SAMPLE = 2000
"""Rows, at most, that it is proved on and that importance is measured over."""


class Adopted(Family):
    """A model that others trained, as `first` under `model`: it learns nothing, and candidates challenge it.

    The file lies in the use case's folder, or in an installed package (`package:path`): LightGBM's text
    (`booster.save_model`), XGBoost's JSON, or its UBJ where XGBoost is installed, CatBoost's JSON, an ONNX graph, or a
    skops file of scikit-learn; never a pickle. The features are those of the model, as numbers, in its own order.
    Before anything is judged, it has to say what its library says of rows of the table: LightGBM to the last bit,
    XGBoost and ONNX Runtime within 0.000001, CatBoost and scikit-learn within 0.000000001 (XGBoost and CatBoost where
    they are installed). `driftwheel adopt` writes all of it.
    """

    examples: ClassVar = ({"family": "adopted", "file": "tasks.modelling:smallest_trees.txt"},)
    learns: ClassVar = False
    family: Literal["adopted"]
    file: Annotated[str, Field(min_length=1)]
    """Path from the use case's folder, or `package:path` of an installed one."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Of its content: another one is refused. Null takes whatever is there."""

    def misfits(self, task: Task) -> dict[str, str]:
        """Return the file where it comes with a package, and its objective is of another problem."""
        if ":" not in self.file:  # in the use case's folder, which is not known here
            return {}
        found = self.read(None).tasks
        return {} if task in found else {"file": f"it is a model of {' or '.join(found)}"}

    def read(self, folder: Path | None) -> ModelFile:
        """Return the model, as its file describes it.

        Raises
        ------
        TrainingError
            If there is none, it is none of those that can be taken, or not the one that was adopted.
        """
        content = read_shipped(self.file, folder, tuple(FILES.values()), "the adopted model")
        found = hashlib.sha256(content).hexdigest()
        if self.sha256 is not None and found != self.sha256:
            raise TrainingError(
                f"the file {self.file} that was adopted (sha256 {self.sha256[:12]}…)",
                f"another one (sha256 {found[:12]}…)",
                "Put the first one back, or write the new `sha256` where it is meant to be another model",
            )
        return read_model(content, self.file)

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> AdoptedModel:
        """Load the model, and prove it on rows; see `Family.fit`.

        Raises
        ------
        TrainingError
            If it is of another problem, other classes or other features, or does not say what its library says.
        """
        del valid, seed, report, start_from
        model = self.read(train.folder)
        refuse_other_problem(model, train.task, train.classes)
        refuse_other_features(model, train)
        return AdoptedModel(model, self, train)

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """Return a predictor of the file in `folder`."""
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        kind: Kind = settings["kind"]
        return predictor_of(kind, (folder / BUNDLED[kind]).read_bytes(), _row(settings["base_row"]))


class AdoptedModel:
    """An adopted model that said of rows what its library says of them."""

    def __init__(self, model: ModelFile, recipe: Adopted, rows: Rows) -> None:
        self.recipe, self._model, self._features = recipe, model, rows.features
        self._base_row = _means(rows.matrix)
        self._sample = rows.matrix[:: max(1, math.ceil(len(rows.matrix) / SAMPLE))]
        self._predictor = predictor_of(model.kind, model.served, self._base_row)
        self.proof = proved(model, self._predictor, self._sample, rows.task)

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores; see `expectations.problems`."""
        return self._predictor.predict(matrix)

    def save(self, folder: Path) -> None:
        """Write the model as it is, and the average row beside it; null of a feature that was always missing."""
        (folder / BUNDLED[self._model.kind]).write_bytes(self._model.served)
        base = [value if math.isfinite(value) else None for value in self._base_row.tolist()]
        (folder / SETTINGS).write_text(json.dumps({"kind": self._model.kind, "base_row": base}), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Mean distance that a prediction moves by where a feature has another row's value, over up to 2,000 rows."""
        return permuted(self.predict, self._sample, self._features, alone=IMPORTANCE_ALONE)


def predictor_of(kind: Kind, content: bytes, base_row: Vector) -> Predictor:
    """Return what runs a model file of a kind here."""
    if kind == "lightgbm":
        return TreePredictor(content.decode("utf-8"))
    if kind == "onnx":
        return OnnxScores(content, base_row)
    if kind in {"catboost", "skops"}:
        return translated(content, base_row)
    return XGBoostTrees(content, base_row, any_base=True)


def proved(model: ModelFile, predictor: Predictor, rows: Matrix, task: Task) -> LibraryProof:
    """Return how a model was proved on rows.

    Raises
    ------
    TrainingError
        If it says anything else than its library does, or no such predictions as the problem has.
    """
    scores = predictor.predict(rows)
    unknown = np.isnan(scores.reshape(len(scores), -1)).any(axis=1)
    if unknown.any():
        lacking = int((unknown & np.isnan(rows).any(axis=1)).sum())
        raise TrainingError(
            "a number for each row",
            f"none for {int(unknown.sum()):,} of {len(rows):,}, {lacking:,} of them with missing values",
            "Export the model with what fills in missing values, or give a table without them",
        )
    found = prove(model, predictor, rows)
    if not problem_of(task).sound(scores):
        raise TrainingError(
            f"predictions of a {task}",
            f"others, from {np.nanmin(scores):.6g} to {np.nanmax(scores):.6g}",
            "Save the model so that it answers what the table's target holds",
        )
    return found


def refuse_other_problem(model: ModelFile, task: Task, classes: Sequence[str]) -> None:
    """Refuse a model of another kind of problem, or of as many classes as the label has not.

    Raises
    ------
    TrainingError
    """
    if task not in model.tasks:
        raise TrainingError(
            f"a model of a {task}, as the target is one",
            f"one of a {' or '.join(model.tasks)}",
            "Name the column that the model was trained to predict, or correct `task`",
        )
    named = not model.classes or tuple(model.classes) == tuple(classes)
    swapped = model.outputs == 1 and tuple(reversed(model.classes)) == tuple(classes) != ()
    if swapped or (model.outputs > 1 and (model.outputs != len(classes) or not named)):
        raise TrainingError(
            f"a model of {len(classes)} classes, as the label has" + ("" if named else f": {_some(classes)}"),
            f"one of {model.outputs if model.outputs > 1 else 2}" + ("" if named else f": {_some(model.classes)}"),
            f"Let `positive` be {model.classes[-1]}, whose probability the model answers with"
            if swapped
            else "Give the table that it was trained on, or rows of all of its classes",
        )


def spelled(name: str) -> str:
    """Return a feature's name as LightGBM keeps it, which has no spaces."""
    return "_".join(name.split(" "))


def refuse_other_features(model: ModelFile, rows: Rows) -> None:
    """Refuse features that are not those of the model, in its order.

    Raises
    ------
    TrainingError
    """
    found = rows.features
    same = list(map(spelled, found)) == list(map(spelled, model.features)) if model.features else True
    if rows.categorical or len(found) != model.width or not same:
        raise TrainingError(
            f"the {model.width} features of the adopted model under `features`, as numbers and in its order"
            f"{': ' if model.features else ''}{_some(model.features)}",
            f"{len(found)}: {_some(found)}"
            + (f"; codes of categories in {', '.join(rows.categorical)}" if rows.categorical else ""),
            "Write them so, in one `numeric` step",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def _means(matrix: Matrix) -> Vector:
    """Return the mean of each feature where it is there, and NaN where it never is; shape (n_features,)."""
    there = ~np.isnan(matrix)
    totals: Vector = np.where(there, matrix, 0.0).sum(axis=0)
    number = there.sum(axis=0)
    return np.where(number > 0, totals / np.maximum(number, 1), np.nan)


def _row(values: Sequence[float | None]) -> Vector:
    return np.array([math.nan if value is None else value for value in values], np.float64)
