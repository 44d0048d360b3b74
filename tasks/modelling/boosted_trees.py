"""LightGBM as a model family."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from expectations.errors import TrainingError
from expectations.families import Matrix, Report, Rows, Scores, StopsEarly, Task
from expectations.fields import Positive
from tasks.modelling.importance import shares
from tasks.modelling.predictors import TreePredictor

MODEL = "model.txt"
_OF_CLASSES = ("multiclass", "multiclassova")
_OBJECTIVES = {
    "binary_classification": {"objective": "binary"},
    "multiclass_classification": {"objective": "multiclass"},
    "regression": {"objective": "regression"},
}


class FittedTrees:
    """Boosted trees that have learnt."""

    def __init__(self, booster: Any, recipe: LightGBM, task: str) -> None:  # noqa: ANN401 - lightgbm ships no types
        self.booster, self.recipe, self.task = booster, recipe, task

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores; see `expectations.problems`."""
        return np.asarray(self.booster.predict(matrix, num_iteration=self.recipe.rounds), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write LightGBM's own text format."""
        text = self.booster.model_to_string(num_iteration=self.recipe.rounds)
        (folder / MODEL).write_text(text, encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Share of the total gain."""
        gains = self.booster.feature_importance(importance_type="gain", iteration=self.recipe.rounds)
        return shares(dict(zip(self.booster.feature_name(), map(float, gains), strict=True)))


class LightGBM(StopsEarly):
    """Gradient-boosted trees of LightGBM, its ideas in plain words; `params` passes its own on."""

    examples: ClassVar = (
        {"family": "lightgbm", "rounds": 40, "leaves": 7},
        {"family": "lightgbm", "rounds": 20, "patience": None, "params": {"boosting": "goss"}},
    )
    weighs: ClassVar = True
    family: Literal["lightgbm"]
    rounds: Annotated[int, Field(ge=1)] = 200
    learning_rate: Positive = 0.1
    leaves: Annotated[int, Field(ge=2)] = 31
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[int, Field(ge=1)] | None = 20
    """Rounds without progress before training stops; null trains all rounds."""
    params: dict[str, float | int | str | bool] = Field({})

    def misfits(self, task: Task) -> dict[str, str]:
        """Return its name where it has no objective for a task."""
        return {} if task in _OBJECTIVES else {"family": f"lightgbm has no objective for {task}"}

    @property
    def length(self) -> int:
        """Its rounds."""
        return self.rounds

    def shortened(self) -> Self:
        """Return it with ten rounds."""
        return self.model_copy(update={"rounds": 10})

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedTrees:
        """Learn trees; see `Family.fit`. `start_from` adds trees to those of an earlier bundle."""
        import lightgbm

        names = [f"f{index}" for index in range(len(train.features))]  # LightGBM refuses some characters in names
        settings: dict[str, Any] = {
            **_OBJECTIVES[train.task],
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows_in_leaf,
            "feature_fraction": self.feature_fraction,
            "lambda_l2": self.l2,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            **self.params,
        }
        if settings["objective"] in _OF_CLASSES:
            settings["num_class"] = len(train.classes)
        codes = [index for index, name in enumerate(train.features) if name in train.categorical]
        data = lightgbm.Dataset(
            _without_negative(train.matrix, codes),
            train.label,
            weight=train.weight,
            feature_name=names,
            categorical_feature=codes,
        )
        sets, set_names = [], []
        callbacks = [
            lambda env: report(env.iteration, {f"{s}_{m}": v for s, m, v, *_ in env.evaluation_result_list or ()})
        ]
        if valid is not None:
            known = _without_negative(valid.matrix, codes)
            sets, set_names = [lightgbm.Dataset(known, valid.label, reference=data)], ["valid"]
            if self.patience:
                callbacks.append(lightgbm.early_stopping(self.patience, verbose=False))
        try:
            booster = lightgbm.train(
                settings,
                data,
                self.rounds,
                valid_sets=sets,
                valid_names=set_names,
                callbacks=callbacks,
                init_model=str(start_from / MODEL) if start_from else None,
            )
        except lightgbm.basic.LightGBMError as error:
            raise TrainingError(
                "parameters and rows LightGBM accepts",
                f"its refusal: {error}",
                "Check `model.candidates` and the label",
            ) from error
        rounds = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
        recipe = self.model_copy(update={"rounds": rounds, "patience": None})
        return FittedTrees(_Named(booster, train.features), recipe, train.task)

    @classmethod
    def load(cls, folder: Path) -> TreePredictor:
        """Return a predictor of the text model in `folder`."""
        return TreePredictor((folder / MODEL).read_text(encoding="utf-8"))


def _without_negative(matrix: Matrix, codes: list[int]) -> Matrix:
    """Return rows with the code of an unknown category as missing.

    LightGBM takes it for that anyway, but warns of it on standard output, from threads that know no verbosity.
    """
    unknown = matrix[:, codes] < 0
    if not unknown.any():
        return matrix
    known = matrix.copy()
    known[:, codes] = np.where(unknown, np.nan, matrix[:, codes])
    return known


class _Named:
    """A booster that answers with the features' real names."""

    def __init__(self, booster: Any, features: tuple[str, ...]) -> None:  # noqa: ANN401
        self._booster, self._features = booster, features

    def feature_name(self) -> list[str]:
        return list(self._features)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._booster, name)
