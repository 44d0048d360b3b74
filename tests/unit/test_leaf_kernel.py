"""Rows are worth what the loss of unseen rows falls by, and wrong labels are worth least."""

from __future__ import annotations

import numpy as np
import pytest

from expectations.families import Rows
from expectations.slots import FAMILIES
from tasks.modelling.boosted_trees import FittedTrees
from tasks.modelling.leaf_kernel import leaf_values


def fitted(
    matrix: np.ndarray, label: np.ndarray, classes: int, weight: np.ndarray | None = None, **changes: object
) -> FittedTrees:
    task = ("regression", "", "binary_classification", "multiclass_classification")[min(classes, 3)]
    settings = {"family": "lightgbm", "rounds": 30, "leaves": 7, "patience": None, **changes}
    recipe = FAMILIES.released("lightgbm").model_validate(settings)
    names = tuple(f"f{at}" for at in range(matrix.shape[1]))
    rows = Rows(matrix, label, names, (), task, tuple(map(str, range(classes))), weight)
    return recipe.fit(rows, None, seed=1, report=lambda *_: None)


@pytest.mark.parametrize("l2", [0.0, 5.0])
@pytest.mark.parametrize("weighed", [False, True])
def test_of_one_tree_it_is_the_slope_of_the_unseen_loss_by_the_rows_weight(weighed: bool, l2: float) -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(200, 2))
    label = matrix[:, 0] + random.normal(0, 0.3, 200)
    learnt, unseen = (matrix[:120], label[:120]), (matrix[120:], label[120:])
    rate = 0.001  # small: the gradient is that before the tree
    counted = random.choice([0.05, 1.95], 120) if weighed else np.ones(120)
    weight = counted if weighed else None
    model = fitted(*learnt, classes=0, weight=weight, rounds=1, learning_rate=rate, l2=l2)
    found = leaf_values(model.booster, learnt, unseen, trees=1, rate=rate, classes=0, weight=weight, l2=l2)
    mine, theirs = (model.booster.predict(rows, pred_leaf=True).ravel().astype(int) for rows, _ in (learnt, unseen))
    start = np.average(learnt[1], weights=counted)

    def loss(weight: np.ndarray) -> float:
        leaf = np.bincount(mine, weight * (learnt[1] - start)) / (np.bincount(mine, weight) + l2)
        return float(np.mean((start + rate * leaf[theirs] - unseen[1]) ** 2) / 2)

    for row in (0, 7, 50):
        nudged = counted.copy()
        nudged[row] *= 1.01
        assert found[row] == pytest.approx((loss(counted) - loss(nudged)) / 0.01, rel=0.02)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_a_row_of_weight_two_is_worth_what_two_of_it_are_and_one_of_none_is_worth_nothing(classes: int) -> None:
    random = np.random.default_rng(2)
    matrix = random.normal(size=(900, 3))
    label = np.digitize(matrix[:, 0] + random.normal(0, 0.5, 900), [-0.5, 0.5] if classes == 3 else [0.8]).astype(float)
    times = random.integers(0, 3, 600)
    learnt, unseen = (matrix[:600], label[:600]), (matrix[600:], label[600:])
    several = np.repeat(learnt[0], times, axis=0), np.repeat(learnt[1], times)
    booster = fitted(*several, classes=classes, l2=1.0).booster
    settings = {"trees": 30, "rate": 0.1, "classes": classes, "l2": 1.0}
    found = leaf_values(booster, learnt, unseen, weight=times.astype(float), **settings)
    each = leaf_values(booster, several, unseen, **settings)
    np.testing.assert_allclose(found, np.bincount(np.repeat(np.arange(600), times), each, 600), rtol=1e-9, atol=1e-15)


def test_where_wrong_rows_hardly_counted_those_that_counted_are_worth_something() -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(900, 2))
    label = matrix[:, 0] + random.normal(0, 0.3, 900)
    wrong = np.arange(600) % 2 == 0
    learnt, unseen = (matrix[:600], label[:600] + 8 * wrong), (matrix[600:], label[600:])
    weight = np.where(wrong, 0.05, 1.95)
    model = fitted(*learnt, classes=0, weight=weight)
    found = leaf_values(model.booster, learnt, unseen, trees=30, rate=0.1, classes=0, weight=weight)
    assert found[~wrong].sum() > 0 > found[wrong].sum()


@pytest.mark.parametrize("classes", [2, 3])
def test_of_flipped_labels_most_are_among_those_that_are_worth_least(classes: int) -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(4000, 4))
    truth = np.digitize(matrix[:, 0] + 0.5 * matrix[:, 1], [-0.5, 0.5] if classes == 3 else [0.0]).astype(float)
    flipped = random.random(4000) < 0.1
    label = np.where(flipped, (truth + 1) % classes, truth)
    learnt, unseen = (matrix[:2800], label[:2800]), (matrix[2800:], label[2800:])
    model = fitted(*learnt, classes=classes)
    found = leaf_values(model.booster, learnt, unseen, trees=30, rate=0.1, classes=classes)
    worst = np.argsort(found)[: round(0.15 * 2800)]
    assert flipped[:2800][worst].sum() / flipped[:2800].sum() >= 0.8
    assert found[~flipped[:2800]].mean() > 0 > found[flipped[:2800]].mean()
