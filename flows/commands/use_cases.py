"""`driftwheel add`, `remove`, `list`, `schema` and `check`."""

from __future__ import annotations

import sys

import click

from flows.commands.shared import print_json, print_table, read_settings
from flows.failing import FAILED


@click.command()
@click.argument("usecase")
@click.option("--trust", is_flag=True, help="Let the Python in its folder run, as it is now.")
def add(usecase: str, trust: bool) -> None:
    """Register a use case by name or path; `up` then serves it."""
    from expectations.errors import DriftwheelError
    from infra.stack import Stack

    settings = read_settings()
    loaded = settings.use_case(usecase)
    known = settings.platform().use_cases().get(loaded.name)
    if known is not None and known != loaded.folder:
        raise DriftwheelError(
            f"one folder for the name {loaded.name!r}",
            f"{known} registered",
            f"Rename one of them, or `driftwheel remove {loaded.name}` first",
        )
    code = loaded.code
    if code is not None and not trust:
        code.require_trust()
    settings.platform().add_use_case(
        loaded.name, loaded.folder, loaded.digest, trusted=code.digest if code is not None else None
    )
    Stack(settings).restart("runner")
    click.echo(f"{loaded.name} is registered from {loaded.folder}")
    if code is not None:
        click.echo(f"its code may run until it changes: {', '.join(sorted(code.files) or code.calls)}")


@click.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget that a use case is registered: its flows end. Its data, models and decisions stay, and it is served on."""
    from expectations.errors import UseCaseNotFoundError
    from infra.stack import Stack
    from tasks.stores.releases import Releases

    settings = read_settings()
    releases = Releases(settings.folder / "releases")
    desired = releases.desired(name)
    if not settings.platform().remove_use_case(name):
        raise UseCaseNotFoundError("a registered use case", repr(name), "See `driftwheel list`")
    Stack(settings).restart("runner")
    click.echo(f"{name} is no longer registered: no flow collects, trains or watches for it")
    if desired is not None and desired.champion is not None:
        click.echo(
            f"The service goes on answering /{name} with version {desired.champion.version}; "
            f"to end that, move {releases.root / name} away"
        )


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_use_cases(as_json: bool) -> None:
    """List registered and shipped use cases."""
    from expectations.loading import shipped_use_cases

    registered = read_settings().platform().use_cases()
    found = [
        {"name": name, "folder": str(folder), "registered": name in registered}
        for name, folder in sorted({**shipped_use_cases(), **registered}.items())
    ]
    if as_json:
        print_json(found)
    else:
        print_table(
            "Use cases",
            ("name", "registered", "folder"),
            [(str(each["name"]), "yes" if each["registered"] else "", str(each["folder"])) for each in found],
        )


@click.command()
def schema() -> None:
    """Print the JSON schema of usecase.yaml, for editors."""
    from expectations.loading import json_schema

    print_json(json_schema())


@click.command()
@click.argument("usecase")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(usecase: str, as_json: bool) -> None:
    """Load a use case and try all of it on a sample: sources, joins, label, suite, features, one prediction."""
    from flows.checking import check_use_case
    from flows.progress import Progress

    findings = []
    with Progress("loading the use case") as progress:
        for finding in check_use_case(read_settings(), usecase):
            findings.append(finding)
            if as_json:
                continue
            with progress.paused():
                click.secho("✓ " if finding.good else "✗ ", fg="green" if finding.good else "red", nl=False)
                click.echo(f"{finding.what}: {finding.found}")
    if as_json:
        print_json([vars(finding) for finding in findings])
    if not all(finding.good for finding in findings):
        sys.exit(FAILED)
