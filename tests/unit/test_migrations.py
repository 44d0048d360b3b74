"""A home that an earlier version wrote is opened by this one, and has what one made now has."""

import contextlib
import json
import sqlite3
import tracemalloc
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedIndex

from expectations.errors import DatabaseError
from expectations.windows import Window
from tasks.stores import engines, migrations, tables
from tasks.stores.collection_history import Brought
from tasks.stores.database import Database
from tasks.stores.engines import close_engines
from tasks.stores.findings import Found
from tasks.stores.measurements import measurement_of
from tasks.stores.messages import Reported
from tests.conftest import instant

EARLIER = sorted((Path(__file__).parents[1] / "homes").glob("*.sql"))


def opened(folder: Path, script: Path | None) -> Database:
    file = folder / "platform.db"
    if script is not None:
        with contextlib.closing(sqlite3.connect(file)) as connection, connection:
            connection.executescript(script.read_text(encoding="utf-8"))
    return Database(f"sqlite:///{file}")


def schema(database: Database) -> dict[str, object]:
    with database.reading() as connection:
        found = inspect(connection)
        return {
            name: (
                [(each["name"], str(each["type"]), each["nullable"]) for each in found.get_columns(name)],
                sorted(
                    (each["name"], each["unique"], tuple(each["column_names"]), _where(each))
                    for each in found.get_indexes(name)
                ),
                sorted(tuple(each["column_names"]) for each in found.get_unique_constraints(name)),
                found.get_pk_constraint(name)["constrained_columns"],
            )
            for name in [*tables.metadata.tables, migrations.TABLE]
        }


def _where(index: ReflectedIndex) -> str:
    """Return which rows an index is over; alembic compares it no more than it compares what an index is for."""
    return str(index.get("dialect_options", {}).get("sqlite_where", ""))


@pytest.mark.parametrize("script", EARLIER, ids=lambda script: script.stem)
def test_a_home_of_an_earlier_version_is_opened(tmp_path: Path, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = opened(tmp_path, script)
    assert database.use_cases() == {"pumps": Path("/srv/pumps")}
    states = [(turn.cause, turn.state) for turn in database.turns("pumps")]
    assert states == [("bootstrap", "done"), ("decay", "requested")]
    (entry,) = database.entries("pumps")
    assert (entry.action, entry.evidence["window"]["status"]) == ("retrain", "violated")
    assert [each.name for each in database.unsent()] == ["driftwheel.retrain.requested"]
    assert [each.status for each in database.measurements("pumps")] == ["good", "violated", "unknown"]
    (known,) = database.measurements("pumps", champion="b1", known=True, last=1)
    assert known.to_dict()["start"] == "2026-03-08T00:00:00+00:00"
    assert database.count_measurements("pumps", known=True) == 2
    with database.transaction() as connection:
        assert database.request_turn(connection, "pumps", "manual", instant("2026-05-01")) is None
        database.record(connection, Found("pumps", "loss", "loss", "warning", "worse", "worse"), instant("2026-05-01"))
    assert [each.key for each in database.open_findings("pumps")] == ["loss"]
    (tmp_path / "now").mkdir()
    assert schema(database) == schema(opened(tmp_path / "now", None))
    close_engines()
    monkeypatch.setattr(engines, "bring_up_to_date", None)  # once is enough
    assert database.count_measurements("pumps") == 3


def test_what_collections_brought_is_taken_from_the_ledger_of_before(tmp_path: Path) -> None:
    script = (Path(__file__).parents[1] / "homes" / "before_versions.sql").read_text(encoding="utf-8")
    evidence = {
        "collected": {"batch": 3, "new": 5, "corrected": 1, "read": {"trips": 40}},
        "arrived": {"new": 9, "corrected": 2, "until": 3},
        "cleaned": {"rows": 11, "clean": 8, "held": ["few pass"], "quarantined": {"pressure is null": 3}},
    }
    instant_of = "2026-03-01 00:00:00.000000"
    with contextlib.closing(sqlite3.connect(tmp_path / "platform.db")) as connection, connection:
        connection.executescript(script)
        values = ("x", "pumps", instant_of, instant_of, "collect", "held", "quality", "", json.dumps(evidence))
        columns = "entry, usecase, as_of, recorded_at, kind, action, cause, summary, evidence"
        connection.execute(f"INSERT INTO ledger ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    with database.reading() as connection:
        found = database.newest_collections(connection, "pumps", 9)
    brought = Brought(9, 2, {"trips": 40}, 11, {"pressure is null": 3}, ["few pass"])
    assert found == [(instant("2026-03-01"), brought)]


def test_what_was_reported_and_what_trials_could_not_judge_keep_their_rows_under_new_names(tmp_path: Path) -> None:
    script = (Path(__file__).parents[1] / "homes" / "before_versions.sql").read_text(encoding="utf-8")
    at = "2026-03-01 00:00:00.000000"
    with contextlib.closing(sqlite3.connect(tmp_path / "platform.db")) as connection, connection:
        connection.executescript(script)
        columns = "entry, usecase, as_of, recorded_at, kind, action, cause, summary, evidence"
        for entry, kind, action in (("t", "trial", "untold"), ("b", "trial", "better"), ("o", "other", "untold")):
            values = (entry, "pumps", at, at, kind, action, "window", "", "{}")
            connection.execute(f"INSERT INTO ledger ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    database = Database(f"sqlite:///{tmp_path / 'platform.db'}")
    found = {each.entry: each.action for each in database.entries("pumps")}
    assert (found["t"], found["b"], found["o"]) == ("undetermined", "better", "untold")
    assert database.to_report("pumps", "t1", instant("2026-05-01")).reported == {1: Reported("warning", resolved=True)}


def test_a_process_of_before_cannot_write_what_no_decision_would_see(tmp_path: Path) -> None:
    database = opened(tmp_path, EARLIER[-1])
    assert database.count_measurements("pumps", champion="b1") == 3
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "platform.db")) as earlier,
        earlier,
        pytest.raises(sqlite3.IntegrityError, match="NOT NULL"),
    ):
        earlier.execute(
            "INSERT INTO measurements (usecase, window_start, window_end, content) VALUES ('pumps', '4', '5', '{}')"
        )


@pytest.mark.slow
def test_contents_are_not_read_into_memory_to_be_filled(tmp_path: Path) -> None:
    script = tmp_path / "large.sql"
    large = (
        "INSERT INTO measurements SELECT id + 10, usecase || id, window_start, window_end, "
        "json_set(content, '$.x', hex(zeroblob(4000000))) FROM measurements;"
    )
    script.write_text(EARLIER[-1].read_text(encoding="utf-8") + large, encoding="utf-8")
    tracemalloc.start()
    try:
        assert opened(tmp_path, script).count_measurements("pumps1", champion="b1") == 1
        assert tracemalloc.get_traced_memory()[1] < 16_000_000  # of three contents of 8 MB
    finally:
        tracemalloc.stop()


def test_the_newest_version_is_the_last_module_and_makes_the_tables_that_are_declared(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrations.NEWEST]
    assert [each.revision for each in script.walk_revisions()] == sorted(
        (each.revision for each in script.walk_revisions()), reverse=True
    )

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_name": _ours})
        return list(compare_metadata(context, tables.metadata))

    with opened(tmp_path, EARLIER[0]).transaction() as connection:
        assert differences(connection) == []
        connection.exec_driver_sql("DROP INDEX measurements_by_champion")
        assert len(differences(connection)) == 1


def _ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name in tables.metadata.tables


def test_a_home_of_a_later_version_is_refused_in_words(tmp_path: Path) -> None:
    database = opened(tmp_path, None)
    with database.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE {migrations.TABLE} SET version_num = '9999'")
    close_engines()
    with pytest.raises(DatabaseError, match="a later driftwheel wrote it") as refused:
        database.use_cases()
    assert refused.value.__traceback__ is not None
    # the error still holds the engine that was tried; its file is closed all the same
    assert not [file for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]


def test_what_is_measured_is_found_by_whose_and_what_it_is(database: Database) -> None:
    start = instant("2026-03-01")
    for number, (champion, status) in enumerate((("a", "good"), ("a", "unknown"), ("b", "violated"), ("b", "unknown"))):
        begin, end = start + timedelta(days=number), start + timedelta(days=number + 1)
        measured = measurement_of(Window(begin, end), champion=champion, status=status)
        database.put_measurement("x", replace(measured, status="unknown"))
        database.put_measurement("x", measured)

    def found(**asked: object) -> list[str]:
        rows = database.measurements("x", **asked)  # type: ignore[arg-type]
        assert "last" in asked or database.count_measurements("x", **asked) == len(rows)  # type: ignore[arg-type]
        return [f"{each.champion} {each.status}" for each in rows]

    assert found() == ["a good", "a unknown", "b violated", "b unknown"]
    assert found(known=True) == ["a good", "b violated"]
    assert found(champion="a") == ["a good", "a unknown"]
    assert found(champion="b", known=True) == ["b violated"]
    assert found(last=2) == ["b violated", "b unknown"]
    assert found(since=start + timedelta(days=3)) == ["b unknown"]
    windows = database.measured_windows("x", since=start, until=start + timedelta(days=2))
    assert [each.start.day for each in windows] == [2, 1]
