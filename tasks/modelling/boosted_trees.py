"""LightGBM as a model family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Report, Rows, Scores, StopsEarly, Task
from expectations.fields import Positive
from expectations.problems import problem_of
from tasks.modelling.fewer_trees import FewerTrees
from tasks.modelling.importance import shares
from tasks.modelling.lightgbm_names import NamedBooster, directed, first_loss, loss_of, unknown_parameters
from tasks.modelling.native_trees import allow_threads
from tasks.modelling.predictors import TreePredictor
from tasks.modelling.processors import available_processors

MODEL = "model.txt"
_OF_CLASSES = ("multiclass", "multiclassova")
_OBJECTIVES = {
    "binary_classification": {"objective": "binary"},
    "multiclass_classification": {"objective": "multiclass"},
    "regression": {"objective": "regression"},
}
_OBJECTIVE_NAMES = {
    "l2": "regression",
    "l1": "regression_l1",
    "huber": "huber",
    "poisson": "poisson",
    "quantile": "quantile",
}
_WITH_ALPHA = ("huber", "quantile")
_NEVER_MONOTONE = ("l1", "quantile")
"""LightGBM sets their leaves anew from the rows in them."""


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
    """Gradient-boosted trees of LightGBM, its ideas in plain words; `params` passes its own on.

    A regression may have another `objective`: `l1` for the median, `huber` where some labels are far off, `poisson` for
    counts, `quantile` for the value that a share `alpha` of labels lies below. `monotone` says of features that more of
    them can only raise a prediction (1) or lower it (-1), all others being equal. It takes as many threads as the
    container may use.
    """

    examples: ClassVar = (
        {"family": "lightgbm", "rounds": 40, "leaves": 7},
        {"family": "lightgbm", "rounds": 20, "patience": None, "params": {"boosting": "goss"}},
        {"family": "lightgbm", "rounds": 20, "monotone": {"x": 1, "y": -1}, "row_fraction": 0.8, "l1": 0.1},
        {"family": "lightgbm", "rounds": 20, "objective": "quantile", "alpha": 0.9},
        {"family": "lightgbm", "rounds": 20, "compress": {"to": "fewer_trees", "max_loss": 0.01}},
    )
    weighs: ClassVar = True
    family: Literal["lightgbm"]
    rounds: Annotated[int, Field(ge=1)] = 200
    learning_rate: Positive = 0.1
    leaves: Annotated[int, Field(ge=2)] = 31
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the features that a tree is drawn."""
    row_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the rows that a tree is drawn."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """What a split has to lower the loss by."""
    objective: Literal["l2", "l1", "huber", "poisson", "quantile"] | None = None
    """Of a regression; null is `l2`."""
    alpha: Positive | None = None
    """The share of `quantile`, or the error from which on `huber` counts it plainly and not squared."""
    monotone: dict[str, Literal[-1, 1]] = Field({})
    compress: FewerTrees | None = None
    """Whether the last trees are left out; the model is then judged as any other."""
    patience: Annotated[int, Field(ge=1)] | None = 20
    """Rounds without progress before training stops; null trains all rounds."""
    params: dict[str, float | int | str | bool] = Field({})

    def misfits(self, task: Task) -> dict[str, str]:
        """Return its name where it has no objective for a task, and what LightGBM would refuse or pass over."""
        if task not in _OBJECTIVES:
            return {"family": f"lightgbm has no objective for {task}"}
        found: dict[str, str] = {}
        problem = problem_of(task)
        if self.objective is not None and problem.classifies:
            found["objective"] = f"{self.objective} is one of regressions; leave it out"
        if self.objective is not None and "objective" in self.params:
            found["params.objective"] = f"`objective` says {self.objective}; leave out one of them"
        if self.objective == "quantile" and not (self.alpha is not None and self.alpha < 1):
            found["alpha"] = "say which quantile, between 0 and 1: 0.9 is the value that nine of ten labels lie below"
        if self.alpha is not None and self.objective not in _WITH_ALPHA:
            found["alpha"] = f"it is for the objectives {' and '.join(_WITH_ALPHA)}; leave it out"
        if self.monotone and problem.classifies and not problem.has_threshold:
            found["monotone"] = "each class has a score of its own, so that no probability would be; leave it out"
        elif self.monotone and self.objective in _NEVER_MONOTONE:
            found["monotone"] = f"LightGBM cannot with {self.objective}; take another objective, or leave it out"
        if self.compress is not None and self.params.get("boosting") == "dart":
            found["compress"] = "trees of dart are weighed by those after them; leave it out"
        return found | {f"params.{name}": why for name, why in unknown_parameters(self.params).items()}

    def takes_as_numbers(self) -> dict[str, tuple[str, ...]]:
        """Return the features that are to be monotone."""
        return {"monotone": tuple(self.monotone)}

    @property
    def stops_early(self) -> bool:
        """Whether a lack of progress ends it, or its last trees are left out."""
        return self.patience is not None or self.compress is not None

    def settled(self) -> Self:
        """Return it without patience, and with all its trees."""
        return self.model_copy(update={"patience": None, "compress": None})

    @property
    def length(self) -> int:
        """Its rounds."""
        return self.rounds

    def shortened(self) -> Self:
        """Return it with ten rounds."""
        return self.model_copy(update={"rounds": 10})

    def progress(self, values: Mapping[str, float]) -> float | None:
        """Return the first validation metric, smaller where it is better."""
        found = next(((name[6:], value) for name, value in values.items() if name.startswith("valid_")), None)
        if found is None:
            return None
        name, value = found
        return loss_of(name, value)

    def continues(self, earlier: Family) -> bool:
        """Whether the earlier trees were learnt by the same objective."""
        return (
            isinstance(earlier, LightGBM)
            and (self.objective, self.alpha) == (earlier.objective, earlier.alpha)
            and self.params.get("objective") == earlier.params.get("objective")
            and "dart" not in (self.params.get("boosting"), earlier.params.get("boosting"))
        )

    def part(self, share: float) -> Self:
        """Return it with a share of its rounds."""
        return self.model_copy(update={"rounds": max(1, round(share * self.rounds))})

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedTrees:
        """Learn trees; see `Family.fit`. `start_from` adds trees to those of an earlier bundle."""
        import lightgbm

        names = [f"f{index}" for index in range(len(train.features))]  # LightGBM refuses some characters in names
        settings: dict[str, Any] = {
            **_OBJECTIVES[train.task],
            **self._chosen(train),
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows_in_leaf,
            "feature_fraction": self.feature_fraction,
            "lambda_l1": self.l1,
            "lambda_l2": self.l2,
            "min_gain_to_split": self.min_gain,
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
        sets, set_names, losses = [], [], list[float]()
        callbacks = [
            lambda env: report(env.iteration, {f"{s}_{m}": v for s, m, v, *_ in env.evaluation_result_list or ()})
        ]
        if valid is not None:
            known = _without_negative(valid.matrix, codes)
            sets, set_names = [lightgbm.Dataset(known, valid.label, weight=valid.weight, reference=data)], ["valid"]
            callbacks.append(lambda env: losses.append(first_loss(env.evaluation_result_list)))
            if self.patience:
                stop = lightgbm.early_stopping(self.patience, verbose=False)
                callbacks.append(
                    lambda env: stop(replace(env, evaluation_result_list=directed(env.evaluation_result_list)))
                )
        allow_threads(available_processors())
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
                f"its refusal: {str(error).strip()}",
                "Check `model.candidates` and the label",
            ) from error
        rounds = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
        if self.compress is not None and start_from is None and len(losses) >= rounds:  # losses count the new trees
            rounds = self.compress.length(losses, rounds)
        recipe = self.settled().model_copy(update={"rounds": rounds})
        return FittedTrees(NamedBooster(booster, train.features), recipe, train.task)

    def _chosen(self, rows: Rows) -> dict[str, Any]:
        """Return LightGBM's settings for what is declared and need not be.

        Raises
        ------
        TrainingError
            If a category is to be monotone, at which LightGBM would end the process.
        """
        unordered = sorted(self.monotone.keys() & set(rows.categorical))
        if unordered:
            raise TrainingError(
                "numbers where `monotone` names a feature",
                f"codes of categories in {', '.join(unordered)}",
                "Take them out of `monotone`, or make them numbers in `features`",
            )
        found: dict[str, Any] = {}
        if self.objective is not None:
            found["objective"] = _OBJECTIVE_NAMES[self.objective]
        if self.alpha is not None:
            found["alpha"] = self.alpha
        if self.row_fraction < 1:
            found |= {"bagging_fraction": self.row_fraction, "bagging_freq": 1}
        if self.monotone:  # one that `select` left out binds nothing
            found["monotone_constraints"] = [self.monotone.get(name, 0) for name in rows.features]
        return found

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
