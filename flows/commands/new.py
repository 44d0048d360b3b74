"""`driftwheel new`: from a table to a use case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.shared import print_json, read_settings

if TYPE_CHECKING:
    from tasks.profiling.choices import Choices
    from tasks.profiling.profile import Profile


@click.command()
@click.argument("name")
@click.option(
    "--from", "address", required=True, metavar="ADDRESS", help="A CSV or Parquet file: path, glob, https, s3 …"
)
@click.option("--target", metavar="COLUMN", help="What is to be predicted.")
@click.option("--clock", metavar="COLUMN", help="When each row was; found where not given.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="COLUMN",
    help="Column that identifies a row (of several together: give it again).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, address: str, target: str | None, clock: str | None, keys: tuple[str, ...], as_json: bool) -> None:
    """Make a use case of a table: look at its columns, choose what to begin with, and write it to the folder NAME."""
    from flows.founding import found_use_case, refuse_name
    from flows.progress import Progress
    from tasks.profiling.choosing import require_columns
    from tasks.profiling.profile import profile_table
    from tasks.profiling.reading import read_table

    folder = Path.cwd() / name
    refuse_name(name, folder, read_settings().platform().use_cases())
    with Progress("reading the table") as progress:
        table = read_table(address, Path.cwd())
        if target is None:
            if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise click.UsageError(f"--target is needed: one of {', '.join(table.columns)}")
            with progress.paused():
                target = click.prompt("Which column is to be predicted?", type=click.Choice(table.columns), err=True)
        require_columns(table.columns, target, clock, keys)
        profile = profile_table(table, {target, *keys, *([clock] if clock else [])})
        profile, choices = found_use_case(folder, profile, target, clock=clock, keys=keys)
    print_founded(profile, choices, folder, as_json=as_json)


def print_founded(profile: Profile, choices: Choices, folder: Path, *, as_json: bool) -> None:
    """Print what a use case begins with, and where it lies."""
    from tasks.profiling.summary import summary_lines, to_dict

    if as_json:
        print_json(to_dict(profile, choices, folder))
        return
    for what, said in summary_lines(profile, choices, folder):
        click.secho(f"{what:<10} ", bold=True, nl=False)
        click.echo(said)
