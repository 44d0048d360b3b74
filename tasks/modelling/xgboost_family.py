"""XGBoost as a model family, of the extra `driftwheel[xgboost]`: it learns there, and is run without it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from expectations.errors import TrainingError
from expectations.families import Matrix, Report, Rows, Scores, StopsEarly, Task, Vector
from expectations.fields import Positive
from expectations.wording import one_line
from tasks.modelling.importance import shares
from tasks.modelling.processors import available_processors
from tasks.modelling.xgboost_names import unknown_parameters
from tasks.modelling.xgboost_trees import XGBoostTrees

MODEL, BASE_ROW = "xgboost.json", "base_row.json"
_OF_CLASSES, _PLAIN = "multi:softprob", "reg:squarederror"
_OBJECTIVES = {
    "binary_classification": "binary:logistic",
    "multiclass_classification": _OF_CLASSES,
    "regression": _PLAIN,
}
_PROVED = 2000
"""Training rows, at most, of which the trees as they are released must say what XGBoost says."""


class FittedXGBoost(XGBoostTrees):
    """Trees of XGBoost that have learnt, run as they will be released."""

    def __init__(self, content: bytes, gains: Mapping[str, float], recipe: XGBoost, rows: Rows) -> None:
        super().__init__(content, _means(rows.matrix))
        self.recipe, self._content, self._gains, self._features = recipe, content, gains, rows.features

    def save(self, folder: Path) -> None:
        """Write XGBoost's own JSON, and the average row beside it; null of a feature that was always missing."""
        (folder / MODEL).write_bytes(self._content)
        row = [] if self.base_row is None else self.base_row.tolist()
        said = [value if math.isfinite(value) else None for value in row]
        (folder / BASE_ROW).write_text(json.dumps(said), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Share of the total gain."""
        return shares({name: self._gains.get(f"f{at}", 0.0) for at, name in enumerate(self._features)})


class XGBoost(StopsEarly):
    """Gradient-boosted trees of XGBoost, of the extra `driftwheel[xgboost]`; `params` passes its own settings on.

    Features are numbers: codes of categories have an order for it, so take `one_hot`, `frequency` or `target` in place
    of `encode`. It is released as XGBoost's JSON and run without it: the sums of leaves are XGBoost's own to the last
    bit, which is proved on training rows; probabilities are made of them in 64 bits, and lie within 0.000001 of its.
    """

    examples: ClassVar = (
        {"family": "xgboost", "rounds": 40, "depth": 3},
        {"family": "xgboost", "rounds": 20, "patience": None, "row_fraction": 0.8, "params": {"max_bin": 64}},
    )
    weighs: ClassVar = True
    family: Literal["xgboost"]
    rounds: Annotated[int, Field(ge=1)] = 200
    learning_rate: Positive = 0.1
    depth: Annotated[int, Field(ge=1, le=16)] = 6
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of rows, or for a classifier of their p (1 - p), that a leaf must hold."""
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the features that a tree is drawn."""
    row_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the rows that a tree is drawn."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 1.0
    patience: Annotated[int, Field(ge=1)] | None = 20
    """Rounds without progress before training stops; null trains all rounds."""
    params: dict[str, float | int | str | bool] = Field({})

    def misfits(self, task: Task) -> dict[str, str]:
        """Return its name where it has no objective for a task, and settings that XGBoost would pass over."""
        if task not in _OBJECTIVES:
            return {"family": f"xgboost has no objective for {task}"}
        return {f"params.{name}": why for name, why in unknown_parameters(self.params, _OBJECTIVES[task]).items()}

    @property
    def length(self) -> int:
        """Its rounds."""
        return self.rounds

    def shortened(self) -> XGBoost:
        """Return it with ten rounds."""
        return self.model_copy(update={"rounds": 10})

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedXGBoost:
        """Learn trees; see `Family.fit`.

        Raises
        ------
        TrainingError
            If XGBoost is not installed, does not accept rows or settings, or its trees are run otherwise than by it.
        """
        del start_from
        if find_spec("xgboost") is None:
            raise TrainingError(
                "the package that the family xgboost learns by",
                "none installed",
                "Install the extra: `pip install 'driftwheel[xgboost]'`",
            )
        if train.categorical:
            raise TrainingError(
                "numbers in all features, where xgboost learns",
                f"codes of categories in {', '.join(train.categorical)}",
                "Read them by `one_hot`, `frequency` or `target` in place of `encode`",
            )
        import xgboost

        settings = self._settings(train, seed)
        evaluated: dict[str, Any] = {}
        try:
            data = xgboost.DMatrix(train.matrix, label=train.label, weight=train.weight)
            sets = [(xgboost.DMatrix(valid.matrix, label=valid.label, weight=valid.weight), "valid")] if valid else []
            booster = xgboost.train(
                settings,
                data,
                self.rounds,
                evals=sets,
                evals_result=evaluated,
                early_stopping_rounds=self.patience if sets else None,
                verbose_eval=False,
                callbacks=[_reporting(report)],
            )
        except xgboost.core.XGBoostError as error:
            raise TrainingError(
                "settings and rows XGBoost accepts",
                f"its refusal: {one_line(error).partition(' Stack trace:')[0]}",
                "Check `model.candidates`, the label, and clip what 32 bits do not hold",
            ) from error
        rounds = booster.best_iteration + 1 if sets and self.patience else booster.num_boosted_rounds()
        booster = booster[:rounds]
        recipe = self.settled().model_copy(update={"rounds": rounds})
        gains = {name: float(np.sum(gain)) for name, gain in booster.get_score(importance_type="total_gain").items()}
        fitted = FittedXGBoost(bytes(booster.save_raw("json")), gains, recipe, train)
        _prove(fitted, booster, train.matrix[:: max(1, len(train.matrix) // _PROVED)])
        return fitted

    def _settings(self, rows: Rows, seed: int) -> dict[str, Any]:
        objective = _OBJECTIVES[rows.task]
        weight = np.ones(len(rows.label)) if rows.weight is None else rows.weight
        found: dict[str, Any] = {
            "objective": objective,
            # declared, so that the margin begins where the JSON says, and not at a logarithm of it
            "base_score": float(np.average(rows.label, weights=weight)) if objective == _PLAIN else 0.5,
            "learning_rate": self.learning_rate,
            "max_depth": self.depth,
            "min_child_weight": self.min_child_weight,
            "colsample_bytree": self.feature_fraction,
            "subsample": self.row_fraction,
            "alpha": self.l1,
            "lambda": self.l2,
            "tree_method": "hist",
            "seed": seed,
            "nthread": available_processors(),
            "verbosity": 0,
            **self.params,
        }
        return found | ({"num_class": len(rows.classes)} if objective == _OF_CLASSES else {})

    @classmethod
    def load(cls, folder: Path) -> XGBoostTrees:
        """Return a predictor of the JSON in `folder`, which needs no XGBoost; bundles of before had no average row."""
        path = folder / BASE_ROW
        base = np.array(json.loads(path.read_bytes()), np.float64) if path.exists() else None
        return XGBoostTrees((folder / MODEL).read_bytes(), base)


def _means(matrix: Matrix) -> Vector:
    """Return the mean of each feature where it is there, and NaN where it never is; shape (n_features,)."""
    there = ~np.isnan(matrix)
    number = there.sum(axis=0)
    totals: Vector = np.where(there, matrix, 0.0).sum(axis=0)
    return np.where(number > 0, totals / np.maximum(number, 1), np.nan)


def _reporting(report: Report) -> Any:  # noqa: ANN401 - a class of XGBoost's, which may not be there
    from xgboost.callback import TrainingCallback

    class Reporting(TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Any]) -> bool:  # noqa: ANN401
            del model
            losses = [values[-1] for values in evals_log.get("valid", {}).values()]
            report(epoch, {"valid_loss": float(losses[-1])} if losses else {})
            return False

    return Reporting()


def _prove(fitted: XGBoostTrees, booster: Any, rows: Matrix) -> None:  # noqa: ANN401 - xgboost ships no types here
    import xgboost

    theirs: Scores = booster.predict(xgboost.DMatrix(rows), output_margin=True)
    if not np.array_equal(fitted.margins(rows), theirs.reshape(len(rows), -1)):
        raise TrainingError(
            "trees that are run to the last bit as XGBoost runs them",
            "other margins of training rows",
            "Take another family, and report this model",
        )
