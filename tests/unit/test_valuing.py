"""What rows were worth is said of those that the champion's recipe learns from, as they count there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from expectations.errors import TrainingError
from expectations.loading import LoadedUseCase, load_use_case
from tasks.backtesting.models import UnpackedModel
from tasks.modelling.boosted_trees import LightGBM
from tasks.training.learning import learn, rows_taught
from tasks.training.valuing import value_rows
from tests.unit.test_class_weights import weighed
from tests.unit.test_training import rows
from tests.unit.test_windowing import turned

Make = Callable[..., Path]
TREES = {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None}


def declared(make: Make, **changes: object) -> LoadedUseCase:
    given = {"model.candidates": [TREES], "evaluation.min_rows": 100, **changes}
    return load_use_case(str(make("rentals", changes=given)))


def champion_of(frame: pl.DataFrame, usecase: LoadedUseCase) -> UnpackedModel:
    trained = learn(frame, usecase.spec)
    return UnpackedModel(0, trained, frame["time"].max(), len(rows_taught(trained, frame, usecase.spec)))


def test_rows_that_hardly_counted_are_worth_hardly_anything(make_use_case: Make) -> None:
    usecase = declared(make_use_case, **{"model.weights": {"half_life": "3d"}})
    frame = rows(usecase, "2011-04-01").sort("time")
    found = value_rows(frame, usecase.spec, champion_of(frame, usecase))
    older = np.abs(found.values[: found.learnt // 2]).sum()
    assert 0 < older < 0.01 * np.abs(found.values).sum(), "half of them are more than ten half-lives old"


def test_of_a_window_that_was_chosen_as_many_rows_are_valued_as_the_champion_learnt_from(make_use_case: Make) -> None:
    usecase = declared(make_use_case, **{"model.window": "auto"})
    champion = champion_of(frame := turned(rows(usecase, "2011-06-01"), "2011-04-01"), usecase)
    assert champion.trained.window.last is not None
    found = value_rows(frame, usecase.spec, champion)
    assert found.learnt == champion.learnt_rows < len(frame) - found.judged_on


@pytest.mark.parametrize("name", ["scale_pos_weight", "is_unbalance", "linear_tree", "boost_from_average"])
def test_parameters_by_which_trees_begin_or_weigh_otherwise_are_refused(make_use_case: Make, name: str) -> None:
    recipe = LightGBM.model_validate({**TREES, "params": {name: 1}})
    with pytest.raises(TrainingError, match=f"found lightgbm with {name}"):
        value_rows(pl.DataFrame(), declared(make_use_case).spec, SimpleNamespace(recipe=recipe))


def test_weighed_classes_are_refused(make_use_case: Make) -> None:
    usecase = weighed(make_use_case, "balanced")
    champion = SimpleNamespace(recipe=LightGBM.model_validate(TREES))
    with pytest.raises(TrainingError, match=r"rows whose classes count alike.*found `model.weights.classes`"):
        value_rows(pl.DataFrame(), usecase.spec, champion)
