"""The fast scores agree with Evidently's and keep their promise of false alarms."""

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from tasks.evaluation.drift import Profile, profile_column, profile_frame, score_window

RANDOM = np.random.default_rng(5)


def score(reference: pl.Series, window: pl.Series, **options: float):
    profiles = {"x": profile_column(reference)}
    rules = {"alpha": 0.05, "min_effect": 0.0, **options}
    return score_window(profiles, pl.DataFrame({"x": window}), **rules)[0]


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0, 5.0])
def test_numbers_score_the_normed_wasserstein_distance(shift: float) -> None:
    reference, window = RANDOM.normal(10, 3, 20_000), RANDOM.normal(10 + shift, 3, 5_000)
    expected = wasserstein_distance(reference, window) / np.std(reference)
    assert score(pl.Series(reference), pl.Series(window)).score == pytest.approx(expected, rel=0.05, abs=0.01)


def test_categories_score_the_jensen_shannon_distance() -> None:
    names = np.array(["a", "b", "c", "d"])
    reference, window = (
        RANDOM.choice(names, 9000, p=[0.4, 0.3, 0.2, 0.1]),
        RANDOM.choice(names, 3000, p=[0.1, 0.3, 0.2, 0.4]),
    )
    shares = [[np.mean(values == name) for name in names] for values in (reference, window)]
    assert score(pl.Series(reference), pl.Series(window)).score == pytest.approx(jensenshannon(*shares), rel=1e-9)


def test_a_sample_is_at_no_distance_from_itself() -> None:
    for values in (pl.Series(RANDOM.normal(size=500)), pl.Series(["a", "b"] * 50), pl.Series([1, 2, 3, 3] * 20)):
        assert score(values, values).score == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", [50, 200, 1000])
def test_false_alarms_stay_near_the_promise_at_every_window_size(size: int) -> None:
    """Evidently's fixed 0.1 calls 95 % of such columns drifted at 50 rows, 34 % at 200."""
    reference = pl.DataFrame(
        {f"c{i}": RANDOM.normal(size=5000) for i in range(5)} | {"t": RANDOM.choice(["a", "b", "c"], 5000)}
    )
    profiles = profile_frame(reference)
    alarms = 0
    for seed in range(100):
        window = reference.sample(size, with_replacement=True, seed=seed)
        alarms += any(each.drifted for each in score_window(profiles, window, alpha=0.05, min_effect=0.0))
    assert alarms <= 12  # 5 are promised; 12 or more would come one time in 200


def test_a_real_shift_is_found_in_a_small_window() -> None:
    found = score(pl.Series(RANDOM.normal(size=5000)), pl.Series(RANDOM.normal(1.0, 1, 100)), min_effect=0.1)
    assert found.drifted


def test_a_small_shift_is_not_worth_telling_however_certain() -> None:
    found = score(pl.Series(RANDOM.normal(size=5000)), pl.Series(RANDOM.normal(0.05, 1, 50_000)), min_effect=0.1)
    assert not found.drifted


@pytest.mark.parametrize(
    "reference", [[1.0] * 50, [1.0, None] * 20, ["a"] * 30, [True, False] * 20, [0.0] * 99 + [1e9]]
)
def test_odd_columns_have_a_profile_and_a_score(reference: list[object]) -> None:
    values = pl.Series(reference)
    profile = Profile.from_dict(profile_column(values).to_dict())
    found = score_window({"x": profile}, pl.DataFrame({"x": values}), alpha=0.05, min_effect=0.1)[0]
    assert not found.drifted


def test_a_column_that_vanishes_is_drift() -> None:
    found = score(pl.Series(RANDOM.normal(size=100)), pl.Series([None] * 50, dtype=pl.Float64), min_effect=0.1)
    assert found.drifted
    assert found.missing_share == 1.0


def test_the_scores_are_evidentlys(tmp_path) -> None:
    """Evidently's own numbers over the same rows, its methods named as in our reports."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = np.array(["a", "b", "c"])
    reference = pl.DataFrame({"x": RANDOM.normal(size=1500), "t": RANDOM.choice(names, 1500, p=[0.5, 0.3, 0.2])})
    window = pl.DataFrame({"x": RANDOM.normal(0.4, 1.2, 900), "t": RANDOM.choice(names, 900, p=[0.2, 0.3, 0.5])})
    definition = DataDefinition(numerical_columns=["x"], categorical_columns=["t"])
    sets = [Dataset.from_pandas(frame.to_pandas(), data_definition=definition) for frame in (window, reference)]
    report = Report([DataDriftPreset(num_method="wasserstein", cat_method="jensenshannon")]).run(*sets)
    theirs = {
        each["config"]["column"]: float(each["value"])
        for each in report.dict()["metrics"]
        if each["config"]["type"] == "evidently:metric_v2:ValueDrift"
    }

    ours = {
        each.column: each.score for each in score_window(profile_frame(reference), window, alpha=0.05, min_effect=0.0)
    }

    assert ours["t"] == pytest.approx(theirs["t"], rel=1e-9)
    assert ours["x"] == pytest.approx(theirs["x"], rel=0.05)
