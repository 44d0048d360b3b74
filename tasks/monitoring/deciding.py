"""Decide about the newest window, once, from what was measured and tried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection

from expectations.alerts import Severity
from expectations.deciding import HISTORY, Back, History, Seen, Trial
from expectations.problems import PREDICTION
from expectations.slots import METRICS
from expectations.windows import Window
from tasks.bundles.champion import Released, released_champion
from tasks.deciding.gaps import growth
from tasks.deciding.policy import Bounds, Decision, Ended, Situation, decide
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.realised import Realised, hold_against
from tasks.monitoring.saying import say_unknown
from tasks.stores.database import HELD
from tasks.stores.finding_kinds import describe
from tasks.stores.findings import Found
from tasks.stores.ledger import TRIAL, Entry
from tasks.stores.measurements import Measurement, measurement_in
from tasks.stores.places import Job
from tasks.stores.stages import STAGES

NOT_TAKEN_BACK = "not taken back"
"""What the ledger says of a release that was to be rolled back, where that could not be."""
_BASELINES = {
    "constant": "always saying the mean label",
    "last": "saying the label that was known last",
    "season": "saying the mean of the same hour of the week",
}
_OVER = {
    "drift": "the newest window has no drift",
    "loss": "nothing is lost any more that a retraining would save",
    "held": "the newest data keeps to its expectations",
}


@dataclass(frozen=True)
class Watched:
    """What a look at production came to.

    Attributes
    ----------
    measurement : Measurement or None
        The window decided about.
    turn : str or None
        The turn a decision to retrain opened.
    """

    decision: Decision
    measurement: Measurement | None
    turn: str | None


def decide_now(job: Job) -> Watched:
    """Decide about the newest window that was not decided about, and record it.

    Performance is judged on the newest window whose labels are known, drift on the newest closed one. Ledger entry,
    alert, turn and event are one transaction; what was decided once is not decided again, also after a crash between
    measuring and deciding, because what is due is read from what was measured.
    """
    spec, database = job.usecase.spec, job.database
    champion = released_champion(job)
    held = tuple(json.loads(database.marked(job.name, HELD) or "[]"))
    if held:
        key, measured = f"held/{hashlib.sha256(repr(held).encode()).hexdigest()[:16]}", _measured(job, champion)
        return _decide_about(job, champion, key, measured.known, None, measured, held)
    digest = champion.digest if champion else ""
    last_known = database.measurements(job.name, champion=digest, known=True, last=1)
    last = database.measurements(job.name, champion=digest, last=1)
    known_key = f"{last_known[0].end.isoformat()}/known" if last_known else ""
    newest_key = f"{last[0].end.isoformat()}/unknown" if last and last[0].status == "unknown" else ""
    due_known = bool(known_key) and not _decided(job, known_key)
    due_newest = bool(newest_key) and not _decided(job, newest_key)
    # where labels come late there is a known window in each run: a policy that needs none would never see the newest
    due_newest = due_newest and (not due_known or bool(spec.monitoring.policy.needs))
    if not due_known and not due_newest:
        unchanged = Decision("keep", "unchanged", "no window to decide about that was not decided already")
        return Watched(unchanged, None, None)
    measured = _measured(job, champion)
    if not due_known:
        return _decide_about(job, champion, newest_key, measured.own, measured.own[-1], measured)
    known = measured.known[-1]
    history = measured.own[: measured.own.index(known) + 1]
    found = _decide_about(job, champion, known_key, history, known, measured)
    if not due_newest or found.decision.action not in ("keep", "warn"):
        return found
    newest = _decide_about(job, champion, newest_key, measured.own, measured.own[-1], measured)
    return newest if newest.decision.action not in ("keep", "warn") else found


@dataclass(frozen=True)
class _Measured:
    """What was measured of the newest windows: as many as a policy sees, and those after them that are not known yet.

    Attributes
    ----------
    windows, own : sequences of Measurement
        Of any bundle, and of the champion, oldest first.
    known_before, own_known_before : int
        Windows before these whose performance is known, of any bundle and of the champion.
    """

    windows: Sequence[Measurement]
    own: Sequence[Measurement]
    known_before: int
    own_known_before: int

    @property
    def known(self) -> list[Measurement]:
        """Those of the champion whose performance is known."""
        return _known(self.own)


def _known(windows: Sequence[Measurement]) -> list[Measurement]:
    return [each for each in windows if each.status != "unknown"]


def _measured(job: Job, champion: Released | None) -> _Measured:
    if champion is None:
        return _Measured((), (), 0, 0)
    database, digest = job.database, champion.digest
    last = database.measurements(job.name, champion=digest, known=True, last=1)
    waiting = database.count_measurements(job.name, since=last[0].end) if last else 0
    windows = database.measurements(job.name, last=HISTORY + waiting)
    own = [each for each in windows if each.champion == digest]
    return _Measured(
        windows,
        own,
        database.count_measurements(job.name, known=True) - len(_known(windows)),
        database.count_measurements(job.name, champion=digest, known=True) - len(_known(own)),
    )


def _decide_about(
    job: Job,
    champion: Released | None,
    key: str,
    history: Sequence[Measurement],
    found: Measurement | None,
    measured: _Measured,
    held: tuple[str, ...] = (),
) -> Watched:
    """Decide about a window, the last of a history, and record it under its key."""
    spec = job.usecase.spec
    clocks = _labelled_clocks(job, champion)
    tried = _tried(job)
    situation = _situation(job, len(clocks), held)
    past = _history(job, champion, history, measured, clocks, tried)
    policy = spec.monitoring.policy
    bounds = Bounds.of(spec.monitoring.span, spec.evaluation)
    decision = _with_causes(decide(past, policy, situation, bounds), found)
    evidence: dict[str, Any] = {
        "window": found.to_dict() if found else None,
        "history": past.to_dict(),
        "situation": situation.to_dict(),
        "bounds": bounds.to_dict(),
        "policy": policy.model_dump(mode="json"),
    }
    if decision.action == "rollback" and champion is not None:
        evidence["predecessor"] = _predecessor_of(champion, tried)
    evidence["answer"] = decision.evidence
    recorded, turn = _record(job, decision, f"{job.name}/decision/{key}", evidence, found)
    if not recorded and not held:  # what is held stays held, however often somebody looks
        return Watched(Decision("keep", "unchanged", "another run decided about this window just now"), None, None)
    return Watched(decision, found, turn)


def release_to_take_back(job: Job) -> Entry | None:
    """Return the decision to roll the champion back, where that is what was decided last and nothing came of it yet.

    Whatever was promoted or rolled back since then is the answer to it, by whomever: one who promotes the version again
    knows better. So is that it could not be.
    """
    desired = job.releases.desired(job.name)
    decisions = job.database.entries(job.name, last=1, kind="decision")
    if desired is None or desired.champion is None or not decisions or decisions[-1].action != "rollback":
        return None
    decision = decisions[-1]
    measured = measurement_in(decision.evidence)
    concerned = (measured.champion if measured else None, decision.evidence.get("predecessor"))
    if desired.champion.bundle not in concerned:  # of a run that was killed between the release and its entry
        return None
    since = job.database.entries(job.name, after=decision.entry)
    answers = ("promoted", "rolled back", NOT_TAKEN_BACK)
    return None if any(each.action in answers for each in since) else decision


_Tried = Mapping[tuple[str, Window], dict[str, Any]]


def _tried(job: Job) -> _Tried:
    """Return what was found in the newest trials, by bundle and window."""
    return {
        (each.evidence["bundle"], Window.of(each.evidence["window"])): each.evidence
        for each in job.database.entries(job.name, last=2 * HISTORY, kind=TRIAL)
    }


def _predecessor_of(champion: Released, tried: _Tried) -> str | None:
    """Return the bundle that a champion is held against, as its trials say."""
    found = [each.get("predecessor") for key, each in tried.items() if key[0] == champion.digest]
    return next((each for each in reversed(found) if each), None)


def _situation(job: Job, new_labelled: int, held: tuple[str, ...]) -> Situation:
    turns = job.database.turns(job.name)
    came = (turn for turn in turns if turn.state in ("done", "refused") and turn.cause != "bootstrap")
    ended = tuple(Ended(turn.as_of, turn.state == "done") for turn in came if turn.as_of <= job.as_of)
    return Situation(
        as_of=job.as_of,
        # one from later is no turn before this instant: a clock was ahead, or somebody looks back
        last_turn=max((turn.as_of for turn in turns if turn.as_of <= job.as_of), default=None),
        new_labelled=new_labelled,
        open_turn=job.database.open_turn(job.name) is not None,
        held=held,
        ended=ended,
        since_ended=job.database.count_measurements(job.name, since=ended[-1].as_of) if ended else 0,
    )


def _history(
    job: Job,
    champion: Released | None,
    windows: Sequence[Measurement],
    measured: _Measured,
    clocks: pl.Series,
    tried: _Tried,
) -> History:
    """Put together what a decision is made by.

    Parameters
    ----------
    windows : sequence of Measurement
        Those of the champion that count, of `measured`.
    clocks : polars.Series
        Event times of the ripe labelled rows the champion has not learnt from, in order.
    """
    if champion is None:
        return History()
    known, before = _known(measured.windows), measured.known_before
    numbers = {each.window: before + number for number, each in enumerate(known)}

    def number(window: Window) -> int:
        older = bool(measured.windows) and window.start < measured.windows[0].start
        return numbers.get(window, before if older else before + len(known))

    trials = {
        key: Trial(found["gap"], found["variance"], found["grown"], number(key[1]))
        for key, found in tried.items()
        if found.get("gap") is not None
    }
    spec = job.usecase.spec
    older, newest = windows[:-HISTORY], windows[-HISTORY:]
    ripe = [spec.label_delay.after(each.start, -1) for each in newest]
    begun = clocks.search_sorted(pl.Series(ripe, dtype=clocks.dtype), "right").to_list()
    seen = []
    for each, rows in zip(newest, begun, strict=True):
        span = (champion.digest, each.window)
        seen.append(
            _seen(
                each,
                number(each.window),
                growth(champion.manifest.rows, rows),
                trials.get(span),
                _back(tried, span),
                spec.label.column,
                worded=each is newest[-1],
            )
        )
    past = [trial for key, trial in trials.items() if key[0] != champion.digest]
    return History(
        tuple(seen),
        growth(champion.manifest.rows, len(clocks)),
        tuple(past[-HISTORY:]),
        spec.monitoring.span,
        spec.costs.release_in_windows,
        measured.own_known_before + len(_known(older)),
    )


def _back(tried: _Tried, span: tuple[str, Window]) -> Back | None:
    found = tried.get(span, {})
    if found.get("back") is None:
        return None
    return Back(found["back"], found["back_variance"], found.get("back_rows", 0))


def _seen(
    measured: Measurement,
    number: int,
    grown: float,
    trial: Trial | None,
    back: Back | None,
    label: str,
    *,
    worded: bool,
) -> Seen:
    """Say what a policy sees of a window; in words only of the one to decide about."""
    parts = [
        f"{each.metric} {each.value:.4f} against {each.reference:.4f}{_beaten(each)}"
        if each.value is not None
        else f"{each.metric} or its reference is no finite number ({measured.labelled} labels)"
        if each.undefined
        else say_unknown(each.metric, measured)
        for each in (measured.realised if worded else ())
    ]
    found = measured.drifted
    predictions = [each for each in found if each.column.startswith(PREDICTION)]
    drifted = tuple(_named(each, len(predictions)) for each in found if each not in predictions[1:])
    inputs = len(found) - len(predictions) - sum(each.column == label for each in found)
    detail, expected = ", ".join(parts), expected_status(measured)
    return Seen(measured.status, measured.rows, drifted, detail, number, grown, trial, back, expected, inputs)


def expected_status(measured: Measurement) -> Literal["good", "violated"] | None:
    """Say what the watched metrics are expected to be by estimates that are to be trusted, their whole intervals."""
    found: set[str] = set()
    for rule in measured.realised:
        estimate, greater = measured.expected(rule.metric), METRICS.released(rule.metric).greater_is_better
        if estimate is None or not estimate.trusted:
            return None
        best = estimate.high if greater else estimate.low
        found.add(hold_against(rule.metric, best, rule.reference, rule.drop, greater_is_better=greater).status)
    return "violated" if "violated" in found else "good" if found == {"good"} else None


def _beaten(realised: Realised) -> str:
    """Say which of what needs no model is better than the champion, where one is."""
    greater = METRICS.released(realised.metric).greater_is_better
    best = realised.best(greater)
    if best is None or realised.low is None or realised.high is None:
        return ""
    name, value = best
    better = value > realised.high if greater else value < realised.low
    return f", worse than {_BASELINES[name]} ({value:.4f})" if better else ""


def _named(drift: Drifted, predictions: int) -> str:
    """Name what drifted; all columns of predictions, of which so many drifted, are one."""
    name = drift.column
    if name.startswith(PREDICTION):
        each = name.removeprefix(PREDICTION).strip()
        name = f"the predictions of {each}" if each and predictions == 1 else "the predictions"
    missing = drift.what == "missing" or drift.missing_share == 1
    return f"{name} ({drift.missing_share:.0%} missing)" if missing else name


def _with_causes(decision: Decision, found: Measurement | None) -> Decision:
    """Say beside a decision why the window lost more than those before, where that was found."""
    causes = found.causes if found else None
    if causes is None or causes.status != "named" or decision.action not in ("keep", "warn", "retrain"):
        return decision
    return replace(decision, summary=f"{decision.summary}; why: {causes.words()}")


def _decided(job: Job, key: str) -> bool:
    with job.database.reading() as connection:
        return job.database.stands(connection, f"{job.name}/decision/{key}")


def _record(
    job: Job, decision: Decision, key: str, evidence: dict[str, Any], found: Measurement | None
) -> tuple[bool, str | None]:
    """Write a decision down, once; returns whether this call did, and the turn it opened."""
    database = job.database
    turn = None
    with database.transaction() as connection:
        if database.stands(connection, key):  # decided before; a turn opened now would be a second one for it
            return False, None
        if decision.action == "retrain":
            turn = database.request_turn(connection, job.name, decision.cause, job.as_of, key)
        entry = Entry(
            key, job.name, job.as_of, "decision", decision.action, decision.cause, decision.summary, evidence, turn
        )
        database.write(connection, entry)
        _record_findings(job, connection, decision, found)
        if turn is not None:
            database.post(
                connection,
                job.name,
                STAGES["collect"].event,
                {"driftwheel.turn": turn, "driftwheel.cause": decision.cause},
                {"turn_id": turn, "as_of": job.as_of.isoformat(), "decision": key},
                deliver=job.announce,
            )
    return True, turn


def _record_findings(job: Job, connection: Connection, decision: Decision, measured: Measurement | None) -> None:
    """Record what a decision finds wrong, and resolve what it no longer finds.

    Drift is worth a message only where a loss is estimated beyond doubt; a loss that a retraining follows is not.
    """
    found: Found | None = None
    evidence: dict[str, Any] = {}
    if measured is not None:
        evidence = {**measured.window.to_dict(), "version": measured.version, "status": measured.status}
    if decision.action == "hold":
        found = describe(job.name, "held", "failure", decision.summary)
    elif decision.cause == "release":
        found = describe(job.name, "rollback", "warning", decision.summary, evidence)
    elif decision.cause == "drift" or (decision.cause == "unknown" and decision.alert):
        lost = measured is not None and expected_status(measured) == "violated"
        severity: Severity = "warning" if lost and decision.action != "retrain" else "info"
        found = describe(job.name, "drift", severity, decision.summary, evidence)
    elif decision.alert or decision.action == "retrain":
        found = describe(
            job.name, "loss", "info" if decision.action == "retrain" else "warning", decision.summary, evidence
        )
    if found is not None:
        job.database.record(connection, found, job.as_of)
    if decision.action == "hold":  # no window was looked at
        return
    for key, how in _OVER.items():
        # a window whose labels have not come says nothing of a loss
        silent = measured is None or measured.status == "unknown"
        if (found is None or key != found.key) and not (key == "loss" and silent):
            job.database.resolve(connection, job.name, key, how, job.as_of)


def _labelled_clocks(job: Job, champion: Released | None) -> pl.Series:
    """Event times of the ripe labelled rows that the champion has not learnt from, in order."""
    clock = job.usecase.spec.time_column
    if job.lake.version("clean") is None:
        return pl.Series(clock, [], pl.Datetime("us", "UTC"))
    since = None if champion is None else champion.manifest.cutoff
    rows = job.known.labelled(columns=[clock, job.usecase.spec.label.column], since=since)
    if champion is not None:
        rows = rows.filter(pl.col(clock) > champion.manifest.cutoff)
    return rows[clock].sort()
