"""The platform database: use cases, turns of the wheel, measurements, the ledger, the outbox, alerts.

SQLite on a laptop, Postgres in the stack; nothing here but SQL both understand. Unique constraints make a repeat
harmless; what belongs together is one transaction. What only reads waits for no writer, and needs no disk that can be
written.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from expectations.errors import BusyError, DatabaseError, StorageError, TurnTakenError, UnreachableError
from tasks.stores.engines import READING, engine_to_read, engine_to_write, faults
from tasks.stores.plain import to_json

State = Literal["requested", "collecting", "training", "deploying", "done", "refused", "held", "failed"]
OPEN: tuple[State, ...] = ("requested", "collecting", "training", "deploying")
LEASE = timedelta(seconds=8)
"""How long a stage may be silent before another may take its turn over."""
HELD = "held"
"""Mark: what the newest data broke, as JSON."""
PRESENCE = timedelta(minutes=5)
"""How long a flow on another host may be silent before its process is taken for dead."""

metadata = MetaData()
_log = logging.getLogger(__name__)


class _Instant(TypeDecorator[datetime]):
    """Instants in UTC on either side: SQLite keeps no zone, and Postgres gives back the server's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_instant = _Instant()

use_cases = Table(
    "use_cases",
    metadata,
    Column("name", String, primary_key=True),
    Column("folder", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("schedule", Text, nullable=False, default="{}"),
)
turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("decision", String),
    Column("as_of", _instant, nullable=False),
    Column("state", String, nullable=False),
    Column("owner", String),
    Column("lease_until", _instant),
    Column("flow_run", String),
    Column("tracking_run", String),
    Column("product", Text),
    Index(
        "one_open_turn",
        "usecase",
        unique=True,
        sqlite_where=text("state IN ('requested','collecting','training','deploying')"),
        postgresql_where=text("state IN ('requested','collecting','training','deploying')"),
    ),
)
measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("window_start", _instant, nullable=False),
    Column("window_end", _instant, nullable=False),
    Column("content", Text, nullable=False),
    UniqueConstraint("usecase", "window_start", "window_end"),
)
ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entry", String, nullable=False, unique=True),
    Column("usecase", String, nullable=False, index=True),
    Column("turn", String, ForeignKey("turns.id")),
    Column("as_of", _instant, nullable=False),
    Column("recorded_at", _instant, nullable=False),
    Column("kind", String, nullable=False),
    Column("action", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("summary", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)
outbox = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("occurred", _instant, nullable=False),
    Column("sent", _instant),
)
alerts = Table(
    "alerts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("entry", String, nullable=False, unique=True),
    Column("title", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("severity", String, nullable=False),
    Column("delivered", _instant),
)
presences = Table(
    "running",
    metadata,
    Column("flow_run", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("host", String, nullable=False),
    Column("process", Integer, nullable=False),
    Column("born", Float, nullable=False),
    Column("seen", _instant, nullable=False),
)
marks = Table(
    "marks",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)


@dataclass(frozen=True)
class Process:
    """A process: its host, its number there, and when it began (numbers are used again)."""

    host: str
    process: int
    born: float


@dataclass(frozen=True)
class Turn:
    """One turn of the wheel."""

    id: str
    usecase: str
    cause: str
    as_of: datetime
    state: State
    decision: str | None = None
    flow_run: str | None = None
    tracking_run: str | None = None
    product: dict[str, Any] | None = None
    """What the last finished stage left for the next one."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `entry` names it: writing the same one again changes nothing."""

    entry: str
    usecase: str
    as_of: datetime
    kind: str
    action: str
    cause: str
    summary: str
    evidence: dict[str, Any]
    turn: str | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """An event on its way to the flow server."""

    id: str
    usecase: str
    name: str
    labels: dict[str, str]
    payload: dict[str, Any]
    occurred: datetime


Severity = Literal["info", "warning", "failure"]


@dataclass(frozen=True)
class Alert:
    """Something a person should hear."""

    entry: str
    usecase: str
    title: str
    body: str
    severity: Severity


class Database:
    """What outlives a run, as rows.

    Parameters
    ----------
    url : str
        A SQLAlchemy address.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open one transaction, alone.

        Raises
        ------
        DatabaseError
            If the database is damaged, or of another version.
        BusyError
            If another process holds it for longer than anybody should.
        StorageError
            If its disk is full, or cannot be written.
        UnreachableError
            If it is a server's that does not answer.
        """
        with faults(self.url), engine_to_write(self.url, metadata).begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads: it waits for no writer. Raises as `transaction` does."""
        with (
            faults(self.url),
            engine_to_read(self.url, metadata).connect().execution_options(**{READING: True}) as connection,
            connection.begin(),
        ):
            yield connection

    # --- use cases ------------------------------------------------------------------------------------------------

    def add_use_case(self, name: str, folder: Path, digest: str) -> None:
        """Register a use case, or its new place and content."""
        with self.transaction() as connection:
            values = {"folder": str(folder), "digest": digest}
            if not connection.execute(update(use_cases).where(use_cases.c.name == name).values(values)).rowcount:
                connection.execute(insert(use_cases).values(name=name, schedule="{}", **values))

    def remove_use_case(self, name: str) -> bool:
        """Forget that a use case is registered; its rows, models and decisions stay."""
        with self.transaction() as connection:
            return bool(connection.execute(delete(use_cases).where(use_cases.c.name == name)).rowcount)

    def use_cases(self) -> dict[str, Path]:
        """Name -> folder of the registered use cases."""
        with self.reading() as connection:
            rows = connection.execute(select(use_cases.c.name, use_cases.c.folder).order_by(use_cases.c.name))
            return {row.name: Path(row.folder) for row in rows}

    def forget(self, usecase: str) -> None:
        """Delete everything known of a namespace; for replays, never for a live use case."""
        with self.transaction() as connection:
            for table in (ledger, alerts, outbox, measurements, marks, presences, turns):
                connection.execute(delete(table).where(table.c.usecase == usecase))

    def mark(self, usecase: str, name: str, value: str) -> None:
        """Remember a value."""
        with self.transaction() as connection:
            where = (marks.c.usecase == usecase) & (marks.c.name == name)
            if not connection.execute(update(marks).where(where).values(value=value)).rowcount:
                connection.execute(insert(marks).values(usecase=usecase, name=name, value=value))

    def marked(self, usecase: str, name: str) -> str | None:
        """Return a remembered value."""
        with self.reading() as connection:
            where = (marks.c.usecase == usecase) & (marks.c.name == name)
            return connection.execute(select(marks.c.value).where(where)).scalar_one_or_none()

    # --- turns ----------------------------------------------------------------------------------------------------

    def request_turn(
        self, connection: Connection, usecase: str, cause: str, as_of: datetime, decision: str | None = None
    ) -> str | None:
        """Open a turn inside a transaction; None where one is open already."""
        turn_id = uuid.uuid4().hex[:12]
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(turns).values(
                        id=turn_id,
                        usecase=usecase,
                        cause=cause,
                        decision=decision,
                        as_of=as_of,
                        state="requested",
                        lease_until=datetime.now(UTC),
                    )
                )
        except IntegrityError:
            return None
        return turn_id

    def turn(self, turn_id: str) -> Turn:
        """Return a turn by its id."""
        with self.reading() as connection:
            row = connection.execute(select(turns).where(turns.c.id == turn_id)).one()
        return _turn(row)

    def open_turn(self, usecase: str) -> Turn | None:
        """Return the open turn of a use case."""
        with self.reading() as connection:
            row = connection.execute(
                select(turns).where(turns.c.usecase == usecase, turns.c.state.in_(OPEN))
            ).one_or_none()
        return _turn(row) if row else None

    def stalled_turn(self, usecase: str, silence: timedelta) -> Turn | None:
        """Return the open turn if nobody has touched it for longer than `silence`."""
        with self.reading() as connection:
            row = connection.execute(
                select(turns).where(turns.c.usecase == usecase, turns.c.state.in_(OPEN))
            ).one_or_none()
        return _turn(row) if row and not _leased(row.lease_until, silence) else None

    def turns(self, usecase: str) -> list[Turn]:
        """Return all turns of a use case by their instant."""
        with self.reading() as connection:
            rows = connection.execute(select(turns).where(turns.c.usecase == usecase).order_by(turns.c.as_of)).all()
        return [_turn(row) for row in rows]

    def claim(self, turn_id: str, states: Sequence[State], state: State, owner: str, flow_run: str | None) -> Turn:
        """Take a turn over for a stage: it must be in one of `states` and nobody alive may hold it.

        Returns
        -------
        Turn
            As it was before, so that the runs a dead owner left can be closed.

        Raises
        ------
        TurnTakenError
            If somebody holds it, or it has moved on.
        """
        now = datetime.now(UTC)
        with self.transaction() as connection:
            row = connection.execute(select(turns).where(turns.c.id == turn_id)).one_or_none()
            if row is None:
                raise TurnTakenError(f"a turn {turn_id}", "none", "Leave the turn out to let a new one be opened")
            if row.owner and row.owner != owner and _leased(row.lease_until):
                raise TurnTakenError(
                    f"turn {turn_id} of {row.usecase} to be free",
                    f"{row.owner} working on it",
                    f"Wait for it; if that process is dead, try again in {LEASE.seconds} s",
                )
            if row.state not in states:
                raise TurnTakenError(
                    f"turn {turn_id} in {' or '.join(states)}",
                    f"it in {row.state}",
                    "Nothing to do: this stage was done already",
                )
            connection.execute(
                update(turns)
                .where(turns.c.id == turn_id)
                .values(state=state, owner=owner, lease_until=now + LEASE, flow_run=flow_run)
            )
        return _turn(row)

    def renew(self, turn_id: str, owner: str) -> bool:
        """Prolong a lease; False where it is no longer ours."""
        with self.transaction() as connection:
            where = (turns.c.id == turn_id) & (turns.c.owner == owner)
            values = {"lease_until": datetime.now(UTC) + LEASE}
            return bool(connection.execute(update(turns).where(where).values(values)).rowcount)

    def release(self, turn_id: str, owner: str) -> None:
        """Give a turn back as it is, for a rerun."""
        with self.transaction() as connection:
            connection.execute(
                update(turns)
                .where(turns.c.id == turn_id, turns.c.owner == owner)
                .values(owner=None, lease_until=datetime.now(UTC))
            )

    def put_state(self, connection: Connection, turn_id: str, state: State) -> None:
        """Set the state of a turn just requested: one that begins in the middle."""
        connection.execute(update(turns).where(turns.c.id == turn_id).values(state=state))

    def note_tracking_run(self, turn_id: str, run: str) -> None:
        """Remember which MLflow run works for a turn."""
        with self.transaction() as connection:
            connection.execute(update(turns).where(turns.c.id == turn_id).values(tracking_run=run))

    def advance(
        self, connection: Connection, turn_id: str, owner: str, state: State, product: dict[str, Any] | None = None
    ) -> None:
        """Move a claimed turn on inside a transaction and free it for the next stage.

        Raises
        ------
        TurnTakenError
            If the lease was lost meanwhile: then another process goes on, and nothing of this one may count.
        """
        values: dict[str, Any] = {"state": state, "owner": None, "lease_until": datetime.now(UTC)}
        if product is not None:
            values["product"] = to_json(product)
        where = (turns.c.id == turn_id) & (turns.c.owner == owner)
        if not connection.execute(update(turns).where(where).values(values)).rowcount:
            raise TurnTakenError(f"turn {turn_id} still held by {owner}", "another owner", "Nothing to do")

    def give_up(self, connection: Connection, turn_id: str, silence: timedelta) -> bool:
        """End a turn nobody has touched for longer than `silence`; False where somebody has, or it has ended."""
        where = (turns.c.id == turn_id) & turns.c.state.in_(OPEN)
        earliest, latest = _bounds(silence)
        stalled = turns.c.lease_until.is_(None) | ~turns.c.lease_until.between(earliest, latest)
        values = {"state": "failed", "owner": None, "lease_until": datetime.now(UTC)}
        return bool(connection.execute(update(turns).where(where & stalled).values(values)).rowcount)

    # --- who is at work -----------------------------------------------------------------------------------------------

    def enter(self, flow_run: str, usecase: str, process: Process) -> None:
        """Note that a process runs a flow."""
        with self.transaction() as connection:
            connection.execute(delete(presences).where(presences.c.flow_run == flow_run))  # a retry keeps its id
            values = {"flow_run": flow_run, "usecase": usecase, "seen": datetime.now(UTC), **vars(process)}
            connection.execute(insert(presences).values(values))

    def stay(self, flow_run: str) -> bool:
        """Note that it still runs; False where somebody took it for dead."""
        with self.transaction() as connection:
            where = presences.c.flow_run == flow_run
            return bool(connection.execute(update(presences).where(where).values(seen=datetime.now(UTC))).rowcount)

    def leave(self, flow_run: str) -> None:
        """Note that a flow ended, well or not."""
        with self.transaction() as connection:
            connection.execute(delete(presences).where(presences.c.flow_run == flow_run))

    def present(self, usecase: str) -> dict[str, tuple[Process, datetime]]:
        """Flow runs of a use case that never ended, the processes that ran them, and when those were last heard of."""
        with self.reading() as connection:
            rows = connection.execute(select(presences).where(presences.c.usecase == usecase)).all()
        return {row.flow_run: (Process(row.host, row.process, row.born), row.seen) for row in rows}

    # --- measurements, ledger, outbox, alerts ---------------------------------------------------------------------

    def put_measurement(self, usecase: str, start: datetime, end: datetime, content: dict[str, Any]) -> None:
        """Keep what was measured over a window; measuring it again (labels ripened) replaces it."""
        where = (
            (measurements.c.usecase == usecase)
            & (measurements.c.window_start == start)
            & (measurements.c.window_end == end)
        )
        with self.transaction() as connection:
            values = {"content": to_json(content)}
            if not connection.execute(update(measurements).where(where).values(values)).rowcount:
                connection.execute(
                    insert(measurements).values(usecase=usecase, window_start=start, window_end=end, **values)
                )

    def measurements(self, usecase: str) -> list[dict[str, Any]]:
        """Return what was measured, by window."""
        with self.reading() as connection:
            rows = connection.execute(
                select(measurements.c.content)
                .where(measurements.c.usecase == usecase)
                .order_by(measurements.c.window_start, measurements.c.id)
            ).all()
        return [json.loads(row.content) for row in rows]

    def stands(self, connection: Connection, entry: str) -> bool:
        """Whether the ledger has an entry of this name."""
        return connection.execute(select(ledger.c.id).where(ledger.c.entry == entry)).first() is not None

    def write(self, connection: Connection, entry: Entry) -> bool:
        """Append to the ledger inside a transaction; False where this entry stands already."""
        if self.stands(connection, entry.entry):
            return False
        connection.execute(
            insert(ledger).values(
                entry=entry.entry,
                usecase=entry.usecase,
                turn=entry.turn,
                as_of=entry.as_of,
                recorded_at=datetime.now(UTC),
                kind=entry.kind,
                action=entry.action,
                cause=entry.cause,
                summary=entry.summary,
                evidence=to_json(entry.evidence),
            )
        )
        return True

    def entries(self, usecase: str, *, last: int | None = None, kind: str | None = None) -> list[Entry]:
        """Read the ledger, oldest first; the newest `last` where given."""
        query = select(ledger).where(ledger.c.usecase == usecase).order_by(ledger.c.id.desc())
        if kind is not None:
            query = query.where(ledger.c.kind == kind)
        if last is not None:
            query = query.limit(last)
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return [
            Entry(
                entry=row.entry,
                usecase=row.usecase,
                as_of=row.as_of,
                kind=row.kind,
                action=row.action,
                cause=row.cause,
                summary=row.summary,
                evidence=json.loads(row.evidence),
                turn=row.turn,
                recorded_at=row.recorded_at,
            )
            for row in reversed(rows)
        ]

    def post(
        self,
        connection: Connection,
        usecase: str,
        name: str,
        labels: dict[str, str],
        payload: dict[str, Any],
        *,
        deliver: bool = True,
    ) -> None:
        """Put an event into the outbox inside a transaction.

        Parameters
        ----------
        deliver : bool
            False where the process that posts it does the next stage itself: kept for the record, never sent.
        """
        now = datetime.now(UTC)
        connection.execute(
            insert(outbox).values(
                id=str(uuid.uuid4()),
                usecase=usecase,
                name=name,
                labels=to_json(labels),
                payload=to_json(payload),
                occurred=now,
                sent=None if deliver else now,
            )
        )

    def announced(self, connection: Connection, turn_id: str, name: str) -> int:
        """Return how often an event of a turn was posted."""
        where = (outbox.c.name == name) & outbox.c.labels.contains(f'"{turn_id}"')
        return connection.execute(select(func.count()).where(where)).scalar_one()

    def unsent(self) -> list[Event]:
        """Events that still have to reach the flow server, oldest first."""
        with self.reading() as connection:
            rows = connection.execute(select(outbox).where(outbox.c.sent.is_(None)).order_by(outbox.c.occurred)).all()
        return [
            Event(row.id, row.usecase, row.name, json.loads(row.labels), json.loads(row.payload), row.occurred)
            for row in rows
        ]

    def sent(self, event_id: str) -> None:
        """Note that an event arrived."""
        with self.transaction() as connection:
            connection.execute(update(outbox).where(outbox.c.id == event_id).values(sent=datetime.now(UTC)))

    def alert(self, connection: Connection, alert: Alert) -> None:
        """Queue an alert inside a transaction, once."""
        if not connection.execute(select(alerts.c.id).where(alerts.c.entry == alert.entry)).first():
            connection.execute(
                insert(alerts).values(
                    usecase=alert.usecase,
                    entry=alert.entry,
                    title=alert.title,
                    body=alert.body,
                    severity=alert.severity,
                )
            )

    def undelivered(self, usecase: str) -> list[Alert]:
        """Alerts nobody has heard yet."""
        with self.reading() as connection:
            rows = connection.execute(
                select(alerts).where(alerts.c.usecase == usecase, alerts.c.delivered.is_(None)).order_by(alerts.c.id)
            ).all()
        return [Alert(row.entry, row.usecase, row.title, row.body, row.severity) for row in rows]

    def delivered(self, alert: Alert) -> None:
        """Note that an alert arrived."""
        with self.transaction() as connection:
            connection.execute(update(alerts).where(alerts.c.entry == alert.entry).values(delivered=datetime.now(UTC)))


def _bounds(silence: timedelta = timedelta(0)) -> tuple[datetime, datetime]:
    """Return between which instants a lease ends whose owner is at work, or was not longer ago than `silence`.

    One that ends later was given by a clock that was ahead, and would hold the turn until that has come.
    """
    now = datetime.now(UTC)
    return now - silence, now + 2 * LEASE


def _leased(until: datetime | None, silence: timedelta = timedelta(0)) -> bool:
    earliest, latest = _bounds(silence)
    return until is not None and earliest <= until <= latest


def _turn(row: Any) -> Turn:  # noqa: ANN401 - SQLAlchemy's row
    return Turn(
        id=row.id,
        usecase=row.usecase,
        cause=row.cause,
        as_of=row.as_of,
        state=row.state,
        decision=row.decision,
        flow_run=row.flow_run,
        tracking_run=row.tracking_run,
        product=json.loads(row.product) if row.product else None,
    )


class _Pulse:
    """Tells the database again and again, from a thread, that something is still at work."""

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
    """Notes while a flow runs that this process runs it; on another host nobody can look whether it lives."""

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
