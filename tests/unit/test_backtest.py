"""Policies walked through a past: as the loop would have acted, whatever the history, and told rightly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from expectations.deciding import Budget
from expectations.durations import Duration
from expectations.errors import DriftwheelError, SourceError, TrainingError
from expectations.loading import load_use_case
from expectations.windows import Window
from flows.backtest import backtest, past_of
from flows.commands.deciding import _read_policies
from flows.commands.deciding import backtest as command
from flows.story import draw_backtest
from tasks.backtesting.advice import bounds_of, candidates, policy_of, written
from tasks.backtesting.models import DatedModel, UnpackedModel
from tasks.backtesting.past import Past
from tasks.backtesting.placements import best_placement, charge_of, excess, schedule_curve
from tasks.backtesting.walking import walk
from tasks.deciding.triggers.performance import PerformancePolicy
from tasks.deciding.triggers.schedule import SchedulePolicy
from tasks.deciding.triggers.trial import TrialPolicy
from tests.conftest import instant

Make = Callable[..., Path]
QUICK = [{"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None}]
RANDOM = np.random.default_rng(5)


@contextmanager
def walked(
    make: Make, end: str = "2011-07-01", start: str | None = None, name: str = "small", **changes: object
) -> Iterator[Past]:
    """The past of a small use case."""
    told = {key.replace("__", "."): value for key, value in changes.items()}
    usecase = load_use_case(str(make(name, {"model.candidates": QUICK, **told})))
    with past_of(usecase, b"k", instant(start) if start else None, instant(end)) as past:
        yield past


def tables() -> Iterator[np.ndarray]:
    for windows in (1, 2, 3, 6, 9):
        table = np.triu(RANDOM.normal(0, 0.1, (windows, windows)) + 0.05 * np.arange(windows))
        table[np.tril_indices(windows, -1)] = math.nan
        yield table
        table[:, windows // 2] = math.nan  # a window in which nothing can be told
        yield table


def placements(windows: int) -> list[list[int]]:
    return [[at for at in range(1, windows) if bits >> at & 1] for bits in range(0, 2**windows, 2)]


def test_the_best_placement_is_the_best_of_all_placements() -> None:
    for table in tables():
        for cost in (0.0, 0.05, 0.4):
            every = {
                tuple(each): float(excess(table, charge_of(len(table), each)).sum()) + cost * len(each)
                for each in placements(len(table))
            }
            found, placed = best_placement(table, cost)
            assert found == pytest.approx(min(every.values()), abs=1e-12)
            assert found == pytest.approx(every[tuple(placed)], abs=1e-12)
            for releases in range(len(table)):
                found, placed = best_placement(table, cost, releases)
                least = min(each for key, each in every.items() if len(key) == releases)
                assert found == pytest.approx(least, abs=1e-12)
                assert (len(placed), found) == (releases, pytest.approx(every[tuple(placed)], abs=1e-12))


def test_the_curve_of_schedules_is_the_mean_over_their_phases() -> None:
    for table in tables():
        windows = len(table)
        for releases, lost in schedule_curve(table):
            every = round((windows - 1) / releases) if releases else windows
            phases = [list(range(phase, windows, every)) for phase in range(1, every + 1)] if releases else [[]]
            expected = np.mean([excess(table, charge_of(windows, each)).mean() for each in phases])
            assert releases == pytest.approx(np.mean([len(each) for each in phases]))
            assert lost == pytest.approx(float(expected), abs=1e-12)


def test_four_hundred_windows_are_placed_at_once() -> None:
    table = np.triu(RANDOM.normal(0, 0.1, (400, 400)))
    cost, placed = best_placement(table, 0.01)
    again = float(excess(table, charge_of(400, placed)).sum()) + 0.01 * len(placed)
    assert cost == pytest.approx(again)
    assert cost <= min(float(excess(table, charge_of(400, list(range(1, 400, k)))).sum()) for k in (1, 7, 50))


def test_candidates_keep_the_bounds_of_the_use_case() -> None:
    own = PerformancePolicy(
        violations=1,
        of=1,
        cooldown=Duration.parse("14d"),
        min_rows=300,
        budget=Budget(releases=4, per=Duration.parse("1y")),
        breaker=5,
        approval=Duration.parse("1d"),
        dry_run=True,
    )
    bounds = bounds_of(own)
    assert bounds == {
        "cooldown": "14d",
        "min_rows": 300,
        "budget": {"releases": 4, "per": "1y"},
        "breaker": 5,
        "approval": "1d",
        "dry_run": True,
    }
    found = candidates(12, own)
    assert len(found) > 40
    for name, spec in found.items():
        budget = {"releases": 2, "per": "1y"} if name.endswith("2 a year") else bounds["budget"]
        assert bounds_of(policy_of(spec)) == {**bounds, "budget": budget}
        assert written(policy_of(spec)).items() >= spec.items()
    plain = candidates(12, TrialPolicy())
    assert plain["every 3"] == {"trigger": "schedule", "windows": 3}
    assert written(policy_of(plain["every 3"])) == {"trigger": "schedule", "windows": 3}


def test_where_costs_say_what_a_release_costs_no_candidate_does() -> None:
    found = candidates(12, TrialPolicy(), priced=True)
    assert [name for name in found if "trial" in name] == ["trial", "trial, twin"]
    assert not [spec for spec in found.values() if "release_cost" in spec]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"trigger": "moon"}, "one of trial, performance.*the trigger 'moon'.*Install the package"),
        ({"trigger": "trial", "eager": True}, "as this version knows it.*eager"),
    ],
)
def test_a_policy_that_is_not_installed_is_said(spec: dict[str, object], message: str) -> None:
    with pytest.raises(DriftwheelError, match=message):
        policy_of(spec)


def policy_files(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"mine.yaml": "{trigger: schedule, windows: 2}"}, {"mine": SchedulePolicy(windows=2)}),
        (
            {"a.yaml": "release_cost: 0.1", "b.yaml": "violations: 1\nof: 2"},
            {"a": TrialPolicy(release_cost=0.1), "b": PerformancePolicy(violations=1, of=2)},
        ),
        (
            {"mine.yaml": "budget: {releases: 2, per: 1y}"},
            {"mine": TrialPolicy(budget=Budget(releases=2, per=Duration.parse("1y")))},
        ),
        (
            {"many.yaml": "a: {windows: 3, trigger: schedule}\nb: {release_cost: 1.0}"},
            {"a": SchedulePolicy(windows=3), "b": TrialPolicy(release_cost=1.0)},
        ),
    ],
)
def test_policy_files(tmp_path: Path, texts: dict[str, str], expected: dict[str, object]) -> None:
    found = _read_policies(policy_files(tmp_path, texts))
    assert {name: policy_of(spec) for name, spec in found.items()} == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"default.yaml": "release_cost: 0.1"}, "'default' in .*the policy of the use case.*Name the file otherwise"),
        ({"a.yaml": "default: {release_cost: 0.1}"}, "'default' in .*the policy of the use case.*another name"),
        ({"a.yaml": "b: {release_cost: 0.1}", "b.yaml": "release_cost: 0.2"}, "'b' in .*b.yaml.*another in .*a.yaml"),
        ({"a.yaml": "b: {release_cost: 0.1}\nb: {release_cost: 0.2}"}, "written twice"),
        ({"a.yaml": ""}, "the file is empty"),
        ({"a.yaml": "null"}, "a policy in .*a.yaml.*found nothing"),
        ({"a.yaml": "{}"}, "a policy in .*a.yaml.*found nothing"),
        ({"a.yaml": "[{release_cost: 0.1}]"}, "a policy in .*found a list"),
        ({"a.yaml": "one: {release_cost: 0.1}\ntwo:"}, "a policy 'two' in .*found nothing"),
        ({"a.yaml": "one: {release_cost: 0.1}\ntwo: 3"}, "a policy 'two' in .*found 3"),
        ({"a.yaml": "trigerr: trial"}, "a policy 'a' in .*trigerr"),
        ({"a.yaml": "one: {release_cost: -1}"}, "a policy 'one' in .*release_cost"),
    ],
)
def test_policy_files_that_are_refused(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(DriftwheelError, match=message):
        _read_policies(policy_files(tmp_path, texts))


def test_what_cannot_be_written_is_said_before_anything_is_learnt(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    folder = make_use_case("small")
    run = CliRunner().invoke
    found = run(command, [str(folder), "--json", str(tmp_path / "gone" / "found.json")])
    assert "no folder that this user may write to" in str(found.exception)
    file = folder / "usecase.yaml"
    file.write_text(file.read_text().replace("  policy:", "  policy: &own") + "\nforbidden_: *own\n")
    found = run(command, [str(folder), "--apply"])
    assert isinstance(found.exception, DriftwheelError)


class Answering:
    """What a model learnt, as far as it answers: these numbers, row by row."""

    classes: tuple[str, ...] = ()

    def __init__(self, values: Sequence[float]) -> None:
        self.values = np.array(values, dtype=np.float64)

    def predict(self, frame: pl.DataFrame, *, repaired: bool) -> np.ndarray:
        del repaired
        return np.resize(self.values, len(frame))


def answering(*values: float) -> UnpackedModel:
    return UnpackedModel(0, Answering(values), instant("2010-01-01"), 10)  # type: ignore[arg-type] # what predicts is enough


@pytest.fixture
def hours(make_use_case: Make) -> Callable[..., Past]:
    """Makes a past of ten hours a window, each with a row, the windows following each other."""

    def make(unlabelled: Sequence[int] = (), *, windows: int = 4, rows: int = 10, **changes: object) -> Past:
        told = {key.replace("__", "."): value for key, value in changes.items()}
        usecase = load_use_case(
            str(make_use_case(f"hours{rows}", {"monitoring.every": "10h", "monitoring.min_rows": 2, **told}))
        )
        begin = instant("2011-01-01")
        clocks = [begin + timedelta(hours=hour) for hour in range(windows * 10) if hour % 10 < rows]
        labels = [None if place in unlabelled else 10 + place for place in range(len(clocks))]
        world = pl.DataFrame({"time": clocks, "bikers": labels}, {"time": pl.Datetime("us", "UTC"), "bikers": pl.Int64})
        spans = [
            Window(begin + timedelta(hours=10 * at), begin + timedelta(hours=10 * (at + 1))) for at in range(windows)
        ]
        return Past(usecase, None, world, spans)  # type: ignore[arg-type] # nothing is learnt

    return make


def test_each_row_is_answered_by_the_newest_model_released_by_then(hours: Callable[..., Past]) -> None:
    past = hours()
    one, two, three = answering(1), answering(2), answering(3)
    begin = instant("2011-01-01")
    late = [
        DatedModel(begin, one),
        DatedModel(begin + timedelta(hours=13), two),
        DatedModel(begin + timedelta(hours=17), three),
    ]
    found = [past.answered(late, window) for window in range(3)]
    assert found[0].owner is one
    assert found[1].prediction.tolist() == [1] * 3 + [2] * 4 + [3] * 3  # a row at the very instant is the new one's
    assert found[1].owner is two
    assert found[1].mine.tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert found[2].owner is three

    back = [*late, DatedModel(begin + timedelta(hours=17), one)]  # taken back at once: the rows count for one model
    found[1] = past.answered(back, 1)
    assert found[1].prediction.tolist() == [1] * 3 + [2] * 4 + [1] * 3
    assert found[1].owner is one
    assert int(found[1].mine.sum()) == 6


def test_rows_without_a_label_are_answered_and_cover_nothing(hours: Callable[..., Past]) -> None:
    past = hours(unlabelled=[0, 1, 2, 3, 4, 5])
    one, two = answering(1), answering(2)
    begin = instant("2011-01-01")
    found = past.answered([DatedModel(begin, one), DatedModel(begin + timedelta(hours=6), two)], 0)
    assert found.owner is one  # of most rows, though none of these has a label
    assert (found.rows, found.coverage, len(found.prediction)) == (10, 0.0, 4)
    assert not found.mine.any()
    nothing = past.answered([DatedModel(begin, one)], 3)
    assert nothing.owner is one
    assert hours(rows=0).answered([DatedModel(begin, one)], 0).owner is None


def test_a_perfect_model_loses_less_than_any_other(hours: Callable[..., Past]) -> None:
    past = hours()
    truth = past._truth[0]
    exact = answering(*truth)
    assert math.isfinite(past.loss(exact, 0))
    assert past.loss(exact, 0) < past.loss(answering(float(truth.mean())), 0) - 10


@pytest.mark.parametrize(("available", "known"), [("0d", 30), ("1h", 30), ("2h", 29)])
def test_a_row_of_the_instant_itself_is_not_known_yet(hours: Callable[..., Past], available: str, known: int) -> None:
    """As `Known` has it: event times before `as_of`, and at most `available_after` before it."""
    past = hours(label__available_after=available)
    past.__dict__["clocks"] = pl.concat(past._clocks)
    now = instant("2011-01-01") + timedelta(hours=30)
    assert past.new_rows(answering(1), now) == known
    assert past.rows_until(answering(1), now) == 31


@pytest.mark.slow
def test_few_labels_are_no_performance(make_use_case: Make) -> None:
    """`min_coverage` is held in a backtest as it is in monitoring."""

    def hole(past: Past, window: int, share: float) -> None:
        known = past._labelled[window].copy()
        known[: int(share * len(known))] = False
        past._rows[window] = past._rows[window].filter(pl.Series(known[past._labelled[window]]))
        past._truth[window] = past._truth[window][known[past._labelled[window]]]
        past._labelled[window] = known

    with walked(make_use_case) as past:
        whole = walk(past, SchedulePolicy(windows=1))
        assert whole.actions == ["retrain"] * 4
    for share, action in ((0.09, "retrain"), (0.11, "keep")):
        with walked(make_use_case, name=f"hole{round(100 * share)}") as past:
            hole(past, 1, share)
            assert walk(past, SchedulePolicy(windows=1)).actions == ["retrain", action, "retrain", "retrain"]


@pytest.mark.slow
def test_windows_that_teach_nothing_stop_neither_backtest_nor_walk(make_use_case: Make) -> None:
    with walked(make_use_case) as past:
        known = past.known

        def broken(number: int) -> pl.DataFrame:
            rows = known(number)
            return rows if number != 2 else rows.head(3)

        past.known = broken  # type: ignore[method-assign]
        assert past.blind(2) is past.blind(1)
        done = walk(past, SchedulePolicy(windows=1))
        assert (done.failed, done.refused, done.actions[1]) == (1, 0, "retrain")
        assert done.charge[2] is done.charge[1]  # nothing was released
        found = backtest(past, {"every": {"trigger": "schedule", "windows": 1}})
        (note,) = found.notes()
        assert "no model could be learnt for 1 of 4 windows (2011-05-01)" in note
        assert found.to_dict()["untrainable"][0]["window"] == 2
        assert np.isfinite(found.table[np.triu_indices(4)]).all()
        json.dumps(found.to_dict())


def test_a_model_of_a_calendar_counts_the_rows_of_the_window_it_chose(make_use_case: Make) -> None:
    with walked(make_use_case, model__window="auto", evaluation__min_rows=30) as past:
        chosen = past.blind(1).trained.window
        assert chosen is not None
        assert chosen.last is not None
        assert past.blind(1).learnt_rows == len(chosen.of(past.known(1), past.spec)) < len(past.known(1))


def test_windows_whose_code_is_not_trusted_stop_neither_backtest_nor_walk(
    make_use_case: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SourceError("trusted code", "code that was never trusted", "Trust it")

    with walked(make_use_case) as past:
        first, blind = past.first(), past.blind(1)
        for name in ("learn", "judge"):
            monkeypatch.setattr(f"tasks.backtesting.past.{name}", refuse)
        assert past.blind(2) is blind
        assert "never trusted" in past.untrainable[2]
        verdict = past.judged(first, 2)
        assert verdict.model is None
        assert verdict.failed


@pytest.mark.slow
def test_a_policy_that_needs_what_a_backtest_does_not_measure_is_said(make_use_case: Make) -> None:
    with walked(make_use_case) as past:
        found = backtest(past, {"inputs": {"trigger": "drift"}, "every": {"trigger": "schedule", "windows": 1}})
    (note,) = found.notes()
    assert note.startswith("inputs: drift of a window")


def test_a_first_model_that_is_refused_is_said_before_any_other_is_learnt(make_use_case: Make) -> None:
    gates = [{"metric": "rmse", "max": 0.001}, {"metric": "rmse", "versus": "champion", "margin": 2.0}]
    with walked(make_use_case, gates=gates) as past:
        with pytest.raises(TrainingError, match="a first model that passes its gates"):
            backtest(past)
        assert not past._blind


@pytest.mark.slow
def test_costs_count_for_every_trial_policy(make_use_case: Make) -> None:
    with walked(make_use_case, costs={"release": 1e6, "error": 1.0}) as past:
        found = backtest(past, {"eager": {"trigger": "trial", "release_cost": 0.001}})
        own, eager = found.policies
        assert found.release_cost == 1e6
        assert eager.releases == 0
    with walked(make_use_case, name="free") as past:
        (_, eager) = backtest(past, {"eager": {"trigger": "trial", "release_cost": 0.001}}).policies
        assert eager.releases > 0
        assert own.name == "default"


@pytest.mark.slow
def test_a_dry_run_is_walked_as_if_it_acted(make_use_case: Make) -> None:
    spec = {"trigger": "schedule", "windows": 1}
    with walked(make_use_case, monitoring__policy={**spec, "dry_run": True}) as past:
        assert walk(past, past.spec.monitoring.policy).actions == ["keep"] * 4
        frozen = walk(past, policy_of({"trigger": "trial", "dry_run": True}))
        assert (frozen.released, len(frozen.tried)) == ([], 4)  # it tries and alerts, and nobody acts on it
        assert sum(each is not None for each in frozen.tried) == frozen.trials > 0
        found = backtest(past, {"acting": spec})
        own, other = found.policies
        assert own.actions == other.actions == ("retrain",) * 4
        assert own.spec["dry_run"]
    (axes,) = draw_backtest(found).axes  # which marks the use case's own policy, among those that were walked
    marks = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert marks["the use case's policy"].shape == (1, 2)
    assert marks["the use case's policy"][0] in marks["policies"]
    assert marks["the use case's policy"][0][0] == own.releases


@pytest.mark.slow
@pytest.mark.parametrize("available", ["0d", "10d", "20d", "45d"])
def test_labels_that_come_late_delay_who_answers_and_what_is_decided(make_use_case: Make, available: str) -> None:
    """Whatever the delay: a model answers rows after its release alone, and the champion's own windows decide."""
    with walked(make_use_case, end="2011-09-01", label__available_after=available, start="2011-05-01") as past:
        done = walk(past, SchedulePolicy(windows=1))
        released = [0, *(number for number in done.released if number < len(past.windows))]
        releases = [DatedModel(past.begins(number), done.charge[number]) for number in released]
        for number, value in enumerate(done.values):
            answered = past.answered(releases, number)
            assert value == pytest.approx(past.score(number, answered.prediction), rel=1e-12)
            for release in releases[1:]:
                early = (past._rows[number]["time"] < release.at).to_numpy()
                assert not (answered.owner is release.model and (answered.mine & early).any())
                assert release.model.cutoff < release.at
        owners = [past.answered(releases, number).owner for number in range(len(past.windows))]
        in_charge = [owner is done.charge[number] for number, owner in enumerate(owners)]
        assert [action == "retrain" for action in done.actions] == in_charge
        assert all(in_charge) == (available in ("0d", "10d"))  # less than half a window
