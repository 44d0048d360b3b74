"""What a model reached, to the width people ask for: right values, right bounds, and where people see them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from sklearn import metrics as reference

from expectations.errors import BundleError, TrainingError
from expectations.loading import load_use_case
from expectations.metrics import Scored
from flows.page.app import application
from infra.settings import Settings
from tasks.bundles.bundle import read_evaluation
from tasks.evaluation.evaluation import evaluate
from tasks.evaluation.evaluation_plots import with_intervals
from tasks.evaluation.resampling import Resamples
from tasks.stores.plain import plain
from tasks.stores.releases import Releases
from tasks.training import evaluating
from tasks.training.evaluating import evaluated, flat
from tasks.training.judging import judge
from tasks.training.learning import Trained
from tests.unit.test_page import Client
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
RANDOM = np.random.default_rng(5)
BLOCKS = np.arange(3000) // 100
LABEL = (RANDOM.random(3000) < 0.3).astype(float)
CHANCE = np.clip(LABEL * 0.3 + RANDOM.random(3000) * 0.7, 0.001, 0.999)
NAMES = ("no", "yes")


def test_every_class_has_its_recall_precision_and_f1_and_the_confusion_adds_up() -> None:
    found = evaluate(Scored(LABEL, CHANCE), ["roc_auc"], NAMES, Resamples(BLOCKS))
    precision, recall, f1, support = reference.precision_recall_fscore_support(LABEL, CHANCE >= 0.5)
    for at, each in enumerate(found.of_classes):
        assert (each.name, each.rows) == (NAMES[at], support[at])
        assert each.precision.value == pytest.approx(precision[at])
        assert each.recall.value == pytest.approx(recall[at])
        assert each.f1.value == pytest.approx(f1[at])
        assert each.f1.low < each.f1.value < each.f1.high
    assert np.array_equal(found.confusion, reference.confusion_matrix(LABEL, CHANCE >= 0.5))


def test_curves_are_those_of_all_thresholds() -> None:
    curves = evaluate(Scored(LABEL, CHANCE), [], NAMES, Resamples(BLOCKS)).curves
    area = np.trapezoid(curves["roc"].value, curves["roc"].x)
    assert area == pytest.approx(reference.roc_auc_score(LABEL, CHANCE), abs=0.005)
    assert all(low <= value <= high for low, value, high in zip(*_ends(curves["roc"]), strict=True))
    best = np.sort(CHANCE)[::-1][: len(CHANCE) // 4]
    lift = LABEL[best[-1] <= CHANCE].mean() / LABEL.mean()
    assert curves["lift"].value[9] == pytest.approx(lift, rel=0.02)  # a quarter of the rows
    assert curves["gain"].value[-1] == curves["lift"].value[-1] == pytest.approx(1.0)


def _ends(curve):
    return curve.low, curve.value, curve.high


def test_calibration_says_what_came_true_in_ranges_of_as_many_rows() -> None:
    true = (RANDOM.random(3000) < CHANCE).astype(float)
    ranges = evaluate(Scored(true, CHANCE), [], NAMES, Resamples(BLOCKS)).ranges
    assert sum(each.rows for each in ranges) == 3000
    covered = [each.observed.low <= each.predicted <= each.observed.high for each in ranges]
    assert sum(covered) >= 8
    assert {each.rows for each in ranges} == {300}


def test_residuals_show_the_range_in_which_a_regression_is_wrong() -> None:
    guess = RANDOM.normal(50, 10, 3000)
    truth = guess + RANDOM.normal(0, 1, 3000) - np.where(guess > 60, 5.0, 0.0)
    ranges = evaluate(Scored(truth, guess), ["rmse", "mape"], (), Resamples(BLOCKS)).ranges
    gaps = [each.predicted - each.observed.value for each in ranges]
    assert abs(gaps[0]) < 0.3
    assert gaps[-1] == pytest.approx(5.0, abs=0.3)
    assert ranges[-1].error is not None
    assert ranges[-1].error.value > 4


def test_a_class_never_seen_has_a_line_of_its_own() -> None:
    chances = RANDOM.dirichlet(np.ones(3), 300)
    label = RANDOM.integers(0, 4, 300).astype(float)
    found = evaluate(Scored(label, chances), ["f1_macro"], ("a", "b", "c"), Resamples(BLOCKS[:300]))
    assert found.of_classes[-1].name == "classes never seen"
    assert found.of_classes[-1].recall.value == 0
    assert np.sum(found.confusion) == 300


def test_one_class_alone_has_no_curves_and_its_area_is_not_defined() -> None:
    found = evaluate(Scored(np.ones(100), CHANCE[:100]), ["roc_auc"], NAMES, Resamples(BLOCKS[:100]))
    assert found.curves == {}
    assert math.isnan(found.metrics["roc_auc"].value)
    assert plain(found)["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}


def test_bounds_are_wider_where_errors_come_in_blocks() -> None:
    shared = np.repeat(RANDOM.normal(0, 1, 30), 100)
    truth = RANDOM.normal(0, 1, 3000)
    rows_ = Scored(truth, truth + shared)
    by_block, by_row = (Resamples(each) for each in (BLOCKS, np.arange(3000) % 200))
    wide, narrow = (each.bounded(each.metric("rmse", rows_)) for each in (by_block, by_row))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.slow
def test_a_version_keeps_its_evaluation_with_the_learning_curve_that_was_asked_for(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    usecase = load_use_case(
        str(
            make_use_case(
                changes={
                    "evaluation.learning_curve": 3,
                    "evaluation.permutation_importance": True,
                    "evaluation.effects": ["temp"],
                }
            )
        )
    )
    frame = rows(usecase, "2011-03-01")
    judged = evaluated(judge(frame, usecase.spec, None), frame, usecase.spec)
    assert judged.evaluation is not None
    curve = judged.evaluation.extra["learning_curve"]
    assert [point["rows"] for point in curve["points"]] == sorted(point["rows"] for point in curve["points"])
    assert len(curve["points"]) == 3
    shuffled = {each["input"]: each for each in judged.evaluation.extra["permutation_importance"]["inputs"]}
    assert set(shuffled) == {column.name for column in judged.trained.program.inputs}
    assert shuffled["time"]["low"] > 20  # the hour of the day is what rentals follow
    assert shuffled["time"]["low"] < shuffled["time"]["value"] < shuffled["time"]["high"]
    assert abs(shuffled["holiday"]["value"]) < 5
    assert curve["points"][-1]["value"] == pytest.approx(judged.judgement.metrics[curve["metric"]])
    assert flat(judged.evaluation)["holdout_rmse_low"] < judged.judgement.metrics["rmse"]
    figures: dict[str, Figure] = {}
    with_intervals(figures, judged.evaluation)
    assert set(figures) == {"residuals_by_range", "learning_curve", "effect_01"}
    effects = judged.evaluation.extra["effects"]
    (warmth,) = effects["found"]
    assert (warmth["input"], warmth["output"], effects["left_out"]) == ("temp", "bikers", [])
    assert warmth["points"][-1]["dependence"]["value"] > warmth["points"][0]["dependence"]["value"]

    bundle, *_ = released(usecase, frame, tmp_path / "b", judged)
    kept = read_evaluation(bundle.folder, bundle.manifest)
    assert kept is not None
    assert kept["metrics"]["mape"]["value"] == pytest.approx(judged.evaluation.metrics["mape"].value)

    settings = Settings()
    Releases(settings.folder / "releases").add("rentals", bundle.folder, bundle.digest)
    page = Client(application(settings))
    shown = page.get(f"/usecases/rentals/versions/{bundle.digest}")
    assert shown.status_code == 200
    for said in (
        "Permutation importance",
        "Effect of temp on bikers",
        "Learning curve",
        "Residuals by predicted value",
        "median_absolute_error",
        "its holdout",
    ):
        assert said in shown.text
    assert page.get(f"/usecases/rentals/versions/{'0' * 64}").status_code == 404
    assert page.get("/usecases/rentals/versions/..%2f..").status_code == 404
    (bundle.folder / "evaluation.json").write_text(json.dumps({**kept, "rows": 1}))
    with pytest.raises(BundleError, match="another content"):
        read_evaluation(bundle.folder, bundle.manifest)


def test_a_point_of_the_learning_curve_that_cannot_be_learnt_is_left_out_and_ends_nothing(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    usecase = load_use_case(str(make_use_case(changes={"evaluation.learning_curve": 3})))
    frame = rows(usecase, "2011-02-15")
    judged = judge(frame, usecase.spec, None)
    real, given = evaluating.fit_recipe, []

    def fit(some: pl.DataFrame, *others: Any) -> Trained:
        given.append(len(some))
        if len(given) == 1:
            raise TrainingError("rows of all 2 classes to calibrate by", "rows of 1", "Raise `model.validation`")
        return real(some, *others)

    monkeypatch.setattr(evaluating, "fit_recipe", fit)
    found = evaluated(judged, frame, usecase.spec).evaluation
    assert found is not None
    curve = found.extra["learning_curve"]
    assert len(curve["points"]) == 2
    (left,) = curve["left_out"]
    assert left["rows"] == given[0]
    assert "rows of all 2 classes to calibrate by" in left["why"]
