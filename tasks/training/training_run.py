"""A training run from rows to a sealed bundle, recorded in MLflow."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from expectations.deciding import RECALIBRATE
from expectations.errors import TrainingError, UnreachableError
from expectations.gates import GateResult
from expectations.masking import mask
from expectations.problems import ScoreMeaning
from tasks.bundles.champion import current_champion, refuse_redefined
from tasks.compute.compute import computing
from tasks.evaluation.error_budget import BudgetTest
from tasks.stores.hashing import hash_frame
from tasks.stores.known import RowSource
from tasks.stores.lake_tables import Version
from tasks.stores.measurements import measurement_in
from tasks.stores.places import Job
from tasks.stores.progress import doing
from tasks.stores.registry import KEPT_DAYS
from tasks.stores.turns import Turn
from tasks.stores.unfinished import keeping
from tasks.training.budgeting import budget_test_of, within_budget
from tasks.training.contest import decisive_metric
from tasks.training.cross_validation import fold_statistics
from tasks.training.evaluating import evaluated, flat, metric_name
from tasks.training.judging import Judged, Judgement, Refit, judge, refit
from tasks.training.live import Curves, sending
from tasks.training.packing import pack, raw_rows, training_rows
from tasks.training.recalibrating import Recalibration
from tasks.training.searching import Attempt
from tasks.training.warm import with_declaration
from tasks.training.windowing import EVERYTHING


@dataclass(frozen=True)
class TrainingSet:
    """A reference to rows: a version of the clean table read as of an instant, and the hash of what that gives."""

    table: Version
    rows: int
    digest: str
    source: RowSource = field(repr=False, compare=False)
    """Where they are read: once for the stage that fixes them and the one that learns from them."""


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


def select_rows(job: Job) -> TrainingSet:
    """Fix the rows of a training run: all ripe labelled rows of the newest clean table.

    Raises
    ------
    TrainingError
        If there is no clean table.
    """
    version = job.lake.version("clean")
    if version is None:
        raise TrainingError("a clean table", "none", f"Run the collect flow first: driftwheel run collect {job.name}")
    source = RowSource(job.known, version)
    rows = training_rows(source.rows)
    return TrainingSet(Version("clean", version, len(rows)), len(rows), hash_frame(rows), source)


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
            "driftwheel.parent": champion.digest if champion else "",
            "mlflow.source.git.commit": job.places.commit,
        },
    )
    on_run(run)
    try:
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
        live, digest, refitted = Curves(partial(registry.log_points, run)), None, None
        with keeping(job.places.unfinished / job.name), computing(job.places.compute):
            with sending(live):
                judged = evaluated(judge(rows, spec, champion, recalibration=recalibration), rows, spec)
            judged = within_budget(judged, spec, last_test(job))
            if judged.judgement.outcome == "passed":
                refitted = refit(rows, spec, judged)
                judged = agreed(judged, refitted, spec.evaluation.agreement)
        if refitted is not None and judged.judgement.outcome == "passed":
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "bundle"
                doing("packing a bundle, and proving it")
                digest = pack(
                    folder,
                    job.usecase,
                    rows,
                    raw_rows(job.known, rows),
                    judged,
                    refitted,
                    data=selected.table,
                    data_hash=selected.digest,
                    commit=job.places.commit,
                    parent=champion.digest if champion else "",
                    name=job.name,
                )
                if job.usecase.spec.needs_key:
                    job.releases.keep_secret(job.places.secret)
                job.releases.add(job.name, folder, digest)
        doing("recording the run in MLflow")
        challenger = Challenger(judged.judgement, digest, run, champion.digest if champion else None)
        _record(job, challenger, judged, refitted, live.names)
    except UnreachableError:  # to ask MLflow again would wait once more; whoever takes the turn next fails the run
        raise
    except BaseException:
        registry.end_run(run, "FAILED")
        raise
    registry.end_run(run)
    return challenger


def last_test(job: Job) -> BudgetTest | None:
    """Return the newest comparison with a champion that was held to an error budget, by the ledger."""
    found = (budget_test_of(entry.evidence) for entry in reversed(job.database.entries(job.name, kind="train")))
    return next((each for each in found if each is not None), None)


def asked_for(job: Job, turn: Turn) -> Recalibration:
    """Return the recalibration of a turn: since the window began in which labels moved, where that was decided."""
    decided = job.database.entry(turn.decision) if turn.decision is not None else None
    found = measurement_in(decided.evidence) if decided is not None else None
    return Recalibration(found.start if found is not None and job.usecase.spec.timed else None)


def agreed(judged: Judged, refitted: Refit, bound: float) -> Judged:
    """Refuse a refit that no longer speaks like the model that was judged."""
    known = math.isfinite(refitted.disagreement)
    gate = GateResult(
        "refit agrees with the judged model",
        "unknown" if not known else "pass" if refitted.disagreement <= bound else "fail",
        refitted.disagreement if known else None,
        bound,
        None,
        None,
        f"mean distance of predictions on the holdout {refitted.disagreement:.4f}; at most {bound:g}",
    )
    judgement = judged.judgement
    changed = Judgement(**{**vars(judgement), "gates": (*judgement.gates, gate)})
    if gate.outcome != "pass":
        outcome = "refused" if known else "unknown"
        changed = Judgement(**{**vars(changed), "outcome": outcome, "rationale": f"{gate.name}: {gate.rationale}"})
    return replace(judged, judgement=changed)


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
