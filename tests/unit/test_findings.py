"""A finding is one record with a life: opened, refreshed, acknowledged, resolved, and opened anew."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from expectations.alerts import Severity
from tasks.stores.database import Database
from tasks.stores.findings import SETTLING, Found
from tests.conftest import instant

NOW = instant("2026-11-29")
HOUR = timedelta(hours=1)


def found(severity: Severity = "warning", key: str = "silent", **more: object) -> Found:
    return Found("x", key, key.partition("-")[0], severity, "no requests", "none since noon", {"windows": 3}, **more)


def record(database: Database, what: Found, as_of: datetime = NOW) -> bool:
    with database.transaction() as connection:
        return database.record(connection, what, as_of)


def resolve(database: Database, key: str = "silent", as_of: datetime = NOW) -> bool:
    with database.transaction() as connection:
        return database.resolve(connection, "x", key, "requests came", as_of)


def test_looking_again_refreshes_the_one_that_stands(database: Database) -> None:
    assert record(database, found())
    assert not record(database, found(), NOW + HOUR)
    (one,) = database.open_findings("x")
    assert (one.opened, one.last_seen, one.times_seen) == (NOW, NOW + HOUR, 2)
    assert (one.evidence, one.title, one.body) == ({"windows": 3}, "no requests", "none since noon")


def test_the_same_look_of_two_processes_counts_once_where_that_is_said(database: Database) -> None:
    for as_of in (NOW, NOW, NOW + HOUR, NOW, NOW + HOUR):
        with database.transaction() as connection:
            database.record(connection, found(), as_of, once=True)
    (one,) = database.open_findings("x")
    assert (one.opened, one.last_seen, one.times_seen) == (NOW, NOW + HOUR, 2)


def acknowledge(database: Database, key: str = "silent") -> bool:
    with database.transaction() as connection:
        return database.acknowledge(connection, "x", key, "ann")


def test_what_is_gone_is_resolved_once_and_opens_anew(database: Database) -> None:
    record(database, found())
    assert resolve(database, as_of=NOW + HOUR)
    assert not resolve(database)
    assert database.open_findings() == []
    assert record(database, found(), NOW + 2 * HOUR)
    newest, oldest = database.findings("x")
    assert (newest.open, newest.opened) == (True, NOW + 2 * HOUR)
    assert (oldest.open, oldest.resolved, oldest.resolved_how) == (False, NOW + HOUR, "requests came")
    assert database.finding("x", "silent") == newest
    assert database.findings("x", last=1) == [newest]
    assert database.finding("x", "other") is None


def test_a_severity_that_rises_is_news_and_takes_the_acknowledgement_away(database: Database) -> None:
    record(database, found("info"))
    assert acknowledge(database)
    assert database.finding("x", "silent").acknowledged_by == "ann"
    assert not record(database, found("info"))
    assert database.finding("x", "silent").acknowledged_by == "ann"
    assert record(database, found("failure"))
    assert database.finding("x", "silent").acknowledged_by is None
    assert not record(database, found("warning"))
    assert database.finding("x", "silent").severity == "warning"
    assert not acknowledge(database, "gone")


def test_the_worst_stand_first(database: Database) -> None:
    for key, severity in (("a", "info"), ("b", "failure"), ("c", "warning"), ("d", "failure")):
        record(database, found(severity, key))
    assert [each.key for each in database.open_findings()] == ["b", "d", "c", "a"]
    assert database.open_findings("y") == []


def test_of_a_kind_what_a_look_no_longer_finds_is_resolved(database: Database) -> None:
    for key in ("stray-a", "stray-b", "silent"):
        record(database, found(key=key))
    database.end_all_but("x", ("stray",), {"stray-b"}, "gone", NOW)
    assert [each.key for each in database.open_findings()] == ["stray-b", "silent"]


def test_what_may_clear_by_itself_is_due_later_or_when_it_is_seen_again(database: Database) -> None:
    record(database, found(key="at-once"))
    record(database, found(key="later", settles=True))
    at_once, later = database.finding("x", "at-once"), database.finding("x", "later")
    assert at_once.due == at_once.recorded_at
    assert later.due == later.recorded_at + SETTLING
    record(database, found(key="later", settles=True))
    assert database.finding("x", "later").due < later.due


def test_a_login_is_no_part_of_a_finding(database: Database) -> None:
    record(database, Found("x", "k", "k", "info", "at http://u:secret@host", "see http://u:secret@host?sig=secret"))
    with database.transaction() as connection:
        database.resolve(connection, "x", "k", "http://u:secret@host answers", NOW)
    assert "secret" not in repr(database.finding("x", "k"))


@pytest.mark.parametrize("key", ["", "a/b", "A", "a b", "x" * 101])
def test_a_key_is_part_of_an_address(key: str) -> None:
    with pytest.raises(ValueError, match="no key of a finding"):
        found(key=key)


def test_a_use_case_that_is_removed_leaves_no_open_finding(database: Database, tmp_path: Path) -> None:
    database.add_use_case("x", tmp_path, "digest")
    record(database, found())
    assert database.remove_use_case("x")
    assert database.open_findings() == []
    assert not database.remove_use_case("x")


def test_a_replay_forgets_its_findings(database: Database) -> None:
    record(database, found())
    database.forget("x")
    assert database.findings("x") == []
