"""The policy is a function: what it is given, what it says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from expectations.deciding import Back, Budget, History, Policy, SeenWindow, Trial
from expectations.durations import Duration
from expectations.gates import EvaluationSettings
from expectations.production import Costs, Monitoring
from expectations.windows import Grid, Window
from tasks.deciding.gaps import forecast, loss_is_certain
from tasks.deciding.policy import DecisionBounds, Ended, Situation, decide
from tasks.deciding.triggers.drift import DriftPolicy
from tasks.deciding.triggers.estimated import Estimated
from tasks.deciding.triggers.performance import PerformancePolicy
from tasks.deciding.triggers.schedule import SchedulePolicy
from tasks.deciding.triggers.trial import TrialPolicy
from tests.conftest import instant

POLICY = PerformancePolicy(violations=2, of=3, cooldown=Duration.parse("14d"), min_rows=100)
NOW, WEEK = instant("2013-06-01"), Duration.parse("1w")
BOUNDS = DecisionBounds(WEEK, 100)
GOOD, BAD, UNKNOWN = SeenWindow("good", 500), SeenWindow("violated", 500), SeenWindow("unknown", 3)
DRIFTED = SeenWindow("good", 500, ("temp",))


def situation(**changes: object) -> Situation:
    facts = {"as_of": NOW, "last_turn": instant("2013-03-01"), "new_labelled": 1000}
    return Situation(**{**facts, **changes})


def history(*seen: SeenWindow) -> History:
    return History(tuple(seen), every=WEEK)


LATE = SeenWindow("unknown", 500, expected="violated", drifted=("temp",), inputs=1)


@pytest.mark.parametrize(
    ("windows", "retrains"),
    [
        ((LATE, LATE), True),
        ((BAD, LATE), True),
        ((LATE,), False),  # one of three
        ((LATE, UNKNOWN), False),  # nothing is known of the latest
        ((LATE, replace(LATE, drifted=("the predictions",), inputs=0)), False),  # an estimate alone is no reason
        ((LATE, replace(LATE, expected=None)), False),  # not to be trusted
        ((LATE, LATE, replace(LATE, status="good")), False),  # its labels came, and it is good
        ((BAD, BAD), True),
    ],
)
def test_an_estimate_retrains_where_inputs_drifted_and_no_labels_say_otherwise(
    windows: tuple[SeenWindow, ...], retrains: bool
) -> None:
    assert decide(history(*windows), Estimated(), situation(), BOUNDS).action == ("retrain" if retrains else "keep")


def test_what_is_expected_is_kept_with_a_history() -> None:
    kept = history(LATE, GOOD)
    assert History.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept


def lived(gaps: list[float | None], *, deviation: float = 0.02, grown: float = 0.1) -> History:
    """A champion's windows with trials that found these gaps; rows grow by a tenth of those learnt from."""
    seen = [
        SeenWindow(
            "good",
            500,
            number=place,
            grown=math.log1p(grown * place),
            trial=None if gap is None else Trial(gap, deviation**2, math.log1p(grown * (place + 0.7)), place),
        )
        for place, gap in enumerate(gaps)
    ]
    return History(tuple(seen), math.log1p(grown * len(gaps)), every=WEEK)


@pytest.mark.parametrize(
    ("windows", "facts", "action", "cause"),
    [
        ([BAD, BAD], {}, "retrain", "decay"),
        ([BAD, GOOD, BAD], {}, "retrain", "decay"),
        ([BAD, BAD], {"held": ("rows failed",)}, "hold", "quality"),
        ([], {}, "keep", "unknown"),
        ([BAD], {}, "warn", "decay"),
        ([BAD, GOOD, GOOD, BAD], {}, "warn", "decay"),
        ([BAD, BAD, GOOD], {}, "keep", "none"),
        ([BAD, BAD, UNKNOWN], {}, "keep", "unknown"),
        ([BAD, BAD], {"last_turn": instant("2013-05-25")}, "warn", "decay"),
        ([BAD, BAD], {"last_turn": instant("2013-05-18")}, "retrain", "decay"),
        ([BAD, BAD], {"last_turn": None}, "retrain", "decay"),
        ([BAD, BAD], {"new_labelled": 99}, "warn", "decay"),
        ([BAD, BAD], {"open_turn": True}, "warn", "decay"),
        ([GOOD, DRIFTED], {}, "warn", "drift"),
        ([SeenWindow("unknown", 500, ("temp",))], {}, "warn", "unknown"),
    ],
)
def test_performance(windows: list[SeenWindow], facts: dict[str, object], action: str, cause: str) -> None:
    decision = decide(history(*windows), POLICY, situation(**facts), BOUNDS)
    assert (decision.action, decision.cause) == (action, cause)
    assert decision.summary


@pytest.mark.parametrize(
    ("gaps", "action"),
    [
        ([0.0, 0.01, -0.01], "keep"),  # a fresh model is no better
        ([1.2], "retrain"),  # more than two thirds of the loss would be saved, for one release
        ([0.5], "warn"),  # much, and yet once: a person hears of it, and the next trial tells
        ([0.5, 0.5], "retrain"),
        ([0.1, 0.1], "keep"),  # a tenth in each window: not paid for yet
        ([0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24], "retrain"),
        ([-0.3, -0.3], "keep"),  # a fresh model is worse: a season that returns
        ([None, None], "keep"),  # few labels: what rows grow by alone is no reason yet
    ],
)
def test_a_trial_decides_by_what_a_release_is_worth(gaps: list[float | None], action: str) -> None:
    decision = decide(lived(gaps), TrialPolicy(), situation(), BOUNDS)
    assert decision.action == action, decision.summary
    assert "release costs 0.4" in decision.summary


def test_a_jump_is_answered_and_then_all_is_quiet() -> None:
    assert decide(lived([0.0, 0.0, 0.6]), TrialPolicy(), situation(), BOUNDS).action == "retrain"
    after = lived([0.01, -0.01, 0.0, 0.01])
    assert (
        decide(replace(after, past=(Trial(0.6, 0.0004, 0.3, -1),)), TrialPolicy(), situation(), BOUNDS).action == "keep"
    )


@pytest.mark.parametrize("growth", [0.02, 0.05, 0.1])
def test_even_growth_is_answered_as_often_as_pays(growth: float) -> None:
    """The economic order quantity: with a gap that grows by b a window, a release every sqrt(2 cost / b) windows."""
    age = 1
    while (
        decide(
            lived([growth * (place + 0.7) for place in range(age)], grown=0.5, deviation=0.001),
            TrialPolicy(),
            situation(),
            BOUNDS,
        ).action
        != "retrain"
    ):
        age += 1
        assert age < 30
    assert abs(age - math.sqrt(2 * 0.4 / growth)) <= 1.5


def test_a_release_cost_is_told_in_any_span() -> None:
    month = TrialPolicy(release_cost=0.4, per=Duration.parse("28d"))
    assert month.cost(history()) == pytest.approx(1.6)
    assert TrialPolicy(release_cost=0.4).cost(history()) == 0.4


def test_costs_in_money_take_the_place_of_the_release_cost() -> None:
    costs = Costs(release=150.0, training=50.0, error=1000.0)
    assert costs.release_in_windows == 0.2
    assert Costs(release=150.0).release_in_windows is None
    dear = replace(lived([1.2]), release_cost=5.0)
    assert decide(dear, TrialPolicy(), situation(), BOUNDS).action != "retrain"
    assert "release costs 5" in decide(dear, TrialPolicy(), situation(), BOUNDS).summary


@pytest.mark.parametrize("costs", [{"release": 0.0, "error": 5.0}, {"release": 1e300, "error": 1e-300}])
def test_costs_that_are_no_price_are_refused(costs: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="finite number greater than zero"):
        Costs.model_validate(costs)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 0.0])
def test_an_error_costs_a_finite_amount(value: float) -> None:
    with pytest.raises(ValidationError):
        Costs(release=1.0, error=value)
    assert Costs(release=0.0, training=5.0, error=100.0).release_in_windows == 0.05


def test_a_person_hears_of_a_loss_that_is_certain_once() -> None:
    certain, before = lived([0.3, 0.3]), lived([0.3])
    assert loss_is_certain([seen.trial for seen in before.windows if seen.trial])
    shy = TrialPolicy(release_cost=10)
    assert decide(before, shy, situation(), BOUNDS).action == "warn"
    assert decide(certain, shy, situation(), BOUNDS).action == "keep"
    assert not decide(lived([0.01, 0.03]), shy, situation(), BOUNDS).alert


def test_schedule_and_drift() -> None:
    assert decide(history(GOOD, GOOD), SchedulePolicy(windows=2), situation(), BOUNDS).action == "retrain"
    assert decide(history(GOOD, UNKNOWN), SchedulePolicy(windows=2), situation(), BOUNDS).action == "keep"
    drift = DriftPolicy(columns=1, violations=2, of=2)
    assert decide(history(DRIFTED, DRIFTED), drift, situation(), BOUNDS).action == "retrain"
    assert decide(history(DRIFTED, GOOD), drift, situation(), BOUNDS).action == "keep"
    assert not decide(history(DRIFTED), drift, situation(), BOUNDS).alert


def test_a_budget_a_breaker_and_a_dry_run_hold_back() -> None:
    asking, always = history(GOOD), SchedulePolicy(windows=1)
    week_ago, weeks_ago = NOW - timedelta(days=7), NOW - timedelta(days=20)
    paid = situation(ended=(Ended(weeks_ago, released=True), Ended(week_ago, released=True)))
    held = decide(
        asking, always.model_copy(update={"budget": Budget(releases=2, per=Duration.parse("30d"))}), paid, BOUNDS
    )
    assert held.action == "keep"
    assert "2 releases in the last 30d" in held.summary
    refused = tuple(Ended(NOW - timedelta(days=7 * back), released=False) for back in (3, 2, 1))
    assert "3 challengers in a row were refused" in decide(asking, always, situation(ended=refused), BOUNDS).summary
    later = situation(as_of=NOW + timedelta(days=14), ended=refused)
    assert decide(asking, always, later, BOUNDS).action == "retrain"
    assert (
        decide(asking, always, situation(ended=(*refused[:2], Ended(week_ago, released=True))), BOUNDS).action
        == "retrain"
    )
    dry = decide(asking, always.model_copy(update={"dry_run": True}), situation(), BOUNDS)
    assert (dry.action, "nothing is done" in dry.summary) == ("keep", True)


@pytest.mark.parametrize("policy", [TrialPolicy(), POLICY, SchedulePolicy(windows=9)])
def test_a_release_that_is_worse_is_taken_back_whatever_the_policy(policy: Policy) -> None:
    worse = replace(GOOD, back=Back(0.2, 0.001))
    assert decide(history(worse), policy, situation(), BOUNDS).action == "rollback"
    assert decide(history(replace(GOOD, back=Back(0.2, 0.1))), policy, situation(), BOUNDS).action != "rollback"
    assert decide(history(worse), policy, situation(open_turn=True), BOUNDS).action != "rollback"
    late = history(*[replace(GOOD, back=Back(0.0, 0.001))] * 2, worse)
    assert decide(late, policy, situation(), BOUNDS).action != "rollback"  # a release is watched for two windows


def test_windows_without_labels_between_do_not_hide_what_violates() -> None:
    assert decide(history(BAD, UNKNOWN, UNKNOWN, BAD), POLICY, situation(), BOUNDS).action == "retrain"
    drifted = replace(UNKNOWN, drifted=("temp",))
    assert decide(history(drifted, drifted), DriftPolicy(violations=2, of=2), situation(), BOUNDS).action == "retrain"


def test_windows_that_are_too_old_to_be_listed_count_as_age_and_cost_what_the_others_do() -> None:
    whole = lived([0.05] * 40, deviation=0.01, grown=0.0)
    short = replace(whole, windows=whole.windows[20:], older=20)
    assert forecast(short).age == forecast(whole).age == 40
    assert forecast(short).cost == pytest.approx(forecast(whole).cost, rel=0.1)


def test_a_schedule_counts_windows_that_are_too_old_to_be_listed() -> None:
    policy = SchedulePolicy(windows=2160)
    assert not policy.asks(History((GOOD,) * 1000, older=1159)).retrain
    assert policy.asks(History((GOOD,) * 1000, older=1160)).retrain


def test_a_ledger_keeps_little_of_a_history() -> None:
    assert len(str(lived([None] * 100).to_dict())) < 8000
    old = {"gap": 0.1, "variance": 0.01, "grown": 0.2, "number": 0, "back": 0.3, "back_variance": 0.001}
    seen = {"status": "good", "rows": 5, "drifted": [], "detail": "", "number": 0, "grown": 0.0, "trial": old}
    kept = History.from_dict({"windows": [seen], "grown": 0.1, "past": [], "every": None})
    assert kept.windows[0].back == Back(0.3, 0.001)  # as releases before this one wrote it


def test_as_many_rows_are_needed_as_give_a_holdout_to_judge_by() -> None:
    bounds = DecisionBounds.of(WEEK, EvaluationSettings(holdout=0.3, min_rows=200))
    assert bounds.min_rows == 667
    assert (
        "667 are needed"
        in decide(history(GOOD), SchedulePolicy(windows=1), situation(new_labelled=666), bounds).summary
    )


POLICIES = st.sampled_from(
    [TrialPolicy(), TrialPolicy(release_cost=0.05), POLICY, SchedulePolicy(windows=1), DriftPolicy(violations=1, of=1)]
)
SPANS = st.sampled_from([Duration.parse(text) for text in ("0d", "1d", "2w", "1mo")])
STATUSES = st.sampled_from(["good", "violated", "unknown"])
TRIALS = st.none() | st.builds(Trial, st.floats(-2, 2), st.floats(0, 1), st.floats(0, 3), st.integers(0, 50))
WINDOWS = st.lists(
    st.builds(
        SeenWindow,
        STATUSES,
        st.integers(0, 1000),
        st.sampled_from([(), ("temp",)]),
        st.sampled_from(["", "rmse 3 against 2"]),
        st.integers(0, 50),
        st.floats(0, 3),
        TRIALS,
        st.none() | st.builds(Back, st.floats(-2, 2), st.floats(0, 1)),
    ),
    max_size=12,
)
ENDED = st.lists(
    st.builds(
        Ended,
        st.datetimes(instant("2013-01-01").replace(tzinfo=None), NOW.replace(tzinfo=None)).map(
            lambda at: at.replace(tzinfo=NOW.tzinfo)
        ),
        st.booleans(),
    ),
    max_size=6,
).map(lambda found: tuple(sorted(found, key=lambda each: each.as_of)))


@given(
    policy=POLICIES,
    cooldown=SPANS,
    windows=WINDOWS,
    ended=ENDED,
    rows=st.integers(0, 2000),
    budget=st.none() | st.integers(1, 3),
)
def test_whatever_the_history(
    policy: Policy,
    cooldown: Duration,
    windows: list[SeenWindow],
    ended: tuple[Ended, ...],
    rows: int,
    budget: int | None,
) -> None:
    """Never on an empty or unknown history, within a cooldown or beyond a budget; and the same again from its JSON."""
    month = Duration.parse("30d")
    bounded = policy.model_copy(
        update={"cooldown": cooldown, "budget": Budget(releases=budget, per=month) if budget else None}
    )
    last = ended[-1].as_of if ended else None
    now = situation(last_turn=last, ended=ended, new_labelled=rows)
    past = History(tuple(windows), 0.5, (Trial(0.1, 0.01, 0.4, 0),), WEEK, older=3)
    decision = decide(past, bounded, now, BOUNDS)
    if decision.action == "retrain":
        assert windows
        assert any(seen.status != "unknown" for seen in windows) or isinstance(policy, DriftPolicy)
        assert last is None or now.as_of >= cooldown.after(last)
        assert rows >= (bounded.min_rows or BOUNDS.min_rows)
        paid = sum(each.released and each.as_of > month.after(NOW, -1) for each in ended)
        assert budget is None or paid < budget
    again = decide(History.from_dict(past.to_dict()), bounded, Situation.from_dict(now.to_dict()), BOUNDS)
    assert again == decision
    if any(seen.status != "unknown" for seen in windows):
        assert math.isfinite(forecast(past).gap)


def test_a_policy_that_says_no_trigger_is_told_by_its_fields() -> None:
    def read(policy: object) -> Policy:
        return Monitoring.model_validate({"every": "1w", "performance": (), "policy": policy}).policy

    assert Monitoring.model_validate({"every": "1w", "performance": ()}).policy == TrialPolicy()
    assert read({"cooldown": "1w"}) == TrialPolicy(cooldown=WEEK)
    assert read({"violations": 1, "of": 2}) == PerformancePolicy(violations=1, of=2)


def test_windows_are_half_open() -> None:
    month = Grid(Duration.parse("1mo"))
    february = Window(instant("2013-02-01"), instant("2013-03-01"))
    assert month.window_of(instant("2013-02-01")) == february
    assert month.window_of(instant("2013-02-28T23:59:59")) == february
    assert month.window_of(instant("2013-03-01")).start == february.end


def test_days_are_those_of_the_place_and_weeks_begin_where_they_are_told_to() -> None:
    tokyo = Grid(Duration.parse("1d"), "Asia/Tokyo").window_of(instant("2013-02-01T16:00:00"))
    assert (tokyo.start, tokyo.end) == (instant("2013-02-01T15:00:00"), instant("2013-02-02T15:00:00"))
    spring = Grid(Duration.parse("1d"), "Europe/Berlin").window_of(instant("2013-03-31T12:00:00"))
    assert spring.end - spring.start == timedelta(hours=23)
    thursday = Grid(WEEK, week="thursday").window_of(instant("2013-02-01"))
    assert thursday.start == instant("2013-01-31")
    assert Grid(Duration.parse("1d"), week="thursday").window_of(NOW).start == NOW


def test_a_window_is_ripe_when_its_last_label_may_be_known() -> None:
    window = Window(instant("2013-01-01"), instant("2013-02-01"))
    assert not window.ripe(Duration.parse("1d"), instant("2013-02-01T23:00:00"))
    assert window.ripe(Duration.parse("1d"), instant("2013-02-02"))
