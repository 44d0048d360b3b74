"""Rows count by weight where a model learns, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from expectations.errors import TrainingError, UseCaseError
from expectations.families import Family, Rows
from expectations.loading import LoadedUseCase, load_use_case
from tasks.collection.expected_types import expected_of
from tasks.collection.joining import join_sources
from tasks.modelling.boosted_trees import LightGBM
from tasks.modelling.torch_mlp import TorchMLP
from tasks.training.labelled import row_weights
from tasks.training.learning import learn
from tests.conftest import instant, needs_torch

Make = Callable[..., Path]


def weighed(make: Make, **weights: str) -> LoadedUseCase:
    return load_use_case(str(make(changes={"model.weights": weights})))


def test_a_row_a_half_life_older_counts_half(make_use_case: Make) -> None:
    newest = instant("2011-03-01")
    ages = [timedelta(days=60), timedelta(days=30), timedelta(0), timedelta(days=15)]
    frame = pl.DataFrame({"time": [newest - age for age in ages], "trips": [4, 1, 0, 2]})
    by_age = np.array([0.25, 0.5, 1.0, 0.5**0.5])
    np.testing.assert_allclose(
        row_weights(frame, weighed(make_use_case, half_life="30d").spec), by_age / by_age.mean(), rtol=1e-15
    )


def test_a_row_counts_for_the_number_in_its_column(make_use_case: Make) -> None:
    frame = pl.DataFrame({"time": [instant("2011-03-01")] * 4, "trips": [4, 1, 0, 3]})
    usecase = weighed(make_use_case, column="trips")
    np.testing.assert_array_equal(row_weights(frame, usecase.spec), [2, 0.5, 0, 1.5])
    expected = expected_of(usecase.spec, {})
    assert "trips" in expected.needed
    assert expected.types["trips"] == "number"
    for wrong in ([1.0, None, 2.0, 3.0], [1.0, -1.0, 2.0, 3.0], [1.0, float("nan"), 2.0, 3.0], ["1", "x", "2", "3"]):
        with pytest.raises(TrainingError, match="a weight from 0 on in trips of every training row; found 1 of 4"):
            row_weights(frame.with_columns(trips=pl.Series(wrong)), usecase.spec)
    with pytest.raises(TrainingError, match="a mean above 0"):
        row_weights(frame.with_columns(trips=pl.lit(0)), usecase.spec)


FAMILIES = [
    LightGBM(family="lightgbm", rounds=100, learning_rate=0.3, leaves=2, patience=None),
    pytest.param(
        TorchMLP(family="torch.mlp", hidden=(8,), epochs=100, batch_size=200, learning_rate=0.05, patience=None),
        marks=needs_torch,
    ),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_learns_shares_by_weight(family: Family) -> None:
    side, label = (np.tile(values, 200) for values in ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]))
    weight = np.where(side == label, 0.5, 1.5)
    matrix = np.column_stack([side, np.zeros(len(side))])
    given = Rows(matrix, label, ("side", "none"), (), "binary_classification", weight=weight)
    fitted = family.fit(given, None, seed=0, report=lambda *_: None)
    np.testing.assert_allclose(fitted.predict(matrix[[0, 2]]), [0.75, 0.25], atol=0.02)


def test_what_is_learnt_of_newer_rows_is_told_apart_and_scores_are_of_all_rows_alike(make_use_case: Make) -> None:
    usecase = weighed(make_use_case, half_life="7d")
    frame = join_sources(usecase, since=None, until=instant("2011-03-01"), secret=b"k").rows
    alike = usecase.spec.model_copy(update={"model": usecase.spec.model.model_copy(update={"weights": None})})
    errors = {}
    for name, spec in (("weighed", usecase.spec), ("alike", alike)):
        error = np.abs(learn(frame, spec).predict(frame, repaired=True) - frame["bikers"].to_numpy())
        old = (frame["time"] < instant("2011-01-15")).to_numpy()
        errors[name] = error[old].mean(), error[~old].mean()
    assert errors["weighed"][0] > errors["alike"][0]


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "needs column, half_life or classes"),
        ({"classes": "balanced"}, r"weights\.classes: a regression has no classes to weigh"),
        ({"column": "bikers"}, "the label bikers cannot weigh its own row"),
        ({"column": "user"}, "user is under `personal`"),
    ],
)
def test_weights_that_cannot_be_are_refused(make_use_case: Make, weights: dict[str, str], words: str) -> None:
    with pytest.raises(UseCaseError, match=words):
        load_use_case(str(make_use_case(changes={"model.weights": weights, "personal": {"user": "hash"}})))


def test_a_family_that_knows_no_weights_is_refused(make_use_case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LightGBM, "weighs", False)
    with pytest.raises(UseCaseError, match=r"candidates\.0\.family: lightgbm knows no `model\.weights`"):
        weighed(make_use_case, half_life="30d")
