"""Where a training's time and memory go: it is rehearsed under profilers, and what they found is written down."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.modelling.neural import Neural
from tasks.modelling.operator_times import OperatorTime, OperatorTimes
from tasks.stores.files import scratch, storing
from tasks.stores.places import Job
from tasks.stores.plain import to_json
from tasks.stores.progress import doing, step, watched_by
from tasks.stores.whole_files import copied
from tasks.training.evaluating import metric_name
from tasks.training.rehearsing import Rehearsal, rehearse
from tasks.training.step_costs import StepCost, StepCosts

if TYPE_CHECKING:
    from pyinstrument.session import Session

SAMPLED_EVERY = 0.005
"""Seconds between two looks at where the interpreter is."""
PAGE, SPEEDSCOPE, FOUND = "python.html", "python.speedscope.json", "profile.json"
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
TRAINING = "training"
"""The step that all others are within."""


class _Watcher:
    """Hears of steps for their costs, and of rounds for the operators."""

    def __init__(self, families: set[str]) -> None:
        self.costs, self.operators = StepCosts(), OperatorTimes(families, step)

    def begin(self, step: str) -> None:
        """Hear of a step that begins."""
        self.costs.begin(step)

    def end(self) -> None:
        """Hear that the last one ends; no operators are recorded beyond it."""
        self.operators.stop()
        self.costs.end()

    def round_done(self, family: str) -> None:
        """Hear of a round of learning."""
        self.operators.round_done(family)


@dataclass(frozen=True)
class TrainingProfile:
    """Where a training's time and memory went.

    Attributes
    ----------
    costs : list of StepCost
        Each after the step it ran in; the first is the whole training.
    operators : dict of str to list of OperatorTime
        Of each family that learns by torch, those of one epoch that took most.
    """

    rehearsal: Rehearsal
    costs: list[StepCost]
    operators: dict[str, list[OperatorTime]]
    session: Session
    recorded: OperatorTimes

    def as_json(self) -> dict[str, object]:
        """Return what was found as plain values; shares are those of the whole training."""
        whole = self.costs[0].seconds
        return {
            **asdict(self.rehearsal),
            "seconds": whole,
            "steps": [{**asdict(each), "share": each.seconds / whole if whole else 0.0} for each in self.costs],
            "operators": {family: [asdict(each) for each in found] for family, found in self.operators.items()},
        }

    def write(self, folder: Path) -> list[Path]:
        """Write the pages, tables and traces into a folder that is seen whole or not at all; returns them.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        from pyinstrument.renderers import SpeedscopeRenderer

        with scratch() as beside, storing("write the profile to", folder):
            (beside / FOUND).write_text(to_json(self.as_json(), indent=1), encoding="utf-8")
            (beside / PAGE).write_text(_page(self.session), encoding="utf-8")
            (beside / SPEEDSCOPE).write_text(SpeedscopeRenderer().render(self.session), encoding="utf-8")
            self.recorded.write(beside)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with copied(beside, folder) as copy:
                copy.rename(folder)
        return sorted(folder.iterdir())


def profile_training(job: Job) -> TrainingProfile:
    """Rehearse a use case's training under profilers.

    Python is sampled by pyinstrument: the stack every five milliseconds of the thread that trains. Of networks, torch's
    own profiler records one epoch. Both see this process alone, so candidates learn here, one after the other.

    Raises
    ------
    TrainingError
        If no rows were collected, or they can teach nothing.
    """
    from pyinstrument import Profiler

    watcher = _Watcher({each.family for each in job.usecase.spec.model.candidates if isinstance(each, Neural)})
    profiler = Profiler(interval=SAMPLED_EVERY, async_mode="disabled")
    profiler.start()
    try:
        with watcher.costs.sampling(), watched_by(watcher), step(TRAINING):
            rehearsal = rehearse(job)
    finally:
        session = profiler.stop()
    doing("adding up what was sampled")
    return TrainingProfile(rehearsal, watcher.costs.costs(), watcher.operators.found(), session, watcher.operators)


def log_profile(job: Job, profile: TrainingProfile, folder: Path) -> str:
    """Log the files of a profile to MLflow, as a run of the use case's experiment; returns the address of its page."""
    registry = job.registry()
    run = registry.start_run(
        f"profile {time.strftime('%Y-%m-%d %H:%M', time.gmtime())}",
        {
            "driftwheel.usecase": job.name,
            "driftwheel.kind": "profile",
            "driftwheel.as_of": job.as_of.isoformat(),
            "mlflow.source.git.commit": job.places.commit,
        },
    )
    with registry.ending(run):
        registry.log(run, metrics=metrics_of(profile.costs))
        registry.log_folder(run, folder, "profile")
    return registry.run_link(run)


def metrics_of(costs: list[StepCost]) -> dict[str, float]:
    """Return the seconds of the training and of the steps directly within it, as MLflow lets metrics be called."""
    shown = [each for each in costs if len(each.path) <= 2]
    return {f"seconds {'/'.join(map(metric_name, each.path))}": each.seconds for each in shown}


def _page(session: Session) -> str:
    """Return pyinstrument's page, forbidden to load anything: it asks for fonts of another server."""
    from pyinstrument.renderers import HTMLRenderer

    page = str(HTMLRenderer().render(session))
    return page.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{_POLICY}">', 1)
