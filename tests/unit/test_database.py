"""Single flight, leases, and what happens once although it is asked twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text, update

from expectations.alerts import AlertTarget
from expectations.errors import TurnTakenError, UnreachableError
from infra.settings import Settings
from tasks.modelling.intervals import Intervals
from tasks.stores import events, tables, turns
from tasks.stores.database import Database
from tasks.stores.desired_state import Served
from tasks.stores.engines import close_engines
from tasks.stores.ledger import Entry
from tasks.stores.migrations import TABLE
from tasks.stores.releases import Releases
from tasks.stores.stages import OPEN, STAGES, stage_at, stages_from
from tests.conftest import instant

NOW = instant("2013-03-01")


def request(database: Database, usecase: str = "x") -> str | None:
    with database.transaction() as connection:
        return database.request_turn(connection, usecase, "decay", NOW)


def entry(name: str = "x/1") -> Entry:
    return Entry(name, "x", NOW, "decision", "keep", "none", "nothing", {"a": 1})


def test_a_turn_goes_from_stage_to_stage_and_each_of_its_states_is_of_one() -> None:
    assert OPEN == ("requested", "collecting", "training", "deploying")
    each = list(STAGES.values())
    assert [stage.then for stage in each] == [*(stage.works for stage in each[1:]), "done"]
    assert len({stage.event for stage in each}) == len(each)
    assert [stages_from(state) for state in ("requested", "training", "deploying", "done")] == [
        ["collect", "train", "deploy"],
        ["train", "deploy"],
        ["deploy"],
        [],
    ]
    assert [stage_at(state) for state in (*OPEN, "failed")] == ["collect", "collect", "train", "deploy", None]


def test_a_use_case_has_one_open_turn(database: Database) -> None:
    first = request(database)
    assert first is not None
    assert request(database) is None
    assert request(database, "y") is not None
    assert database.open_turn("x").id == first


def test_a_turn_that_ended_makes_room(database: Database) -> None:
    turn = request(database)
    database.claim(turn, ("requested",), "collecting", "me", None)
    with database.transaction() as connection:
        database.advance(connection, turn, "me", "refused")
    assert database.open_turn("x") is None
    assert request(database) is not None


def test_a_turn_somebody_alive_holds_cannot_be_claimed(database: Database) -> None:
    turn = request(database)
    database.claim(turn, ("requested",), "collecting", "one", None)
    with pytest.raises(TurnTakenError, match="one working on it"):
        database.claim(turn, ("requested", "collecting"), "collecting", "other", None)


def test_a_dead_owner_is_taken_over_when_its_lease_runs_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = request(database)
    monkeypatch.setattr(turns, "LEASE", -turns.LEASE)
    database.claim(turn, ("requested",), "collecting", "dead", "flow-1")
    before = database.claim(turn, ("requested", "collecting"), "collecting", "heir", "flow-2")
    assert (before.state, before.flow_run) == ("collecting", "flow-1")
    with database.transaction() as connection, pytest.raises(TurnTakenError, match="another owner"):
        database.advance(connection, turn, "dead", "training")


def test_a_lease_of_a_clock_that_was_ahead_holds_nobody_back(database: Database) -> None:
    turn = request(database)
    database.claim(turn, ("requested",), "collecting", "dead", None)
    assert database.stalled_turn("x", timedelta(0)) is None
    ahead = datetime.now(UTC) + timedelta(days=400)
    with database.transaction() as connection:
        connection.execute(update(tables.turns).values(lease_until=ahead))
    assert database.stalled_turn("x", timedelta(minutes=2)).id == turn
    with database.transaction() as connection:
        assert database.give_up(connection, turn, timedelta(minutes=2))
        database.put_state(connection, turn, "collecting")
        connection.execute(update(tables.turns).values(lease_until=ahead, owner="dead"))
    assert database.claim(turn, ("collecting",), "collecting", "heir", None).state == "collecting"


def test_a_stage_done_before_is_not_done_again(database: Database) -> None:
    turn = request(database)
    with database.transaction() as connection:
        database.put_state(connection, turn, "training")
    with pytest.raises(TurnTakenError, match="done already"):
        database.claim(turn, ("requested", "collecting"), "collecting", "late", None)


def test_an_entry_stands_once(database: Database) -> None:
    with database.transaction() as connection:
        assert database.write(connection, entry())
        assert not database.write(connection, entry())
    assert [each.evidence for each in database.entries("x")] == [{"a": 1}]


def test_what_fails_leaves_nothing_of_its_transaction(database: Database) -> None:
    def both() -> None:
        with database.transaction() as connection:
            database.write(connection, entry())
            database.post(connection, "x", "driftwheel.retrain.requested", {}, {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        both()
    assert database.entries("x") == []
    assert database.unsent() == []


def test_a_home_of_before_versions_without_an_index_gets_it(database: Database) -> None:
    def indexes(table: str) -> set[str | None]:
        with database.reading() as connection:
            return {each["name"] for each in inspect(connection).get_indexes(table)}

    request(database)
    with database.transaction() as connection:
        for name in ("ledger_by_kind", "one_open_turn", "measurements_by_champion"):
            connection.execute(text(f"DROP INDEX {name}"))
        for name in ("champion", "status"):
            connection.execute(text(f"ALTER TABLE measurements DROP COLUMN {name}"))
        for name in ("probes", "traffic", "collections", TABLE):
            connection.execute(text(f"DROP TABLE {name}"))
        connection.execute(text("ALTER TABLE reported RENAME TO told"))
    close_engines()
    assert indexes("ledger") == {"ledger_by_kind", "ix_ledger_usecase"}
    assert indexes("turns") == {"one_open_turn"}
    assert request(database) is None


def test_events_wait_for_a_server_that_is_away(database: Database) -> None:
    with database.transaction() as connection:
        database.post(connection, "x", STAGES["collect"].event, {"driftwheel.turn": "t"}, {"turn_id": "t"})
        database.post(connection, "x", STAGES["train"].event, {}, {}, deliver=False)
    with pytest.raises(UnreachableError, match="wait in the outbox"):
        events.flush(database, "http://127.0.0.1:9/api")
    assert [event.name for event in database.unsent()] == [STAGES["collect"].event]


def test_a_desired_state_is_replaced_whole_and_the_same_again_is_none(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    first = releases.set_desired("x", champion=Served(bundle="a", version="1"))
    assert releases.set_desired("x", champion=Served(bundle="a", version="1")) == first
    assert releases.set_desired("x", champion=Served(bundle="b", version="2")).generation == 2
    learnt = Served(bundle="b", version="2", intervals=Intervals(coverage=0.9, rows=60, reach=(0.1 + 0.2,)))
    assert '"intervals"' not in (tmp_path / "x" / "desired.json").read_text()  # an older service reads it
    assert releases.set_desired("x", champion=learnt).generation == 3
    assert releases.desired("x").champion == learnt
    assert releases.desired("x").previous == Served(bundle="a", version="1")  # it is the same champion
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [".desired.lock", "desired.json"]


def test_a_bundle_is_visible_only_when_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "bundle.json").write_text("{}")
    releases = Releases(tmp_path / "releases")
    for _ in range(2):
        target = releases.add("x", source, "abc")
    assert [path.name for path in target.parent.iterdir()] == ["abc"]


def test_an_open_turn_nobody_touches_is_found_stalled(database: Database) -> None:
    turn = request(database)
    assert database.stalled_turn("x", timedelta(minutes=2)) is None
    assert database.stalled_turn("x", timedelta(seconds=-1)).id == turn
    database.claim(turn, ("requested",), "collecting", "me", None)
    assert database.stalled_turn("x", timedelta(seconds=0)) is None


def test_alert_addresses_are_filled_in_and_say_which_variables_they_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path))
    monkeypatch.setenv("HOOK_TOKEN", "abc")
    monkeypatch.delenv("NOWHERE", raising=False)
    settings = Settings()
    written = ("json://host/${HOOK_TOKEN}?x=${HOOK_TOKEN}", "json://${NOWHERE}")
    one, other = settings.channels(tuple(AlertTarget(to=each) for each in written))
    assert (one.address, one.lacking) == ("json://host/abc?x=abc", ())
    assert (other.address, other.lacking) == ("", ("NOWHERE",))
    assert one.label == "alerts.0 (json)"
    assert "abc" not in repr(one)
