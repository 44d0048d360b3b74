"""`driftwheel backtest` and `decide`."""

from __future__ import annotations

import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from flows.commands.shared import InstantParameter, console, print_json, print_table, read_settings

_POLICY = click.option(
    "--policy",
    "policy_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with what would be written under monitoring.policy, or with several by name.",
)


def _read_policies(files: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """Read policies from YAML files: one under the name of its file, or several by name.

    Raises
    ------
    DriftwheelError
        If one is no policy, or two have one name; it says where and why.
    """
    from expectations.documents import read_document
    from expectations.errors import DriftwheelError, UseCaseProblem
    from tasks.backtesting.advice import DEFAULT

    found: dict[str, dict[str, Any]] = {}
    origin = {DEFAULT: "the policy of the use case"}
    for file in files:
        problems: list[UseCaseProblem] = []
        written = read_document(file, problems).data
        if problems:
            raise DriftwheelError(f"YAML in {file}", "; ".join(map(str, problems)), "Correct it")
        if not isinstance(written, dict) or not written:
            raise DriftwheelError(
                f"a policy in {file}, as under `monitoring.policy`, or several by name",
                "nothing" if not written else f"a {type(written).__name__}",
                "Write for example `{trigger: trial, release_cost: 0.4}`",
            )
        for name, spec in (written if _several(written) else {file.stem: written}).items():
            if name in origin:
                raise DriftwheelError(
                    f"a name of its own for each policy, also {name!r} in {file}",
                    f"it is that of {origin[name]}",
                    "Give it another name" if _several(written) else "Name the file otherwise",
                )
            found[name], origin[name] = _read_policy(name, spec, file), f"another in {file}"
    return found


def _several(written: dict[str, Any]) -> bool:
    """Whether a file holds policies by name, and not one: no key of it is a field of any policy."""
    from expectations.deciding import Policy
    from expectations.slots import POLICIES

    fields = set(Policy.model_fields)
    for name in POLICIES.names():
        part = POLICIES.find(name)
        fields |= part.model_fields.keys() if part else set()
    return not written.keys() & fields and any(each is None or isinstance(each, dict) for each in written.values())


def _read_policy(name: str, spec: object, file: Path) -> dict[str, Any]:
    """Read what would be written under `monitoring.policy`."""
    from pydantic import ValidationError

    from expectations.errors import DriftwheelError
    from expectations.production import Monitoring
    from tasks.backtesting.advice import say_faults

    if not isinstance(spec, dict) or not spec:
        raise DriftwheelError(f"a policy {name!r} in {file}", "nothing" if not spec else repr(spec), "Write its fields")
    try:
        made = Monitoring.model_validate({"every": "1d", "performance": (), "policy": spec})
    except ValidationError as error:
        raise DriftwheelError(
            f"a policy {name!r} in {file}", say_faults(error), "See `driftwheel parts policies`"
        ) from error
    return made.policy.model_dump(mode="json")


@click.command()
@click.argument("usecase")
@click.option("--from", "start", type=InstantParameter(), help="First window; `start` of the use case where not given.")
@click.option(
    "--to", "end", type=InstantParameter(), help="End of the last window; the end of the history where not given."
)
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
    from expectations.errors import StorageError
    from flows import backtest as backtesting
    from flows import story as telling
    from flows.progress import Progress
    from tasks.backtesting.applying import apply_policy, changed
    from tasks.compute.compute import computing
    from tasks.stores.files import storing
    from tasks.stores.plain import to_json

    settings = read_settings()
    loaded = settings.use_case(usecase)
    asked = _read_policies(policy_files) if policy_files else None
    if json_file is not None and not os.access(json_file.absolute().parent, os.W_OK):  # said now, not in minutes
        raise StorageError(
            f"to write the findings to {json_file}", "no folder that this user may write to", "Give another path"
        )
    file = loaded.folder / "usecase.yaml"
    if applied:
        if not os.access(file.resolve().parent, os.W_OK):
            raise StorageError(f"to write the policy to {file}", "a folder that is read-only", "Leave --apply out")
        changed(file, loaded.spec.monitoring.policy.model_dump(mode="json"))  # whether another can be written there
    # a home's key is made where something is kept: without one the hashes are of this backtest alone
    secret = settings.places().secret if (settings.folder / "privacy.key").exists() else secrets.token_bytes(32)
    with (
        Progress("reading the whole history"),
        computing(settings.compute_settings),
        backtesting.past_of(loaded, secret, start, end) as past,
    ):
        found = backtesting.backtest(past, asked)
        table, picture = backtesting.write(found, settings.folder / "backtests")
    console().print(telling.backtest_table(found))
    for note in found.notes():
        click.echo(note)
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
            apply_policy(file, chosen.spec)
            click.echo(f"monitoring.policy in {file} is {chosen.name} now")


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
