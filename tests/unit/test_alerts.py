"""How `alerts` and `heartbeat` are written in a use case, and what is said of what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
import yaml

from expectations.alerts import SEVERITIES, AlertTarget, hours, worse
from expectations.errors import UseCaseError
from expectations.loading import json_schema, load_use_case, readable_alerts
from tasks.stores.messages import Calendar
from tests.conftest import instant

Make = Callable[..., Path]


def test_an_address_alone_gets_warnings_and_failures(make_use_case: Make) -> None:
    whole = {"to": "json://b", "from_severity": "failure", "digest": "daily", "quiet": "22:00-07:00"}
    spec = load_use_case(str(make_use_case("rentals", {"alerts": ["json://a", whole]}))).spec
    assert spec.alerts == (
        AlertTarget(to="json://a", from_severity="warning"),
        AlertTarget(to="json://b", from_severity="failure", digest="daily", quiet="22:00-07:00"),
    )


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ([{"to": "json://a", "quiet": "22-7"}], r"alerts\.0\.quiet: '22-7' is no span of hours"),
        ([{"to": "json://a", "quiet": "07:00-07:00"}], "begins when it ends"),
        (["json://a", {"to": "json://b", "digest": "hourly"}], r"alerts\.1\.digest: .*'daily' or 'weekly'"),
        ([{"to": "json://a", "from": "failure"}], "unknown key"),
        ([{"quiet": "22:00-07:00"}], r"alerts\.0\.to: "),
        ([""], "at least 1 character"),
        ([5], "alerts"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place(make_use_case: Make, alerts: list[object], said: str) -> None:
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(make_use_case("rentals", {"alerts": alerts})))


def test_targets_of_a_use_case_that_cannot_be_read_are_those_that_can(make_use_case: Make) -> None:
    folder = make_use_case("rentals", {"alerts": ["json://a", 5, {"to": "json://b", "digest": "daily"}, {"too": "x"}]})
    assert [each.to for each in readable_alerts(folder)] == ["json://a", "json://b"]
    (folder / "usecase.yaml").write_text(yaml.safe_dump({"alerts": "json://a"}))
    assert readable_alerts(folder) == ()


def test_editors_know_both_ways() -> None:
    written = json_schema()["properties"]["alerts"]["items"]["anyOf"]
    assert written[0] == {"type": "string", "minLength": 1}
    assert "$ref" in written[1] or written[1]["type"] == "object"


def test_quiet_hours_go_over_midnight() -> None:
    target = AlertTarget(to="x", quiet="22:00-07:00")
    quiet = [hour for hour in range(24) if target.is_quiet(datetime(2026, 1, 1, hour, tzinfo=UTC))]
    assert quiet == [0, 1, 2, 3, 4, 5, 6, 22, 23]
    assert AlertTarget(to="x", quiet="12:00-13:00").is_quiet(datetime(2026, 1, 1, 12, 59, tzinfo=UTC))
    assert hours("22:00-07:00") == (time(22), time(7))
    assert (target.morning, AlertTarget(to="x").morning) == (time(7), time(8))


def test_a_digest_is_due_in_the_morning_of_its_zone_and_day() -> None:
    paris = Calendar("Europe/Paris", "sunday")
    daily, weekly = (AlertTarget(to="x", digest=each) for each in ("daily", "weekly"))
    now = instant("2026-03-31T05:59")  # a Tuesday; in Paris, 07:59 of summer time
    assert paris.last_morning(daily, now) == instant("2026-03-30T06:00")
    assert paris.last_morning(daily, now + timedelta(minutes=1)) == instant("2026-03-31T06:00")
    assert paris.last_morning(weekly, now) == instant("2026-03-29T06:00")  # the day the clocks change


def test_severities_are_ordered() -> None:
    assert SEVERITIES == ("info", "warning", "failure")
    assert worse("failure", "warning")
    assert not worse("info", "info")
