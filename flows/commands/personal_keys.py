"""`driftwheel personal-keys ...`: keys of personal values that are encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flows.commands.shared import print_json, print_table, read_settings

if TYPE_CHECKING:
    from tasks.stores.personal_keys import Keyring


@click.group("personal-keys")
def personal_keys() -> None:
    """Keys of what is encrypted under `personal`. The first is made by the first collection that needs one."""


@personal_keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_personal_keys(as_json: bool) -> None:
    """List them by the ids that ciphertexts name, not what they are; the last one encrypts."""
    from tasks.stores.personal_keys import PERSONAL_KEYS, read_keyring

    found = read_keyring(read_settings().folder / PERSONAL_KEYS)
    if as_json:
        print_json([{"id": key.id, "made": key.made} for key in (found.keys if found else ())])
    elif found is None:
        click.echo("none yet: the first collection of a use case that encrypts makes one")
    else:
        print_table("keys of personal values", ("id", "made", "encrypts"), _lines(found))


@personal_keys.command("rotate")
def rotate() -> None:
    """Make a key that encrypts from now on. What was encrypted before stays as it is, and readable."""
    from tasks.stores.personal_keys import PERSONAL_KEYS, rotate_keys

    found = rotate_keys(read_settings().folder / PERSONAL_KEYS)
    click.echo(f"{found.newest.id} encrypts from now on; {len(found.keys) - 1} earlier still read")


def _lines(found: Keyring) -> list[tuple[str, ...]]:
    newest = found.newest.id
    return [(key.id, f"{key.made:%Y-%m-%d %H:%M}", "yes" if key.id == newest else "") for key in found.keys]
