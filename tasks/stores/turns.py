"""Turns of the wheel: opened once, claimed by one stage at a time, left to the next."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from expectations.errors import TurnTakenError
from tasks.stores import tables
from tasks.stores.plain import to_json
from tasks.stores.stages import OPEN, State
from tasks.stores.transactions import Transactions

LEASE = timedelta(seconds=8)
"""How long a stage may be silent before another may take its turn over."""


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


class Turns(Transactions):
    """The open turn of each use case, and those that ended."""

    def request_turn(
        self, connection: Connection, usecase: str, cause: str, as_of: datetime, decision: str | None = None
    ) -> str | None:
        """Open a turn inside a transaction; None where one is open already."""
        turn_id = uuid.uuid4().hex[:12]
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(tables.turns).values(
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
        """Return a turn by its id.

        Raises
        ------
        TurnTakenError
            If there is none: an event may be older than the database, or of another one.
        """
        with self.reading() as connection:
            row = connection.execute(select(tables.turns).where(tables.turns.c.id == turn_id)).one_or_none()
        if row is None:
            raise _unknown_turn(turn_id)
        return _turn(row)

    def open_turn(self, usecase: str) -> Turn | None:
        """Return the open turn of a use case."""
        with self.reading() as connection:
            row = connection.execute(
                select(tables.turns).where(tables.turns.c.usecase == usecase, tables.turns.c.state.in_(OPEN))
            ).one_or_none()
        return _turn(row) if row else None

    def stalled_turn(self, usecase: str, silence: timedelta) -> Turn | None:
        """Return the open turn if no process has touched it for longer than `silence`."""
        with self.reading() as connection:
            row = connection.execute(
                select(tables.turns).where(tables.turns.c.usecase == usecase, tables.turns.c.state.in_(OPEN))
            ).one_or_none()
        return _turn(row) if row and not _leased(row.lease_until, silence) else None

    def turns(self, usecase: str) -> list[Turn]:
        """Return all turns of a use case by their instant."""
        with self.reading() as connection:
            rows = connection.execute(
                select(tables.turns).where(tables.turns.c.usecase == usecase).order_by(tables.turns.c.as_of)
            ).all()
        return [_turn(row) for row in rows]

    def claim(self, turn_id: str, states: Sequence[State], state: State, owner: str, flow_run: str | None) -> Turn:
        """Take a turn over for a stage: it must be in one of `states` and held by no process that lives.

        Returns
        -------
        Turn
            As it was before, so that the runs a dead owner left can be closed.

        Raises
        ------
        TurnTakenError
            If another process holds it, or it has moved on.
        """
        now = datetime.now(UTC)
        with self.transaction() as connection:
            row = connection.execute(select(tables.turns).where(tables.turns.c.id == turn_id)).one_or_none()
            if row is None:
                raise _unknown_turn(turn_id)
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
                update(tables.turns)
                .where(tables.turns.c.id == turn_id)
                .values(state=state, owner=owner, lease_until=now + LEASE, flow_run=flow_run)
            )
        return _turn(row)

    def renew(self, turn_id: str, owner: str) -> bool:
        """Prolong a lease; False where it is no longer ours."""
        with self.transaction() as connection:
            where = (tables.turns.c.id == turn_id) & (tables.turns.c.owner == owner)
            values = {"lease_until": datetime.now(UTC) + LEASE}
            return bool(connection.execute(update(tables.turns).where(where).values(values)).rowcount)

    def release(self, turn_id: str, owner: str) -> None:
        """Give a turn back as it is, for a rerun."""
        with self.transaction() as connection:
            connection.execute(
                update(tables.turns)
                .where(tables.turns.c.id == turn_id, tables.turns.c.owner == owner)
                .values(owner=None, lease_until=datetime.now(UTC))
            )

    def put_state(self, connection: Connection, turn_id: str, state: State) -> None:
        """Set the state of a turn just requested: one that begins in the middle."""
        connection.execute(update(tables.turns).where(tables.turns.c.id == turn_id).values(state=state))

    def note_tracking_run(self, turn_id: str, run: str) -> None:
        """Remember which MLflow run works for a turn."""
        with self.transaction() as connection:
            connection.execute(update(tables.turns).where(tables.turns.c.id == turn_id).values(tracking_run=run))

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
        where = (tables.turns.c.id == turn_id) & (tables.turns.c.owner == owner)
        if not connection.execute(update(tables.turns).where(where).values(values)).rowcount:
            raise TurnTakenError(f"turn {turn_id} still held by {owner}", "another owner", "Nothing to do")

    def give_up(self, connection: Connection, turn_id: str, silence: timedelta) -> bool:
        """End a turn no process has touched for longer than `silence`; False where one has, or it has ended."""
        where = (tables.turns.c.id == turn_id) & tables.turns.c.state.in_(OPEN)
        earliest, latest = _bounds(silence)
        stalled = tables.turns.c.lease_until.is_(None) | ~tables.turns.c.lease_until.between(earliest, latest)
        values = {"state": "failed", "owner": None, "lease_until": datetime.now(UTC)}
        return bool(connection.execute(update(tables.turns).where(where & stalled).values(values)).rowcount)


def _bounds(silence: timedelta = timedelta(0)) -> tuple[datetime, datetime]:
    """Return between which instants a lease ends whose owner is at work, or was not longer ago than `silence`.

    One that ends later was given by a clock that was ahead, and would hold the turn until that has come.
    """
    now = datetime.now(UTC)
    return now - silence, now + 2 * LEASE


def _leased(until: datetime | None, silence: timedelta = timedelta(0)) -> bool:
    earliest, latest = _bounds(silence)
    return until is not None and earliest <= until <= latest


def _unknown_turn(turn_id: str) -> TurnTakenError:
    return TurnTakenError(f"a turn {turn_id}", "none", "Leave the turn out to let a new one be opened")


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
