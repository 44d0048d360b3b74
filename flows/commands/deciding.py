"""`driftwheel backtest` and `decide`."""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from flows.commands.shared import Instant, console, print_json, print_table, read_settings

_POLICY = click.option(
    "--policy",
    "policy_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with what would be written under monitoring.policy, or with several by name.",
)


def _read_policies(files: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """Read policies from YAML files.

    Raises
    ------
    DriftwheelError
        If one is no policy; it says where and why.
    """
    import yaml
    from pydantic import ValidationError

    from expectations.errors import DriftwheelError
    from expectations.production import Monitoring

    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            written = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DriftwheelError(f"YAML in {file}", str(error), "Correct it") from error
        several = isinstance(written, dict) and written and all(isinstance(each, dict) for each in written.values())
        for name, spec in (written if several else {file.stem: written}).items():
            try:
                made = Monitoring.model_validate({"every": "1d", "performance": (), "policy": spec})
            except ValidationError as error:
                wrong = "; ".join(
                    f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)
                )
                raise DriftwheelError(
                    f"a policy {name!r} in {file}", wrong, "See `driftwheel parts policies`"
                ) from error
            found[str(name)] = made.policy.model_dump(mode="json")
    return found


@click.command()
@click.argument("usecase")
@click.option("--from", "start", type=Instant(), help="First window; `start` of the use case where not given.")
@click.option("--to", "end", type=Instant(), help="End of the last window; the end of the history where not given.")
@_POLICY
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all of it as JSON.")
@click.option("--apply", "applied", is_flag=True, help="Write the policy that is advised into usecase.yaml.")
def backtest(
    usecase: str,
    start: datetime | None,
    end: datetime | None,
    policy_files: tuple[Path, ...],
    json_file: Path | None,
    applied: bool,
) -> None:
    """Walk fifty policies, or yours, through a use case's own past, and say which to take. Needs no server.

    A model is learnt for each window and scored on each later one; a policy then costs what its models lost beyond a
    fresh one, and what its releases cost.
    """
    from expectations.errors import DriftwheelError
    from flows import backtest as backtesting
    from flows import story as telling
    from flows.progress import Progress
    from tasks.stores.files import storing
    from tasks.stores.plain import to_json

    settings = read_settings()
    loaded = settings.use_case(usecase)
    asked = _read_policies(policy_files) if policy_files else None
    if applied and not (loaded.folder / "usecase.yaml").is_file():
        raise DriftwheelError(f"a usecase.yaml in {loaded.folder} to write to", "none", "Leave --apply out")
    # a home's key is made where something is kept: without one the hashes are of this backtest alone
    secret = settings.places().secret if (settings.folder / "privacy.key").exists() else secrets.token_bytes(32)
    with (
        Progress("reading the whole history"),
        backtesting.past_of(loaded, secret, start, end) as past,
    ):
        found = backtesting.backtest(past, asked)
        table, picture = backtesting.write(found, settings.folder / "backtests")
    console().print(telling.backtest_table(found))
    click.echo(f"advice: {found.advice.chosen}. {found.advice.why}")
    click.echo(f"triangle: {table}\npicture:  {picture}")
    if json_file is not None:
        with storing("write the findings to", json_file):
            json_file.write_text(to_json(found.to_dict(), indent=1), encoding="utf-8")
    if applied:
        chosen = next(each for each in found.policies if each.name == found.advice.chosen)
        if chosen is found.policies[0]:
            click.echo("nothing is written: the policy stays as it is")
        else:
            backtesting.apply_policy(loaded.folder / "usecase.yaml", dict(chosen.spec))
            click.echo(f"monitoring.policy in {loaded.folder / 'usecase.yaml'} is {chosen.name} now")


@click.command()
@click.argument("usecase")
@click.option("--dry-run", is_flag=True, help="Decide and do nothing; there is no other way yet, so it must be said.")
@_POLICY
@click.option("--last", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="How many decisions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def decide(usecase: str, dry_run: bool, policy_files: tuple[Path, ...], last: int, as_json: bool) -> None:
    """Decide again what was decided, from the ledger, by another policy. For a replay, USECASE-replay."""
    from expectations.errors import DriftwheelError
    from flows.deciding import decide_again

    if not dry_run:
        raise DriftwheelError(
            "--dry-run",
            "a decision that would be acted on",
            "Add it: flows decide for themselves, `driftwheel run monitor USECASE` now",
        )
    settings = read_settings()
    found = decide_again(settings, usecase, _read_policies(policy_files), last)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo(f"Nothing was decided about {usecase} yet.")
        return
    print_table(
        f"{usecase}: decided, and what would be",
        ("as of", "policy", "decided", "would be", "why"),
        [
            (
                f"{each['as_of']:%Y-%m-%d %H:%M}",
                str(each["policy"]),
                str(each["decided"]),
                str(each["action"]),
                str(each["summary"]),
            )
            for each in found
        ],
    )
