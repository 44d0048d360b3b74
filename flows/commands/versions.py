"""`driftwheel promote`, `deploy` and `rollback`."""

from __future__ import annotations

from typing import Any

import click

from flows.commands.shared import conclude, read_settings, servers


@click.command()
@click.argument("usecase")
@click.option("--version", help="The registered version; the challenger where not given.")
def promote(usecase: str, version: str | None) -> None:
    """Make a registered version the champion, after the service has proved it."""
    settings = read_settings()
    settings.use_case(usecase)
    with servers(settings):
        from expectations.production import Release
        from flows.local_runs import deploy_by_hand
        from flows.versions import CHALLENGER

        click.echo(deploy_by_hand(usecase, version or CHALLENGER, Release()).summary)


@click.command()
@click.argument("usecase")
@click.option("--version", help="The registered version; the challenger where not given.")
@click.option(
    "--strategy",
    type=click.Choice(["replace", "shadow", "canary"]),
    help="At once; scoring beside the champion without answering; answering a growing share. "
    "The use case's own where not given.",
)
@click.option("--steps", help="Shares of a canary, for example 0.05,0.25.")
@click.option("--step", help="How long a step lasts, for example 10m.")
@click.option("--min-rows", type=int, help="Rows a step needs to be judged.")
@click.option("--new-signature", is_flag=True, help="Allow inputs other than those served today.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def deploy(usecase: str, version: str | None, new_signature: bool, as_json: bool, **plan: str | int | None) -> None:
    """Release a registered version step by step; guardrails promote it or withdraw it."""
    from pydantic import ValidationError

    from expectations.errors import DriftwheelError
    from expectations.production import Release

    settings = read_settings()
    asked: dict[str, Any] = {name: value for name, value in plan.items() if value is not None}
    if "steps" in asked:
        try:
            asked["steps"] = tuple(float(share) for share in asked["steps"].split(","))
        except ValueError:
            raise click.UsageError(f"--steps needs shares such as 0.05,0.25, not {asked['steps']!r}") from None
    try:
        planned = Release.model_validate({**dict(settings.use_case(usecase).spec.release), **asked})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DriftwheelError("a release that can be", wrong, "See `driftwheel deploy --help`") from error
    if planned.strategy == "replace" and asked.keys() - {"strategy"}:
        raise click.UsageError("a release without steps replaces at once: say --strategy canary, or shadow")
    with servers(settings):
        from flows.local_runs import deploy_by_hand
        from flows.versions import CHALLENGER

        verdict = deploy_by_hand(usecase, version or CHALLENGER, planned, new_signature=new_signature)
    conclude(verdict, as_json=as_json)


@click.command()
@click.argument("usecase")
def rollback(usecase: str) -> None:
    """Make the champion before this one the champion again."""
    settings = read_settings()
    settings.use_case(usecase)
    with servers(settings):
        from flows.local_runs import deploy_by_hand
        from flows.versions import PREVIOUS

        click.echo(deploy_by_hand(usecase, PREVIOUS).summary)
