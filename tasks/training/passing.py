"""What comes of a judgement: a refit that speaks like what was judged, and its bundle."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import polars as pl

from expectations.gates import GateResult
from tasks.evaluation.error_budget import BudgetTest
from tasks.stores.places import Job
from tasks.stores.progress import part
from tasks.training.budgeting import budget_test_of, within_budget
from tasks.training.judging import Judged, Judgement, Refit, refit
from tasks.training.packing import pack, raw_rows
from tasks.training.training_set import TrainingSet


def refitted_if_passed(job: Job, rows: pl.DataFrame, judged: Judged) -> tuple[Judged, Refit | None]:
    """Hold a judgement to the error budget, and what passed by its gates to its own refit on all rows.

    Parameters
    ----------
    rows : polars.DataFrame
        All ripe labelled rows.
    """
    spec = job.usecase.spec
    judged = within_budget(judged, spec, last_test(job))
    if judged.judgement.outcome != "passed":
        return judged, None
    refitted = refit(rows, spec, judged)
    return agreed(judged, refitted, spec.evaluation.agreement), refitted


def packed(
    job: Job, folder: Path, selected: TrainingSet, rows: pl.DataFrame, judged: Judged, refitted: Refit, *, parent: str
) -> str:
    """Write the bundle of a refit into a folder and return its hash; see `pack`.

    Parameters
    ----------
    rows : polars.DataFrame
        Those that were selected, as they are learnt from.
    parent : str
        Hash of the champion's bundle; empty where there is none.
    """
    with part("packing a bundle, and proving it"):
        return pack(
            folder,
            job.usecase,
            rows,
            raw_rows(job.known, rows),
            judged,
            refitted,
            data=selected.table,
            data_hash=selected.digest,
            commit=job.places.commit,
            parent=parent,
            name=job.name,
            as_of=job.as_of,
        )


def last_test(job: Job) -> BudgetTest | None:
    """Return the newest comparison with a champion that was held to an error budget, by the ledger."""
    found = (budget_test_of(entry.evidence) for entry in reversed(job.database.entries(job.name, kind="train")))
    return next((each for each in found if each is not None), None)


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
