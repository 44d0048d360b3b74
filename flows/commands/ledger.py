"""`driftwheel why`."""

from __future__ import annotations

import click

from flows.commands.shared import print_json, read_settings


@click.command()
@click.argument("usecase")
@click.option("--last", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="How many entries.")
@click.option("--trials", is_flag=True, help="Also the trials, which decisions sum up in a few words.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all evidence.")
def why(usecase: str, last: int, trials: bool, as_json: bool) -> None:
    """Read the ledger: what was decided, when, and why. For a replay, USECASE-replay."""
    from expectations.errors import UseCaseNotFoundError
    from tasks.monitoring.saying import say_measures, say_parts
    from tasks.stores.measurements import measurement_in

    settings = read_settings()
    name = usecase
    if not settings.platform().entries(usecase, last=1):
        try:
            name = settings.use_case(usecase).name
        except UseCaseNotFoundError:
            raise UseCaseNotFoundError(
                "a use case with decisions",
                repr(usecase),
                "See `driftwheel list`; of a replay, add -replay to the name",
            ) from None
    entries = settings.platform().entries(name, last=last, trials=trials)
    if as_json:
        print_json([vars(entry) for entry in entries])
        return
    for entry in entries:
        colour = {
            "retrain": "green",
            "recalibrate": "green",
            "promoted": "green",
            "hold": "red",
            "held": "red",
            "rollback": "red",
            "failed": "red",
            "lost": "red",
            "late": "yellow",
            "warn": "yellow",
            "refused": "yellow",
        }.get(entry.action)
        click.echo(f"{entry.as_of:%Y-%m-%d %H:%M}  {entry.kind:<9}", nl=False)
        click.secho(f"{entry.action:<12}", fg=colour, nl=False, bold=True)
        click.echo(f"{entry.cause:<10} {entry.summary}")
        measured = measurement_in(entry.evidence) if entry.kind == "decision" else None
        if measured and measured.causes and measured.causes.status == "named":  # the rest is in --json
            causes = measured.causes
            for note in (f"causes: {causes.words()} ({causes.remedy})", *causes.notes):
                click.echo(f"{'':18}{note}")
        for note in (*say_measures(measured), *say_parts(measured)) if measured else ():
            click.echo(f"{'':18}{note}")
        if entry.evidence.get("report"):
            click.echo(f"{'':18}report: {entry.evidence['report']}")
    if not entries:
        click.echo(f"Nothing was decided about {name} yet.")
