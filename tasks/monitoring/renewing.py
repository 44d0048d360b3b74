"""Intervals of the champion, learnt again from what it answered and what became known of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from expectations.metrics import Scored
from expectations.windows import TICK, Window
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.intervals_in_force import attempts_at_intervals, in_force
from tasks.bundles.served_rows import answers_of, decode_rows, scores_of, true_labels
from tasks.modelling.intervals import Intervals
from tasks.modelling.learning_intervals import learn_again, next_level
from tasks.monitoring.measuring import known_part
from tasks.stores.pinned import PinnedLake
from tasks.stores.places import Job
from tasks.stores.progress import say_stage

MAX_ROWS = 50_000
"""Rows that intervals learn from; of more every k-th."""


@dataclass(frozen=True)
class Renewal:
    """What an attempt to learn came to, for the ledger: intervals that are to answer from now on, or None."""

    bundle: str
    intervals: Intervals | None
    cause: str
    summary: str
    evidence: dict[str, Any]


def renew_intervals(job: Job) -> Renewal | None:
    """Learn the champion's intervals again, where that is declared, due, and no release is under way.

    Rows are those it answered, as it answered them: nothing is predicted again. Where those of now
    stay, the level has moved all the same, and the next attempt is due as after a release.
    """
    spec, database = job.usecase.spec, job.database
    rules, desired = spec.evaluation.intervals, job.releases.desired(job.name)
    champion = desired.champion if desired is not None else None
    if rules is None or desired is None or champion is None or job.lake.version("predictions") is None:
        return None
    if desired.candidate is not None or database.open_turn(job.name) is not None:
        say_stage("intervals: a release is under way; they learn after it")
        return None
    attempts = attempts_at_intervals(database, job.name, champion.bundle)
    if attempts and job.as_of < rules.update.after(attempts[-1].as_of):
        return None
    bundle = load_bundle(job.releases.bundle(job.name, champion.bundle), champion.bundle)
    if bundle.manifest.task != spec.task:
        return None
    until = spec.label_delay.after(job.as_of, -1)
    scored, times = _ripe_answers(job, bundle, Window(rules.learn_from.after(until, -1), until + TICK))
    declared = spec.evaluation.coverage
    last = attempts[-1].evidence if attempts and attempts[-1].evidence["declared"] == declared else {}
    seen, level = last.get("until"), last.get("level", declared)
    new = (times > datetime.fromisoformat(seen) if seen else times.is_not_null()).to_numpy()
    news = Scored(scored.label[new], scored.prediction[new])
    held = in_force(attempts).hold(bundle, news, times.filter(pl.Series(new)))
    covered = float(held.mean()) if held is not None and new.any() else None
    evidence = {
        "bundle": champion.bundle,
        "version": champion.version,
        "declared": declared,
        "level": level,
        "covered": None,
        "rows": len(times),
        "until": seen,
    }
    stays = f"intervals of version {champion.version} stay as they are"
    if len(times) < spec.evaluation.min_rows or (seen and not new.any()):  # these rows are judged once there are enough
        why = f"{len(times)} ripe answers, {new.sum()} of them new; {spec.evaluation.min_rows} are needed"
        return Renewal(champion.bundle, None, "few", f"{stays}: {why}", evidence)
    level = next_level(level, declared, covered)
    evidence |= {"level": level, "covered": covered, "until": max(times).isoformat()}
    before = champion.intervals or bundle.intervals
    classifies = spec.problem.classifies
    found = learn_again(scored.label, scored.prediction, declared, level, before=before, classifies=classifies)
    if isinstance(found, str):
        return Renewal(champion.bundle, None, "unproved", f"{stays}: {found}", evidence)
    was = f"{covered:.1%} of {new.sum()} truths lay inside since" if covered is not None else "there were none"
    summary = (
        f"intervals of version {champion.version} learnt again from {len(times)} ripe answers: {was}, "
        f"{declared:.0%} is declared; what the older of them taught holds {found.held:.1%} of the newest; the model is "
        "the same"
    )
    evidence |= {"held": found.held, "intervals": found.intervals.model_dump(mode="json")}
    cause = "ripe" if covered is None or round(covered, 3) == declared else "narrow" if covered < declared else "wide"
    return Renewal(champion.bundle, found.intervals, cause, summary, evidence)


def _ripe_answers(job: Job, bundle: Bundle, window: Window) -> tuple[Scored, pl.Series]:
    """Return what a bundle answered in a time and what became known of it, in order of time."""
    lake, manifest = PinnedLake.of(job.lake), bundle.manifest
    answers = answers_of(lake, bundle.digest, window, {bundle.digest: manifest.cutoff}, MAX_ROWS)
    rows = decode_rows(answers, manifest.columns)
    labels, _ = true_labels(answers, rows, job.known, lake, window, manifest)
    mine = {bundle.digest: bundle.classes}
    scores = scores_of(answers["prediction"], answers["bundle"], mine, bundle.classes, manifest.problem)
    scored, times, _ = known_part(scores, labels, answers["event_time"], manifest.threshold)
    return scored, times
