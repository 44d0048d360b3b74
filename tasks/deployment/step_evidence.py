"""What a champion and a candidate answered during a step of a release, from the journal and the service's counts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl

from expectations.families import Scores
from expectations.windows import Window
from tasks.bundles.manifest import read_manifest
from tasks.bundles.served_rows import decode_rows, scores_of, true_labels
from tasks.deployment.guarding import Evidence
from tasks.deployment.replica_counts import PATIENCE_SECONDS, Counting
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.harvest import seal_and_harvest
from tasks.stores.places import Job


def gather_evidence(
    job: Job, champion: Served, candidate: CandidateState, began: datetime, counting: Counting
) -> Evidence:
    """Bring the journal in and lay out what both bundles did since the step began."""
    with job.places.open_service() as service:
        seal_and_harvest(job, service, PATIENCE_SECONDS)
    answered = _since(job, "predictions", began)
    labelled = answered.with_columns(_labels(job, champion, answered, began))
    theirs = labelled.filter(pl.col("bundle") == champion.bundle)
    paired = candidate.mode == "shadow"
    if paired:
        shadows = _since(job, "shadows", began).filter(pl.col("bundle") == candidate.bundle)
        both = theirs.join(
            shadows.select("id", pl.col("prediction").alias("shadow")), on="id", how="inner", maintain_order="left"
        )
        theirs = both
        own = both.with_columns(pl.col("shadow").alias("prediction"), pl.lit(candidate.bundle).alias("bundle"))
    else:
        own = labelled.filter(pl.col("bundle") == candidate.bundle)
    counting.look()
    scores = [_scores(job, each, champion.bundle, candidate.bundle) for each in (theirs, own)]
    return Evidence(
        champion=scores[0],
        candidate=scores[1],
        champion_label=theirs["_label"].to_numpy(),
        candidate_label=own["_label"].to_numpy(),
        champion_traffic=counting.of(champion.bundle),
        candidate_traffic=counting.of(candidate.bundle),
        paired=paired,
    )


def _scores(job: Job, answered: pl.DataFrame, champion: str, candidate: str) -> Scores:
    """Return what was answered in the order of the champion's classes, and in as many columns for either bundle."""
    own = {
        digest: read_manifest(job.releases.bundle(job.name, digest), digest).classes for digest in (champion, candidate)
    }
    problem, order = job.usecase.spec.problem, own[champion]
    found = scores_of(answered["prediction"], answered["bundle"], own, order, problem)
    more = bool(set(own[candidate]) - set(order))
    width = problem.outputs(order) + more
    return found if found.ndim == 1 else np.pad(found, ((0, 0), (0, max(0, width - found.shape[1]))))


def _since(job: Job, table: Literal["predictions", "shadows"], began: datetime) -> pl.DataFrame:
    if job.lake.version(table) is None:
        columns = {"id": pl.String, "bundle": pl.String, "prediction": pl.Float64}
        return pl.DataFrame(schema={**columns, "event_time": pl.Datetime("us", "UTC")})
    return job.lake.collect(table, job.lake.scan(table).filter(pl.col("served_at") >= began)).sort("served_at", "id")


def _labels(job: Job, champion: Served, answered: pl.DataFrame, began: datetime) -> pl.Series:
    empty = pl.Series("_label", [None] * len(answered), dtype=pl.Float64).fill_null(float("nan"))
    if not len(answered) or job.lake.version("raw") is None:
        return empty
    manifest = read_manifest(job.releases.bundle(job.name, champion.bundle), champion.bundle)
    rows = decode_rows(answered, manifest.columns)
    times = answered["event_time"]
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return empty
    window = Window(first, max(last, began))
    known = job.moved(datetime.now(UTC)).known
    labels, _ = true_labels(answered, rows, known, job.lake, window, manifest)
    return labels.fill_null(float("nan")).alias("_label")
