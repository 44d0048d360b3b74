"""What is no finite number decides nothing: it is unknown, wherever it turns up, and never written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.deciding import History, SeenWindow
from expectations.durations import Duration
from expectations.gates import Interval
from expectations.problems import problem_of
from expectations.production import Release
from expectations.slots import METRICS
from tasks.deciding.policy import DecisionBounds, Situation, decide
from tasks.deciding.triggers.performance import PerformancePolicy
from tasks.deployment.guarding import Evidence, Traffic, judge_step
from tasks.evaluation.drift import judge
from tasks.evaluation.gates import AbsoluteGate, ComparisonGate, passed
from tasks.evaluation.interval import paired_interval
from tasks.evaluation.metrics import Scored, score
from tasks.evaluation.pairs import Compared
from tasks.evaluation.realised import hold_against
from tasks.evaluation.sketches import references_from_dict, references_to_dict, sketch
from tasks.problems.regression import MAX_LABEL
from tasks.stores.plain import plain, to_json
from tests.conftest import examples, instant

NUMBERS = st.floats(width=64)
NO_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf])
POLICY = PerformancePolicy(violations=1, of=1, min_rows=1)
BOUNDS = DecisionBounds(Duration.parse("1w"), 1)
NOW = Situation(as_of=instant("2013-06-01"), last_turn=None, new_labelled=10**6, open_turn=False)


@given(value=st.none() | NUMBERS, reference=st.none() | NUMBERS, drop=st.floats(0, 1e3), greater=st.booleans())
def test_a_metric_that_is_no_number_never_retrains(
    value: float | None, reference: float | None, drop: float, greater: bool
) -> None:
    found = hold_against("m", value, reference, drop, greater_is_better=greater)
    known = all(each is not None and math.isfinite(each) for each in (value, reference))
    if not known:
        assert found.status == "unknown"
        assert decide(History((SeenWindow(found.status, 500),)), POLICY, NOW, BOUNDS).action == "keep"
    assert all(each is None or math.isfinite(each) for each in (found.value, found.reference))
    assert (found.status == "unknown") == (found.value is None)
    assert found.undefined == (value is not None and found.status == "unknown")


@given(value=NO_NUMBERS, bound=st.floats(-1e9, 1e9))
def test_a_gate_on_what_is_no_number_is_unknown(value: float, bound: float) -> None:
    gates = [AbsoluteGate(metric="m", min=bound), AbsoluteGate(metric="m", max=bound)]
    results = [gate.check({"m": value}, None) for gate in gates]
    for require in ("lower_bound", "point"):
        gate = ComparisonGate(metric="m", versus="champion", margin=abs(bound), require=require)
        gains = [Interval(value, value, value), Interval(value, 0.0, 0.0)]
        results += [gate.check({}, {"m": gain}) for gain in gains]
    assert {result.outcome for result in results} == {"unknown"}
    assert not passed(tuple(results))
    json.dumps([vars(result) for result in results], allow_nan=False)


@pytest.mark.parametrize("metric", sorted(METRICS.built_in))
@examples(25)
@given(
    bad=st.sampled_from([math.nan, math.inf, -math.inf, 1e300]),
    where=st.sampled_from(["label", "challenger", "champion"]),
)
def test_a_gain_between_values_that_are_no_numbers_is_none(metric: str, bad: float, where: str) -> None:
    random = np.random.default_rng(3)
    label = random.integers(0, 2, 60).astype(float)
    values = {"label": label, "challenger": random.random(60), "champion": random.random(60)}
    values[where] = np.where(np.arange(60) == 7, bad, values[where])
    own, theirs = (Scored(values["label"], values[name]) for name in ("challenger", "champion"))
    scores = [score(metric, rows) for rows in (own, theirs)]
    if where == "label" and math.isnan(bad):
        return  # two are compared on the same labels, and those that are not known were left out before
    blocks = np.arange(60) // 6
    gain = paired_interval(metric, own, theirs, blocks, greater_is_better=True, resamples=100, confidence=0.95, seed=0)
    if not all(map(math.isfinite, scores)):
        assert math.isnan(gain.point)
        gate = ComparisonGate(metric=metric, versus="champion", margin=1e9)
        assert gate.check({}, {metric: gain}).outcome == "unknown"


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    random = np.random.default_rng(1)
    values, labels = random.normal(50, 5, 400), random.normal(50, 8, 400)
    traffic = Traffic(400, 0, 0, 1.0, 1.0)
    return Evidence(values, values + random.normal(0, 0.1, 400), labels, labels, traffic, traffic, paired=True)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300, -1e308])
@pytest.mark.parametrize("where", ["champion", "candidate", "label"])
@pytest.mark.parametrize("paired", [True, False])
def test_a_step_with_what_is_no_number_is_not_known_to_be_good(
    bikes: Any, evidence: Evidence, bad: float, where: str, paired: bool
) -> None:
    assert judge_step(evidence, bikes.spec, Release()).status == "good"
    names = ("champion_label", "candidate_label") if where == "label" else (where,)
    damaged = {name: np.where(np.arange(400) == 11, bad, getattr(evidence, name)) for name in names}
    verdict = judge_step(replace(evidence, paired=paired, **damaged), bikes.spec, Release())
    if where == "label" and not math.isfinite(bad):  # a label that is not known, as before it is ripe
        assert verdict.status == "good"
    else:
        assert verdict.status != "good"
    assert verdict.summary
    to_json(vars(verdict))


VALUES = st.lists(st.none() | NUMBERS, min_size=1, max_size=60)


@given(reference=VALUES, window=VALUES, min_effect=st.sampled_from([0.0, 0.1]))
def test_a_score_is_a_number_or_not_known(
    reference: list[float | None], window: list[float | None], min_effect: float
) -> None:
    known, seen = (pl.DataFrame({"x": pl.Series("x", each, dtype=pl.Float64)}) for each in (reference, window))
    written = to_json(references_to_dict([sketch(known)]))
    (found,) = judge([Compared(references_from_dict(json.loads(written))[0], seen)], alpha=0.05, min_effect=min_effect)
    numbers = (found.score, found.p, found.odds, found.effect)
    assert all(each is None or math.isfinite(each) for each in numbers)
    assert type(found.drifted) is bool
    json.dumps(msgspec.structs.asdict(found), allow_nan=False)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text() | NUMBERS.map(np.float64)
    | st.booleans().map(np.bool_) | st.integers(-(2**63), 2**63 - 1).map(np.int64)
    | st.lists(NUMBERS, max_size=3).map(np.array),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


@given(ANY)
def test_whatever_is_found_is_written_as_json_and_read_back(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = to_json(value)
    assert json.loads(text, parse_constant=refuse) == plain(value)


def test_what_has_no_form_in_json_is_refused() -> None:
    for value in (object(), {1: 2}, {1, 2}, b"x"):
        with pytest.raises(TypeError):
            to_json({"a": value})


@given(st.lists(NUMBERS, max_size=20))
def test_bounds_of_labels_hold_all_that_was_learnt_from_and_are_finite(labels: list[float]) -> None:
    bounds = problem_of("regression").bounds(pl.Series("y", labels, dtype=pl.Float64))
    known = [value for value in labels if math.isfinite(value) and abs(value) <= MAX_LABEL]
    assert (bounds is None) == (not any(map(math.isfinite, labels)))
    if bounds is not None:
        assert all(map(math.isfinite, bounds))
        assert all(bounds[0] <= value <= bounds[1] for value in known)
