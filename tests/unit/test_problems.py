"""Kinds of problems: labels as words, scores of several classes, and what becomes of a class never seen."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from expectations.data import Label
from expectations.errors import BundleError, DriftwheelError, SourceError, TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import LoadedUseCase, load_use_case
from expectations.metrics import Scored
from expectations.problems import ScoreMeaning, problem_of, to_column, to_scores
from infra.serving.models import check_signature
from tasks.bundles.manifest import Manifest
from tasks.bundles.served_rows import scores_of
from tasks.cleaning.repair import repair
from tasks.collection.joining import join_sources
from tasks.deployment.scoring import predict_frame
from tasks.evaluation.metrics import resampled, score
from tasks.modelling.boosted_trees import LightGBM
from tasks.training.judging import judge, refit
from tasks.training.packing import pack
from tests.conftest import instant, known_by

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"
BINARY, SEVERAL = problem_of("binary_classification"), problem_of("multiclass_classification")
METRICS = ("log_loss", "brier", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr")
PERFORMANCE = [{"metric": "log_loss", "drop": 0.1, "versus": "best"}]
BINARY_BUNDLE = Manifest(
    usecase="u", title="t", task="binary_classification", label="y", clock="time", keys=("time",), columns=(),
    family="lightgbm", recipe={}, cutoff=datetime(2024, 1, 1, tzinfo=UTC), rows=1, data_version=0, data_hash="",
    usecase_digest="", commit="", metrics={},
)  # fmt: skip
RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(0, 3, 600).astype(np.float64)
CHANCES = RANDOM.dirichlet([1, 1, 1], 600) * 0.7 + 0.3 * np.eye(3)[TRUTH.astype(int)]


def label(**fields: object) -> Label:
    return Label.model_validate({"column": "y", **fields})


def write_sky(folder: Path, changes: dict[str, object] | None = None) -> LoadedUseCase:
    """Write the use case that the docs show."""
    shown = re.findall(r"```yaml\n(name: sky.*?)```", PAGE.read_text(), re.DOTALL)[0]
    data = {**yaml.safe_load(shown), **(changes or {})}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "usecase.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    (folder / "suite.yaml").write_text("[]")
    return load_use_case(str(folder))


def sky_rows(usecase: LoadedUseCase, until: datetime) -> pl.DataFrame:
    rows = join_sources(usecase, since=None, until=until, secret=b"x").rows.sort("time")
    return repair(rows, usecase.spec.cleaning, usecase.spec.keys)[0]


def test_two_words_are_a_binary_label_the_positive_one_last() -> None:
    rules = label(positive="Yes")
    kept = BINARY.read(pl.Series("y", ["No", "Yes", None]), rules)
    classes = BINARY.classes(kept, rules)
    assert classes == ("No", "Yes")
    np.testing.assert_array_equal(BINARY.codes(kept, classes), [0.0, 1.0, np.nan])
    answers = ScoreMeaning("y", classes=classes, threshold=0.3)
    assert list(BINARY.decide(np.array([0.2, 0.4]), answers)) == ["No", "Yes"]
    assert [BINARY.take(sent, answers) for sent in ("Yes", "No", 1, "yes", 2)] == [1.0, 0.0, 1.0, None, None]


@pytest.mark.parametrize(
    ("classes", "sent", "taken"),
    [
        (("1", "2"), [1, 2, 1.0, 2.0, "1", "2"], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        (("1", "2"), [0, False, True, 1.5], [None] * 4),
        (("2", "3"), [0, 1, 3], [None, None, 1.0]),
        (("1", "0"), [0, 1, False, True], [1.0, 0.0, None, None]),
        (("true", "false"), [False, True, "false", 0, 1], [1.0, 0.0, 1.0, None, None]),
        (("false", "true"), [False, True, 0, 1], [0.0, 1.0, 0.0, 1.0]),
        (("False", "True"), [False, True, 0, 1], [0.0, 1.0, 0.0, 1.0]),
        (("True", "False"), [False, True, 0, 1], [None] * 4),
        (("No", "Yes"), [0, 1, False, True, 2], [0.0, 1.0, 0.0, 1.0, None]),
    ],
)
def test_a_label_that_is_a_class_by_name_is_no_code(classes: tuple[str, str], sent: list, taken: list) -> None:
    assert [BINARY.take(value, ScoreMeaning("y", classes=classes)) for value in sent] == taken


def test_whole_numbers_booleans_and_spellings_are_taken_as_sources_are_read() -> None:
    answers = ScoreMeaning("y", classes=("-1", "2", "true"), spellings={"yes": "true", "3": "2"})
    sent = [2.0, 2, -1.0, True, "yes", 3, 3.0, False, 1.5, float("nan"), float("inf"), None, [2]]
    assert [SEVERAL.take(value, answers) for value in sent[:7]] == ["2", "2", "-1", "true", "true", "2", "2"]
    assert [SEVERAL.take(value, answers) for value in sent[7:]] == [None] * 6
    assert SEVERAL.label_schema(answers)["enum"] == ["-1", "2", "true", "yes", "3", -1, 2, True, 3]
    spelt = ScoreMeaning("y", classes=("No", "Yes"), spellings={"1": "No", "2": "Yes", "y": "Yes"})
    assert [BINARY.take(value, spelt) for value in (1, 2, "y", 0)] == [0.0, 1.0, 1.0, 0.0]


def test_a_row_without_a_prediction_has_no_scores() -> None:
    some = pl.Series([None, [0.25, 0.75], None], dtype=pl.List(pl.Float64))
    np.testing.assert_array_equal(to_scores(some), [[np.nan] * 2, [0.25, 0.75], [np.nan] * 2])
    assert np.isnan(to_scores(some.head(1))).all()
    with pytest.raises(ValueError, match="inhomogeneous"):
        to_scores(pl.Series([[0.5, 0.5], [1.0], None]))
    bundles = pl.Series(["one", "two", "one"])
    classes = {"one": ("b", "a"), "two": ("a", "b")}
    found = scores_of(some, bundles, classes, ("a", "b"), SEVERAL)
    np.testing.assert_array_equal(found, [[np.nan] * 2, [0.25, 0.75], [np.nan] * 2])


def test_a_bundle_of_another_positive_or_negative_class_is_refused_by_both() -> None:
    now = BINARY_BUNDLE.model_copy(update={"classes": ("No", "Yes")})
    for classes, found in ((("Never", "Yes"), "'Yes' .and not 'Never'."), (("Yes", "No"), "'No' .and not 'Yes'.")):
        with pytest.raises(BundleError, match=f"probability of {found}, and that of 'Yes' .and not 'No'. is served"):
            check_signature(now, now.model_copy(update={"classes": classes}))
    check_signature(now, now)


@pytest.mark.parametrize(
    ("values", "rules", "found"),
    [
        (["No", "Yes", "Maybe"], {"positive": "Yes"}, "'Maybe', 'No', 'Yes'"),
        (["No", "Yes"], {"positive": "yes"}, "'No', 'Yes'"),
        (["No", "Yes"], {}, "the words 'No', 'Yes'"),
        ([0, 1, 2], {}, "1 other values"),
    ],
)
def test_what_is_no_binary_label_is_refused_with_what_was_seen(values: list, rules: dict, found: str) -> None:
    with pytest.raises(SourceError, match=found) as caught:
        BINARY.read(pl.Series("y", values), label(**rules))
    assert "positive" in str(caught.value)


def test_classes_are_in_order_and_numbers_are_read_as_words() -> None:
    kept = SEVERAL.read(pl.Series("y", [10.0, 2.0, None, 2.0]), label())
    assert kept.to_list() == ["10", "2", None, "2"]
    assert SEVERAL.classes(kept, label()) == ("2", "10")
    assert SEVERAL.read(pl.Series("y", ["a", "b"]), label(words={"b": "a"})).to_list() == ["a", "a"]
    with pytest.raises(SourceError, match="1 numbers that are not whole"):
        SEVERAL.read(pl.Series("y", [1.5, 2.0]), label())
    least = -(2.0**63)
    assert SEVERAL.read(pl.Series("y", [least]), label()).to_list() == ["-9223372036854775808"]
    assert SEVERAL.take(least, ScoreMeaning("y", "", ("-9223372036854775808",))) == "-9223372036854775808"
    for large in (2.0**63, -1e30):
        with pytest.raises(SourceError, match=r"of 64 bits.*1 that are larger.*Name classes"):
            SEVERAL.read(pl.Series("y", [large, 2.0]), label())
        assert SEVERAL.take(large, ScoreMeaning("y", "", (str(int(large)),))) is None
    with pytest.raises(TrainingError, match="at most 100 classes"):
        SEVERAL.classes(pl.Series("y", [str(each) for each in range(101)]), label())


def test_metrics_are_scikit_learns() -> None:
    from sklearn import metrics

    called = CHANCES.argmax(axis=1)
    expected = {
        "log_loss": metrics.log_loss(TRUTH, CHANCES),
        "brier": ((CHANCES - np.eye(3)[TRUTH.astype(int)]) ** 2).sum(axis=1).mean(),
        "accuracy": metrics.accuracy_score(TRUTH, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(TRUTH, called),
        "f1_macro": metrics.f1_score(TRUTH, called, average="macro"),
        "roc_auc_ovr": metrics.roc_auc_score(TRUTH, CHANCES, multi_class="ovr"),
        "f1_weighted": metrics.f1_score(TRUTH, called, average="weighted"),
        "precision_macro": metrics.precision_score(TRUTH, called, average="macro"),
        "matthews": metrics.matthews_corrcoef(TRUTH, called),
        "cohen_kappa": metrics.cohen_kappa_score(TRUTH, called),
        "top_3_accuracy": 1.0,  # of three classes
    }
    assert {name: score(name, Scored(TRUTH, CHANCES)) for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_a_class_never_seen_is_lost_and_one_without_rows_changes_nothing(metric: str) -> None:
    value = score(metric, Scored(TRUTH, CHANCES))
    wider = np.column_stack([CHANCES, np.zeros(len(TRUTH))])
    assert score(metric, Scored(TRUTH, wider)) == pytest.approx(value, rel=1e-12)
    some = np.where(np.arange(len(TRUTH)) < 30, 3.0, TRUTH)
    lost = score(metric, Scored(some, CHANCES))
    assert np.isfinite(lost)
    assert lost > value if metric in ("log_loss", "brier") else lost < value
    blocks = (np.arange(len(TRUTH)) // 60).astype(np.int64)
    drawn = resampled(metric, Scored(some, CHANCES), blocks, 10, np.vstack([np.ones(10), np.eye(10)[0]]))
    assert drawn[0] == pytest.approx(lost)


@pytest.mark.parametrize("metric", METRICS)
def test_a_label_or_probability_that_is_not_known_makes_a_metric_undefined(metric: str) -> None:
    odd = np.arange(len(TRUTH)) == 7
    assert np.isnan(score(metric, Scored(np.where(odd, np.nan, TRUTH), CHANCES)))
    assert np.isnan(score(metric, Scored(TRUTH, np.where(odd[:, None], np.nan, CHANCES))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_accuracy_of_two_classes_is_not_defined_where_a_label_or_probability_is_no_number(bad: float) -> None:
    odd = np.arange(4) == 1
    label, chance = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.4, 0.1])
    assert score("accuracy", Scored(label, chance)) == 0.75
    assert np.isnan(score("accuracy", Scored(np.where(odd, bad, label), chance)))
    assert np.isnan(score("accuracy", Scored(label, np.where(odd, bad, chance))))


@pytest.mark.parametrize("metric", ["precision", "recall", "f1", "roc_auc", "average_precision"])
def test_metrics_of_two_classes_are_not_defined_where_a_label_or_probability_is_not_known(metric: str) -> None:
    odd = np.arange(4) == 0
    label, chance = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.6, 0.1])
    assert score(metric, Scored(label, chance)) == 1.0
    assert np.isnan(score(metric, Scored(np.where(odd, np.nan, label), chance)))
    assert np.isnan(score(metric, Scored(label, np.where(odd, np.nan, chance))))


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "brier", "precision", "roc_auc", "rmse"])
def test_only_resamples_that_draw_what_is_not_known_are_not_defined(metric: str) -> None:
    label, chance = np.array([0.0, np.nan, 1.0, 0.0]), np.array([0.2, 0.9, 0.6, 0.1])
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [2.0, 0.0]])
    drawn = resampled(metric, Scored(label, chance), np.array([0, 0, 1, 1]), 2, weights)
    assert np.isfinite(drawn).tolist() == [False, True, False]


def test_scores_in_another_order_keep_their_mass() -> None:
    aligned = SEVERAL.aligned(CHANCES, ("a", "b", "c"), ("c", "a", "d"))
    np.testing.assert_array_equal(aligned, np.column_stack([CHANCES[:, 2], CHANCES[:, 0], 0 * TRUTH, CHANCES[:, 1]]))
    assert SEVERAL.aligned(CHANCES, ("a", "b", "c"), ("d", "c", "b", "a")).shape == (600, 4)


def test_trees_of_several_classes_are_run_as_lightgbm_runs_them(tmp_path: Path) -> None:
    matrix = RANDOM.normal(size=(400, 4))
    codes, classes = SEVERAL.example(matrix[:, 0] + matrix[:, 1])
    family = LightGBM.model_validate({"family": "lightgbm", "rounds": 12, "leaves": 5, "patience": None})
    rows = Rows(matrix, codes, ("a", "b", "c", "d"), (), "multiclass_classification", classes)
    fitted = family.fit(rows, None, seed=0, report=lambda *_: None)
    assert fitted.recipe.length == 12
    fitted.save(tmp_path)
    predictor = LightGBM.load(tmp_path)
    np.testing.assert_array_equal(predictor.predict(matrix), fitted.predict(matrix))
    assert [predictor.predict_row(row) for row in matrix[:5].tolist()] == predictor.predict(matrix[:5]).tolist()
    raw = predictor.contributions(matrix[:5]).sum(axis=-1)
    np.testing.assert_allclose(SEVERAL.link(raw), predictor.predict(matrix[:5]), rtol=1e-9)


@pytest.mark.slow
def test_the_use_case_of_the_docs_is_learnt_judged_and_packed(tmp_path: Path) -> None:
    from expectations.families import Family
    from tasks.bundles.bundle import load_bundle
    from tasks.evaluation.estimates.expectation import Expectation
    from tasks.stores.lake_tables import Version

    usecase = write_sky(tmp_path / "sky")
    spec, rows = usecase.spec, sky_rows(usecase, instant("2011-03-01"))
    judged = judge(rows, spec, None)
    assert judged.judgement.outcome == "passed"
    refitted = refit(rows, spec, judged)
    assert 0 < refitted.disagreement < spec.evaluation.agreement
    arguments = {"data": Version("clean", 0, len(rows)), "data_hash": "", "commit": "", "parent": "", "name": "sky"}
    arguments["as_of"] = known_by(spec, rows)
    digest = pack(tmp_path / "bundle", usecase, rows, rows, judged, refitted, **arguments)  # type: ignore[arg-type]
    bundle = load_bundle(tmp_path / "bundle", digest)
    assert isinstance(bundle.recipe, Family)
    assert bundle.classes == ("clear", "cloudy/misty", "light rain/snow")
    assert Expectation.from_dict(bundle.expected()).classes == len(bundle.classes)
    written = predict_frame(bundle, rows.head(3))["prediction"]
    assert written.dtype == pl.List(pl.Float64)
    assert written.list.sum().to_list() == pytest.approx([1.0] * 3)
    shares = bundle.explain(rows.head(3))
    assert shares.columns == [*bundle.program.features, "base", "_class"]
    assert shares["_class"].to_list() == [bundle.classes[int(np.argmax(each))] for each in written.to_list()]
    each = [bundle.explain(rows.head(3), name).drop("_class").sum_horizontal() for name in bundle.classes]
    np.testing.assert_allclose(SEVERAL.link(np.column_stack(each)), to_scores(written), rtol=1e-9)
    assert bundle.explain(rows.head(0)).is_empty()
    with pytest.raises(BundleError, match="one of the classes 'clear'"):
        bundle.explain(rows.head(3), "hail")
    assert bundle.manifest.spellings == spec.label.words
    assert SEVERAL.take("heavy rain/snow", bundle.manifest.answers) == "light rain/snow"
    later = sky_rows(usecase, instant("2011-04-01"))
    renamed = later.with_columns(
        pl.when(pl.col("time") > instant("2011-03-25")).then(pl.lit("hail")).otherwise("weathersit").alias("weathersit")
    )
    again = judge(renamed, spec, bundle)  # a class that neither has learnt: lost, and no crash
    assert again.judgement.metrics["log_loss"] > 5
    assert again.judgement.champion_metrics["log_loss"] > 5
    assert "hail" in refit(renamed, spec, again).trained.classes
    figures = spec.problem.figures(again.scored, ScoreMeaning("weathersit", classes=again.classes))
    assert set(figures) == {"roc", "calibration", "confusion"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"gates": [{"metric": "roc_auc", "min": 0.6}]}, "multiclass_classification has no metric 'roc_auc'"),
        ({"label": {"column": "weathersit", "positive": "clear", "available_after": "1h"}}, "label.positive"),
        ({"task": "multiclas_classification"}, "did you mean 'multiclass_classification'"),
        ({"model": {"candidates": [{"family": "torch.mlp", "loss": "mse"}]}}, "mse does not fit"),
    ],
)
def test_what_does_not_fit_several_classes_is_a_problem_now(tmp_path: Path, changes: dict, problem: str) -> None:
    with pytest.raises(UseCaseError, match=problem):
        write_sky(tmp_path / "sky", changes)


def test_a_policy_that_needs_what_a_kind_of_problem_does_not_watch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"monitoring": {"every": "1mo", "performance": PERFORMANCE, "policy": {"trigger": "estimated"}}}
    assert write_sky(tmp_path / "sky", changes).spec.monitoring.policy.trigger == "estimated"
    monkeypatch.setattr(type(SEVERAL), "unwatched", {"estimates": "metrics are not estimated of it"})
    with pytest.raises(UseCaseError, match=r"estimated would never ask: metrics are not estimated of it"):
        write_sky(tmp_path / "other", changes)


def test_a_class_with_too_few_rows_is_named() -> None:
    found = SEVERAL.misfit(pl.Series("y", ["a"] * 20 + ["b"] * 20 + ["c"] * 3))
    assert "1 of 3 classes" in found
    assert "c (3)" in found
    assert not SEVERAL.misfit(pl.Series("y", ["a"] * 20 + ["b"] * 20))


def test_predictions_are_kept_as_lists_and_feedback_as_words() -> None:
    from tasks.stores.harvest import _frame
    from tasks.stores.journal import Feedback, Origin, Predictions

    origin = Origin("1", "b", ("x",), None)
    at = "2026-01-01T00:00:00Z"
    kept = _frame([Predictions(at, ["i"], [[0.25, 0.75]], origin, [[1.0]])])
    assert kept["prediction"].to_list() == [[0.25, 0.75]]
    assert _frame([Feedback(at, ["i"], ["clear"])])["label"].to_list() == ["clear"]
    assert to_column("p", np.array([[0.25, 0.75]])).to_list() == [[0.25, 0.75]]


def test_a_mean_of_a_label_without_one_is_refused(tmp_path: Path) -> None:
    usecase = write_sky(tmp_path / "sky", {"features": [{"target": ["holiday"]}, {"numeric": ["temp"]}]})
    with pytest.raises(DriftwheelError, match="one_hot"):
        judge(sky_rows(usecase, instant("2011-03-01")), usecase.spec, None)
