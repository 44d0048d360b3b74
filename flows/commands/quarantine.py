"""`driftwheel quarantine`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from flows.commands.shared import HELD, print_json, print_table, read_settings

if TYPE_CHECKING:
    from tasks.cleaning.quarantine import ReleasedRows


@click.command()
@click.argument("usecase")
@click.argument("action", type=click.Choice(["list", "release", "replay"]))
@click.option("--batch", type=click.IntRange(1), help="For release: only rows that came with this batch.")
@click.option(
    "--reason", "reasons", multiple=True, help="For release: only rows that broke no expectation but such; may repeat."
)
@click.option("--held", is_flag=True, help="For release: the batch that is held as a whole, by the next collection.")
@click.option("--where", help="For release: only rows for which this condition is true, as for `driftwheel rows`.")
@click.option("--dry-run", is_flag=True, help="For release and replay: count, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def quarantine(
    usecase: str,
    action: str,
    batch: int | None,
    reasons: tuple[str, ...],
    held: bool,
    where: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List why rows are in quarantine, or let them go on to the clean table.

    release: rows that you vouch for. replay: those that pass the suite as it is now, after it was corrected. Of a key
    only the newest version goes on, once; the ledger says who asked for it.
    """
    chosen = batch is not None or bool(reasons) or where is not None
    if chosen and action != "release":
        raise click.UsageError(f"--batch, --reason and --where are for release; {action} takes all rows")
    if dry_run and action == "list":
        raise click.UsageError("--dry-run is for release and replay")
    if held and (action != "release" or chosen or dry_run):
        raise click.UsageError("--held is for release alone: a batch goes on whole, by the next collection")
    if action == "release" and not chosen and not held:
        raise click.UsageError("say which rows: --batch N, --reason EXPECTATION, --where EXPR, or --held")
    if held:
        _release_held(usecase, as_json=as_json)
        return
    from flows.asking import this_person
    from flows.rows import hidden_columns
    from tasks.cleaning.quarantine import list_reasons, release_rows, replay_rows
    from tasks.stores.lake import Lake

    settings = read_settings()
    loaded = settings.use_case(usecase)
    lake = Lake(settings.lake or str(settings.folder / "lake"), loaded.name)
    if action == "list":
        hidden = hidden_columns(loaded, lake)
        found = [
            replace(each, example={name: value for name, value in each.example.items() if name not in hidden})
            for each in list_reasons(loaded, lake)
        ]
        if as_json:
            print_json([vars(each) for each in found])
        elif not found:
            click.echo(f"No row of {loaded.name} is in quarantine.")
        else:
            print_table(
                f"{loaded.name}: in quarantine, by the expectation that was broken",
                ("expectation", "rows", "waiting", "batches", "for example"),
                [
                    (
                        each.reason,
                        f"{each.rows:,}",
                        f"{each.waiting:,}",
                        _span(each.first_batch, each.last_batch),
                        ", ".join(f"{name} {value}" for name, value in each.example.items()),
                    )
                    for each in found
                ],
            )
        return
    database, who = settings.platform(), this_person()
    if action == "release":
        done = release_rows(loaded, lake, database, who, batch=batch, reasons=reasons, where=where, dry_run=dry_run)
    else:
        done = replay_rows(loaded, lake, database, who, dry_run=dry_run)
    if as_json:
        print_json(vars(done))
    else:
        click.echo(_say(done, action, dry_run=dry_run))
    if done.held:
        sys.exit(HELD)


def _release_held(usecase: str, *, as_json: bool) -> None:
    from flows.asking import release_held, this_person

    settings = read_settings()
    name = settings.use_case(usecase).name
    batch = release_held(settings.platform(), name, this_person(), "on the command line")
    if as_json:
        print_json({"batch": batch})
    elif batch is None:
        click.echo(f"No batch of {name} is held.")
    else:
        click.echo(f"batch {batch} goes on with the next collection: `driftwheel run collect {name}`")


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _say(done: ReleasedRows, action: str, *, dry_run: bool) -> str:
    if done.held:
        return f"held: no row goes on, as the batches they came with break {'; '.join(done.held)}"
    if not done.asked:
        return "no such row waits in quarantine"
    said = [f"{done.rows:,} of {done.asked:,} rows {'would go' if dry_run else 'went'} on to the clean table"]
    if action == "replay":
        said.append(f"{done.failing:,} fail the suite still")
    if done.dropped:
        said.append(f"{done.dropped:,} are dropped by a cleaning step")
    return "; ".join(said)
