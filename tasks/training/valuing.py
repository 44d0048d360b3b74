"""Which rows helped the champion's recipe, and which did harm: by what they were worth to the newest ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from expectations.errors import TrainingError
from expectations.families import Vector
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle
from tasks.evaluation.slices import learn_cuts, parts_of
from tasks.evaluation.splits import hold_back
from tasks.modelling.boosted_trees import FittedTrees
from tasks.modelling.leaf_kernel import leaf_values
from tasks.stores.progress import part
from tasks.training.labelled import labels, learnt_by, of_known_classes, row_weights, training_window
from tasks.training.learning import fit_model

WORST_ROWS = 20
_UNKNOWN = ("objective", "boosting", "scale_pos_weight", "is_unbalance", "linear_tree", "boost_from_average")
"""LightGBM's own parameters under which rows move leaves, or trees begin, otherwise than the kernel knows."""


@dataclass(frozen=True)
class PartValue:
    """Some of the rows.

    Attributes
    ----------
    by : str
        The column that they are parted by.
    mean : float
        What a row of it lowered the mean loss by, in millionths of that loss.
    harmful : float
        Share of its rows that raised it.
    """

    by: str
    words: str
    rows: int
    mean: float
    harmful: float


@dataclass(frozen=True)
class Valued:
    """What rows were worth.

    Attributes
    ----------
    learnt, judged_on : int
        Rows that were valued, and newest ones that they were valued by.
    loss : str
        Whose mean fell or rose.
    worst : list of dict
        Keys of the rows that did most harm, with `value` in millionths of the loss, the worst first.
    values : ndarray of shape (n_learnt,)
        Of each row, in order of time.
    """

    family: str
    learnt: int
    judged_on: int
    loss: str
    worst: list[dict[str, Any]]
    parts: tuple[PartValue, ...]
    values: Vector


def value_rows(rows: pl.DataFrame, spec: UseCase, champion: Bundle) -> Valued:
    """Value the rows before the holdout by what they were worth to the holdout.

    The champion has learnt from all of them; so its recipe learns again, from the older ones alone: those of the
    declared window, or, where that is chosen as one learns, as many as the champion did.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, any)
        All ripe labelled rows, cleaned.

    Raises
    ------
    TrainingError
        If the champion is no boosted trees of an objective whose gradients are known here, classes are weighed, or
        rows are too few.
    """
    recipe = champion.recipe
    settings = recipe.model_dump()
    odd = [name for name in _UNKNOWN if name in settings.get("params", {})]
    if recipe.family != "lightgbm" or settings.get("objective") not in (None, "l2") or odd:
        found = f"{recipe.family} with {', '.join(odd)}" if odd else recipe.family
        raise TrainingError(
            "a champion of boosted trees (lightgbm) with the objective of its kind of problem",
            found if recipe.family != "lightgbm" or odd else f"the objective {settings['objective']}",
            "Rows are valued by the leaves they share; of other models nothing is known here",
        )
    if spec.model.weights is not None and spec.model.weights.classes is not None:
        raise TrainingError(
            "rows whose classes count alike, or weights of rows alone (`column`, `half_life`)",
            "`model.weights.classes`, after which probabilities are corrected",
            "Rows are valued by the trees' own probabilities; of corrected ones nothing is known here",
        )
    older, newest = hold_back(rows, spec, spec.evaluation.holdout)
    if len(newest) < spec.evaluation.min_rows:
        raise TrainingError(
            f"{spec.evaluation.min_rows} rows in the newest {spec.evaluation.holdout:.0%}",
            f"{len(newest)}",
            "Collect more, or lower `evaluation.min_rows`",
        )
    learnt = learnt_by(champion, older, spec) if spec.model.window == "auto" else training_window(older, spec)
    trained = fit_model(learnt, spec, recipe)
    if not isinstance(trained.fitted, FittedTrees):
        raise TypeError(f"{recipe.family} fits boosted trees")
    newest = of_known_classes(newest, spec, trained.classes)
    features = [(trained.program.transform(each, repaired=True), labels(each, spec, trained.classes))
                for each in (learnt, newest)]  # fmt: skip
    with part(f"valuing {len(learnt):,} rows by {len(newest):,}"):
        values = 1e6 * leaf_values(
            trained.fitted.booster,
            features[0],
            features[1],
            trees=trained.fitted.recipe.rounds,
            rate=trained.fitted.recipe.learning_rate,
            classes=len(trained.classes),
            weight=row_weights(learnt, spec, trained.classes),
            l2=trained.fitted.recipe.l2,
        )
    order = np.argsort(values, kind="stable")[:WORST_ROWS]
    keys = learnt.select(spec.keys)[order.tolist()].with_columns(value=pl.Series(values[order]))
    loss = "log loss" if spec.problem.classifies else "half the squared error"
    parts = tuple(_parts(learnt, spec, values))
    return Valued(recipe.family, len(learnt), len(newest), loss, keys.to_dicts(), parts, values)


def _parts(rows: pl.DataFrame, spec: UseCase, values: Vector) -> Iterator[PartValue]:
    if spec.timed:
        months = rows[spec.time_column].dt.strftime("%Y-%m")
        for month in months.unique().sort():
            yield _part("month", month, (months == month).to_numpy(), values)
    declared = [name for name in spec.monitoring.slices if name in rows.columns and name not in spec.personal]
    for name, cuts in learn_cuts(rows, declared).items():
        for words, mask in parts_of(rows[name], cuts):
            if mask.any():
                yield _part(name, words, mask, values)


def _part(by: str, words: str, mask: np.ndarray[Any, np.dtype[np.bool_]], values: Vector) -> PartValue:
    some = values[mask]
    return PartValue(by, words, len(some), float(some.mean()), float((some < 0).mean()))
