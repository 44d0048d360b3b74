"""What commands have in common: settings, servers, instants, and how they print and end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flows.progress import Progress
    from flows.stage import FlowResult
    from infra.settings import Settings


HELD = 3


_HELD_OUTCOMES = {"held", "hold", "refused", "unknown"}


class InstantParameter(click.ParamType[datetime]):
    """An ISO 8601 instant; UTC where it says no zone."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Read the text."""
        if isinstance(value, datetime):
            return value
        from expectations.written_instants import read_instant

        try:
            return read_instant(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def read_settings() -> Settings:
    """Read the settings, or end with a sentence about those that cannot be read."""
    from pydantic import ValidationError

    from expectations.errors import DriftwheelError
    from infra.environment import spare_loopback
    from infra.settings import Settings

    spare_loopback()
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DriftwheelError("settings that can be read", wrong, "Correct the DRIFTWHEEL_ variables") from error


@contextmanager
def servers(settings: Settings, *, stages: bool = True) -> Iterator[Progress]:
    """Give servers that answer: those that are up or named by settings, else our own for as long as the block lasts."""
    from flows.progress import Progress
    from infra.doctor import require_home
    from infra.reaching import await_servers
    from infra.stack import stack_to_run

    require_home(settings)
    with (
        Progress("looking for servers", stages=stages) as progress,
        stack_to_run(settings, report=progress.now) as stack,
    ):
        await_servers(settings, stack)
        progress.now("loading what is to run")
        yield progress


def print_json(value: object) -> None:
    """Print a value as JSON, strictly: what is not finite is null."""
    from tasks.stores.plain import to_json

    click.echo(to_json(value, indent=1))


def console() -> Any:  # noqa: ANN401 - rich is imported by those who print tables
    """Return a console for tables, 110 columns wide in a pipe; brackets and colons in a text are itself, no markup."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 110, highlight=False, markup=False, emoji=False)


def print_table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table."""
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for head in heads:
        shown.add_column(head, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console().print(shown)


def conclude(verdict: FlowResult, *, as_json: bool) -> None:
    """Print how a flow ended, and end with the exit code that stands for it."""
    if as_json:
        print_json(vars(verdict))
    else:
        held = verdict.outcome in _HELD_OUTCOMES
        click.secho(f"{verdict.outcome}: ", fg="yellow" if held else "green", nl=False, bold=True)
        click.echo(verdict.summary)
    if verdict.outcome in _HELD_OUTCOMES or verdict.lost:
        sys.exit(HELD)
