"""One look at production: harvest, measure every window that is due, decide about the newest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import polars as pl
from sqlalchemy import Connection

from expectations.deciding import HISTORY, Back, History, Seen, Trial
from expectations.errors import BundleError, ReportError
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import PREDICTION, Bundle, load_bundle, read_manifest
from tasks.bundles.champion import current_champion
from tasks.bundles.feedback import find_unmatched
from tasks.bundles.served_rows import decode_rows, window_predictions
from tasks.deciding.policy import Bounds, Decision, Ended, Situation, decide
from tasks.monitoring.findings import note, note_strays, note_unmatched, note_unusable
from tasks.monitoring.measuring import Measurement, measure
from tasks.monitoring.report import ReportRef, draw_report
from tasks.monitoring.served import find_served
from tasks.stores.database import HELD
from tasks.stores.events import DATASET_READY, MODEL_PROMOTED, RETRAIN_REQUESTED
from tasks.stores.harvest import Harvested, harvest
from tasks.stores.journal import unreadable
from tasks.stores.ledger import TRIAL, Entry
from tasks.stores.outbox import Alert
from tasks.stores.places import Job
from tasks.stores.service import Answers, Service
from tasks.stores.turns import Turn

REFERENCE_SAMPLE = 2000
_MATCHED = "feedback_matched_until"
"""Mark in the platform database: when the newest label that was held against predictions was received."""
SILENCE = timedelta(minutes=2)
"""How long an open turn may lie untouched before it is announced again."""
MAX_ANNOUNCEMENTS = 5
"""How often a stage is asked for before its turn is given up."""
NOT_TAKEN_BACK = "not taken back"
"""What the ledger says of a release that was to be rolled back, where that could not be."""
_SEVERITIES: dict[str, Literal["info", "warning", "failure"]] = {
    "keep": "warning",
    "warn": "warning",
    "hold": "failure",
    "retrain": "info",
    "rollback": "warning",
}


@dataclass(frozen=True)
class Watched:
    """What a look at production came to.

    Attributes
    ----------
    measurement : dict or None
        The window decided about.
    turn : str or None
        The turn a decision to retrain opened.
    """

    decision: Decision
    measurement: dict[str, Any] | None
    turn: str | None


def harvest_journal(job: Job) -> Harvested:
    """Ask the service to close its segments, then bring them into the lake; labels of no prediction are reported.

    Raises
    ------
    UnreachableError
        If the service does not answer: what it journaled cannot be told to be complete.
    """
    with job.places.open_service() as service:
        note_troubles(job, service.ask("GET", "/version"))
        harvested = _harvest(job, service)
        checked = job.database.marked(job.name, _MATCHED)
        after = datetime.fromisoformat(checked) if checked else None
        if after is not None and harvested.labels_since is not None:  # of a replica that was away meanwhile
            after = min(after, harvested.labels_since - timedelta(microseconds=1))
        unmatched = find_unmatched(job.lake, after)
        if unmatched.labels:  # one of several replicas may have answered after it had closed its segments
            harvested += _harvest(job, service)
            unmatched = find_unmatched(job.lake, after, unmatched.checked_until)
    note_unmatched(job, unmatched)
    if unmatched.checked_until is not None:
        job.database.mark(job.name, _MATCHED, unmatched.checked_until.isoformat())
    for path in unreadable(job.places.journal, job.name):
        why = f"parts of the journal are no records; they are kept in {path}"
        note(job, f"unreadable/{path.name}", "unharvested", why)
    return harvested


def _harvest(job: Job, service: Service) -> Harvested:
    service.ask("POST", "/journal/seal", usecase=job.name)
    return harvest(job.places.journal, job.name, job.lake)


def note_troubles(job: Job, versions: Answers) -> None:
    """Put into the ledger, and tell, what the replicas of the service say is wrong.

    Each refused bundle and each release given up in the middle is told once, a disk that is away once an hour.
    """
    for version in versions:
        for key, action, summary in _troubles(job, version):
            note(job, key, action, summary)


def _troubles(job: Job, version: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return what one replica says is wrong: what it is known by, what happened, and the words for it."""
    mount = version["usecases"].get(job.name, {})
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    for bundle, why in mount.get("refused", {}).items():
        yield f"refused/{bundle}", "refused", f"the service refuses bundle {bundle[:12]}: {why}"
    candidate = mount.get("candidate")
    if candidate and not candidate.get("watched", True):
        why = f"nobody watches version {candidate['version']} any more: it was left out, and the champion answers alone"
        yield f"unwatched/{mount['generation']}", "unwatched", why
    if mount.get("trouble"):
        yield f"releases/{hour}", "unreadable", f"the service cannot read what it should serve: {mount['trouble']}"
    if version["journal"]["trouble"]:
        why = f"the service cannot log predictions: {version['journal']['trouble']}"
        yield f"journal/{hour}", "unlogged", why


def measure_windows(job: Job) -> list[Measurement]:
    """Measure every closed window with predictions that is not final yet, oldest first.

    A window belongs to the bundle that answered most of it, also after that was replaced. It is final once all its
    rules are known, or once it has been ripe for another window's length. Rows that are in no window are reported.
    """
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None or job.lake.version("predictions") is None:
        return []
    spec, cutoffs = job.usecase.spec, _cutoffs(job)
    windows, strays = find_served(job.lake, spec.monitoring.every, cutoffs, job.as_of)
    note_strays(job, strays)
    known = {(each["start"], each["end"]): each for each in job.database.measurements(job.name)}
    due = [each for each in windows if not _is_final(job, each.window, known.get(_span(each.window)))]
    for each in due:
        known.pop(_span(each.window), None)
    best: dict[str, dict[str, float]] = {}
    for content in known.values():
        _improve(best, content, spec)
    bundles: dict[str, Bundle] = {}
    measured = []
    for each in due:
        if each.bundle not in bundles:
            bundles[each.bundle] = load_bundle(job.releases.bundle(job.name, each.bundle), each.bundle)
        found = measure(
            each.window,
            spec,
            bundles[each.bundle],
            each.version,
            job.lake,
            job.as_of,
            best.get(each.bundle, {}),
            cutoffs,
        )
        job.database.put_measurement(job.name, each.window.start, each.window.end, found.to_dict())
        _improve(best, found.to_dict(), spec)
        note_unusable(job, each.window, found.feedback, bundles[each.bundle].manifest)
        measured.append(found)
    return measured


def _cutoffs(job: Job) -> dict[str, datetime]:
    """Return up to when each bundle has learnt that answered; one that is gone or damaged has none."""
    if job.lake.version("predictions") is None:
        return {}
    answered = job.lake.scan("predictions").select(pl.col("bundle").unique()).collect()["bundle"]
    cutoffs = {}
    for digest in answered.drop_nulls():
        with suppress(BundleError):  # where a window needs it, loading it says what is wrong
            cutoffs[digest] = read_manifest(job.releases.bundle(job.name, digest), digest).cutoff
    return cutoffs


def _span(window: Window) -> tuple[str, str]:
    return window.start.isoformat(), window.end.isoformat()


def _is_final(job: Job, window: Window, content: dict[str, Any] | None) -> bool:
    if content is None:
        return False
    spec = job.usecase.spec
    known = content["ripe"] and all(rule["status"] != "unknown" for rule in content["realised"])
    ripe = spec.label.available_after.after(window.end)
    return known or spec.monitoring.every.after(ripe) <= job.as_of


def _improve(best: dict[str, dict[str, float]], content: dict[str, Any], spec: UseCase) -> None:
    """Take the values of a measured window into the best each bundle has shown."""
    own = best.setdefault(content["champion"], {})
    for rule in content["realised"]:
        if rule["value"] is not None:
            choose = max if spec.greater_is_better[rule["metric"]] else min
            own[rule["metric"]] = choose(own.get(rule["metric"], rule["value"]), rule["value"])


def draw_window(job: Job, window: Window, bundle: str | None = None) -> ReportRef | None:
    """Draw Evidently's report of a window against the training rows of a bundle (the champion), both raw."""
    champion = load_bundle(job.releases.bundle(job.name, bundle), bundle) if bundle else current_champion(job)
    if champion is None:
        return None
    columns = [column.name for column in champion.manifest.columns if column.role == "input"]
    clock = champion.manifest.clock
    reference = job.known.rows("raw", columns=[*columns, clock])
    reference = reference.filter(pl.col(clock) <= champion.manifest.cutoff).select(columns)
    current = decode_rows(window_predictions(job.lake, window, _cutoffs(job)), champion.manifest.columns)
    if current.is_empty() or reference.is_empty():
        return None
    return draw_report(
        job.places.reports,
        job.name,
        reference.sample(min(REFERENCE_SAMPLE, len(reference)), seed=0),
        current.select(columns),
        name=str(window),
        tags=[f"as_of:{job.as_of:%Y-%m-%d}"],
    )


def decide_now(job: Job) -> Watched:
    """Decide about the newest window that was not decided about, and record it.

    Performance is judged on the newest window whose labels are known, drift on the newest closed one. Ledger entry,
    alert, turn and event are one transaction; what was decided once is not decided again, also after a crash between
    measuring and deciding, because what is due is read from what was measured.
    """
    spec, database = job.usecase.spec, job.database
    champion = current_champion(job)
    held = tuple(json.loads(database.marked(job.name, HELD) or "[]"))
    measured = database.measurements(job.name)
    own = [each for each in measured if champion is not None and each["champion"] == champion.digest]
    known = [each for each in own if each["status"] != "unknown"]
    if held:
        key, history, content = f"held/{hashlib.sha256(repr(held).encode()).hexdigest()[:16]}", known, None
    elif known and not _decided(job, f"{known[-1]['end']}/known"):
        key, content = f"{known[-1]['end']}/known", known[-1]
        history = own[: own.index(content) + 1]
    elif own and own[-1]["status"] == "unknown" and not _decided(job, f"{own[-1]['end']}/unknown"):
        key, history, content = f"{own[-1]['end']}/unknown", own, own[-1]
    else:
        nothing = Decision("keep", "unchanged", "no window to decide about that was not decided already")
        return Watched(nothing, None, None)
    situation = _situation(job, champion, held)
    past = _history(job, champion, history, measured, situation.new_labelled)
    policy = spec.monitoring.policy
    bounds = Bounds.of(spec.monitoring.every, spec.evaluation)
    decision = decide(past, policy, situation, bounds)
    evidence: dict[str, Any] = {
        "window": content,
        "history": past.to_dict(),
        "situation": situation.to_dict(),
        "bounds": bounds.to_dict(),
        "policy": policy.model_dump(mode="json"),
    }
    if decision.action == "rollback" and champion is not None:
        evidence["predecessor"] = _predecessor_of(job, champion)
    recorded, turn = _record(job, decision, f"{job.name}/decision/{key}", evidence | {"answer": decision.evidence})
    if not recorded and not held:  # what is held stays held, however often somebody looks
        return Watched(Decision("keep", "unchanged", "another run decided about this window just now"), None, None)
    return Watched(decision, content, turn)


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
    concerned = (decision.evidence["window"]["champion"], decision.evidence.get("predecessor"))
    if desired.champion.bundle not in concerned:  # of a run that was killed between the release and its entry
        return None
    since = job.database.entries(job.name, after=decision.entry)
    answers = ("promoted", "rolled back", NOT_TAKEN_BACK)
    return None if any(each.action in answers for each in since) else decision


def _predecessor_of(job: Job, champion: Bundle) -> str | None:
    """Return the bundle that a champion is held against, as its trials say."""
    found = [
        each.evidence.get("predecessor")
        for each in job.database.entries(job.name, last=HISTORY, kind=TRIAL)
        if each.evidence["bundle"] == champion.digest
    ]
    return next((each for each in reversed(found) if each), None)


def _situation(job: Job, champion: Bundle | None, held: tuple[str, ...]) -> Situation:
    turns = job.database.turns(job.name)
    ended = (turn for turn in turns if turn.state in ("done", "refused") and turn.cause != "bootstrap")
    return Situation(
        as_of=job.as_of,
        # one from later is no turn before this instant: a clock was ahead, or somebody looks back
        last_turn=max((turn.as_of for turn in turns if turn.as_of <= job.as_of), default=None),
        new_labelled=len(_labelled_clocks(job, champion)),
        open_turn=job.database.open_turn(job.name) is not None,
        held=held,
        ended=tuple(Ended(turn.as_of, turn.state == "done") for turn in ended if turn.as_of <= job.as_of),
    )


def _history(
    job: Job,
    champion: Bundle | None,
    windows: Sequence[dict[str, Any]],
    measured: Sequence[dict[str, Any]],
    new: int,
) -> History:
    """Put together what a decision is made by.

    Parameters
    ----------
    windows, measured : sequences of dict
        Measurements of the champion that count, and all there are.
    new : int
        Ripe labelled rows the champion has not learnt from.
    """
    if champion is None:
        return History()
    known = [each for each in measured if each["status"] != "unknown"]
    numbers = {(each["start"], each["end"]): number for number, each in enumerate(known)}
    tried = {
        (each.evidence["bundle"], each.evidence["window"]["start"], each.evidence["window"]["end"]): each.evidence
        for each in job.database.entries(job.name, last=2 * HISTORY, kind=TRIAL)
    }
    trials = {
        key: Trial(found["gap"], found["variance"], found["grown"], numbers.get(key[1:], len(known)))
        for key, found in tried.items()
        if found.get("gap") is not None
    }
    spec = job.usecase.spec
    clocks, learnt = _labelled_clocks(job, champion), max(champion.manifest.rows, 1)
    older, newest = windows[:-HISTORY], windows[-HISTORY:]
    seen = []
    for each in newest:
        span = (champion.digest, each["start"], each["end"])
        ripe = spec.label.available_after.after(datetime.fromisoformat(each["start"]), -1)
        begun = int(clocks.search_sorted(ripe, "right"))
        seen.append(
            _seen(
                each,
                numbers.get(span[1:], len(known)),
                math.log1p(begun / learnt),
                trials.get(span),
                _back(tried, span),
            )
        )
    past = [trial for key, trial in trials.items() if key[0] != champion.digest]
    return History(
        tuple(seen),
        math.log1p(new / learnt),
        tuple(past[-HISTORY:]),
        spec.monitoring.every,
        spec.costs.release_in_windows,
        sum(each["status"] != "unknown" for each in older),
    )


def _back(tried: Mapping[tuple[str, str, str], dict[str, Any]], span: tuple[str, str, str]) -> Back | None:
    found = tried.get(span, {})
    return Back(found["back"], found["back_variance"]) if found.get("back") is not None else None


def _decided(job: Job, key: str) -> bool:
    with job.database.transaction() as connection:
        return job.database.stands(connection, f"{job.name}/decision/{key}")


def _record(job: Job, decision: Decision, key: str, evidence: dict[str, Any]) -> tuple[bool, str | None]:
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
        if turn is not None:
            database.post(
                connection,
                job.name,
                RETRAIN_REQUESTED,
                {"driftwheel.turn": turn, "driftwheel.cause": decision.cause},
                {"turn_id": turn, "as_of": job.as_of.isoformat(), "decision": key},
                deliver=job.announce,
            )
        if decision.alert:
            severity = _SEVERITIES[decision.action]
            database.alert(
                connection,
                Alert(key, job.name, f"{job.name}: {decision.action} ({decision.cause})", decision.summary, severity),
            )
    return True, turn


def due_for_report(job: Job, watched: Watched) -> Watched | None:
    """Return what a report is to be drawn of: what was decided now, or what a run decided that was killed before it."""
    if watched.measurement is not None:
        return watched if watched.decision.action != "keep" else None
    decisions = job.database.entries(job.name, last=1, kind="decision")
    content = decisions[-1].evidence.get("window") if decisions else None
    if content is None or decisions[-1].action == "keep":
        return None
    last, key = decisions[-1], _report_key(content)
    with job.database.reading() as connection:
        if any(job.database.stands(connection, f"{job.name}/{each}{key}") for each in ("", "monitor/")):
            return None  # drawn, or said why it could not be
    return Watched(Decision(last.action, last.cause, last.summary), content, last.turn)  # type: ignore[arg-type] # one of its words


def _report_key(content: dict[str, Any]) -> str:
    return f"report/{content['end']}/{content['status']}"


def report_decision(job: Job, watched: Watched) -> str | None:
    """Draw the report behind a decision and note it in the ledger; returns its address."""
    if watched.measurement is None or watched.decision.action == "keep":
        return None
    span = watched.measurement
    window = Window(datetime.fromisoformat(span["start"]), datetime.fromisoformat(span["end"]))
    try:
        drawn = draw_window(job, window, span["champion"])
    except (BundleError, ReportError) as error:  # a picture for people: what was measured and decided stands without it
        note(
            job,
            _report_key(span),
            "undrawn",
            f"no report of {window}: {error}",
            kind="monitor",
            severity="warning",
        )
        return None
    if drawn is None:
        return None
    link = drawn.link(job.places.reports_ui)
    with job.database.transaction() as connection:
        job.database.write(
            connection,
            Entry(
                f"{job.name}/{_report_key(span)}",
                job.name,
                job.as_of,
                "report",
                "drawn",
                watched.decision.cause,
                f"drift over {window}",
                {"report": link, "start": span["start"], "end": span["end"]},
            ),
        )
    return link


def announce_stalled(job: Job) -> str | None:
    """Ask again for the next stage of an open turn nobody has touched for a while; returns the turn.

    A stage killed on a server leaves its turn open, and the event that started it is spent. Asking twice is harmless:
    a stage claims its turn before it works. A turn that does not move however often it is asked for is given up, so
    that it does not hold back the next one for ever.
    """
    turn = job.database.stalled_turn(job.name, SILENCE)
    if turn is None or not job.announce:
        return None
    event = {"requested": RETRAIN_REQUESTED, "collecting": RETRAIN_REQUESTED, "training": DATASET_READY}.get(
        turn.state, MODEL_PROMOTED
    )
    with job.database.transaction() as connection:
        if job.database.announced(connection, turn.id, event) >= MAX_ANNOUNCEMENTS:
            _give_up(job, connection, turn)
            return None
        job.database.post(
            connection,
            job.name,
            event,
            {"driftwheel.turn": turn.id, "driftwheel.cause": turn.cause},
            {"turn_id": turn.id, "as_of": turn.as_of.isoformat(), "decision": turn.decision},
        )
    return turn.id


def _give_up(job: Job, connection: Connection, turn: Turn) -> None:
    if not job.database.give_up(connection, turn.id, SILENCE):  # somebody took it up after all
        return
    summary = (
        f"the turn of {turn.as_of:%Y-%m-%d} stood at {turn.state} and did not move in {MAX_ANNOUNCEMENTS} attempts; "
        "see the logs of its flow runs, then `driftwheel run loop`"
    )
    key = f"{job.name}/{turn.id}/given-up"
    entry = Entry(key, job.name, job.as_of, "monitor", "failed", turn.cause, summary, {"state": turn.state}, turn.id)
    if job.database.write(connection, entry):
        job.database.alert(connection, Alert(key, job.name, f"{job.name}: turn given up", summary, "failure"))


def _seen(content: dict[str, Any], number: int, grown: float, trial: Trial | None, back: Back | None) -> Seen:
    parts = [
        f"{each['metric']} {each['value']:.4f} against {each['reference']:.4f}"
        if each["value"] is not None
        else f"{each['metric']} or its reference is no finite number ({content['labelled']} labels)"
        if each.get("undefined")
        else f"{each['metric']} unknown (labels of {content['coverage']:.0%} of {content['champion_rows']} predictions)"
        for each in content["realised"]
    ]
    drifted = tuple(_named(each) for each in content["drift"] if each["drifted"])
    return Seen(content["status"], content["rows"], drifted, ", ".join(parts), number, grown, trial, back)


def _named(drift: dict[str, Any]) -> str:
    name = "the predictions" if drift["column"] == PREDICTION else str(drift["column"])
    return f"{name} (100 % missing)" if drift["missing_share"] == 1 else name


def _labelled_clocks(job: Job, champion: Bundle | None) -> pl.Series:
    """Event times of the ripe labelled rows that the champion has not learnt from, in order."""
    clock = job.usecase.spec.clock.column
    if job.lake.version("clean") is None:
        return pl.Series(clock, [], pl.Datetime("us", "UTC"))
    rows = job.known.labelled(columns=[clock, job.usecase.spec.label.column])
    if champion is not None:
        rows = rows.filter(pl.col(clock) > champion.manifest.cutoff)
    return rows[clock].sort()
