"""One budget of errors for life: levels add up, a release is free, and the loop and a backtest spend it alike."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import DriftwheelError, TrainingError
from expectations.gates import Figure, GateResult, Interval
from expectations.loading import load_use_case
from flows.conclusions import conclude_training
from infra.settings import Settings
from tasks.backtesting.walking import walk
from tasks.deciding.triggers.schedule import SchedulePolicy
from tasks.evaluation.error_budget import BudgetTest, interval_at, next_test, share
from tasks.evaluation.gates import ComparisonGate
from tasks.evaluation.part_gates import SliceGate
from tasks.stores.places import Job
from tasks.stores.plain import to_json
from tasks.stores.stages import STAGES
from tasks.stores.turning import Stage
from tasks.training.budgeting import budget_test_of, within_budget
from tasks.training.judging import Judgement, judge
from tasks.training.passing import last_test
from tasks.training.training_run import Challenger
from tests.conftest import instant
from tests.unit.test_backtest import walked
from tests.unit.test_training import released, rows

Make = Callable[..., Path]


def test_shares_of_an_endless_life_are_one() -> None:
    some = sum(share(number) for number in range(1, 20_001))
    rest = 20_000**-0.2 / 0.2 / 5.591582441177714  # the integral of what follows
    assert some + rest == pytest.approx(1, abs=1e-5)


@given(st.floats(0.001, 0.4), st.lists(st.booleans(), max_size=60))
def test_what_lost_comparisons_spent_is_never_more_than_the_budget(budget: float, wins: list[bool]) -> None:
    last, spent = None, 0.0
    for won in wins:
        last = next_test(budget, last).tested(won=won)
        assert 0 < last.level <= budget
        spent += 0.0 if won else last.level
    assert spent <= budget
    following = next_test(budget, last)
    assert following.level == pytest.approx(
        min(budget, budget * share(len(wins) + 1) + (last.level if last is not None and last.won else 0.0))
    )


def test_a_worse_model_is_ever_released_in_so_few_lives() -> None:
    """Half of the challengers are better for sure, half are at the edge of worse: their p-values are uniform."""
    random = np.random.default_rng(3)
    wrong = 0
    for _ in range(2000):
        last = None
        for _ in range(100):
            test = next_test(0.05, last)
            better = random.random() < 0.5
            last = test.tested(won=better or random.random() < test.level)
            if last.won and not better:
                wrong += 1
                break
    assert wrong / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_bounds_are_those_of_students_t_and_none_where_a_resample_has_no_value() -> None:
    gain = np.concatenate([[0.5], np.random.default_rng(0).normal(0.5, 0.1, 4000)])
    found = interval_at(gain, 0.025, 11)
    assert found.point == 0.5
    assert found.upper - found.point == pytest.approx(2.228 * 0.1 * math.sqrt(1.1), rel=0.03)  # 10 degrees of freedom
    assert found.point - found.lower == pytest.approx(found.upper - found.point)
    gain[7] = math.nan
    found = interval_at(gain, 0.025, 11)
    assert (found.lower, found.upper) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (
            [{"metric": "rmse", "max": 90}],
            "evaluation.error_budget: no gate compares with the champion; add one such as",
        ),
        (
            [{"metric": "rmse", "versus": "champion", "require": "point"}],
            "gates.0.require: `point` lets what is worse pass by chance",
        ),
    ],
)
def test_a_budget_that_bounds_nothing_is_refused(make_use_case: Make, gates: object, message: str) -> None:
    with pytest.raises(DriftwheelError, match=message):
        load_use_case(str(make_use_case("small", {"gates": gates, "evaluation.error_budget": 0.05})))


def test_a_challenger_must_win_at_the_level_that_is_left(make_use_case: Make, tmp_path: Path) -> None:
    gates = [{"metric": "r2", "min": 0.1}, {"metric": "rmse", "versus": "champion"}]
    plain = load_use_case(str(make_use_case("small", {"gates": gates})))
    champion, _, _ = released(plain, rows(plain, "2011-03-01"), tmp_path / "b")
    judged = judge(rows(plain, "2011-06-01"), plain.spec, champion)
    assert within_budget(judged, plain.spec, None) is judged

    spec = load_use_case(str(make_use_case("bounded", {"gates": gates, "evaluation.error_budget": 0.05}))).spec
    first = within_budget(judged, spec, None).judgement
    assert first.budget == BudgetTest(1, 0.05 * share(1), 0.05, won=True)
    assert (first.outcome, first.gates[0]) == ("passed", judged.judgement.gates[0])
    assert "comparison 1 of a budget of 0.05, at a level of 0.0089" in first.rationale
    assert judged.judgement.gates[1].lower is not None
    assert first.gates[1].lower is not None
    assert first.gates[1].lower < judged.judgement.gates[1].lower < first.gates[1].actual

    worn = within_budget(judged, spec, BudgetTest(10**12, 1e-15, 0.05, won=False)).judgement
    assert worn.outcome == "refused"
    assert worn.budget is not None
    assert (worn.budget.number, worn.budget.won) == (10**12 + 1, False)

    kept = json.loads(to_json({"budget": asdict(worn.budget)}))
    assert budget_test_of(kept) == worn.budget
    assert budget_test_of({"budget": None}) is budget_test_of({}) is None


def test_a_first_model_has_nothing_to_be_compared_with(make_use_case: Make) -> None:
    usecase = load_use_case(str(make_use_case("small", {"evaluation.error_budget": 0.05})))
    judged = within_budget(judge(rows(usecase, "2011-03-01"), usecase.spec, None), usecase.spec, None)
    assert (judged.judgement.outcome, judged.judgement.budget) == ("passed", None)


def test_a_refit_that_fails_in_one_walk_fails_no_walk_that_would_not_refit(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise TrainingError("rows to refit on", "none", "Add some")

    changes = {"evaluation__error_budget": 0.4, "gates": [{"metric": "rmse", "versus": "champion"}]}
    with walked(make_use_case, **changes) as past:
        champion, worn = past.first(), BudgetTest(10**12, 1e-300, 1e-300, won=False)
        number = next(each for each in (1, 2, 3) if past.judged(champion, each).model is not None)
        past._made.clear()
        monkeypatch.setattr("tasks.backtesting.past.refit", fails)
        assert past.judged(champion, number).failed
        refused = past.judged(champion, number, worn)
        assert (refused.failed, refused.model) == (False, None)
        assert refused.test is not None


@pytest.mark.parametrize("turns", [True, False])
def test_the_ledger_says_which_comparison_was_the_last(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turns: bool
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    settings = Settings()
    usecase = settings.use_case(str(make_use_case("small")))
    first = BudgetTest(1, 0.009, 0.05, won=False)
    second = next_test(0.05, first).tested(won=False)
    third = next_test(0.05, second).tested(won=True)
    said = [
        Judgement("unknown", "too few new rows"),
        Judgement("refused", "worse", budget=first),
        Judgement("refused", "worse", budget=second),
        Judgement("unchanged", "no ripe rows"),
        Judgement("refused", "the refit is another model", budget=third),
        Judgement("unknown", "too few new rows"),
    ]
    found = []
    for number, judgement in enumerate(said):
        turn, as_of = None, instant(f"2026-01-0{number + 1}")
        if turns:
            with settings.platform().transaction() as connection:
                turn = settings.platform().request_turn(connection, "small", "decay", as_of)
                assert turn is not None
                settings.platform().put_state(connection, turn, STAGES["train"].works)
        job = Job(usecase, settings.places(), as_of, turn)
        with Stage(job, "train") as stage:
            conclude_training(stage, Challenger(judgement, None, "run", None))
        found.append(last_test(job))
    assert found == [None, first, second, second, third, third]


class TwiceGate(ComparisonGate):
    """Compares, and asks for a fold's metric, the gain in another metric and a figure of a slice as well."""

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold the gain against the margin; what is not there is an error."""
        assert metrics["folds_mean_rmse"] > 0
        assert {each.column for each in figures} == {"temp"}
        assert gains is None or {*gains} == {"rmse", "mae"}
        return self.check(metrics, gains)


def test_a_gate_is_handed_the_same_with_a_budget_as_without(make_use_case: Make, tmp_path: Path) -> None:
    changes = {"evaluation.cross_validation": 2, "monitoring.slices": ["temp"], "evaluation.error_budget": 0.05}
    spec = load_use_case(str(make_use_case("small", changes))).spec
    plain = load_use_case(str(make_use_case("plain", {"gates": [{"metric": "rmse", "max": 1e9}]})))
    champion, _, _ = released(plain, rows(plain, "2011-03-01"), tmp_path / "b")
    gates = (
        TwiceGate(metric="rmse", versus="champion"),
        TwiceGate(metric="mae", versus="champion"),
        SliceGate(slice="temp", metric="rmse", max=1e9),
    )
    spec = spec.model_copy(update={"gates": gates})
    judged = judge(rows(plain, "2011-06-01"), spec, champion)
    assert within_budget(judged, spec, None).judgement.budget is not None


def test_each_walk_spends_a_budget_of_its_own(make_use_case: Make) -> None:
    changes = {"evaluation__error_budget": 1e-40, "gates": [{"metric": "rmse", "versus": "champion"}]}
    with walked(make_use_case, **changes) as past:
        never = walk(past, SchedulePolicy(windows=1))
        assert never.refused > 0
        assert never.released == []
        again = walk(past, SchedulePolicy(windows=1))
        assert again.values == never.values
    with walked(make_use_case, name="generous", **changes | {"evaluation__error_budget": 0.4}) as past:
        found = walk(past, SchedulePolicy(windows=1))
        assert found.released
        assert walk(past, SchedulePolicy(windows=2)).released
        assert walk(past, SchedulePolicy(windows=1)).released == found.released
