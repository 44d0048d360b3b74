"""What a stage's findings mean for its turn, in words and in the ledger."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from expectations.alerts import Severity
from flows.stage import FlowResult
from tasks.cleaning.cleaning import Cleaned
from tasks.collection.arrivals import count_arrivals
from tasks.collection.collecting import Collected
from tasks.deployment.rollout import Rollout
from tasks.stores.collection_history import Brought
from tasks.stores.finding_kinds import SETTLED_BY_RELEASE, describe
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tasks.stores.registry import ModelVersion
from tasks.stores.stages import STAGES
from tasks.stores.turning import Stage
from tasks.training.training_run import Challenger


def conclude_collection(stage: Stage, collected: Collected | None, cleaned: Cleaned) -> FlowResult:
    """Hand on to training, or hold the loop where the batch broke its expectations.

    Parameters
    ----------
    collected : Collected, optional
        What was brought in just now; None where that was before the stage began.
    """
    job = stage.job
    lost, findings = _report_findings(job, collected) if collected else (0, "")
    facts: dict[str, Any] = {
        "cleaned": {
            "rows": cleaned.rows,
            "clean": cleaned.clean,
            "held": list(cleaned.held),
            "warnings": list(cleaned.warnings),
            "quarantined": cleaned.quarantined,
            "repaired": [asdict(step) for step in cleaned.repaired],
        },
    }
    if collected:
        facts["collected"] = asdict(collected)
        brought = Brought(
            collected.new,
            collected.corrected,
            collected.read,
            cleaned.rows,
            cleaned.quarantined,
            list(cleaned.held),
            collected.newest,
        )
        job.database.note_collection(job.name, job.as_of, brought)
    if cleaned.held:
        summary = f"{cleaned.rows} rows are held: {'; '.join(cleaned.held)}"
        stage.finish(
            "held",
            "held",
            "quality",
            summary,
            facts,
            found=describe(job.name, "held", "failure", summary, {"held": list(cleaned.held), "batch": cleaned.batch}),
            key=None if job.turn else f"collect/held/{cleaned.batch}",
        )
        return FlowResult("held", summary + findings, job.turn, lost)
    job.database.end(job.name, ["held"], "the newest data keeps to its expectations", job.as_of)
    if job.turn is None:
        counts = (collected.new, collected.corrected) if collected else (0, 0)
        summary = _say_arrivals(*counts, cleaned.clean, sum(cleaned.quarantined.values()))
    else:
        last = _last_turns_batch(job)
        arrived = count_arrivals(job.lake, job.usecase.spec.keys, last)
        summary = _say_arrivals(arrived.new, arrived.corrected, arrived.clean, arrived.quarantined)
        summary += " since the last turn" if last else ""
        facts["arrived"] = asdict(arrived)
        stage.finish(STAGES["collect"].then, "done", "collected", summary, facts)
    return FlowResult("done", summary + findings, job.turn, lost)


def _say_arrivals(new: int, corrected: int, clean: int, quarantined: int) -> str:
    return f"{new} new rows, {corrected} corrected, {clean} clean, {quarantined} in quarantine"


def _last_turns_batch(job: Job) -> int:
    """Return the newest batch the turn before had; 0 where this is the first."""
    done = [entry.evidence for entry in job.database.entries(job.name, kind="collect") if entry.action == "done"]
    if not done:
        return 0
    last = done[-1]
    return int(last["arrived"]["until"] if "arrived" in last else last["collected"]["batch"])


def _report_findings(job: Job, collected: Collected) -> tuple[int, str]:
    """Report rows that came very late and rows that cannot be taken: in the ledger once, and as findings.

    Returns
    -------
    int, str
        How many lost rows were not reported before, and words for the summary.
    """
    words, unheard = "", 0
    gone = [key for key, rows in (("late", collected.late), ("lost", collected.lost)) if not rows]
    job.database.end(job.name, gone, "the last collection found no such rows", job.as_of)
    words += _report_stale(job, collected)
    if collected.late:
        span = f"{collected.late_from} to {collected.late_to}"
        words += f"; {collected.late} of them older than the lookback ({span})"
        summary = (
            f"{collected.late} new rows are older than the lookback ({span}): they were taken, but windows that were "
            "measured and models that were trained before are without them"
        )
        _report(job, f"late/{collected.batch}", "late", summary, asdict(collected), "warning")
    if collected.ahead:
        words += f"; {collected.ahead} of them known to later runs only, as a run as of a later instant came before"
    words += "".join(f"; {each}" for each in (*collected.said, *collected.changes))
    if collected.changes:
        _note_columns(job, collected)
    if collected.lost:
        words += f"; {collected.lost} rows lost: they have no event time"
        summary = f"{collected.lost} rows of the first source have no event time: they are not taken"
        if _report(job, f"lost/{collected.lost_digest}", "lost", summary, asdict(collected), "failure"):
            unheard = collected.lost
    return unheard, words


def _report_stale(job: Job, collected: Collected) -> str:
    """Report sources whose newest row is older than they say: in the ledger once for each such row."""
    if not collected.stale:
        job.database.end(job.name, ["stale"], "the sources are as fresh as they should be", job.as_of)
        return ""
    each = [f"{one.source} since {one.newest or 'ever'} (expected every {one.every})" for one in collected.stale]
    summary = f"nothing newer of {'; '.join(each)}"
    key = "/".join(f"{one.source}-{one.newest}" for one in collected.stale)
    _report(job, f"stale/{key}", "stale", summary, {"stale": [asdict(one) for one in collected.stale]}, "warning")
    return f"; {summary}"


def _note_columns(job: Job, collected: Collected) -> None:
    """Keep in the ledger how the columns of the table changed."""
    entry, summary = f"{job.name}/collect/columns/{collected.batch}", "; ".join(collected.changes)
    with job.database.transaction() as connection:
        evidence = {"changes": list(collected.changes), "batch": collected.batch}
        job.database.write(
            connection, Entry(entry, job.name, job.as_of, "collect", "columns", "rows", summary, evidence)
        )


def _report(job: Job, key: str, action: str, summary: str, evidence: dict[str, Any], severity: Severity) -> bool:
    entry = Entry(f"{job.name}/collect/{key}", job.name, job.as_of, "collect", action, "rows", summary, evidence)
    with job.database.transaction() as connection:
        return job.database.report(connection, entry, describe(job.name, action, severity, summary, evidence))


def conclude_training(stage: Stage, challenger: Challenger) -> FlowResult:
    """Hand on to deployment, or end the turn where the challenger is no better or nothing can be judged."""
    judgement, turn = challenger.judgement, stage.job.turn
    evidence = challenger.evidence()
    if judgement.outcome == "passed":
        stage.finish(
            STAGES["train"].then,
            "done",
            "passed",
            judgement.rationale,
            evidence,
            product={"bundle": challenger.bundle, "run": challenger.run},
            over=("refused", "undecided"),
        )
        return FlowResult("done", judgement.rationale, turn)
    found = None
    if any(gate.outcome == "unknown" for gate in judgement.gates):  # time alone does not heal that
        found = describe(stage.job.name, "undecided", "warning", judgement.rationale)
    elif judgement.outcome == "refused":
        found = describe(stage.job.name, "refused", "info", judgement.rationale)
    stage.finish(
        "refused",
        judgement.outcome,
        judgement.outcome,
        judgement.rationale,
        evidence,
        found=found,
    )
    return FlowResult(judgement.outcome, judgement.rationale, turn)


def conclude_deployment(stage: Stage, version: ModelVersion, generation: int, rollout: Rollout) -> FlowResult:
    """End the turn: the challenger is the champion."""
    summary = f"version {version.version} is the champion (bundle {version.bundle[:12]}, generation {generation})"
    if rollout.steps:
        summary += f"; {rollout.summary}"
    evidence = {**asdict(version), "generation": generation, **rollout.to_dict()}
    found = describe(stage.job.name, "promoted", "info", summary)
    stage.finish("done", "promoted", "passed", summary, evidence, found=found, over=("promoted", *SETTLED_BY_RELEASE))
    return FlowResult("done", summary, stage.job.turn)


def conclude_withdrawal(stage: Stage, version: ModelVersion, rollout: Rollout) -> FlowResult:
    """End the turn: a guardrail broke, or there was too little traffic to judge by; the champion stays."""
    summary = f"version {version.version} was withdrawn {rollout.summary}"
    evidence = {**asdict(version), **rollout.to_dict()}
    found = describe(stage.job.name, "withdrawn", "warning", summary)
    stage.finish("refused", "withdrawn", rollout.cause, summary, evidence, found=found)
    return FlowResult("refused", summary, stage.job.turn)
