"""`driftwheel stack ...`: the stack in containers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from flows.commands.backups import SNAPSHOT, VERIFY, make_backup, verify_backup
from flows.commands.shared import print_table


@click.group()
def stack() -> None:
    """Prepare the stack of containers (docker-compose.yml)."""


@stack.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Where docker-compose.yml lies; here where not given.",
)
@click.option(
    "--domain", default="localhost", show_default=True, help="Pages are at page.DOMAIN, prefect.DOMAIN and so on."
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8443, show_default=True, help="The only one that is published."
)
@click.option("--use-case", "use_cases", multiple=True, help="A shipped use case to serve; may be given repeatedly.")
@click.option(
    "--flows-in",
    "pool",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Processes of one worker, or a container for each run; the latter gives a worker the engine's socket.",
)
def init(folder: Path, domain: str, port: int, use_cases: tuple[str, ...], pool: Literal["process", "docker"]) -> None:
    """Make secrets, a login and a certificate for the stack. Again, it makes only what is missing."""
    from infra.compose.images import unpinned_images
    from infra.compose.preparing import initialise

    done = initialise(folder, domain, port, use_cases, pool)
    for name in done.made:
        click.echo(f"made {name}")
    for name in done.kept:
        click.echo(f"kept {name} of .env: change it there, and renew the certificate where it is the domain")
    if done.warning:
        click.echo(f"warning: {done.warning}", err=True)
    by_tag = unpinned_images(folder)
    if by_tag:
        click.echo(
            f"warning: taken by tag, so what runs may change: {', '.join(by_tag)}; `make lock-images` pins their "
            "digests, where a registry is to be reached",
            err=True,
        )
    click.echo(
        f"the service will be at {done.address}, pages at page. (first), prefect., mlflow. and reports. of it\n"
        f"log in as {done.user} with DRIFTWHEEL_PASSWORD of .env; the service takes the keys of .stack/keys"
    )


_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Where docker-compose.yml lies; here where not given.",
)


@stack.command()
@_FOLDER
@click.option("--seconds", default=300.0, show_default=True)
def wait(folder: Path, seconds: float) -> None:
    """Wait until every container is healthy, and show how they do."""
    from infra.compose.compose import Compose

    states = Compose(folder).wait(seconds)
    print_table("The stack", ("container", "state"), sorted(states.items()))


@stack.command("backup")
@click.argument("target")
@_FOLDER
def back_up_stack(target: str, folder: Path) -> None:
    """Back up the stack of containers, while it works, into a new folder below TARGET or into restic:REPOSITORY."""
    from infra.compose.compose import Compose

    make_backup(Compose(folder).back_up, target, "stack")


@stack.command("restore")
@click.argument("backup")
@SNAPSHOT
@_FOLDER
@VERIFY
def restore_stack(backup: str, snapshot: str, folder: Path, only_verify: bool) -> None:
    """Bring a backup of the stack (a folder, or restic:REPOSITORY) back where there is none, and start it."""
    from infra.compose.compose import KIND, Compose
    from infra.vault import backup_at

    if only_verify:
        verify_backup(backup, KIND, snapshot)
        return
    with backup_at(backup, KIND, snapshot) as found:
        restored = Compose(folder).restore(found)
    click.echo(
        f"restored the stack as of {restored.made:%Y-%m-%d %H:%M} UTC; `driftwheel stack wait` shows how it does"
    )
