"""`driftwheel rows`."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, cast

import click

from flows.commands.shared import InstantParameter, console, print_json, print_table, read_settings

if TYPE_CHECKING:
    import polars as pl

    from flows.rows import Shown

_WIDEST = 40
_BETWEEN = 3
"""What a table draws between columns."""


@click.command()
@click.argument("usecase")
@click.argument("table", type=click.Choice(["raw", "clean", "quarantine", "predictions", "labels"]))
@click.option(
    "--where",
    help="A condition over the columns, as in features: \"origin == 'JFK' and delay > 15\". Instants are ISO texts.",
)
@click.option(
    "--as-of",
    type=InstantParameter(),
    help="Rows from before it, without labels that were not ripe then. Corrections that came later are shown.",
)
@click.option("--head", type=click.IntRange(1), default=20, show_default=True, help="How many rows, at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an array of objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--decrypt", is_flag=True, help="Read what is encrypted under `personal`, by the keys of this home.")
def rows(
    usecase: str,
    table: str,
    where: str | None,
    as_of: datetime | None,
    head: int,
    as_json: bool,
    as_csv: bool,
    decrypt: bool,
) -> None:
    """Show rows of a table of the lake, the newest first.

    raw: every version of a row that was collected, by `_batch`. clean: those that passed the suite, repaired; the
    version of the highest `_batch` counts. quarantine: those that failed, and why. predictions: what the service
    answered. labels: what clients sent. By event time; predictions by when they were served, labels received. For a
    replay, USECASE-replay.
    """
    if as_json and as_csv:
        raise click.UsageError("give either --json or --csv")
    from expectations.contradictions import REPLAY
    from flows.rows import ShownTable, decrypted, flat, newest_rows, printable
    from tasks.stores.lake import Lake
    from tasks.stores.personal_keys import PERSONAL_KEYS
    from tasks.stores.releases import Releases

    settings = read_settings()
    replayed = usecase.endswith(REPLAY) and not os.path.exists(usecase)  # noqa: PTH110 - any text
    loaded = settings.use_case(usecase.removesuffix(REPLAY) if replayed else usecase)
    loaded = loaded.renamed(loaded.name + REPLAY) if replayed else loaded
    shown = newest_rows(
        loaded,
        Lake(settings.lake or str(settings.folder / "lake"), loaded.name),
        Releases(settings.folder / "releases"),
        cast("ShownTable", table),
        head=head,
        secret=lambda: settings.places().secret,
        where=where,
        as_of=as_of,
    )
    if decrypt:
        shown = decrypted(shown, loaded, settings.folder / PERSONAL_KEYS)
    found = printable(shown.rows)
    if as_json:
        print_json(found.to_dicts())
    elif as_csv:
        click.echo(flat(found).write_csv(), nl=False)
    else:
        _print(f"{loaded.name}: {table}", flat(found), shown)
        return
    if shown.total > len(found):
        click.echo(f"{_say(shown)}; --head N prints more", err=True)


def _say(shown: Shown) -> str:
    return f"the newest {len(shown.rows):,} of {shown.total:,} rows"


def _print(title: str, found: pl.DataFrame, shown: Shown) -> None:
    """Print the columns that there is room for, and name the others."""
    if found.is_empty():
        click.echo("no such row")
        return
    texts = {name: [_text(each) for each in found[name]] for name in found.columns}
    room = console().width - 1
    kept: list[str] = []
    for name, values in texts.items():
        room -= min(max(map(len, (name, *values))), _WIDEST) + _BETWEEN
        if kept and room < 0:
            break
        kept.append(name)
    print_table(title, tuple(kept), list(zip(*(texts[name] for name in kept), strict=True)))
    if left := found.columns[len(kept) :]:
        click.echo(f"and {', '.join(left)}: --json and --csv print all columns")
    click.echo(_say(shown) if shown.total > len(found) else f"{shown.total:,} rows")


def _text(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
