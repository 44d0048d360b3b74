"""`driftwheel profile`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.commands.shared import InstantParameter, print_json, print_table, read_settings

if TYPE_CHECKING:
    from flows.training_profile import TrainingProfile

_ALWAYS = 2
"""Levels of steps that are shown whatever they took."""
_LEAST_SHARE = 0.005
"""Deeper steps of a smaller share are in the files alone."""


@click.command()
@click.argument("usecase")
@click.option("--as-of", type=InstantParameter(), help="The instant to train as of; now where not given.")
@click.option("--candidate", help="Train this candidate alone, by its family.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder to write to, not there yet; below `profiles` in the home where not given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def profile(usecase: str, as_of: datetime | None, candidate: str | None, out: Path | None, as_json: bool) -> None:
    """Say where a training's time and memory go: train on what was collected, and keep only the profile.

    Leaves a table of its steps, a page with the Python side as flame graph, and of networks the operators of torch.
    Releases nothing. Where the MLflow of the stack answers, it gets the files, too.
    """
    from expectations.errors import StorageError
    from flows.instants import refuse_future
    from flows.progress import Progress
    from flows.training_profile import log_profile, profile_training
    from infra.environment import quiet_torch_profiler
    from infra.reaching import answering_tracking
    from tasks.stores.places import Job
    from tasks.training.rehearsing import with_candidate

    quiet_torch_profiler()
    settings = read_settings()
    loaded = settings.use_case(usecase)
    now = datetime.now(UTC)
    if as_of is not None:
        refuse_future(as_of)
    if candidate is not None:
        loaded = with_candidate(loaded, candidate)
    folder = (out or settings.folder / "profiles" / f"{loaded.name}-{now:%Y-%m-%dT%H-%M-%SZ}").absolute()
    if os.path.lexists(folder):  # said now, not in minutes
        raise StorageError(f"a folder {folder} that is not there yet", "one that is", "Name another, or remove it")
    job = Job(loaded, settings.places(), as_of or now)
    tracked = answering_tracking(settings)
    with Progress("profiling a training") as progress:
        found = profile_training(job)
        progress.now("writing the profile")
        files = found.write(folder)
        link = log_profile(job, found, folder) if tracked else ""
    if as_json:
        print_json({**found.as_json(), "usecase": loaded.name, "files": [str(each) for each in files], "mlflow": link})
        return
    _print(loaded.name, found)
    for each in files:
        click.echo(f"{each}")
    click.echo(f"MLflow: {link}" if link else "MLflow: none answers, so the files are there alone")


def _print(name: str, found: TrainingProfile) -> None:
    whole = found.costs[0].seconds
    shown = [each for each in found.costs if len(each.path) <= _ALWAYS or each.seconds >= _LEAST_SHARE * whole]
    print_table(
        f"{name}: a training on {found.rehearsal.rows:,} rows, {whole:.1f} s",
        ("step", "times", "seconds", "share", "peak memory", "grew by"),
        [
            (
                "  " * (len(each.path) - 1) + each.path[-1],
                f"{each.calls:,}",
                f"{each.seconds:.2f}",
                f"{each.seconds / whole:.0%}",
                f"{each.peak / 1e6:,.0f} MB",
                f"{each.grown / 1e6:,.0f} MB",
            )
            for each in shown
        ],
    )
    for family, operators in found.operators.items():
        if not operators:
            click.echo(f"{family}: no operators seen; it learnt one epoch, or in processes of its own (`workers`)")
            continue
        print_table(
            f"{family}: operators of torch in one epoch",
            ("operator", "calls", "CPU ms", "GPU ms"),
            [
                (each.name, f"{each.calls:,}", f"{each.cpu_seconds * 1e3:.1f}", f"{each.device_seconds * 1e3:.1f}")
                for each in operators
            ],
        )
    against = "against the champion" if found.rehearsal.against_champion else "as a first model"
    click.echo(f"{found.rehearsal.outcome}, {against}: {found.rehearsal.rationale}")
