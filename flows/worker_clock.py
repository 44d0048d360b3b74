"""What hands flow runs to processes starts anew once its clock was set back, and no flow is at work.

It hears of runs that are to be cancelled by a subscription to events "since" a moment, which Prefect's client keeps
when it connects again: from a clock that was ahead, that is days to come. And processes that wait for a date as far
ahead hold places that other runs could have.

``python3 -m flows.worker_clock prefect worker start …`` runs a worker of the stack of containers so watched.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from sqlalchemy.exc import SQLAlchemyError

from expectations.errors import DriftwheelError
from flows.dead_runs import lives
from infra import clock_watch
from infra.settings import Settings
from tasks.stores.database import Database

_LOOK_SECONDS = 10.0
_log = logging.getLogger("driftwheel.flows")


def at_work(database: Database) -> bool:
    """Whether a flow is at work on this host."""
    here = socket.gethostname()
    return any(process.host == here and lives(process, seen) for process, seen in database.present().values())


def end_with_those_that_wait() -> None:
    """End this process, and those of runs that did not begin: Prefect's runner would wait for them until their date."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    clock_watch.end_this_process()


def end_when_idle(
    settings: Settings, end: Callable[[], object] = end_with_those_that_wait, every: float = _LOOK_SECONDS
) -> None:
    """End this process as soon as no flow is at work on this host; whoever supervises it starts it anew.

    Parameters
    ----------
    settings : Settings
    end : function
        Ends it.
    every : float
        Seconds between looks.

    Notes
    -----
    While the database, its disk or the table of processes cannot be read, nobody knows, and it is looked at again. By
    any other fault the process ends at once: going on with a clock that was set back, unwatched, would be silent.
    """
    try:
        while _may_be_at_work(settings):
            time.sleep(every)
    except BaseException:
        _log.critical("whether a flow is at work cannot be seen: this process ends", exc_info=True)
        raise
    finally:
        end()


def _may_be_at_work(settings: Settings) -> bool:
    try:
        return at_work(settings.platform())
    except DriftwheelError as error:
        _log.warning("whether a flow is at work could not be seen: %s", error)
    except (SQLAlchemyError, OSError, psutil.Error) as error:  # their words may hold an address
        _log.warning("whether a flow is at work could not be seen: %s", type(error).__name__)
    return True


def main() -> None:
    """Run the module that the command line names, watched."""
    clock_watch.main(lambda: end_when_idle(Settings()))


if __name__ == "__main__":
    main()
