"""Show at a terminal what a command does: a line that changes there, a plain line now and then in a pipe."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tasks.stores.progress import LOGGER, STAGES

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

_QUIET_SECONDS = 10.0
"""In a pipe, what is going on is said again after so long without a line."""


def _plain(text: str) -> Text:
    """Return text in which brackets are brackets, no markup."""
    from rich.text import Text

    return Text(text)


class Progress(logging.Handler):
    """Shows, on standard error, what is reported while the block lasts.

    Parameters
    ----------
    beginning : str
        What is done first.
    stages : bool
        Whether the end of each stage is a line of its own; else it is only shown while nothing newer is.
    """

    def __init__(self, beginning: str, *, stages: bool = True) -> None:
        super().__init__(logging.DEBUG)
        self._doing, self._stages = beginning, stages
        self._began = self._spoken = time.monotonic()
        self._status: Status | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._remind, name="progress", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one report; those of stages below INFO say what is begun."""
        text = record.getMessage()
        if record.levelno >= logging.INFO and (self._stages or record.name != STAGES):
            self.line(text)
        else:
            self.now(text)

    def line(self, text: str) -> None:
        """Write a line that stays."""
        self._spoken = time.monotonic()
        if self._status is not None:
            self._status.console.print(text, markup=False)
        else:
            seconds = self._spoken - self._began
            self.acquire()  # the lock of every handler: a line at a time, with its end
            try:
                with suppress(BrokenPipeError):  # nobody may read it any longer: the work goes on
                    print(f"[{seconds:4.0f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201 - for a person
            finally:
                self.release()

    def now(self, text: str) -> None:
        """Say what is going on."""
        self._doing = text
        if self._status is not None:
            self._status.update(_plain(text))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the changing line away while something else is written to the terminal."""
        if self._status is not None:
            self._status.stop()
        yield
        self._spoken = time.monotonic()
        if self._status is not None:
            self._status.start()

    def _remind(self) -> None:
        while not self._ended.wait(_QUIET_SECONDS / 10):
            if time.monotonic() - self._spoken >= _QUIET_SECONDS:
                self.line(self._doing)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status(_plain(self._doing))
            self._status.start()
        else:
            self._thread.start()
        logger = logging.getLogger(LOGGER)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False  # a library may have given the root a console of its own
        logger.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger(LOGGER).removeHandler(self)
        self._ended.set()
        if self._status is not None:
            self._status.stop()
        else:
            self._thread.join()
