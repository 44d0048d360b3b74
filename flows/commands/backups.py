"""`driftwheel backup` and `restore`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from flows.commands.shared import read_settings

if TYPE_CHECKING:
    from infra.backup_manifest import Backup


VERIFY = click.option(
    "--verify", "only_verify", is_flag=True, help="Hold every file against its hash; restore nothing."
)


SNAPSHOT = click.option("--snapshot", default="latest", show_default=True, help="Of a restic repository.")


@click.command("backup")
@click.argument("target")
def back_up_home(target: str) -> None:
    """Back up everything of this home into a new folder below TARGET, or into restic:REPOSITORY, encrypted.

    The stack may be at work. A backup holds keys and data.
    """
    from expectations.errors import BackupError, DriftwheelError
    from infra.backup import back_up
    from tasks.stores.backups import note_backup

    if not target:
        raise click.UsageError("TARGET is empty: name the folder that backups go into")
    settings = read_settings()
    if settings.database or settings.lake:
        raise BackupError(
            "database and lake in the home",
            "DRIFTWHEEL_DATABASE or DRIFTWHEEL_LAKE elsewhere",
            "Back those up by their own tools, or `driftwheel stack backup` for the containers",
        )
    place, made = make_backup(partial(back_up, settings.folder), target, "home")
    try:
        note_backup(settings.platform(), place, made)
    except DriftwheelError as error:  # the backup is whole without it
        click.echo(f"`driftwheel forget` will not name it: {error}", err=True)


def _print_elsewhere(made: Backup) -> None:
    from expectations.masking import mask

    for address in made.elsewhere:
        click.echo(f"not in it: {mask(address)}, which needs a backup of its own")


def verify_backup(backup: str, kind: Literal["home", "stack"], snapshot: str) -> None:
    """Hold every file of a backup against its hash, and print what was found."""
    from infra.backup_manifest import verify
    from infra.vault import PREFIX, Vault, backup_at

    if backup.startswith(PREFIX):
        Vault(backup, kind).check()
    with backup_at(backup, kind, snapshot) as folder:
        found = verify(folder, kind)
    click.echo(f"sound: {found.files} files, {found.size / 2**20:.1f} MB, of {found.made:%Y-%m-%d %H:%M} UTC")


def make_backup(make: Callable[[Path], Backup], target: str, kind: Literal["home", "stack"]) -> tuple[str, datetime]:
    """Make a backup in a folder or in a restic repository, and print where it is; returns that, and when that was."""
    from expectations.masking import mask
    from infra.vault import PREFIX, Vault
    from tasks.stores.files import scratch

    if not target.startswith(PREFIX):
        made = make(Path(target).absolute())
        _print_elsewhere(made)
        click.echo(f"{made.folder}: {made.files} files, {made.size / 2**20:.1f} MB, every one with its hash")
        click.echo("It holds keys and data: keep it where only you can read it, or use restic:REPOSITORY.")
        return str(made.folder), made.made
    vault = Vault(target, kind)
    with scratch() as folder:
        made = make(folder)
        snapshot = vault.put(made.folder)
    _print_elsewhere(made)
    click.echo(
        f"snapshot {snapshot} in {mask(vault.repository)}: {made.files} files, {made.size / 2**20:.1f} MB, encrypted"
    )
    return f"{PREFIX}{mask(vault.repository)}, snapshot {snapshot}", made.made


@click.command()
@click.argument("backup")
@SNAPSHOT
@VERIFY
def restore(backup: str, snapshot: str, only_verify: bool) -> None:
    """Verify a backup (a folder, or restic:REPOSITORY) and bring it back into an empty home (DRIFTWHEEL_HOME)."""
    from infra.backup import KIND
    from infra.backup import restore as bring_back
    from infra.vault import backup_at

    if only_verify:
        verify_backup(backup, KIND, snapshot)
        return
    with backup_at(backup, KIND, snapshot) as folder:
        home = read_settings().home_folder
        found = bring_back(folder, home)
    click.echo(f"restored {found.files} files of {found.made:%Y-%m-%d %H:%M} UTC into {home}; `driftwheel up` goes on")
