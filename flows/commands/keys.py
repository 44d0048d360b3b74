"""`driftwheel keys ...`: API keys of the service."""

from __future__ import annotations

import click

from flows.commands.shared import print_json, print_table, read_settings


@click.group()
def keys() -> None:
    """Make and remove API keys of the service. Until the first it is open, on loopback alone; then it stays closed."""


@keys.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["predict", "feedback", "admin"]),
    default=("predict", "feedback"),
    show_default=True,
    help="What it may do; may be given more than once.",
)
def add_key(name: str, scopes: tuple[str, ...]) -> None:
    """Make a key and show it, once. It is in force within a second, without a restart."""
    from expectations.errors import DriftwheelError
    from infra.platform_key import keep_platform_in
    from tasks.stores.keys import PLATFORM, SCOPES, Keys, Scope, check_name

    settings = read_settings()
    file = Keys(settings.keys_file)
    check_name(name, file.read())
    if name == PLATFORM:
        raise DriftwheelError("a name for a client", f"{name!r}, the platform's own", "Choose another")
    if keep_platform_in(settings):  # first: there is no moment in which it is locked out
        click.echo("from now on the service asks for a key; the platform made itself one", err=True)
    wanted: list[Scope] = [scope for scope in SCOPES if scope in scopes]
    click.echo(file.add(name, wanted))


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(as_json: bool) -> None:
    """List keys, not what they are."""
    from tasks.stores.keys import Keys

    found = Keys(read_settings().keys_file).read()
    if as_json:
        print_json([{"name": key.name, "scopes": key.scopes, "made": key.made} for key in found.values()])
    else:
        rows: list[tuple[str, ...]] = [
            (key.name, ", ".join(key.scopes), f"{key.made:%Y-%m-%d %H:%M}") for key in found.values()
        ]
        print_table("API keys", ("name", "may", "made"), rows)


@keys.command("remove")
@click.argument("name")
def remove_key(name: str) -> None:
    """Remove a key; the service stops taking it within a second. The platform's own is replaced by another."""
    from infra.platform_key import remove_key as remove_one

    renewed = remove_one(read_settings(), name)
    click.echo(f"{name} is no longer taken" + ("; the platform made itself another" if renewed else ""))
