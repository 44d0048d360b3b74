"""How the servers of the local stack are set up where their own settings do not reach."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, event

from infra.pages import wait_for_locks


def test_prefects_database_waits_for_a_lock_for_less_than_its_clients_wait_for_an_answer(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'prefect.db'}")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 60000"))
    event.listen(engine.pool, "checkout", wait_for_locks)
    try:
        for _ in range(2):
            with engine.connect() as connection:
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 10_000
    finally:
        engine.dispose()
