"""Use cases that cannot be read: left out so that the others go on, and reported wherever a person may look."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

from expectations.errors import DriftwheelError, UseCaseError
from expectations.loading import FILE, SUITE, readable_alerts
from expectations.masking import mask
from infra.settings import Settings
from tasks.stores.alerts import deliver
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.messages import Calendar

_MARK = "left out"
_SHOWN_PROBLEMS = 3
_MAX_CHARACTERS = 2000
_log = logging.getLogger("driftwheel.flows")


def note_left_out(settings: Settings, name: str, folder: Path, error: DriftwheelError) -> None:
    """Report that a use case cannot be read: in the log, as a finding, in the ledger once for each state of its folder.

    Messages go to the addresses of its own YAML where these can be read at least.
    """
    database, why = settings.platform(), reason_of(error)
    _log.error("%s is left out: %s", name, why)
    key = f"{name}/{_MARK}/{_state(folder, why)}"
    summary = f"none of its flows runs: {why}"
    evidence = {"folder": str(folder), "error": type(error).__name__}
    entry = Entry(key, name, datetime.now(UTC), "usecase", "left out", "unreadable", summary, evidence)
    with database.transaction() as connection:
        database.report(connection, entry, describe(name, "left-out", "failure", summary, evidence))
    database.mark(name, _MARK, why)
    deliver(database, name, settings.channels(readable_alerts(folder)), Calendar(), settings.page_address)


def forget_left_out(settings: Settings, name: str) -> None:
    """Note that a use case has its flows again."""
    database = settings.platform()
    if database.marked(name, _MARK):
        database.mark(name, _MARK, "")
    end_left_out(settings, name)


def end_left_out(settings: Settings, name: str) -> None:
    """Resolve the finding that a use case cannot be read; its flows may still have to be started again."""
    settings.platform().end(name, ["left-out"], "it can be read again", datetime.now(UTC))


def unreadable(settings: Settings, name: str) -> str | None:
    """Say why a registered use case cannot be read; None where it can."""
    try:
        settings.use_case(name)
    except DriftwheelError as error:
        return reason_of(error)
    return None


def trouble_of(settings: Settings, name: str) -> str | None:
    """Say why a registered use case has no flows, or will have none once they are started again."""
    why = unreadable(settings, name)
    if why is not None:
        return f"left out: {why}"
    if settings.platform().marked(name, _MARK):
        return f"was left out, and can be read again: `driftwheel add {name}` starts its flows"
    return None


def reason_of(error: DriftwheelError) -> str:
    """Say in few words why a use case cannot be read."""
    if not isinstance(error, UseCaseError):
        return mask(str(error)[:_MAX_CHARACTERS])
    more = len(error.problems) - _SHOWN_PROBLEMS
    shown = "; ".join(str(problem) for problem in error.problems[:_SHOWN_PROBLEMS])
    return mask(shown[:_MAX_CHARACTERS]) + (f"; and {more} more" if more > 0 else "")


def _state(folder: Path, why: str) -> str:
    digest = hashlib.sha256(why.encode())
    for name in (FILE, SUITE):
        try:
            digest.update(str((folder / name).stat().st_mtime_ns).encode())
        except OSError:
            digest.update(b"away")
    return digest.hexdigest()[:16]
