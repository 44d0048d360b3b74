"""`driftwheel run`, `replay`, `score` and `report`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from flows.commands.shared import InstantParameter, conclude, console, print_json, read_settings, servers


@click.command()
@click.argument("flow", type=click.Choice(["collect", "train", "deploy", "monitor", "loop"]))
@click.argument("usecase")
@click.option("--as-of", type=InstantParameter(), help="The instant to run as of; now where not given.")
@click.option(
    "--recalibrate", is_flag=True, help="With train: keep the champion's model, and learn its calibration again."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(flow: str, usecase: str, as_of: datetime | None, recalibrate: bool, as_json: bool) -> None:
    """Run a flow in this process. Uses the stack that is up; without one, servers are started for this run."""
    from flows.instants import refuse_future

    if recalibrate and flow != "train":
        raise click.UsageError(f"--recalibrate goes with `train`, not with `{flow}`.")
    settings = read_settings()
    settings.use_case(usecase)  # a wrong one is reported before anything is started
    if as_of is not None:
        refuse_future(as_of)
    with servers(settings):
        from flows.local_runs import run_flow

        verdict = run_flow(flow, usecase, as_of, recalibrate=recalibrate)
    conclude(verdict, as_json=as_json)


@click.command()
@click.argument("usecase")
@click.option("--from", "start", type=InstantParameter(), help="First window; `start` of the use case where not given.")
@click.option(
    "--to", "end", type=InstantParameter(), help="End of the last window; the end of the history where not given."
)
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
    """Walk a use case's history through the real loop and show what retraining would have gained."""
    import time

    from expectations.errors import StateError, StorageError
    from tasks.stores.files import storing

    settings = read_settings()
    settings.use_case(usecase)
    if json_file is not None and not os.access(json_file.absolute().parent, os.W_OK):  # said now, not in minutes
        raise StorageError(
            f"to write the findings to {json_file}", "no folder that this user may write to", "Give another path"
        )
    started = time.perf_counter()
    with servers(settings, stages=False) as progress:
        waited = time.perf_counter() - started
        progress.now("replaying; the flows show in Prefect's UI, the models in MLflow's")
        from flows import replay as replaying
        from flows import story as telling
        from flows.local_runs import quietly
        from flows.page.alone import page_alone
        from flows.replay_story import account
        from tasks.stores.plain import to_json
        from tasks.stores.stopwatch import spent

        before = spent()
        story = quietly(replaying.replay)(usecase, start, end, compare, batch)
        folder = settings.folder / "replays"
        telling.keep(story, folder)
        namespace = replaying.namespace_of(story.usecase)
        shown = page_alone(settings, namespace, datetime.now(UTC))
        if shown is None:
            raise StateError(
                f"what the replay measured, as use case {namespace}",
                "none of that name in the home",
                f"It was removed while the replay ran: `driftwheel replay {usecase}` walks it again",
            )
        picture, page = telling.write(story, folder, shown)
        stopping = time.perf_counter()
    waited += time.perf_counter() - stopping
    account(story, started, waited, before)
    console().print(telling.table(story))
    for name, found in story.compare.items():
        click.echo(f"{name}: mean {found['mean']:.3f} with {found['retrains']:g} retrainings")
    click.echo("seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in story.seconds.items()))
    click.echo(f"picture: {picture}\npage:    {page}")
    if json_file is not None:
        with storing("write the findings to", json_file):
            json_file.write_text(to_json(story, indent=1), encoding="utf-8")


@click.command()
@click.argument("usecase")
@click.option("--input", "source", required=True, help="Parquet (a file, a folder, any address), or lake:clean.")
@click.option("--output", required=True, help="A Parquet file to write: the keys, and a column `prediction`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(usecase: str, source: str, output: str, as_json: bool) -> None:
    """Predict a whole table with the champion, streaming; the values are the service's. Needs no server."""
    from tasks.deployment.scoring import score_table
    from tasks.stores.places import Job

    settings = read_settings()
    done = score_table(Job(settings.use_case(usecase), settings.places(), datetime.now(UTC)), source, output)
    if as_json:
        print_json(vars(done))
    else:
        click.echo(f"{done.rows:,} rows predicted by version {done.version} into {done.output} in {done.seconds:.1f} s")


@click.command()
@click.argument("usecase")
@click.argument("moment", type=InstantParameter())
def report(usecase: str, moment: datetime) -> None:
    """Draw Evidently's report of the window that holds MOMENT, against the champion's training rows."""
    from flows.reporting import report_window

    click.echo(report_window(read_settings(), usecase, moment))
