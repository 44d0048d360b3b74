"""`driftwheel alert ...`: what is wrong, and who is sent it."""

from __future__ import annotations

import sys

import click

from flows.commands.shared import print_json, print_table, read_settings
from flows.failing import FAILED


@click.group()
def alert() -> None:
    """See what is wrong, acknowledge it, and try the targets that messages go to."""


@alert.command("list")
@click.argument("usecase", required=False)
@click.option("--all", "everything", is_flag=True, help="Also what is over; of one use case.")
@click.option("--last", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="How many with --all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all evidence.")
def list_findings(usecase: str | None, everything: bool, last: int, as_json: bool) -> None:
    """List findings: what is wrong now, the worst first; of every registered use case where none is named."""
    if everything and usecase is None:
        raise click.UsageError("--all needs a USECASE")
    database = read_settings().platform()
    found = database.findings(usecase, last) if everything and usecase else database.open_findings(usecase)
    if usecase is None:  # not those of replays
        registered = database.use_cases()
        found = [each for each in found if each.usecase in registered]
    if as_json:
        print_json([vars(each) for each in found])
        return
    colours = {"failure": "red", "warning": "yellow", "info": "cyan"}
    for each in found:
        click.secho(f"{each.severity:<8}", fg=colours[each.severity], nl=False, bold=True)
        click.echo(f"{each.usecase}  {each.key}  since {each.opened:%Y-%m-%d %H:%M}: ", nl=False)
        click.secho(each.title, bold=True)
        for line in each.body.splitlines():
            click.echo(f"        {line}")
        if each.acknowledged_by:
            click.echo(f"        Acknowledged by {each.acknowledged_by}, {each.acknowledged_at:%Y-%m-%d %H:%M}")
        if each.resolved:
            click.echo(f"        Resolved {each.resolved:%Y-%m-%d %H:%M}: {each.resolved_how}")
    if not found:
        click.echo("Nothing is wrong, as far as any run has seen.")


@alert.command()
@click.argument("usecase")
@click.argument("key")
def acknowledge(usecase: str, key: str) -> None:
    """Acknowledge a finding: no more messages are sent about it, unless it gets worse."""
    from expectations.errors import DriftwheelError
    from flows import asking

    database = read_settings().platform()
    if not asking.acknowledge(database, usecase, key, asking.this_person(), "on the command line"):
        raise DriftwheelError(
            f"an open finding {key!r} of {usecase}", "none", "See `driftwheel alert list`: it names the keys"
        )
    click.echo(f"acknowledged: {key} of {usecase}")


@alert.command()
@click.argument("usecase")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(usecase: str, as_json: bool) -> None:
    """Send a test message to each target of a use case, quiet hours or not. Exit code 1 where one does not take it."""
    from flows.message_picture import MessagePicture
    from tasks.stores.alerts import send_all, takes_pictures

    settings = read_settings()
    loaded = settings.use_case(usecase)
    channels = settings.channels(loaded.spec.alerts)
    if not channels and not as_json:
        click.echo(f"{loaded.name} has no alerts: write addresses under `alerts` of its usecase.yaml")
        return
    title, body = f"{loaded.name}: test message", "This is a test: messages about this use case arrive here."
    picture = MessagePicture(settings, loaded).png if takes_pictures(channels) else None
    sent = send_all([(each, title, body, "info", picture) for each in channels])
    both = list(zip([channel.target for channel in channels], sent, strict=True))
    if as_json:
        print_json(
            [
                {
                    "target": each.label,
                    "from_severity": target.from_severity,
                    "digest": target.digest,
                    "quiet": target.quiet,
                    "taken": not each.why,
                    "why": each.why,
                }
                for target, each in both
            ]
        )
    else:
        print_table(
            f"Targets of {loaded.name}",
            ("target", "gets messages from", "digest", "quiet", "test message"),
            [
                (each.label, target.from_severity, target.digest or "", target.quiet or "", each.why or "taken")
                for target, each in both
            ],
        )
    if any(each.why for each in sent):
        sys.exit(FAILED)
