"""Deliver alerts to whatever address Apprise understands."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.stores.database import Database
from tasks.stores.outbox import Alert

_TALKERS = ("apprise", "urllib3", "requests")
"""Loggers that write addresses, whole or in part; of Slack, Teams and many more the path is the secret."""
_log = logging.getLogger(__name__)


def deliver(database: Database, usecase: str, addresses: Sequence[str]) -> list[Alert]:
    """Send what was not delivered yet; what a channel refuses stays queued and is tried again next time.

    Parameters
    ----------
    addresses : sequence of str
        Apprise addresses, their variables filled in. Without any, alerts stand in the ledger alone.

    Returns
    -------
    list of Alert
        Those delivered now.
    """
    waiting = database.undelivered(usecase)
    if not waiting or not addresses:
        return []
    with _silent():
        return _deliver(database, usecase, addresses, waiting)


def _deliver(database: Database, usecase: str, addresses: Sequence[str], waiting: Sequence[Alert]) -> list[Alert]:
    import apprise

    sender = apprise.Apprise()
    for position, address in enumerate(addresses):
        if not sender.add(address):
            _log.error(
                "alert address %d of %s is none Apprise understands; see its list of services", position, usecase
            )
    delivered = []
    for alert in waiting:
        if sender.notify(title=alert.title, body=alert.body, notify_type=apprise.NotifyType(alert.severity)) is True:
            database.delivered(alert)
            delivered.append(alert)
        else:
            _log.error("an alert of %s was not taken by its channel; it is tried again on the next run", usecase)
    return delivered


@contextmanager
def _silent() -> Iterator[None]:
    """Let nobody log who knows an address: it is a password in all but name."""
    former = {name: logging.getLogger(name).level for name in _TALKERS}
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in former.items():
            logging.getLogger(name).setLevel(level)
