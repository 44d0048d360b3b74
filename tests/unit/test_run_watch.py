"""Which runs that nobody works on are this home's: another may have added a use case that was removed here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flows.run_watch import RunWatch
from tasks.stores.database import DEPLOYED, Database

MINUTE = timedelta(minutes=1)


class Runs:
    """Prefect's, all of which run."""

    def __init__(self, began: dict[str, tuple[str, datetime]]) -> None:
        self._began, self.crashed = began, list[str]()

    def unfinished(self) -> list[dict[str, Any]]:
        """Return them as Prefect names them."""
        return [
            {
                "id": run,
                "tags": ["driftwheel", usecase],
                "state_type": "RUNNING",
                "expected_start_time": None,
                "state": {"id": f"state of {run}", "timestamp": began.isoformat().replace("+00:00", "Z")},
            }
            for run, (usecase, began) in self._began.items()
        ]

    def crash(self, run: str, _: str) -> bool:
        """Note that it is marked as crashed."""
        self.crashed.append(run)
        return True


def ended(database: Database, began: dict[str, tuple[str, datetime]]) -> list[str]:
    """Return which runs were ended after it was seen for 16 minutes that nobody works on them."""
    runs, watch = Runs(began), RunWatch(SimpleNamespace(platform=lambda: database))
    for minute in range(0, 17, 4):
        watch.end(runs, minute * 60.0, datetime.now(UTC))
    return runs.crashed


def test_runs_of_a_use_case_that_was_removed_are_ours_from_before_alone(database: Database) -> None:
    """It was this home's for ever: once another home had added it, its runs were ended where they took long."""
    now = datetime.now(UTC)
    began = {
        f"{usecase}, {when}": (usecase, at)
        for usecase in ("removed", "stays", "never deployed", "elsewhere's")
        for when, at in (("before", now - MINUTE), ("since", now + MINUTE))
    }
    for name in ("removed", "stays", "never deployed"):
        database.add_use_case(name, Path(name), "d")
    for name in ("removed", "stays"):
        database.mark(name, DEPLOYED, "{}")
    for name in ("removed", "never deployed", "elsewhere's"):
        database.remove_use_case(name)
    assert ended(database, began) == ["removed, before", "stays, before", "stays, since"]
    assert ended(database, {"moved": ("removed", now + 99 * MINUTE)}) == []
    database.add_use_case("removed", Path("removed"), "d")  # it came back
    assert ended(database, {"moved": ("removed", now + 99 * MINUTE)}) == ["moved"]


def test_a_use_case_that_was_removed_nobody_knows_when_has_no_runs_here(database: Database) -> None:
    """As a home keeps it that removed it before the moment was noted."""
    database.mark("removed", DEPLOYED, "{}")
    assert ended(database, {"any": ("removed", datetime.now(UTC) - MINUTE)}) == []
