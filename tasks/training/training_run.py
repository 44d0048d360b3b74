"""A training run from rows to a sealed bundle, recorded in MLflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from expectations.deciding import RECALIBRATE
from expectations.masking import mask
from expectations.problems import ScoreMeaning
from tasks.bundles.champion import current_champion, refuse_redefined
from tasks.compute.compute import computing
from tasks.stores.files import scratch
from tasks.stores.measurements import measurement_in
from tasks.stores.places import Job
from tasks.stores.progress import doing
from tasks.stores.registry import KEPT_DAYS
from tasks.stores.turns import Turn
from tasks.stores.unfinished import keeping
from tasks.training.contest import decisive_metric
from tasks.training.cross_validation import fold_statistics
from tasks.training.evaluating import evaluated, flat, metric_name
from tasks.training.judging import Judged, Judgement, Refit, judge
from tasks.training.live import Curves, sending
from tasks.training.packing import training_rows
from tasks.training.passing import packed, refitted_if_passed
from tasks.training.recalibrating import Recalibration
from tasks.training.searching import Attempt
from tasks.training.training_set import TrainingSet
from tasks.training.warm import with_declaration
from tasks.training.windowing import EVERYTHING


@dataclass(frozen=True)
class Challenger:
    """What a training run leaves for the next stage.

    Attributes
    ----------
    bundle : str or None
        Hash of the released refit; None where the judgement was no pass.
    run : str
        MLflow run.
    """

    judgement: Judgement
    bundle: str | None
    run: str
    parent: str | None

    def evidence(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        facts = asdict(self.judgement)
        facts["holdout_start"] = str(facts["holdout_start"] or "")
        facts["cutoff"] = str(facts["cutoff"] or "")
        for name in ("metrics", "champion_metrics"):  # JSON has no NaN: a metric that is not defined is absent
            facts[name] = {metric: value for metric, value in facts[name].items() if math.isfinite(value)}
        return {**facts, "bundle": self.bundle, "run": self.run, "parent": self.parent}


def train_challenger(job: Job, selected: TrainingSet, on_run: Callable[[str], None]) -> Challenger:
    """Train, judge, and refit what passes; everything of it goes to one MLflow run.

    Parameters
    ----------
    on_run : callable
        Called with the MLflow run's id as soon as there is one.
    """
    spec = job.usecase.spec
    champion = with_declaration(current_champion(job), job.usecase)
    if champion is not None:
        refuse_redefined(champion.manifest, spec)
    parent = champion.digest if champion else ""
    registry = job.registry()
    if job.turn is not None:  # this process holds the turn: whoever began a run for it is dead
        registry.fail_orphans(job.turn)
    turn = job.database.open_turn(job.name)
    turn = turn if turn is not None and turn.id == job.turn else None
    recalibration = asked_for(job, turn) if turn is not None and turn.cause == RECALIBRATE else None
    registry.retire_runs(KEPT_DAYS)  # here, where nothing is done yet that would be done again
    run = registry.start_run(
        f"as of {job.as_of:%Y-%m-%d}",
        {
            "driftwheel.usecase": job.name,
            "driftwheel.turn": job.turn or "",
            "driftwheel.cause": turn.cause if turn else "by hand",
            "driftwheel.digest": job.usecase.digest,
            "driftwheel.as_of": job.as_of.isoformat(),
            "driftwheel.data": selected.digest,
            "driftwheel.parent": parent,
            "mlflow.source.git.commit": job.places.commit,
        },
    )
    on_run(run)
    with registry.ending(run):
        registry.log_dataset(
            run,
            f"{job.name}@v{selected.table.version}",
            selected.digest,
            {
                "table": mask(job.lake.address("clean")),
                "version": selected.table.version,
                "as_of": job.as_of.isoformat(),
            },
            selected.rows,
            "training",
        )
        rows = training_rows(selected.source.rows)
        live, digest = Curves(partial(registry.log_points, run)), None
        with keeping(job.places.unfinished / job.name), computing(job.places.compute):
            with sending(live):
                judged = evaluated(judge(rows, spec, champion, recalibration=recalibration), rows, spec)
            judged, refitted = refitted_if_passed(job, rows, judged)
        if refitted is not None and judged.judgement.outcome == "passed":
            with scratch() as beside:
                folder = beside / "bundle"
                digest = packed(job, folder, selected, rows, judged, refitted, parent=parent)
                if job.usecase.spec.needs_key:
                    job.releases.keep_secret(job.places.secret)
                job.releases.add(job.name, folder, digest)
        doing("recording the run in MLflow")
        challenger = Challenger(judged.judgement, digest, run, champion.digest if champion else None)
        _record(job, challenger, judged, refitted, live.names)
    return challenger


def asked_for(job: Job, turn: Turn) -> Recalibration:
    """Return the recalibration of a turn: since the window began in which labels moved, where that was decided."""
    decided = job.database.entry(turn.decision) if turn.decision is not None else None
    found = measurement_in(decided.evidence) if decided is not None else None
    return Recalibration(found.start if found is not None and job.usecase.spec.timed else None)


def _record_trials(job: Job, run: str, attempts: Sequence[Attempt], metric: str) -> None:
    for each in attempts:
        job.registry().log_trial(
            run,
            f"{each.family} trial {each.number}",
            params={"family": each.family, **each.values},
            metrics={metric: each.score, "seconds": each.seconds},
            state=each.state,
            start=each.start,
            seconds=each.seconds,
        )


def _record(
    job: Job, challenger: Challenger, judged: Judged, refitted: Refit | None, sent: Collection[str] = ()
) -> None:
    registry, judgement = job.registry(), challenger.judgement
    params: dict[str, object] = {"outcome": judgement.outcome, "as_of": job.as_of.isoformat()}
    metrics = {f"holdout_{name}": value for name, value in judgement.metrics.items()}
    metrics |= {f"champion_{name}": value for name, value in judgement.champion_metrics.items()}
    if judged.evaluation is not None:
        metrics = {**flat(judged.evaluation), **metrics}
        registry.log_json(challenger.run, "evaluation.json", judged.evaluation)
    metrics |= {"learnt_rows": judgement.learnt_rows, "holdout_rows": judgement.holdout_rows}
    curves = {}
    if judged.trained is not None:
        metrics |= {metric_name(words): value for words, value in judged.trained.program.measured.items()}
        attempts = judged.trained.attempts
        metrics |= {f"trials_{state}": sum(e.state == state for e in attempts) for state in {e.state for e in attempts}}
        _record_trials(job, challenger.run, attempts, decisive_metric(job.usecase.spec))
        if (start := judged.trained.start) is not None:
            params |= {"start": start.kind, "start.why": start.why}
            metrics |= {f"start_{name}": value for name, value in start.measured.items()}
        if (window := judged.trained.window) is not None:
            params |= {"window": str(window.last or EVERYTHING)}
            metrics |= {metric_name(f"window_{name}"): value for name, value in window.tried.items()}
        if judged.trained.calibrator is not None:
            calibrated = judged.trained.calibrator.model_dump(mode="json")
            params |= {"calibration": calibrated.pop("calibration")}
            params |= {f"calibration.{key}": value for key, value in calibrated.items() if isinstance(value, float)}
        params |= {f"recipe.{key}": value for key, value in judged.trained.recipe.model_dump(mode="json").items()}
        metrics |= {f"contest_{name}": value for name, value in judged.trained.contest.items()}
        curves = {name.replace("/", "_"): values for name, values in judged.trained.curves.items()}
        curves = {name: values for name, values in curves.items() if name not in sent}
    curves |= {f"fold_{name}": values for name, values in judged.folds.items()}
    metrics |= fold_statistics(judged.folds, job.usecase.spec)
    registry.log(
        challenger.run,
        params=params,
        metrics=metrics,
        curves=curves,
        tags={"driftwheel.outcome": judgement.outcome, "mlflow.note.content": judgement.rationale},
    )
    if judged.scored and judged.trained is not None:
        from tasks.evaluation.evaluation_plots import with_intervals
        from tasks.evaluation.plots import importance_figure

        spec = job.usecase.spec
        answers = ScoreMeaning(spec.label.column, spec.label.unit, judged.trained.classes, spec.threshold)
        model = refitted.trained if refitted is not None else judged.trained
        figures = spec.problem.figures(judged.scored, answers)
        if judged.evaluation is not None:
            with_intervals(figures, judged.evaluation)
        if importance := model.fitted.importance():
            figures["importance"] = importance_figure(importance)
        registry.log_figures(challenger.run, figures)
