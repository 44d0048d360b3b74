"""Calibrated probabilities are met, thresholds follow what errors cost, and both reach the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.isotonic import IsotonicRegression

from expectations.calibration import Calibrator
from expectations.errors import TrainingError, UseCaseError
from expectations.families import Scores, Vector
from expectations.gates import CrossValidation
from expectations.loading import load_use_case
from expectations.metrics import Scored
from expectations.production import Costs
from expectations.slots import CALIBRATIONS
from expectations.windows import Window
from tasks.bundles.row_frames import jsonable
from tasks.evaluation.metrics import score
from tasks.modelling.calibrated import CALIBRATION, CalibratedPredictor
from tasks.monitoring import measuring
from tasks.training import contest as contests
from tasks.training import cross_validation, learning
from tasks.training.judging import judge
from tests.conftest import instant
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
BINARY = ("0", "1")
CLASSIFIER = {
    "task": "binary_classification",
    "label": {"column": "busy", "expression": "bikers > 150", "available_after": "1h"},
    "forbidden": ["bikers", "casual", "registered"],
    "model.candidates": [{"family": "lightgbm", "rounds": 40, "leaves": 31, "patience": None, "min_rows_in_leaf": 2}],
    "gates": [{"metric": "roc_auc", "min": 0.5}],
    "monitoring.performance": [{"metric": "log_loss", "drop": 0.1}],
}


def learn(name: str, scores: Scores, label: Vector, classes: tuple[str, ...] = BINARY) -> Calibrator:
    return CALIBRATIONS.released(name).model_validate({}).fit(scores, label, classes)


def overconfident(count: int = 20_000) -> tuple[Scores, Vector]:
    """Log-odds three times too large, and moved."""
    random = np.random.default_rng(0)
    true = random.normal(0, 1, count)
    label = (random.random(count) < 1 / (1 + np.exp(-true))).astype(np.float64)
    return 1 / (1 + np.exp(-(3 * true + 1))), label


def test_platt_finds_how_far_log_odds_were_stretched_and_moved() -> None:
    found: Any = learn("platt", *overconfident())
    assert found.slope == pytest.approx(1 / 3, abs=0.01)
    assert found.intercept == pytest.approx(-1 / 3, abs=0.03)


def test_temperature_finds_how_far_scores_were_stretched_of_two_classes_and_of_three() -> None:
    random = np.random.default_rng(0)
    true = random.normal(0, 1, (20_000, 3))
    label = np.argmax(true + random.gumbel(size=true.shape), axis=1).astype(np.float64)
    stretched = np.exp(2.5 * true) / np.exp(2.5 * true).sum(axis=1, keepdims=True)
    three: Any = learn("temperature", stretched, label, ("a", "b", "c"))
    assert three.temperature == pytest.approx(2.5, rel=0.03)
    np.testing.assert_allclose(three.many(stretched).sum(axis=1), 1.0)
    two: Any = learn("temperature", 1 / (1 + np.exp(-2.5 * (true[:, 1] - true[:, 0])))[label < 2], label[label < 2])
    assert two.temperature == pytest.approx(2.5, rel=0.05)


def test_isotonic_is_scikit_learns_curve_within_its_bounds() -> None:
    scores, label = overconfident(2000)
    theirs = IsotonicRegression(y_min=1 / 2002, y_max=1 - 1 / 2002, out_of_bounds="clip").fit(scores, label)
    asked = np.linspace(0, 1, 5001)
    np.testing.assert_allclose(learn("isotonic", scores, label).many(asked), theirs.predict(asked), atol=1e-12)


@pytest.mark.parametrize("name", ["platt", "isotonic", "temperature"])
def test_calibrated_probabilities_are_met(name: str) -> None:
    scores, label = overconfident()
    found = learn(name, scores[:10_000], label[:10_000]).many(scores[10_000:])
    truth = label[10_000:]
    assert score("log_loss", Scored(truth, found)) < score("log_loss", Scored(truth, scores[10_000:])) - 0.1
    sure = found > 0.8
    assert found[sure].mean() == pytest.approx(truth[sure].mean(), abs=0.08)


@pytest.mark.parametrize("name", ["platt", "isotonic", "temperature"])
def test_rows_of_one_class_calibrate_nothing(name: str) -> None:
    with pytest.raises(TrainingError, match="all 2 classes to calibrate by; found rows of 1 among the 50"):
        learn(name, np.full(50, 0.3), np.zeros(50))


@pytest.mark.parametrize("name", ["platt", "isotonic", "temperature"])
def test_many_rows_are_calibrated_as_each_is_to_the_last_bit(name: str) -> None:
    scores, label = overconfident(3000)
    found = learn(name, scores, label)
    odd = np.array([0.0, -0.0, 1.0, 5e-324, 1e-16, 1 - 1e-16, np.nan, -0.5, 1.5, np.inf, *scores[:20]])
    asked = np.concatenate([odd, np.random.default_rng(1).random(5000), getattr(found, "given", ())])
    np.testing.assert_array_equal(found.many(asked), np.array([found.one(each) for each in asked.tolist()]))
    assert found.many(np.empty(0)).shape == (0,)
    if name == "temperature":
        random = np.random.default_rng(2)
        several = random.dirichlet([0.05, 1.0, 3.0], 5000)
        several[:3] = [[0.0, 0.0, 1.0], [np.nan, 0.5, 0.5], [0.5, np.inf, 0.5]]
        expected = np.array([found.one(each) for each in several.tolist()])
        np.testing.assert_array_equal(found.many(several), expected)
        assert found.many(several[:0]).shape == (0, 3)


@pytest.mark.parametrize("held", [True, False])
def test_a_calibrated_model_holds_the_interpreter_where_what_it_calibrates_does(held: bool) -> None:
    class Answers:
        holds_interpreter, explains, method = held, "prediction", ""

    assert CalibratedPredictor(Answers(), learn("platt", *overconfident(200))).holds_interpreter is held  # type: ignore[arg-type]


def test_no_row_is_judged_by_a_calibration_that_saw_it(make_use_case: Make) -> None:
    from tasks.training.calibrating import calibrate_out_of_fold

    changes = {**CLASSIFIER, "model.calibration": "isotonic"}
    spec = load_use_case(str(make_use_case(changes=changes))).spec
    gained: list[tuple[float, float]] = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        scores, label = random.random(120), (random.random(120) < 0.4).astype(np.float64)  # nothing to learn
        apart, judges = calibrate_out_of_fold(spec, scores, label, BINARY)
        assert judges.all()
        least = score("log_loss", Scored(label, np.full(120, label.mean())))
        both = learn("isotonic", scores, label).many(scores), apart
        gained.append(tuple(least - score("log_loss", Scored(label, each)) for each in both))  # type: ignore[arg-type]
    flattered, honest = np.mean(gained, axis=0)
    assert flattered > 0.015  # than which nobody who knows nothing can be better
    assert honest < 0
    alone = np.zeros(120)
    alone[7] = 1.0
    kept = calibrate_out_of_fold(spec, scores, alone, BINARY)[1]
    assert np.flatnonzero(~kept).tolist() == [7]
    with pytest.raises(TrainingError, match="2 rows, each the only one of its class"):  # its metric was no number
        calibrate_out_of_fold(spec, scores[:2], np.array([0.0, 1.0]), BINARY)
    plain = spec.model_copy(update={"model": spec.model.model_copy(update={"calibration": None})})
    assert calibrate_out_of_fold(plain, scores, label, BINARY)[0] is scores


def test_a_threshold_follows_what_errors_cost_and_costs_least_of_all() -> None:
    scores, label = overconfident()
    honest = learn("platt", scores, label).many(scores)

    def paid(threshold: float) -> float:
        called = honest >= threshold
        return float((called & (label == 0)).sum() + 8 * (~called & (label == 1)).sum()) / len(label)

    grid = np.linspace(0.02, 0.98, 97)
    assert paid(1 / 9) <= min(map(paid, grid.tolist())) * 1.01
    assert score("cost", Scored(label, honest, 1 / 9)) == pytest.approx(paid(1 / 9) / 9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exact"), [("platt", True), ("isotonic", False)])
def test_the_calibration_is_the_last_step_of_the_bundle(
    make_use_case: Make, tmp_path: Path, name: str, exact: bool
) -> None:
    costs = {"false_positive": 1, "false_negative": 8}
    usecase = load_use_case(str(make_use_case(changes={**CLASSIFIER, "model.calibration": name, "costs": costs})))
    frame = rows(usecase, "2011-04-01")
    bundle, judged, again = released(usecase, frame, tmp_path / "bundle")
    assert judged.trained is not None
    assert judged.trained.calibrator is not None
    assert judged.judgement.metrics["cost"] == score(
        "cost", Scored(judged.scored["challenger"].label, judged.scored["challenger"].prediction, 1 / 9)
    )
    assert bundle.manifest.threshold == pytest.approx(1 / 9)
    assert CALIBRATION in bundle.manifest.files
    predictor = bundle.predictor
    assert isinstance(predictor, CalibratedPredictor)
    matrix = bundle.program.transform(frame.tail(40))
    found = bundle.predict(frame.tail(40))
    np.testing.assert_array_equal(found, again.trained.predict(frame.tail(40), repaired=False))
    executor = bundle.program.compile()
    assert [predictor.predict_row(executor.one(row)) for row in jsonable(frame.tail(40))] == found.tolist()
    assert np.abs(found - predictor.predictor.predict(matrix)).max() > 0.01
    added = predictor.contributions(matrix[:3]).sum(axis=-1)
    assert (predictor.explains == "score") is exact
    np.testing.assert_allclose(1 / (1 + np.exp(-added)) if exact else added, found[:3], rtol=1e-9)


@pytest.mark.slow
def test_folds_too_short_to_calibrate_by_end_no_training(make_use_case: Make) -> None:
    changes = {**CLASSIFIER, "model.calibration": "platt", "evaluation.cross_validation": 10, "model.validation": 0.02}
    usecase = load_use_case(str(make_use_case(changes={**changes, "evaluation.min_rows": 50})))
    judged = judge(rows(usecase, "2011-04-15"), usecase.spec, None)
    assert len(judged.folds["roc_auc"]) == 10
    assert judged.trained is not None
    assert judged.trained.calibrator is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.calibration": "platt"}, "platt does not calibrate a regression; there is line"),
        ({"model.calibration": "plat"}, "did you mean 'platt'"),
        ({"costs": {"false_positive": 1, "false_negative": 2}}, "a regression has no threshold"),
        ({**CLASSIFIER, "costs": {"false_positive": 1}}, "both of false_positive and false_negative"),
        (
            {**CLASSIFIER, "costs": {"false_positive": 1, "false_negative": 2}, "evaluation.threshold": 0.4},
            "evaluation.threshold: `costs` say what errors cost",
        ),
    ],
)
def test_what_cannot_be_is_refused_before(make_use_case: Make, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UseCaseError, match=message):
        load_use_case(str(make_use_case(changes=changes)))


def test_candidates_and_folds_are_scored_as_they_would_be_released(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scored] = []
    monkeypatch.setattr(contests, "score", lambda _, scored: (seen.append(scored), 0.5)[1])
    apart, given = contests.calibrate_out_of_fold, list[tuple[Scores, Vector]]()
    monkeypatch.setattr(contests, "calibrate_out_of_fold", lambda *a: (given.append((a[1], a[2])), apart(*a))[1])
    trees = {**CLASSIFIER["model.candidates"][0], "patience": 100}  # type: ignore[index] # what it is there
    changes = {**CLASSIFIER, "model.candidates": [trees], "model.calibration": "platt"}
    usecase = load_use_case(str(make_use_case(changes=changes)))
    frame = rows(usecase, "2011-02-15")
    trained = learning.learn(frame, usecase.spec)
    (contest,) = seen
    raw = trained.calibrator
    assert raw is not None
    (scores, label), order = given[0], np.empty(len(contest.label), dtype=np.int64)
    for code in (0.0, 1.0):
        order[label == code] = np.arange((label == code).sum()) * 5 // (label == code).sum()
    for part in range(5):  # each fifth of either class by what the others teach
        held = order == part
        expected = learn("platt", scores[~held], label[~held]).many(scores[held])
        np.testing.assert_array_equal(contest.prediction[held], expected)

    class Quarter:
        name = "quarter"

        def many(self, scores: Scores) -> Scores:
            return np.full_like(scores, 0.25)

    monkeypatch.setattr(cross_validation, "score", lambda _, scored: float(scored.prediction.max()))
    asked = CrossValidation(folds=2)
    folds = cross_validation.cross_validate(frame, usecase.spec, trained.recipe, asked, Quarter())  # type: ignore[arg-type]
    assert folds["log_loss"] == [0.25, 0.25]


@pytest.mark.slow
def test_a_window_is_scored_by_the_threshold_its_rows_were_answered_with(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ScoredError(Exception):
        pass

    def scoring(*given: object) -> None:
        raise ScoredError(str(given[3]))

    costs = {"costs": {"false_positive": 1, "false_negative": 3}}
    usecase = load_use_case(str(make_use_case(changes={**CLASSIFIER, **costs})))
    champion, _, _ = released(usecase, rows(usecase, "2011-02-15"), tmp_path / "b")
    start, end = instant("2011-02-16"), instant("2011-02-17")
    answered = pl.DataFrame({"event_time": [start], "bundle": [champion.digest], "prediction": [0.3]})
    given = {"decode_rows": None, "true_labels": (pl.Series([1.0]), None), "scores_of": np.array([0.3]), "Known": None}
    for name, value in {"window_predictions": answered, **given}.items():
        monkeypatch.setattr(measuring, name, lambda *_, value=value: value)
    monkeypatch.setattr(measuring, "known_part", scoring)
    since = usecase.spec.model_copy(update={"costs": Costs()})
    assert since.threshold == 0.5
    with pytest.raises(ScoredError, match=r"^0\.25$"):
        measuring.measure(Window(start, end), since, champion, "1", None, end, {}, {}, {})  # type: ignore[arg-type]
