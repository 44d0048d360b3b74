"""`driftwheel up`, `down`, `status` and `doctor`."""

from __future__ import annotations

import sys

import click

from flows.commands.shared import print_json, print_table, read_settings
from flows.failing import FAILED


@click.command()
@click.option("--detach", is_flag=True, help="Return when everything answers; stop with `driftwheel down`.")
def up(detach: bool) -> None:
    """Start the page, Prefect, MLflow, Evidently, the runner and the service, and wait until each answers."""
    import signal

    from flows.left_out import unreadable
    from flows.progress import Progress
    from infra.doctor import require_home
    from infra.stack import Stack
    from tasks.stores.model_words import MODEL_PAGES

    settings = read_settings()
    require_home(settings)
    stack = Stack(settings)
    with Progress("starting; the first time takes a minute") as progress:
        addresses = stack.start(report=progress.now)
    try:
        print_table(
            "driftwheel is up",
            ("what", "address", "there"),
            [
                ("the page", addresses.page, "look here first: every use case, what it found, what to do"),
                ("Prefect", addresses.prefect, "flows, schedules, decisions"),
                ("MLflow", f"{addresses.mlflow}/#/experiments?{MODEL_PAGES}", "experiments, models, plots"),
                ("Evidently", addresses.evidently, "drift reports"),
                ("service", addresses.service, "predictions: POST /NAME/invocations"),
            ],
        )
        click.echo(f"logs in {stack.logs}, state in {settings.folder}")
        registered = settings.platform().use_cases()
        if not registered:
            click.echo("No use case is registered yet: driftwheel add flights")
        for name in registered:
            why = unreadable(settings, name)
            if why is not None:
                click.secho(f"{name} is left out: {why}", fg="red", err=True)
        if detach:
            return
        click.echo("Ctrl-C stops it")
        signal.pause()
    except KeyboardInterrupt:
        click.echo("stopping")
    stack.stop()


@click.command()
def down() -> None:
    """Stop everything `up` started; no process is left."""
    from infra.stack import Stack
    from tasks.stores.files import storing

    settings = read_settings()
    with storing("remove what a stack left in", settings.folder):
        click.echo("stopped" if Stack(settings).stop() else "nothing was up")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say what runs, and what each use case serves. Exit code 1 where something does not work."""
    from flows.left_out import trouble_of
    from infra.stack import Stack
    from tasks.stores.alerts import DEAD_AFTER
    from tasks.stores.releases import Releases

    settings = read_settings()
    health = Stack(settings).health()
    releases = Releases(settings.folder / "releases")
    served = []
    registered = settings.platform().use_cases()
    for name in sorted({*releases.names(), *registered}):
        desired, turn = releases.desired(name), settings.platform().open_turn(name)
        served.append(
            {
                "usecase": name,
                "version": desired.champion.version if desired and desired.champion else None,
                "bundle": desired.champion.bundle[:12] if desired and desired.champion else None,
                "open_turn": turn.state if turn else None,
                "trouble": trouble_of(settings, name) if name in registered else None,
            }
        )
    targets = settings.platform().target_reports(registered)
    dead = [each for each in targets if each.attempts >= DEAD_AFTER]
    if as_json:
        print_json(
            {
                "up": bool(health),
                "programs": [vars(each) for each in health],
                "usecases": served,
                "targets": [vars(each) for each in targets],
            }
        )
    else:
        print_table(
            "Programs" if health else "Nothing is up",
            ("program", "state", "answers", "address", "log"),
            [(each.program, each.state, "yes" if each.answers else "no", each.address, each.log) for each in health],
        )
        print_table(
            "Use cases",
            ("use case", "champion", "bundle", "open turn", "trouble"),
            [tuple(str(value or "") for value in each.values()) for each in served],
        )
        if dead:
            print_table(
                "Targets that take no messages (`driftwheel alert test USECASE` tries them)",
                ("use case", "target", "since", "attempts", "next", "why"),
                [
                    (
                        each.usecase,
                        each.label,
                        f"{each.failing_since:%Y-%m-%d %H:%M}",
                        str(each.attempts),
                        f"{each.next_attempt:%Y-%m-%d %H:%M}",
                        each.last_error,
                    )
                    for each in dead
                ],
            )
    if not all(each.answers for each in health) or any(each["trouble"] for each in served) or dead:
        sys.exit(FAILED)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Look for the usual troubles and say what to do."""
    from infra.doctor import examine

    findings = examine(read_settings())
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            click.secho("✓ " if finding.good else "✗ ", fg="green" if finding.good else "red", nl=False)
            click.echo(f"{finding.what}: {finding.found}" + (f"\n  → {finding.remedy}" if finding.remedy else ""))
    if not all(finding.good for finding in findings):
        sys.exit(FAILED)
