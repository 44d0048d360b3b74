"""Alert rules: what they find, of what is declared; the recorder opens findings and resolves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from expectations.alert_rules import Strays
from expectations.alert_views import DecisionMade, LossByHour
from expectations.durations import Duration
from expectations.errors import ExpressionError, UseCaseError
from expectations.loading import load_use_case
from expectations.slots import ALERT_RULES
from expectations.windows import Window
from infra.settings import Settings
from tasks.bundles.feedback import Unmatched
from tasks.deciding.policy import Decision
from tasks.monitoring.alerting import (
    end_of_others,
    end_undeclared,
    note_decision,
    note_loss,
    note_run,
    note_unmatched,
    note_window,
    rules_of,
)
from tasks.monitoring.recording import record_decision
from tasks.monitoring.rules.low_coverage import LowCoverage
from tasks.monitoring.watching import measure_windows
from tasks.monitoring.watermarks import AskedWindows
from tasks.monitoring_laws import alert_rule_laws
from tasks.stores.measurements import Measurement, measurement_of
from tasks.stores.places import Job
from tests.conftest import instant

START = instant("2026-01-05")
MANIFEST: Any = SimpleNamespace(classes=(), label_words="numbers")


@pytest.fixture
def make_job(make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))

    def make(*rules: object) -> Job:
        if not (tmp_path / "rentals").exists():
            make_use_case("rentals")
        settings = Settings()
        usecase = settings.use_case(str(tmp_path / "rentals"))
        monitoring = usecase.spec.monitoring
        declared = type(monitoring).model_validate({**monitoring.model_dump(by_alias=True), "alert_rules": rules})
        spec = usecase.spec.model_copy(update={"monitoring": declared})
        return Job(replace(usecase, spec=spec), settings.places(), START + timedelta(days=30))

    return make


def window(number: int, coverage: float, champion: str = "a", *, ripe: bool = True) -> Measurement:
    week = Window(START + timedelta(days=7 * number), START + timedelta(days=7 * number + 7))
    return measurement_of(
        week, champion=champion, version="1", rows=200, champion_rows=200, coverage=coverage, ripe=ripe
    )


def open_keys(job: Job) -> set[str]:
    return {each.key for each in job.database.open_findings(job.name)}


def test_labels_that_do_not_come_are_reported_and_resolved(make_job: Callable[..., Job]) -> None:
    job = make_job({"rule": "low_coverage", "below": 0.5, "severity": "failure"})
    note_window(job, "a", window(0, 0.6), MANIFEST)
    assert open_keys(job) == set()
    note_window(job, "a", window(1, 0.25), MANIFEST)
    note_window(job, "a", window(2, 0.0, ripe=False), MANIFEST)  # they may come yet
    (found,) = job.database.open_findings(job.name)
    assert (found.key, found.severity, found.title) == ("low_coverage-a", "failure", "labels do not come")
    assert found.body.startswith("Labels of 25.0% of the predictions from 2026-01-12")
    assert found.evidence == {"below": 0.5, "coverage": 0.25}
    note_window(job, "a", window(3, 0.5), MANIFEST)
    (over,) = job.database.findings(job.name)
    assert over.resolved_how is not None
    assert over.resolved_how.startswith("50% of the labels of 2026-01-26")
    entries = [(each.action, each.entry) for each in job.database.entries(job.name)]
    assert entries == [
        ("low_coverage", "rentals/monitor/low_coverage/2026-01-12T00:00:00+00:00/2026-01-19T00:00:00+00:00")
    ]


def test_a_version_that_answers_no_more_is_for_the_ledger_alone(make_job: Callable[..., Job]) -> None:
    job = make_job("low_coverage")
    note_window(job, "b", window(0, 0.1), MANIFEST)
    assert open_keys(job) == set()
    assert len(job.database.entries(job.name)) == 1
    note_window(job, "a", window(1, 0.1), MANIFEST)
    end_of_others(job, "a")
    assert open_keys(job) == {"low_coverage-a"}
    end_of_others(job, "b")
    assert open_keys(job) == set()


def test_findings_of_a_rule_that_is_not_declared_any_more_are_over(make_job: Callable[..., Job]) -> None:
    declared = make_job("low_coverage")
    note_window(declared, "a", window(0, 0.1), MANIFEST)
    end_undeclared(declared)
    assert open_keys(declared) == {"low_coverage-a"}
    end_undeclared(make_job())
    assert open_keys(declared) == set()
    assert declared.database.findings(declared.name)[0].resolved_how == "nothing of the kind is declared any more"


def test_what_always_is_in_force_needs_no_declaration(make_job: Callable[..., Job]) -> None:
    job = make_job()
    strays = [Strays(each * 64, "1", "ahead", 20, START, START) for each in "ab"]
    note_run(job, strays, AskedWindows())
    assert open_keys(job) == {f"stray-{'a' * 12}-ahead", f"stray-{'b' * 12}-ahead"}
    note_run(job, strays[:1], AskedWindows())
    assert open_keys(job) == {f"stray-{'a' * 12}-ahead"}
    note_run(job, [], AskedWindows())
    assert open_keys(job) == set()
    assert job.database.findings(job.name)[0].resolved_how == "no such predictions are left"


def test_a_rule_stands_once(make_use_case: Callable[..., Path]) -> None:
    twice = {"monitoring.alert_rules": ["low_coverage", {"rule": "low_coverage", "below": 0.5}]}
    with pytest.raises(UseCaseError, match="twice: low_coverage"):
        load_use_case(str(make_use_case(changes=twice)))


def test_a_rule_has_no_other_findings_name() -> None:
    broken = [law for law, kept in alert_rule_laws(LowCoverage.model_construct(rule="errors", below=0.5)) if not kept]
    assert broken == ["its name is that of no other kind of finding"]


@pytest.mark.parametrize("rule", [each for each in ALERT_RULES.built_in if ALERT_RULES.released(each).always])
def test_what_always_is_in_force_can_be_turned_off(rule: str, make_job: Callable[..., Job]) -> None:
    assert rule not in {
        each.rule for each in rules_of(make_job({"rule": rule, "enabled": False}).usecase.spec.monitoring)
    }


def test_a_rule_that_was_turned_off_finds_nothing_and_what_it_found_is_over(make_job: Callable[..., Job]) -> None:
    job, off = make_job(), make_job({"rule": "stray", "enabled": False})
    strays = [Strays("a" * 64, "1", "ahead", 20, START, START)]
    note_run(job, strays, AskedWindows())
    assert measure_windows(off) == []  # nothing is served yet
    note_run(off, strays, AskedWindows())
    assert open_keys(job) == set()
    assert job.database.findings(job.name)[0].resolved_how == "the rule is turned off"


LOST = {"window": window(0, 1.0).window, "version": "1", "status": "violated"}


def decided(job: Job, action: str, cause: str, *, alert: bool = False, **more: Any) -> list[tuple[str, str]]:
    with job.database.transaction() as connection:
        note_decision(job, connection, DecisionMade(action, cause, f"{action} by {cause}", alert, **more))
    return [(each.key, each.severity) for each in job.database.open_findings(job.name)]


def test_what_a_decision_finds_is_over_once_another_does_not_find_it(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert decided(job, "keep", "drift", **LOST) == [("drift", "info")]
    assert decided(job, "keep", "drift", lost=True, **LOST) == [("drift", "warning")]
    assert decided(job, "warn", "decay", alert=True, **LOST) == [("loss", "warning")]
    assert decided(job, "keep", "unknown", **LOST | {"status": "unknown"}) == [("loss", "warning")]
    assert decided(job, "keep", "none", **LOST | {"status": "good"}) == []
    assert decided(job, "retrain", "decay", **LOST) == [("loss", "info")]
    assert job.database.entries(job.name) == []  # the decision itself is the entry


def test_what_rules_found_stands_while_data_are_held(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert decided(job, "keep", "drift", lost=True, **LOST) == [("drift", "warning")]
    record_decision(job, Decision("hold", "quality", "the suite is broken", alert=True), "held", {}, None)
    standing = {(each.key, each.severity) for each in job.database.open_findings(job.name)}
    assert standing == {("held", "failure"), ("drift", "warning")}  # no window was looked at


def test_findings_of_decisions_are_graded_and_turned_off_as_declared(make_job: Callable[..., Job]) -> None:
    job = make_job({"rule": "loss", "severity": "failure"}, {"rule": "drift", "enabled": False})
    assert decided(job, "warn", "decay", alert=True, **LOST) == [("loss", "failure")]
    assert decided(job, "keep", "drift", **LOST | {"status": "good"}) == []


def test_labels_of_no_prediction_are_quiet_as_long_as_is_declared(make_job: Callable[..., Job]) -> None:
    job = make_job({"rule": "unmatched", "over_after": Duration.parse("1d"), "severity": "info"})
    note_unmatched(job, Unmatched(2, START, START, START, {"app": 2}))
    none = Unmatched(0, START, None, None, {})
    note_unmatched(job.moved(job.as_of + timedelta(hours=23)), none)
    assert [(each.key, each.severity) for each in job.database.open_findings(job.name)] == [("unmatched", "info")]
    note_unmatched(job.moved(job.as_of + timedelta(hours=24)), none)
    assert open_keys(job) == set()


def test_a_loss_that_rises_is_reported_once_and_not_where_that_is_turned_off(make_job: Callable[..., Job]) -> None:
    job, off = make_job(), make_job({"rule": "rising", "enabled": False})
    risen = LossByHour("b" * 64, new=True, odds=30.0, at=START)

    def looked(where: Job, seen: LossByHour) -> set[str]:
        with where.database.transaction() as connection:
            note_loss(where, connection, seen)
        return open_keys(where)

    assert looked(off, risen) == set()
    assert looked(job, risen) == {"rising"}
    assert looked(job, replace(risen, new=False)) == {"rising"}
    end_undeclared(off)
    assert open_keys(job) == set()
    assert looked(job, replace(risen, new=False, odds=25.0)) == {"rising"}  # it is on again, and the alarm stands
    (found,) = job.database.open_findings(job.name)
    assert found.body.startswith("The loss by the hour rises: odds of 25 to 1 now, after an alarm at 2026-01-05 00:00")
    assert looked(job, LossByHour("b" * 64, new=False)) == set()
    (entry,) = job.database.entries(job.name)
    assert (entry.action, entry.cause) == ("rising", "loss")


@pytest.mark.parametrize(
    "fault", [ZeroDivisionError("of nothing"), ExpressionError("an expression", "none", "Write one")]
)
def test_a_rule_that_fails_stops_nothing_and_what_it_found_stands(
    fault: Exception,
    make_job: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = make_job("low_coverage")
    note_window(job, "a", window(0, 0.1), MANIFEST)

    def look(*_: object) -> None:
        raise fault

    monkeypatch.setattr(LowCoverage, "look", look)
    note_window(job, "a", window(1, 1.0), MANIFEST)
    assert open_keys(job) == {"low_coverage-a"}
    assert f"the alert rule low_coverage failed: {type(fault).__name__}: " in caplog.text
