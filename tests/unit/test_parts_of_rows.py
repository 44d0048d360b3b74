"""Slices and groups: right figures, honest about how many are looked at, and gates that hold them."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from expectations.errors import UseCaseError
from expectations.gates import Figure
from expectations.loading import load_use_case
from expectations.metrics import Scored
from expectations.production import Fairness
from expectations.windows import Window
from tasks.evaluation import parts
from tasks.evaluation.fairness import measure_fairness
from tasks.evaluation.part_gates import FairnessGate, SliceGate
from tasks.evaluation.parts import Parted, figures_of, parted
from tasks.evaluation.resampling import Resamples
from tasks.evaluation.slices import find_slices, learn_cuts, measure_slices, parts_of
from tasks.monitoring.measuring import known_part
from tasks.monitoring.parting import judge_fairness
from tasks.monitoring.saying import say_parts
from tasks.stores.measured_parts import FairnessMeasured, FigureMeasured, SliceMeasured
from tasks.stores.measurements import (
    measurement_of,
)
from tasks.training.evaluating import evaluated
from tasks.training.judging import judge
from tests.conftest import instant
from tests.unit.test_training import rows

Make = Callable[..., Path]
RANDOM = np.random.default_rng(11)
BLOCKS = np.arange(4000) // 100


def test_differences_between_groups_are_fairlearns() -> None:
    """What fairlearn 0.15.0 says: its differences of demographic parity, equal opportunity and equalised odds.

    Group a: 3 of 5 called, 2 of 3 positive rows, 1 of 2 negative ones. Group b: 2 of 5, 2 of 2, 0 of 3.
    """
    label = np.array([1, 1, 1, 0, 0, 1, 1, 0, 0, 0], dtype=float)
    called = np.array([1, 1, 0, 1, 0, 1, 1, 0, 0, 0], dtype=float)
    groups = pl.Series("group", ["a"] * 5 + ["b"] * 5)
    found = measure_fairness(groups, Scored(label, called), Resamples(np.arange(10)), least=2)
    values = {name: each.value for name, each in found.measures.items()}
    assert values == pytest.approx({"demographic_parity": 0.2, "equal_opportunity": 1 / 3, "equalised_odds": 0.5})
    assert [(each.name, each.rows, each.selected.value) for each in found.groups] == [("a", 5, 0.6), ("b", 5, 0.4)]


def test_a_group_with_too_few_rows_is_named_and_not_compared() -> None:
    groups = pl.Series("g", ["a"] * 3000 + ["b"] * 990 + ["c"] * 9 + [None])
    label = (RANDOM.random(4000) < 0.5).astype(float)
    found = measure_fairness(groups, Scored(label, label), Resamples(BLOCKS), least=100)
    assert found.too_small == ("c", "missing")
    assert found.measures["equal_opportunity"].value == 0
    alone = measure_fairness(groups, Scored(label, label), Resamples(BLOCKS), least=2000)
    assert alone.measures == {}


def test_bounds_of_a_difference_hold_it_in_most_draws() -> None:
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        groups = random.choice(["a", "b"], 4000)
        chance = np.where(groups == "a", 0.5, 0.3)
        called = (random.random(4000) < chance).astype(float)
        label = (random.random(4000) < 0.5).astype(float)
        found = measure_fairness(pl.Series("g", groups), Scored(label, called), Resamples(BLOCKS, seed=seed), least=10)
        parity = found.measures["demographic_parity"]
        held += parity.low <= 0.2 <= parity.high
    assert held >= 34


@pytest.mark.slow
@pytest.mark.parametrize(("many", "bound"), [(10, 0.05), (2, 0.05)])
def test_noise_breaks_no_bound_on_groups_and_a_true_difference_does(many: int, bound: float) -> None:
    false = found = 0
    gates = [
        FairnessGate(fairness=name, by="g", max=bound)
        for name in ("demographic_parity", "equal_opportunity", "equalised_odds")
    ]
    for seed in range(20):
        random, rows_ = np.random.default_rng(seed), many * 150
        groups = pl.Series("g", [f"g{each}" for each in random.integers(0, many, rows_)])
        label = (random.random(rows_) < 0.5).astype(float)
        apart = np.where((groups == "g0").to_numpy(), 0.95, 0.4)
        for chance in (np.full(rows_, 0.5), apart):
            called = (random.random(rows_) < chance).astype(float)
            measured = measure_fairness(groups, Scored(label, called), Resamples(np.arange(rows_)), least=50)
            figures = figures_of(Parted((), (measured,)))
            fails = sum(gate.judge({}, None, figures).outcome == "fail" for gate in gates)
            found, false = (found + fails, false) if chance is apart else (found, false + fails)
    assert false <= 3  # of 60, at a confidence of 95 %
    assert found == 60


def test_slices_part_all_rows_once_and_keep_their_bounds() -> None:
    frame = pl.DataFrame(
        {
            "n": [*map(float, range(98)), None, math.nan],
            "t": ["a", "b"] * 49 + [None, "c"],
            "few": [1.0, 2.0] * 50,
        }
    )
    cuts = learn_cuts(frame.head(90), frame.columns)
    assert len(cuts["n"]) == 3
    assert cuts["few"] == ["1", "2"]
    for column, bounds in cuts.items():
        masks = [mask for _, mask in parts_of(frame[column], bounds)]
        assert np.array_equal(np.sum(masks, axis=0), np.ones(100)), column
    words = {text for text, mask in parts_of(frame["t"], cuts["t"]) if mask.any()}
    assert words == {"t = a", "t = b", "t any other", "t missing"}


def test_a_whole_number_is_the_same_slice_whatever_is_beside_it_and_nan_is_missing() -> None:
    learnt = learn_cuts(pl.DataFrame({"x": [1.0, 1.0, 1.5, math.nan]}), ["x"])
    assert learnt == {"x": ["1", "1.5"]}
    for cuts, values in (
        (learnt["x"], [1.0, 2.0, math.nan, None]),
        (learnt["x"], [1.0, 1.5, math.nan, 1e300]),
        (["1.0", "1.5"], [1.0, 2.0, math.nan, math.inf]),  # as bundles of before hold them
        (["1.0", "1.5"], [1, 2, None]),
    ):
        parts = dict(parts_of(pl.Series("x", values), cuts))
        assert np.array_equal(np.sum(list(parts.values()), axis=0), np.ones(len(values)))
        assert parts[f"x = {cuts[0]}"].tolist() == [value == 1 for value in values]
        assert parts["x missing"].tolist() == [value is None or math.isnan(value) for value in values]
    assert not dict(parts_of(pl.Series("x", ["1"]), ["1.0"]))["x = 1.0"].any()  # texts are what they are


def test_a_pair_of_conditions_is_of_two_columns_however_they_are_called() -> None:
    frame = pl.DataFrame(
        {"dep hour": RANDOM.integers(0, 24, 4000).astype(float), "dep place": RANDOM.choice(list("abcdef"), 4000)}
    )
    planted = (frame["dep place"] == "c").to_numpy() & (frame["dep hour"] >= 18).to_numpy()
    worst = find_slices(frame, RANDOM.exponential(1, 4000) + np.where(planted, 2.0, 0.0), Resamples(BLOCKS))[0]
    assert "dep place = c" in worst.words
    assert "dep hour" in worst.words


def test_a_slice_has_its_own_metric_with_wider_bounds_for_many_and_none_where_it_is_small() -> None:
    texts = np.where(np.arange(4000) % 4 == 0, "far", "near").astype(object)
    texts[:20] = "rare"
    truth = RANDOM.normal(0, 1, 4000)
    guess = truth + np.where(texts == "far", 4.0, 1.0)
    frame, scored = pl.DataFrame({"where": texts.astype(str)}), Scored(truth, guess)
    found = measure_slices(frame, scored, learn_cuts(frame, ["where"]), ["mae"], Resamples(BLOCKS), 100)
    by = {each.words: each for each in found}
    assert by["where = far"].metrics["mae"].value == pytest.approx(4.0)
    assert by["where = rare"].metrics == {}
    noisy = Scored(truth, truth + RANDOM.normal(0, 1, 4000))
    one = Resamples(BLOCKS)
    (each,) = [e for e in measure_slices(frame, noisy, {"where": ["near"]}, ["mae"], one, 100) if "near" in e.words]
    alone = one.bounded(one.metric("mae", noisy, (texts == "near")))
    assert each.metrics["mae"].high - each.metrics["mae"].low > alone.high - alone.low


@pytest.mark.slow
def test_a_planted_slice_is_found_and_noise_is_not_called_sure() -> None:
    frame = pl.DataFrame(
        {
            "hour": RANDOM.integers(0, 24, 4000).astype(float),
            "carrier": RANDOM.choice(list("abcdef"), 4000),
            "x": RANDOM.normal(0, 1, 4000),
        }
    )
    planted = (frame["carrier"] == "c").to_numpy() & (frame["hour"] >= 18).to_numpy()
    loss = RANDOM.exponential(1, 4000) + np.where(planted, 2.0, 0.0)
    worst = find_slices(frame, loss, Resamples(BLOCKS))[0]
    assert "carrier = c" in worst.words
    assert "hour" in worst.words
    assert worst.sure
    assert worst.excess.low < 2.0
    false = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).exponential(1, 4000)
        false += any(each.sure for each in find_slices(frame, noise, Resamples(BLOCKS, seed=seed)))
    assert false <= 6  # 5 % of lists of found slices, and chance


FIGURES = [
    Figure("carrier", "roc_auc", "carrier = AA", 0.7, 0.68, 0.72),
    Figure("carrier", "roc_auc", "carrier = UA", 0.58, 0.5, 0.64),
    Figure("carrier", "", "carrier = ZZ", None),
    Figure("sex", "equal_opportunity", "the groups of sex", 0.15, 0.08, 0.2),
]


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        (SliceGate(slice="carrier", metric="roc_auc", min=0.6), "pass"),  # 0.58, which 0.6 is not beyond doubt above
        (SliceGate(slice="carrier", metric="roc_auc", min=0.6, require="point"), "fail"),
        (SliceGate(slice="carrier", metric="roc_auc", min=0.65), "fail"),
        (SliceGate(slice="month", metric="roc_auc", min=0.1), "unknown"),
        (SliceGate(slice="carrier", metric="roc_auc", max=0.71), "pass"),
        (FairnessGate(fairness="equal_opportunity", by="sex", max=0.1), "pass"),
        (FairnessGate(fairness="equal_opportunity", by="sex", max=0.1, require="point"), "fail"),
        (FairnessGate(fairness="equal_opportunity", by="sex", max=0.05), "fail"),
        (FairnessGate(fairness="equalised_odds", by="sex", max=1.0), "unknown"),
    ],
)
def test_gates_hold_the_worst_part(gate: SliceGate | FairnessGate, outcome: str) -> None:
    found = gate.judge({"roc_auc": 0.7}, None, FIGURES)
    assert found.outcome == outcome, found.rationale


def test_a_gate_says_which_slices_it_leaves_out_and_fails_by_none_without_an_interval() -> None:
    figures = [
        *FIGURES,
        Figure("carrier", "roc_auc", "carrier = B6", None),
        Figure("carrier", "roc_auc", "c = DL", 0.1),
    ]
    found = SliceGate(slice="carrier", metric="roc_auc", min=0.6).judge({}, None, figures)
    assert found.outcome == "pass"
    assert "of 2 slices, 1 with too few rows, 1 with rows on which roc_auc is not defined" in found.rationale
    assert "1 with no interval of roc_auc" in found.rationale
    by_value = SliceGate(slice="carrier", metric="roc_auc", min=0.6, require="point").judge({}, None, figures)
    assert (by_value.outcome, by_value.actual) == ("fail", 0.1)
    none = SliceGate(slice="carrier", metric="roc_auc", min=0.6).judge({}, None, figures[2:])
    assert (none.outcome, none.rationale[:22]) == ("unknown", "1 with too few rows, 1")
    apart = Figure("sex", "equal_opportunity", "the groups of sex", 0.9)
    assert FairnessGate(fairness="equal_opportunity", by="sex", max=0.1).judge({}, None, [apart]).outcome == "unknown"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"monitoring.slices": ["bikers"]}, "metrics by class"),
        ({"monitoring.fairness": [{"by": "holiday"}]}, "no positive call"),
        ({"gates": [{"slice": "holiday", "metric": "rmse", "max": 9}]}, "declare holiday under `monitoring.slices`"),
        ({"gates": [{"slice": "holiday", "metric": "rmse"}]}, "exactly one of min and max"),
    ],
)
def test_what_cannot_be_held_apart_is_refused_before_anything_is_read(
    make_use_case: Make, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(make_use_case(changes=changes)))


def test_a_slice_that_is_bad_keeps_a_version_back_and_is_measured_once(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[int]()
    monkeypatch.setattr(
        parts, "measure_slices", lambda frame, *given: (measured.append(len(frame)), measure_slices(frame, *given))[1]
    )
    changes = {
        "monitoring.slices": ["workingday", "temp"],
        "gates": [{"metric": "rmse", "max": 1e6}, {"slice": "workingday", "metric": "rmse", "max": 1}],
    }
    usecase = load_use_case(str(make_use_case(changes=changes)))
    frame = rows(usecase, "2011-03-01")
    judged = evaluated(judge(frame, usecase.spec, None), frame, usecase.spec)
    assert measured == [judged.judgement.holdout_rows]
    assert judged.judgement.outcome == "refused"
    assert "is the worst of 2 slices" in judged.judgement.rationale
    assert judged.evaluation is not None
    assert {each.column for each in judged.evaluation.extra["slices"]} == {"workingday", "temp"}
    assert judged.evaluation.extra["found_slices"]
    scored = judged.scored["challenger"]
    label = np.where(np.arange(len(scored.label)) < 10, np.nan, scored.label)
    lacking = replace(judged, scored={"challenger": Scored(label, scored.prediction)})
    again = evaluated(lacking, frame, usecase.spec).evaluation
    assert again is not None
    assert measured[1:] == [judged.judgement.holdout_rows - 10]  # other rows are other parts
    assert again.rows == judged.evaluation.rows - 10
    assert math.isfinite(again.metrics["rmse"].value)


def test_what_got_worse_is_said_in_words() -> None:
    figure, window = FigureMeasured(0.5, 0.4, 0.6), Window(instant("2024-01-01"), instant("2024-01-02"))
    before = {"roc_auc": FigureMeasured(0.7)}
    part = SliceMeasured("carrier = UA", 300, metrics={"roc_auc": figure}, before=before, worse=("roc_auc",))
    measures, bounds = {"equalised_odds": figure}, {"equalised_odds": 0.1}
    group = FairnessMeasured("sex", measures=measures, bounds=bounds, broken=("equalised_odds",))
    first, second = say_parts(measurement_of(window, slices=(part,), fairness=(group,)))
    assert first == "roc_auc of carrier = UA is 0.5 (0.4 to 0.6, 300 rows), 0.7 on the holdout"
    assert second == "equalised odds by sex: a difference of 0.5 (0.4 to 0.6), at most 0.1 is declared"
    assert say_parts(measurement_of(window)) == []


def test_a_bound_between_groups_is_broken_only_beyond_doubt() -> None:
    spec = load_use_case("flights").spec
    declared = Fairness(by="g", demographic_parity=0.1, equal_opportunity=0.9)
    spec = spec.model_copy(update={"monitoring": spec.monitoring.model_copy(update={"fairness": (declared,)})})
    groups = np.where(np.arange(4000) % 2 == 0, "a", "b")
    called = (RANDOM.random(4000) < np.where(groups == "a", 0.6, 0.2)).astype(float)
    label = (RANDOM.random(4000) < 0.5).astype(float)
    found = parted(pl.DataFrame({"g": groups}), Scored(label, called), spec, {}, Resamples(BLOCKS))
    (told,) = judge_fairness(found, spec)
    assert told.broken == ("demographic_parity",)
    assert told.bounds == {"demographic_parity": 0.1, "equal_opportunity": 0.9, "equalised_odds": None}
    assert told.measures["demographic_parity"].value == pytest.approx(0.4, abs=0.06)


def test_of_several_classes_times_are_those_of_rows_with_label_and_scores(make_use_case: Make) -> None:
    spec = load_use_case(str(make_use_case("rentals"))).spec
    scores = np.array([[0.2, 0.8], [np.nan, np.nan], [0.5, 0.5], [0.9, 0.1]])
    labels, times = pl.Series([1.0, 0.0, None, 0.0]), pl.Series([1, 2, 3, 4])
    scored, known, mask = known_part(scores, labels, times, spec.threshold)
    assert (known.to_list(), mask.tolist()) == ([1, 4], [True, False, False, True])
    assert scored.label.tolist() == [1.0, 0.0]
    assert scored.prediction.tolist() == [[0.2, 0.8], [0.9, 0.1]]
