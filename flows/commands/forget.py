"""`driftwheel forget`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from flows.commands.shared import HELD, print_json, read_settings

if TYPE_CHECKING:
    from tasks.erasing.forgetting import Forgotten


@click.command()
@click.argument("usecase")
@click.option(
    "--where",
    required=True,
    help="Who: columns and values, \"customer == 'Ann'\", several joined by `and`. Of a hashed column its own value.",
)
@click.option("--dry-run", is_flag=True, help="Count by place, and erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def forget(usecase: str, where: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase a person: from every version of the tables, the journal, reports, golden rows and databases.

    Says which models have learnt from them, and what must be done about the rest. The ledger says that it was done,
    when and by whom, and not who was erased. Run it again where it was interrupted. Sources are not touched.
    """
    if not (dry_run or yes or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise click.UsageError("this cannot be undone: look with --dry-run first, then say --yes")
    from datetime import UTC, datetime

    from flows.asking import this_person
    from tasks.erasing.forgetting import forget as erase
    from tasks.erasing.person import find_person
    from tasks.stores.places import Job

    settings = read_settings()
    loaded = settings.use_case(usecase)
    places = settings.places()
    job, person = Job(loaded, places, datetime.now(UTC)), find_person(where, loaded.spec, places.secret)
    if not (dry_run or yes):
        _print(erase(job, person, this_person(), settings.folder, dry_run=True), dry_run=True)
        click.confirm("Erase all of it? This cannot be undone", abort=True, err=True)
    found = erase(job, person, this_person(), settings.folder, dry_run=dry_run)
    if as_json:
        print_json(vars(found))
    else:
        _print(found, dry_run=dry_run)
    if found.left and not dry_run:
        sys.exit(HELD)


def _print(found: Forgotten, *, dry_run: bool) -> None:
    from tasks.erasing.forgetting import JOURNALED

    if not found.counts:
        click.echo("nothing of them is here")
    for place, number in found.counts.items():
        waits = ": brought in first, then erased" if place == JOURNALED else ""
        click.echo(f"{number:>9,}  {place}{waits if dry_run else ', erased'}")
    if found.learnt:
        click.echo(f"learnt from them: {', '.join(found.learnt)}; train on what is left: `driftwheel run train`")
    if found.training_sets:
        sets = ", ".join(map(str, found.training_sets))
        click.echo(f"no longer reproducible: training sets of version {sets} of the clean table")
    for each in found.backups:
        click.echo(f"a backup holds them: {each}")
    for each in found.left:
        click.echo(f"still there: {each}")
