"""Decide about the newest window, once, from what was measured and tried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from expectations.deciding import HISTORY, RECALIBRATE, TURNED, Back, History, Trial
from expectations.windows import Window
from tasks.bundles.champion import Released, released_champion
from tasks.deciding.gaps import growth
from tasks.deciding.policy import Decision, DecisionBounds, Ended, Situation, decide
from tasks.monitoring.recording import is_decided, record_decision
from tasks.monitoring.seen_windows import seen_as
from tasks.stores.database import HELD
from tasks.stores.ledger import TRIAL
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job


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
    due_known = bool(known_key) and not is_decided(job, known_key)
    due_newest = bool(newest_key) and not is_decided(job, newest_key)
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
    new_labelled = len(clocks) - (int(clocks.search_sorted(champion.manifest.cutoff, "right")) if champion else 0)
    situation = _situation(job, new_labelled, held)
    past = _history(job, champion, history, measured, clocks, tried)
    policy = spec.monitoring.policy
    bounds = DecisionBounds.of(spec.monitoring.span, spec.evaluation)
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
    recorded, turn = record_decision(job, decision, f"{job.name}/decision/{key}", evidence, found)
    if not recorded and not held:  # what is held stays held, however often it is looked at
        return Watched(Decision("keep", "unchanged", "another run decided about this window just now"), None, None)
    return Watched(decision, found, turn)


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
    ended = tuple(
        Ended(turn.as_of, turn.state == "done", turn.cause == RECALIBRATE) for turn in came if turn.as_of <= job.as_of
    )
    return Situation(
        as_of=job.as_of,
        # one from later is no turn before this instant: a clock was ahead, or the run looks back
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
        Event times of the ripe labelled rows that the champion's model has not learnt from, in order.
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
            seen_as(
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


def _with_causes(decision: Decision, found: Measurement | None) -> Decision:
    """Say beside a decision why the window lost more than those before, where that was found."""
    causes = found.causes if found else None
    if causes is None or causes.status != "named" or decision.action not in ("keep", "warn", *TURNED):
        return decision
    return replace(decision, summary=f"{decision.summary}; why: {causes.words()}")


def _labelled_clocks(job: Job, champion: Released | None) -> pl.Series:
    """Event times of the ripe labelled rows that the champion's model has not learnt from, in order."""
    clock = job.usecase.spec.time_column
    if job.lake.version("clean") is None:
        return pl.Series(clock, [], pl.Datetime("us", "UTC"))
    since = None if champion is None else champion.manifest.learnt_until
    rows = job.known.labelled(columns=[clock, job.usecase.spec.label.column], since=since)
    if champion is not None:
        rows = rows.filter(pl.col(clock) > champion.manifest.learnt_until)
    return rows[clock].sort()
