"""What hands flow runs to processes starts anew once its clock was set back, and no flow is at work.

It hears of runs that are to be cancelled by a subscription to events "since" a moment, which Prefect's client keeps
when it connects again: from a clock that was ahead, that is days to come. And processes that wait for a date as far
ahead hold places that other runs could have.

``python3 -m flows.worker_clock prefect worker start …`` runs a worker of the stack of containers so watched; with
``--containers POOL`` before ``prefect``, one whose flows are in containers of their own.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import psutil
from sqlalchemy.exc import SQLAlchemyError

from expectations.errors import DriftwheelError, UnreachableError
from flows.dead_runs import lives
from flows.prefect_runs import CLOCK_MARGIN
from infra import clock_watch
from infra.settings import Settings
from tasks.stores.database import Database

_LOOK_SECONDS = 10.0
_RUN_LABEL = "io.prefect.flow-run-id"
"""By which Prefect's worker of containers notes which run one is of."""
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


class FlowContainers:
    """Containers in which a worker's flow runs are, each in its own.

    Parameters
    ----------
    pool : str
        The worker's.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._seen: dict[str, float] = {}
        """When each was first found, by the monotonic clock."""

    def at_work(self, database: Database) -> bool:
        """Whether a flow is at work in one of them, or may be about to begin.

        One that was just started has said of none yet that it is at work; within `CLOCK_MARGIN` it has, or it waits.

        Raises
        ------
        UnreachableError
            If the engine does not answer.
        """
        with self._containers() as found:
            now = monotonic()
            self._seen = {run: self._seen.get(run, now) for run in found}
        present = database.present()  # asked after: it holds whichever began meanwhile
        latest = now - CLOCK_MARGIN.total_seconds()
        return any(run in present or since > latest for run, since in self._seen.items())

    def end_with_those_that_wait(self) -> None:
        """End the containers, of which none works, then this process."""
        try:
            with self._containers() as found:
                for run, container in found.items():
                    _kill(run, container)
        except UnreachableError as error:
            _log.warning("containers that wait for their date were not ended: %s", error)
        clock_watch.end_this_process()

    @contextmanager
    def _containers(self) -> Iterator[dict[str, Any]]:
        """Ask the engine for those that run, by flow run."""
        import docker
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        try:
            engine = docker.from_env()
            try:
                ours = engine.containers.list(
                    filters={"label": f"io.prefect.work-pool-name={self._pool}"}, ignore_removed=True
                )
                yield {each.labels[_RUN_LABEL]: each for each in ours if _RUN_LABEL in each.labels}
            finally:
                engine.close()
        except (DockerException, RequestException) as error:
            raise UnreachableError(
                "an answer of the engine that runs flows", type(error).__name__, "Look at its socket and its log"
            ) from error


def _kill(run: str, container: Any) -> None:  # noqa: ANN401 - the engine's
    """End a container; one that the engine cannot end, as it ended meanwhile, keeps none of the others."""
    from docker.errors import APIError

    try:
        container.kill()
    except APIError as error:
        _log.warning("the container of flow run %s was not ended: %s", run, type(error).__name__)


def end_when_idle(
    settings: Settings,
    end: Callable[[], object] = end_with_those_that_wait,
    every: float = _LOOK_SECONDS,
    working: Callable[[Database], bool] = at_work,
) -> None:
    """End this process as soon as no flow of its is at work; whoever supervises it starts it anew.

    Parameters
    ----------
    settings : Settings
    end : function
        Ends it.
    working : function of Database
        Whether a flow is at work; by default, on this host.
    every : float
        Seconds between looks.

    Notes
    -----
    While the database, its disk or the table of processes cannot be read, nobody knows, and it is looked at again. By
    any other fault the process ends at once: going on with a clock that was set back, unwatched, would be silent.
    """
    try:
        while _may_work(settings, working):
            sleep(every)
    except BaseException:
        _log.critical("whether a flow is at work cannot be seen: this process ends", exc_info=True)
        raise
    finally:
        end()


def _may_work(settings: Settings, working: Callable[[Database], bool]) -> bool:
    try:
        return working(settings.platform())
    except DriftwheelError as error:
        _log.warning("whether a flow is at work could not be seen: %s", error)
    except (SQLAlchemyError, OSError, psutil.Error) as error:  # their words may hold an address
        _log.warning("whether a flow is at work could not be seen: %s", type(error).__name__)
    return True


def main() -> None:
    """Run the module that the command line names, watched."""
    if sys.argv[1:2] == ["--containers"]:
        containers = FlowContainers(sys.argv[2])
        del sys.argv[1:3]
        clock_watch.main(
            lambda: end_when_idle(Settings(), containers.end_with_those_that_wait, working=containers.at_work)
        )
    else:
        clock_watch.main(lambda: end_when_idle(Settings()))


if __name__ == "__main__":
    main()
