"""The command line. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 held or refused, or rows were lost that no run reported before, 130
interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from flows.failing import FAILED, Commands

if TYPE_CHECKING:
    from flows.progress import Progress
    from flows.stage import Verdict
    from infra.backup import Backup
    from infra.settings import Settings

HELD = 3
_HELD_OUTCOMES = {"held", "hold", "refused", "unknown"}


class Instant(click.ParamType[datetime]):
    """An ISO 8601 instant; UTC where it says no zone."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Read the text."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no instant; write for example 2013-05-01 or 2013-05-01T06:00Z", param, ctx)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _settings() -> Settings:
    from pydantic import ValidationError

    from expectations.errors import DriftwheelError
    from infra.settings import Settings, spare_loopback

    spare_loopback()
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise DriftwheelError("settings that can be read", wrong, "Mend the DRIFTWHEEL_ variables") from error


@contextmanager
def _servers(settings: Settings, *, stages: bool = True) -> Iterator[Progress]:
    """Give servers that answer: those that are up or named by settings, else our own for as long as the block lasts."""
    from flows.progress import Progress
    from infra.doctor import require_home
    from infra.reaching import await_servers
    from infra.stack import stack_to_run

    require_home(settings)
    with Progress("starting servers", stages=stages) as progress, stack_to_run(settings, report=progress.now):
        await_servers(settings)
        yield progress


def _print_json(value: object) -> None:
    from tasks.stores.plain import to_json

    click.echo(to_json(value, indent=1))


def _console() -> Any:  # noqa: ANN401 - rich is imported by those who print tables
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for head in heads:
        shown.add_column(head, overflow="fold")
    for row in rows:
        shown.add_row(*row)
    _console().print(shown)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="driftwheel")
@click.option("--debug", is_flag=True, help="Show the trace of what fails, too (or set DRIFTWHEEL_DEBUG).")
def main(debug: bool) -> None:
    """Close the loop of machine learning: collect, train, deploy, monitor, and round again.

    A use case is a folder holding usecase.yaml; wherever USECASE stands, a registered or shipped name or a path works.
    Begin with `driftwheel check flights`, then `driftwheel replay flights`.
    """
    if debug:
        from infra.settings import show_traces

        show_traces()


# --- use cases --------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("usecase")
def add(usecase: str) -> None:
    """Register a use case by name or path; `up` then serves it."""
    from expectations.errors import DriftwheelError
    from infra.stack import Stack

    settings = _settings()
    loaded = settings.use_case(usecase)
    known = settings.platform().use_cases().get(loaded.name)
    if known is not None and known != loaded.folder:
        raise DriftwheelError(
            f"one folder for the name {loaded.name!r}",
            f"{known} registered",
            f"Rename one of them, or `driftwheel remove {loaded.name}` first",
        )
    settings.platform().add_use_case(loaded.name, loaded.folder, loaded.digest)
    Stack(settings).restart("runner")
    click.echo(f"{loaded.name} is registered from {loaded.folder}")


@main.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget that a use case is registered: its flows end. Its data, models and decisions stay, and it is served on."""
    from expectations.errors import UseCaseNotFoundError
    from infra.stack import Stack
    from tasks.stores.releases import Releases

    settings = _settings()
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


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_use_cases(as_json: bool) -> None:
    """List registered and shipped use cases."""
    from expectations.loading import shipped_use_cases

    registered = _settings().platform().use_cases()
    found = [
        {"name": name, "folder": str(folder), "registered": name in registered}
        for name, folder in sorted({**shipped_use_cases(), **registered}.items())
    ]
    if as_json:
        _print_json(found)
    else:
        _table(
            "Use cases",
            ("name", "registered", "folder"),
            [(str(each["name"]), "yes" if each["registered"] else "", str(each["folder"])) for each in found],
        )


@main.command()
def schema() -> None:
    """Print the JSON schema of usecase.yaml, for editors."""
    from expectations.loading import json_schema

    _print_json(json_schema())


@main.command()
@click.argument("usecase")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(usecase: str, as_json: bool) -> None:
    """Load a use case and try all of it on a sample: sources, joins, label, suite, features, one prediction."""
    from flows.checking import check_use_case
    from flows.progress import Progress

    findings = []
    with Progress("loading the use case") as progress:
        for finding in check_use_case(_settings(), usecase):
            findings.append(finding)
            if as_json:
                continue
            with progress.paused():
                click.secho("✓ " if finding.good else "✗ ", fg="green" if finding.good else "red", nl=False)
                click.echo(f"{finding.what}: {finding.found}")
    if as_json:
        _print_json([vars(finding) for finding in findings])
    if not all(finding.good for finding in findings):
        sys.exit(FAILED)


# --- the stack --------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--detach", is_flag=True, help="Return when everything answers; stop with `driftwheel down`.")
def up(detach: bool) -> None:
    """Start Prefect, MLflow, Evidently, the runner and the service, and wait until each answers."""
    import signal

    from flows.left_out import unreadable
    from flows.progress import Progress
    from infra.doctor import require_home
    from infra.stack import Stack
    from tasks.stores.registry import MODEL_PAGES

    settings = _settings()
    require_home(settings)
    stack = Stack(settings)
    asked = signal.default_int_handler  # SIGTERM ends it as Ctrl-C does
    signal.signal(signal.SIGTERM, asked)
    with Progress("starting; the first time takes a minute") as progress:
        addresses = stack.start(report=progress.now)
    try:
        _table(
            "driftwheel is up",
            ("what", "address", "there"),
            [
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


@main.command()
def down() -> None:
    """Stop everything `up` started; no process is left."""
    from infra.stack import Stack
    from tasks.stores.files import storing

    settings = _settings()
    with storing("remove what a stack left in", settings.folder):
        click.echo("stopped" if Stack(settings).stop() else "nothing was up")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Say what runs, and what each use case serves. Exit code 1 where something does not work."""
    from flows.left_out import trouble_of
    from infra.stack import Stack
    from tasks.stores.releases import Releases

    settings = _settings()
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
    if as_json:
        _print_json({"up": bool(health), "programs": [vars(each) for each in health], "usecases": served})
    else:
        _table(
            "Programs" if health else "Nothing is up",
            ("program", "state", "answers", "address", "log"),
            [(each.program, each.state, "yes" if each.answers else "no", each.address, each.log) for each in health],
        )
        _table(
            "Use cases",
            ("use case", "champion", "bundle", "open turn", "trouble"),
            [tuple(str(value or "") for value in each.values()) for each in served],
        )
    if not all(each.answers for each in health) or any(each["trouble"] for each in served):
        sys.exit(FAILED)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Look for the usual troubles and say what to do."""
    from infra.doctor import examine

    findings = examine(_settings())
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            click.secho("✓ " if finding.good else "✗ ", fg="green" if finding.good else "red", nl=False)
            click.echo(f"{finding.what}: {finding.found}" + (f"\n  → {finding.remedy}" if finding.remedy else ""))
    if not all(finding.good for finding in findings):
        sys.exit(FAILED)


@main.group()
def stack() -> None:
    """Prepare the stack of containers (docker-compose.yml)."""


@stack.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Where docker-compose.yml lies; here where not given.",
)
@click.option("--domain", default="localhost", show_default=True, help="Pages are at prefect.DOMAIN and so on.")
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
    from infra.compose.preparing import initialise

    done = initialise(folder, domain, port, use_cases, pool)
    for name in done.made:
        click.echo(f"made {name}")
    for name in done.kept:
        click.echo(f"kept {name} of .env: change it there, and renew the certificate where it is the domain")
    if done.warning:
        click.echo(f"warning: {done.warning}", err=True)
    click.echo(
        f"the service will be at {done.address}, pages at prefect., mlflow. and reports. of it\n"
        f"log in as {done.user} with DRIFTWHEEL_PASSWORD of .env; the service takes the keys of .stack/keys"
    )


_STACK_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="Where docker-compose.yml lies; here where not given.",
)


@stack.command()
@_STACK_FOLDER
@click.option("--seconds", default=300.0, show_default=True)
def wait(folder: Path, seconds: float) -> None:
    """Wait until every container is healthy, and show how they do."""
    from infra.compose.running import Compose

    states = Compose(folder).wait(seconds)
    _table("The stack", ("container", "state"), sorted(states.items()))


_VERIFY = click.option(
    "--verify", "only_verify", is_flag=True, help="Hold every file against its hash; restore nothing."
)
_SNAPSHOT = click.option("--snapshot", default="latest", show_default=True, help="Of a restic repository.")


@stack.command("backup")
@click.argument("target")
@_STACK_FOLDER
def back_up_stack(target: str, folder: Path) -> None:
    """Back up the stack of containers, while it works, into a new folder below TARGET or into restic:REPOSITORY."""
    from infra.compose.running import Compose

    _back_up(Compose(folder).back_up, target, "stack")


@stack.command("restore")
@click.argument("backup")
@_SNAPSHOT
@_STACK_FOLDER
@_VERIFY
def restore_stack(backup: str, snapshot: str, folder: Path, only_verify: bool) -> None:
    """Bring a backup of the stack (a folder, or restic:REPOSITORY) back where there is none, and start it."""
    from infra.compose.running import KIND, Compose
    from infra.vault import backup_at

    if only_verify:
        _verify(backup, KIND, snapshot)
        return
    with backup_at(backup, KIND, snapshot) as found:
        restored = Compose(folder).restore(found)
    click.echo(
        f"restored the stack as of {restored.made:%Y-%m-%d %H:%M} UTC; `driftwheel stack wait` shows how it does"
    )


@main.command("backup")
@click.argument("target")
def back_up_home(target: str) -> None:
    """Back up everything of this home into a new folder below TARGET, or into restic:REPOSITORY, encrypted.

    The stack may be at work. A backup holds keys and data.
    """
    from expectations.errors import BackupError
    from infra.backup import back_up

    settings = _settings()
    if settings.database or settings.lake:
        raise BackupError(
            "database and lake in the home",
            "DRIFTWHEEL_DATABASE or DRIFTWHEEL_LAKE elsewhere",
            "Back those up by their own tools, or `driftwheel stack backup` for the containers",
        )
    _back_up(partial(back_up, settings.folder), target, "home")


def _tell_elsewhere(made: Backup) -> None:
    from expectations.masking import mask

    for address in made.elsewhere:
        click.echo(f"not in it: {mask(address)}, which needs a backup of its own")


def _verify(backup: str, kind: Literal["home", "stack"], snapshot: str) -> None:
    from infra.backup import verify
    from infra.vault import PREFIX, Vault, backup_at

    if backup.startswith(PREFIX):
        Vault(backup, kind).check()
    with backup_at(backup, kind, snapshot) as folder:
        found = verify(folder, kind)
    click.echo(f"sound: {found.files} files, {found.size / 2**20:.1f} MB, of {found.made:%Y-%m-%d %H:%M} UTC")


def _back_up(make: Callable[[Path], Backup], target: str, kind: Literal["home", "stack"]) -> None:
    from expectations.masking import mask
    from infra.vault import PREFIX, Vault
    from tasks.stores.files import scratch

    if not target.startswith(PREFIX):
        made = make(Path(target).absolute())
        _tell_elsewhere(made)
        click.echo(f"{made.folder}: {made.files} files, {made.size / 2**20:.1f} MB, every one with its hash")
        click.echo("It holds keys and data: keep it where only you can read it, or use restic:REPOSITORY.")
        return
    vault = Vault(target, kind)
    with scratch() as folder:
        made = make(folder)
        snapshot = vault.put(made.folder)
    _tell_elsewhere(made)
    click.echo(
        f"snapshot {snapshot} in {mask(vault.repository)}: {made.files} files, {made.size / 2**20:.1f} MB, encrypted"
    )


@main.command()
@click.argument("backup")
@_SNAPSHOT
@_VERIFY
def restore(backup: str, snapshot: str, only_verify: bool) -> None:
    """Verify a backup (a folder, or restic:REPOSITORY) and bring it back into an empty home (DRIFTWHEEL_HOME)."""
    from infra.backup import KIND
    from infra.backup import restore as bring_back
    from infra.vault import backup_at

    if only_verify:
        _verify(backup, KIND, snapshot)
        return
    with backup_at(backup, KIND, snapshot) as folder:
        home = _settings().home_folder
        found = bring_back(folder, home)
    click.echo(f"restored {found.files} files of {found.made:%Y-%m-%d %H:%M} UTC into {home}; `driftwheel up` goes on")


# --- flows ------------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("flow", type=click.Choice(["collect", "train", "deploy", "monitor", "loop"]))
@click.argument("usecase")
@click.option("--as-of", type=Instant(), help="The instant to run as of; now where not given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(flow: str, usecase: str, as_of: datetime | None, as_json: bool) -> None:
    """Run a flow in this process. Uses the stack that is up; without one, servers are started for this run."""
    from flows.instants import refuse_future

    settings = _settings()
    settings.use_case(usecase)  # a wrong one is told before anything is started
    if as_of is not None:
        refuse_future(as_of)
    with _servers(settings):
        from flows.running import run_flow

        verdict = run_flow(flow, usecase, as_of)
    _conclude(verdict, as_json=as_json)


def _conclude(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        _print_json(vars(verdict))
    else:
        held = verdict.outcome in _HELD_OUTCOMES
        click.secho(f"{verdict.outcome}: ", fg="yellow" if held else "green", nl=False, bold=True)
        click.echo(verdict.summary)
    if verdict.outcome in _HELD_OUTCOMES or verdict.lost:
        sys.exit(HELD)


@main.command()
@click.argument("usecase")
@click.option("--from", "start", type=Instant(), help="First window; `start` of the use case where not given.")
@click.option("--to", "end", type=Instant(), help="End of the last window; the end of the history where not given.")
@click.option("--compare", is_flag=True, help="Also score never retraining, and retraining after every window.")
@click.option("--batch", default=500, show_default=True, help="Rows in a request.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the findings as JSON."
)
def replay(
    usecase: str,
    start: datetime | None,
    end: datetime | None,
    compare: bool,
    batch: int,
    json_file: Path | None,
) -> None:
    """Walk a use case's history through the real loop and tell what retraining would have gained."""
    import time

    from expectations.errors import StorageError
    from tasks.stores.files import storing

    settings = _settings()
    settings.use_case(usecase)
    if json_file is not None and not os.access(json_file.absolute().parent, os.W_OK):  # said now, not in minutes
        raise StorageError(
            f"to write the findings to {json_file}", "no folder that this user may write to", "Give another path"
        )
    started = time.perf_counter()
    with _servers(settings, stages=False) as progress:
        servers = time.perf_counter() - started
        progress.now("replaying; the flows show in Prefect's UI, the models in MLflow's")
        from flows import replay as replaying
        from flows import story as telling
        from flows.running import quietly
        from tasks.stores.plain import to_json
        from tasks.stores.stopwatch import spent

        before = spent()
        story = quietly(replaying.replay)(usecase, start, end, compare, batch)
        picture, page = telling.write(story, settings.folder / "replays")
        stopping = time.perf_counter()
    servers += time.perf_counter() - stopping
    replaying.account(story, started, servers, before)
    _console().print(telling.table(story))
    for name, found in story.compare.items():
        click.echo(f"{name}: mean {found['mean']:.3f} with {found['retrains']:g} retrainings")
    click.echo("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in story.seconds.items()))
    click.echo(f"picture: {picture}\npage:    {page}")
    if json_file is not None:
        with storing("write the findings to", json_file):
            json_file.write_text(to_json(story, indent=1), encoding="utf-8")


@main.command()
@click.argument("usecase")
@click.option("--input", "source", required=True, help="Parquet (a file, a folder, any address), or lake:clean.")
@click.option("--output", required=True, help="A Parquet file to write: the keys, and a column `prediction`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(usecase: str, source: str, output: str, as_json: bool) -> None:
    """Predict a whole table with the champion, streaming; the values are the service's. Needs no server."""
    from tasks.deployment.scoring import score_table
    from tasks.stores.places import Job

    settings = _settings()
    done = score_table(Job(settings.use_case(usecase), settings.places(), datetime.now(UTC)), source, output)
    if as_json:
        _print_json(vars(done))
    else:
        click.echo(f"{done.rows:,} rows predicted by version {done.version} into {done.output} in {done.seconds:.1f} s")


@main.command()
@click.argument("usecase")
@click.argument("moment", type=Instant())
def report(usecase: str, moment: datetime) -> None:
    """Draw Evidently's report of the window that holds MOMENT, against the champion's training rows."""
    from flows.reporting import report_window

    click.echo(report_window(_settings(), usecase, moment))


# --- versions and reasons ---------------------------------------------------------------------------------------------


@main.command()
@click.argument("usecase")
@click.option("--version", help="The registered version; the challenger where not given.")
def promote(usecase: str, version: str | None) -> None:
    """Make a registered version the champion, after the service has proved it."""
    settings = _settings()
    settings.use_case(usecase)
    with _servers(settings):
        from flows.running import promote_version

        click.echo(promote_version(usecase, version))


@main.command()
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
    from expectations.usecase import Release

    settings = _settings()
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
    with _servers(settings):
        from flows.running import deploy_version

        verdict = deploy_version(usecase, version, planned, new_signature=new_signature)
    _conclude(verdict, as_json=as_json)


@main.group()
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

    settings = _settings()
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

    found = Keys(_settings().keys_file).read()
    if as_json:
        _print_json([{"name": key.name, "scopes": key.scopes, "made": key.made} for key in found.values()])
    else:
        rows: list[tuple[str, ...]] = [
            (key.name, ", ".join(key.scopes), f"{key.made:%Y-%m-%d %H:%M}") for key in found.values()
        ]
        _table("API keys", ("name", "may", "made"), rows)


@keys.command("remove")
@click.argument("name")
def remove_key(name: str) -> None:
    """Remove a key; the service stops taking it within a second. The platform's own is replaced by another."""
    from infra.platform_key import remove_key as remove_one

    renewed = remove_one(_settings(), name)
    click.echo(f"{name} is no longer taken" + ("; the platform made itself another" if renewed else ""))


@main.command()
@click.argument("usecase")
def rollback(usecase: str) -> None:
    """Make the champion before this one the champion again."""
    settings = _settings()
    settings.use_case(usecase)
    with _servers(settings):
        from flows.running import roll_back

        click.echo(roll_back(usecase))


@main.command()
@click.argument("usecase")
@click.option("--last", default=10, show_default=True, help="How many entries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all evidence.")
def why(usecase: str, last: int, as_json: bool) -> None:
    """Read the ledger: what was decided, when, and why. For a replay, USECASE-replay."""
    from expectations.errors import UseCaseNotFoundError

    settings = _settings()
    name = usecase
    if not settings.platform().entries(usecase, last=1):
        try:
            name = settings.use_case(usecase).name
        except UseCaseNotFoundError:
            raise UseCaseNotFoundError(
                "a use case with decisions",
                repr(usecase),
                "See `driftwheel list`; of a replay, add -replay to the name",
            ) from None
    entries = settings.platform().entries(name, last=last)
    if as_json:
        _print_json([vars(entry) for entry in entries])
        return
    for entry in entries:
        colour = {
            "retrain": "green",
            "promoted": "green",
            "hold": "red",
            "held": "red",
            "failed": "red",
            "lost": "red",
            "late": "yellow",
            "warn": "yellow",
            "refused": "yellow",
        }.get(entry.action)
        click.echo(f"{entry.as_of:%Y-%m-%d %H:%M}  {entry.kind:<9}", nl=False)
        click.secho(f"{entry.action:<12}", fg=colour, nl=False, bold=True)
        click.echo(f"{entry.cause:<10} {entry.summary}")
        if entry.evidence.get("report"):
            click.echo(f"{'':18}report: {entry.evidence['report']}")
    if not entries:
        click.echo(f"Nothing was decided about {name} yet.")


if __name__ == "__main__":
    main()
