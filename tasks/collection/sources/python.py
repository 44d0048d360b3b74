"""Rows that a function returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import polars as pl
from pydantic import Field

from expectations.code import Code
from expectations.data import DatasetOrigin, Source, SourceContext
from expectations.durations import Duration
from expectations.errors import DriftwheelError, SourceError, SourceUnreachableError
from expectations.fields import PositiveSpan
from tasks.collection.deadlines import TimeIsUpError, in_time
from tasks.collection.returned import to_frame

_NAMES = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


class PythonSource(Source):
    """What a function returns, of the use case's own folder (once it is trusted) or of an installed package."""

    examples: ClassVar = (
        {"kind": "python", "call": "feed:rows"},
        {"kind": "python", "call": "acme.sensors:readings", "timeout": "5m", "join": {"on": ["n"]}},
    )
    kind: Literal["python"]
    call: Annotated[str, Field(pattern=rf"^{_NAMES}:{_NAMES}$")]
    """``module:function``, called with ``since`` and ``until``, two instants; `since` is None where all rows are asked
    for. It returns a table of Polars, pandas or Arrow, or an iterator of tables, or of dicts."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that it may return."""
    timeout: PositiveSpan = Duration.parse("1h")
    """Most that it may take. One that takes longer is not waited for: it cannot be stopped, and ends with the run."""

    @property
    def incremental(self) -> bool:
        """Yes: it knows `since`."""
        return True

    def origin(self, folder: Path) -> DatasetOrigin:
        """Return its function, and the folder it may lie in."""
        return DatasetOrigin(f"file:{folder}", self.call)

    @property
    def calls(self) -> tuple[str, ...]:
        """Its function."""
        return (self.call,)

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Call the function."""
        code = context.code or Code(context.folder, {}, self.calls)
        code.require_trust()

        def call() -> pl.DataFrame:
            with _said(context.name, self.call, code):
                function = code.function(self.call)
                returned = function(since=context.since, until=context.until)
                return to_frame(returned, context.name, context.declared, self.max_megabytes)

        try:
            return in_time(context.name, self.timeout, call)
        except TimeIsUpError:
            raise SourceUnreachableError(
                f"rows from {self.call} for the source {context.name!r}",
                f"not all of them within {self.timeout}",
                "Let it return less, for example by `since`; or raise `timeout` of the source",
            ) from None


@contextmanager
def _said(source: str, call: str, code: Code) -> Iterator[None]:
    """Say where a function failed and of what kind the fault is; its words may hold a value of a row."""
    try:
        yield
    except DriftwheelError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody else's function raises
        kind = SourceUnreachableError if isinstance(error, ConnectionError | TimeoutError) else SourceError
        raise kind(
            f"rows from {call} for the source {source!r}",
            f"{type(error).__name__} at {code.place_of(error)}",
            _remedy(error, code),
        ) from None


def _remedy(error: BaseException, code: Code) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        if code.has(error.name):
            return f"It lies beside: write `from . import {error.name}`"
        return f"Install the package that has the module {error.name}, or correct `call`"
    if isinstance(error, AttributeError | TypeError):
        return "Correct the function or `call`: it is called as function(since=…, until=…)"
    return "Correct the function: call it in Python, which says more"
