"""`driftwheel value`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

import click

from flows.commands.shared import print_json, print_table, read_settings


@click.command()
@click.argument("usecase")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def value(usecase: str, as_json: bool) -> None:
    """Say which rows helped the champion's recipe on the newest ones, and which did harm: candidates for wrong labels.

    Of boosted trees alone. Rows are named by their keys. Needs no server.
    """
    from expectations.errors import ReleaseError
    from flows.progress import Progress
    from tasks.bundles.champion import current_champion
    from tasks.stores.places import Job
    from tasks.training.packing import training_rows
    from tasks.training.valuing import value_rows

    settings = read_settings()
    job = Job(settings.use_case(usecase), settings.places(), datetime.now(UTC))
    champion = current_champion(job)
    if champion is None:
        raise ReleaseError("a champion", "none", f"Run the loop first: driftwheel run loop {usecase}")
    with Progress("valuing what was learnt from"):
        found = value_rows(training_rows(job.known.labelled()), job.usecase.spec, champion)
    if as_json:
        content = {name: each for name, each in vars(found).items() if name != "values"}
        print_json({**content, "parts": [asdict(each) for each in found.parts]})
        return
    click.echo(
        f"{found.learnt:,} rows, valued by the {found.loss} of the {found.judged_on:,} newest: millionths of it that "
        "a row saved"
    )
    if found.parts:
        print_table(
            "by part",
            ("of", "rows", "a row saved", "did harm"),
            [(each.words, f"{each.rows:,}", f"{each.mean:+.3g}", f"{each.harmful:.0%}") for each in found.parts],
        )
    print_table(
        "did most harm",
        (*job.usecase.spec.keys, "saved"),
        [(*(str(each[key]) for key in job.usecase.spec.keys), f"{each['value']:+.3g}") for each in found.worst],
    )
