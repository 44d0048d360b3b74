"""Leases of turns and presences of flows, renewed from a thread while their work lasts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Self

from expectations.errors import BusyError, DatabaseError, StorageError, UnreachableError
from tasks.stores.database import Database
from tasks.stores.presences import PRESENCE, Process
from tasks.stores.turns import LEASE

_log = logging.getLogger(__name__)


class _Pulse:
    """Notes in the database again and again, from a thread, that something is still at work."""

    def __init__(self, every: timedelta, what: str, beat: Callable[[], bool]) -> None:
        self._every, self._what, self._beat = every.total_seconds(), what, beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True, name=what)

    def _go_on(self) -> None:
        while not self._stop.wait(self._every):
            try:
                if not self._beat():
                    return
            except (
                BusyError,
                DatabaseError,
                StorageError,
                UnreachableError,
            ):  # busy, full or away: the next beat tries again
                _log.warning("%s could not be renewed this time", self._what)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Lease(_Pulse):
    """Keeps a claimed turn ours while a stage works: renews it every two seconds."""

    def __init__(self, database: Database, turn_id: str, owner: str) -> None:
        super().__init__(LEASE / 4, f"the lease of turn {turn_id}", lambda: database.renew(turn_id, owner))


class Presence(_Pulse):
    """Notes while a flow runs that this process runs it; on another host it cannot be seen whether it lives."""

    def __init__(self, database: Database, flow_run: str, usecase: str, process: Process) -> None:
        self._enter = partial(database.enter, flow_run, usecase, process)
        self._leave = partial(database.leave, flow_run)

        def stay() -> bool:
            if not database.stay(flow_run):  # somebody took it for dead
                self._enter()
            return True

        super().__init__(PRESENCE / 30, f"the presence of flow run {flow_run}", stay)

    def __enter__(self) -> Self:
        self._enter()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._leave()
