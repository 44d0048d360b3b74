"""One stage of a turn: claimed, leased, ended by one transaction that moves the turn, and writes ledger and events."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from expectations.errors import BusyError, DatabaseError, DriftwheelError, OvertakenError, ReleaseError, TurnTakenError
from tasks.stores.finding_kinds import describe
from tasks.stores.findings import Found
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.pulses import Lease
from tasks.stores.stages import OPEN, STAGES, State, stage_at
from tasks.stores.turns import Turn


def owner_name(flow_run: str | None) -> str:
    """Name this process in a lease."""
    return f"{socket.gethostname()}/{os.getpid()}/{flow_run or 'plain'}"


def _cause(error: DriftwheelError) -> str:
    """Say in the ledger's words why a stage failed; releases by hand have the same."""
    if isinstance(error, OvertakenError):
        return "overtaken"
    return "service" if isinstance(error, ReleaseError) else type(error).__name__


class Stage(AbstractContextManager["Stage"]):
    """One stage at work on a turn, or without a turn (then only the ledger is written).

    Parameters
    ----------
    job : Job
    name : str
        Of `STAGES`.
    """

    def __init__(self, job: Job, name: str, flow_run: str | None = None) -> None:
        self.job, self.name = job, name
        self._of, self._flow_run = STAGES[name], flow_run
        self._owner = owner_name(flow_run)
        self._lease: Lease | None = None
        self._finished = False
        self.before: Turn | None = None
        """The turn as it was found; it names the runs a dead predecessor left."""

    def __enter__(self) -> Stage:
        if self.job.turn is not None:
            database = self.job.database
            self.before = database.claim(self.job.turn, self._of.accepts, self._of.works, self._owner, self._flow_run)
            self._lease = Lease(database, self.job.turn, self._owner)
            self._lease.__enter__()
        return self

    def product(self, name: str) -> str:
        """Return what the stage before left under a name.

        Raises
        ------
        TurnTakenError
            If there is no turn, or it left nothing: then there is nothing for this stage to do.
        """
        left = self.before.product if self.before else None
        if not left or name not in left:
            raise TurnTakenError(
                f"a turn whose training left a {name}", "none", "Run `driftwheel run loop`, or promote a version"
            )
        return str(left[name])

    def note_tracking_run(self, run: str) -> None:
        """Remember the MLflow run of this stage."""
        if self.job.turn is not None:
            self.job.database.note_tracking_run(self.job.turn, run)

    def finish(
        self,
        state: State,
        action: str,
        cause: str,
        summary: str,
        evidence: dict[str, Any],
        *,
        product: dict[str, Any] | None = None,
        found: Found | None = None,
        over: Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        """End the stage: the turn's next state, a ledger entry, the event that starts the next stage, findings.

        Parameters
        ----------
        state : State
            Where the turn goes.
        found : Found, optional
            What is wrong now.
        over : sequence of str
            Keys of findings that this end resolves.
        key : str, optional
            What makes the ledger entry unique; where not given the stage, and the turn or, without one, the instant.
        """
        job = self.job
        when = f"{job.turn}/{self.name}" if job.turn else f"{self.name}/{job.as_of.isoformat()}"
        entry = Entry(
            entry=f"{job.name}/{key or f'{when}/{action}'}",
            usecase=job.name,
            as_of=job.as_of,
            kind=self.name,
            action=action,
            cause=cause,
            summary=summary,
            evidence=evidence,
            turn=job.turn,
        )
        with job.database.transaction() as connection:
            if job.turn is not None:
                job.database.advance(connection, job.turn, self._owner, state, product)
            job.database.write(connection, entry)
            if found is not None:
                job.database.record(connection, found, job.as_of)
            ended = state not in OPEN
            if ended and state != "failed":
                over = (*over, "stalled")
            if ended and job.turn is not None:  # nobody waits for a person any more
                over = (*over, "approval")
            for each in over:
                job.database.resolve(connection, job.name, each, summary, job.as_of)
            following = stage_at(state)
            if following is not None and job.turn is not None:
                job.database.post(
                    connection,
                    job.name,
                    STAGES[following].event,
                    {"driftwheel.turn": job.turn, "driftwheel.cause": cause},
                    {
                        "turn_id": job.turn,
                        "as_of": job.as_of.isoformat(),
                        "decision": self.before.decision if self.before else None,
                    },
                    deliver=job.announce,
                )
        self._finished = True
        say_stage("%s: %s: %s", self.name, action, summary)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lease is not None:
            self._lease.__exit__(kind, error, trace)
        job = self.job
        if error is None:
            job.database.end(job.name, [f"failed-{self.name}"], "it ran to its end", job.as_of)
        if self._finished or (self.job.turn is None and error is None):
            return
        if isinstance(error, DriftwheelError) and not error.transient and not isinstance(error, DatabaseError):
            # the same data and configuration will fail again: the turn ends here, and the ledger says why
            self.finish(
                "failed",
                "failed",
                _cause(error),
                str(error),
                {"error": type(error).__name__},
                found=describe(
                    job.name,
                    "failed",
                    "failure",
                    f"{self.name} failed: {error}",
                    {"error": type(error).__name__},
                    key=f"failed-{self.name}",
                    title=f"{self.name} failed",
                ),
            )
        elif self.job.turn is not None and not isinstance(error, TurnTakenError | DatabaseError | BusyError):
            self.job.database.release(self.job.turn, self._owner)  # without a database the lease runs out by itself
