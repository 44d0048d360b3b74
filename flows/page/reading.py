"""What the page says, read from the platform database and the folder of releases; nothing here knows HTML."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from flows.page.known import Known, UseCases, greater_is_better
from flows.page.measured import Causes, Glimpse, Measured, decode, glimpse
from tasks.stores.database import HELD, Database
from tasks.stores.findings import Finding
from tasks.stores.glances import Glances, Line, Working
from tasks.stores.ledger import TRIAL
from tasks.stores.presences import PRESENCE

Tone = Literal["good", "worse", "bad", "busy", "unknown", "none"]
SEVERITY_TONES: Mapping[str, Tone] = {"info": "unknown", "warning": "worse", "failure": "bad"}
CARD_WINDOWS = 12
"""Windows whose metric a card shows."""
WINDOWS = 120
"""Windows that a use case's page shows, where no more are asked for."""
MAX_WINDOWS = 1200
LINES = 40
"""Entries of the ledger on a page."""
MARKS = ("retrain", "rollback", "hold", "warn", "promoted", "rolled back", "withdrawn")
"""What was decided or done that is marked over time; that nothing was to do is not."""
KINDS = ("decision", "trial", "collect", "train", "deploy", "monitor", "service", "report", "usecase", "person")
_MAX_MARKS = 400
_TRIALS = 12
_COLLECTS = 60


@dataclass(frozen=True)
class State:
    """How a use case does: a word, a tone that a sign stands for, and a sentence."""

    word: str
    tone: Tone
    why: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Metric:
    """The newest value of the metric that a use case is judged by.

    Attributes
    ----------
    estimated : bool
        Whether it is an estimate, as labels are not known yet.
    bar : float or None
        What it may not be worse than.
    baseline : (str, float) or None
        The best of what needs no model, on the same rows.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    window: str
    estimated: bool
    bar: float | None
    baseline: tuple[str, float] | None
    greater: bool | None


@dataclass(frozen=True)
class Champion:
    """Who answers, and since when."""

    version: str
    bundle: str
    since: datetime | None
    age: timedelta | None
    cutoff: datetime | None
    rows: int | None
    family: str = ""


@dataclass(frozen=True)
class Card:
    """A use case on the overview."""

    name: str
    title: str
    replay: bool
    registered: bool
    state: State
    metric: Metric | None
    champion: Champion | None
    spark: tuple[float | None, ...]
    busy: bool
    findings: int
    """How many stand."""
    last_entry: datetime | None


BASELINES = {
    "constant": "the mean label",
    "last": "the last known label",
    "season": "the same hour of the week",
}


@dataclass(frozen=True)
class Stage:
    """One of the eight stages of the ring, and how it went last."""

    name: str
    flow: str
    task: str
    tone: Tone
    word: str
    when: datetime | None
    said: str


@dataclass(frozen=True)
class Mark:
    """A decision, or what came of one, at a place in time."""

    number: int
    at: datetime
    action: str
    said: str
    tone: Tone


@dataclass(frozen=True)
class Trial:
    """A fresh model held against the champion on the same rows."""

    number: int
    at: datetime
    action: str
    metric: str
    champion: float | None
    challenger: float | None
    rows: int
    since: str
    saved: float | None
    """Share of the champion's loss that the fresh model saves."""
    deviation: float | None
    back: float | None = None
    """How much more of its loss the champion before would have: whether the last release was worth it."""


@dataclass(frozen=True)
class Arrival:
    """What one collection brought."""

    number: int
    at: datetime
    new: int
    corrected: int
    quarantined: int


@dataclass(frozen=True)
class Data:
    """What came in, and what did not go on."""

    arrivals: tuple[Arrival, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Releasing:
    """A candidate beside the champion, while it is judged."""

    version: str
    mode: str
    share: float
    watched: bool


@dataclass(frozen=True)
class Live:
    """What changes on the page of a use case while something runs."""

    card: Card
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class View:
    """All that the page of a use case shows of what is kept here."""

    known: Known
    live: Live
    turn: Working | None
    windows: tuple[Measured, ...]
    marks: tuple[Mark, ...]
    causes: tuple[Measured, Causes] | None
    trials: tuple[Trial, ...]
    data: Data
    releasing: Releasing | None
    gates: tuple[dict[str, Any], ...] = ()
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow runs by version, of those that were promoted."""
    more: bool = False


# --- the overview -----------------------------------------------------------------------------------------------------


def overview(use_cases: UseCases, database: Database, now: datetime) -> list[Card]:
    """Return a card of each use case, those that need somebody first."""
    glances, registered = Glances(database.url), database.use_cases()
    standing: dict[str, list[Finding]] = defaultdict(list)
    for finding in database.open_findings():
        standing[finding.usecase].append(finding)
    known = [use_cases.known(name, registered) for name in use_cases.names(registered)]
    with glances.reading() as connection:
        busy, held = glances.at_work(connection, now, PRESENCE), glances.marks(connection, HELD)
        turns = glances.turns_of(connection)
        cards = []
        for each in known:
            going = Going(
                turns.get(each.name), busy.get(each.name, 0) > 0, _held(held, each.name), tuple(standing[each.name])
            )
            windows = newest_windows(glances, connection, each.name)
            cards.append(_card(use_cases, glances, connection, each, windows, going, now))
    order: Mapping[Tone, int] = {"bad": 0, "worse": 1, "busy": 2, "unknown": 3, "good": 4, "none": 5}
    return sorted(cards, key=lambda card: (card.replay, order[card.state.tone], card.name))


@dataclass(frozen=True)
class Going:
    """What goes on with a use case now, and what is wrong with it.

    Attributes
    ----------
    busy : bool
        Whether a flow of it runs.
    held : tuple of str
        What the newest rows broke, where they are held.
    standing : tuple of Finding
        Findings that stand, the worst first.
    """

    turn: Working | None = None
    busy: bool = False
    held: tuple[str, ...] = ()
    standing: tuple[Finding, ...] = ()


def _going(glances: Glances, connection: Connection, name: str, standing: Sequence[Finding], now: datetime) -> Going:
    busy = glances.at_work(connection, now, PRESENCE).get(name, 0) > 0
    held = _held(glances.marks(connection, HELD), name)
    return Going(glances.turns_of(connection, name).get(name), busy, held, tuple(standing))


def _held(marks: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(json.loads(marks.get(name, "[]")))


def newest_windows(glances: Glances, connection: Connection, name: str) -> list[Glimpse]:
    """Return the newest windows that a state is told by: more of them where labels of the newest are not known yet."""
    found = glimpse(glances.newest_contents(connection, name, CARD_WINDOWS))
    if len(found) == CARD_WINDOWS and all(each.status == "unknown" for each in found):
        found = glimpse(glances.newest_contents(connection, name, WINDOWS))
    return found


def _card(
    use_cases: UseCases,
    glances: Glances,
    connection: Connection,
    known: Known,
    windows: Sequence[Glimpse],
    going: Going,
    now: datetime,
) -> Card:
    newest = glances.lines(connection, known.name, 1)
    return card_of(known, windows, going, newest, _promoted(use_cases, glances, connection, known), now)


def _promoted(use_cases: UseCases, glances: Glances, connection: Connection, known: Known) -> Line | None:
    """Return the entry that made the champion one; looked for once, as long as it is the champion."""
    champion = known.desired.champion if known.desired else None
    if champion is None:
        return None
    kept = use_cases.promotions.get(known.name)
    if kept is not None and kept[0] == champion:
        return kept[1]
    found = glances.lines(connection, known.name, 1, kinds=("deploy",), actions=("promoted", "rolled back"))
    if found and champion.bundle[:12] in found[0].summary:  # the entry comes a moment after what is served
        use_cases.promotions[known.name] = champion, found[0]
    return found[0] if found else None


def card_of(
    known: Known,
    windows: Sequence[Glimpse],
    going: Going,
    newest: Sequence[Line],
    promoted: Line | None,
    now: datetime,
) -> Card:
    """Put a card together from what was read."""
    metric = _judged_by(known, windows)
    spark = tuple(_value(each, metric) for each in windows[-CARD_WINDOWS:]) if metric else ()
    return Card(
        name=known.name,
        title=known.title,
        replay=known.replay,
        registered=known.registered,
        state=state_of(known, windows, going),
        metric=metric_now(windows, metric) if metric else None,
        champion=_champion(known, windows, promoted, now),
        spark=spark if any(each is not None for each in spark) else (),
        busy=going.busy or bool(going.turn and going.turn.open),
        findings=len(going.standing),
        last_entry=newest[0].recorded_at if newest else None,
    )


def _judged_by(known: Known, windows: Sequence[Glimpse]) -> str | None:
    """Return the metric to show: that of the YAML, or what was measured where that is another since."""
    measured = {each.metric for window in windows for each in window.realised}
    if known.metric is not None and (known.metric in measured or not measured):
        return known.metric
    return next((each.metric for window in reversed(windows) for each in window.realised), None)


def _value(measured: Glimpse, metric: str) -> float | None:
    found = measured.known(metric)
    return found.value if found else None


def metric_now(windows: Sequence[Glimpse], metric: str) -> Metric | None:
    """Return the newest known value of a metric; where none is known yet, the newest estimate."""
    greater = greater_is_better(metric)
    for each in reversed(windows):
        known = each.known(metric)
        if known is not None and known.value is not None:
            best = known.best(greater)
            return Metric(
                metric,
                known.value,
                known.low,
                known.high,
                each.name,
                False,
                known.bar(greater),
                (BASELINES.get(best[0], best[0]), best[1]) if best else None,
                greater,
            )
    for each in reversed(windows):
        made = each.expected(metric)
        if made is not None and made.value is not None:
            return Metric(metric, made.value, made.low, made.high, each.name, True, None, None, greater)
    return None


def _champion(known: Known, windows: Sequence[Glimpse], promoted: Line | None, now: datetime) -> Champion | None:
    served = known.desired.champion if known.desired else None
    if served is None:
        return None
    since = promoted.as_of if promoted else None
    last = windows[-1].end if windows else None
    until = (datetime.fromisoformat(last) if last else since) if known.replay else now  # a replay has no now
    packed = known.packed
    return Champion(
        served.version,
        served.bundle,
        since,
        until - since if since and until and until > since else None,
        packed.cutoff if packed else None,
        packed.rows if packed else None,
        packed.family if packed else "",
    )


_WORKS = {"requested": "collecting", "collecting": "collecting", "training": "training", "deploying": "releasing"}


def state_of(known: Known, windows: Sequence[Glimpse], going: Going) -> State:
    """Say in a word how a use case does: nothing that stands is worse than what it says."""
    name, turn = known.name, going.turn
    if known.trouble:
        return State("left out", "bad", known.trouble, f"Correct it, then `driftwheel add {name}`")
    if going.held:
        words = "; ".join(going.held)
        return State("held", "bad", f"the newest rows are held: {words}", "Correct the source; it is judged again then")
    if turn is not None and turn.state == "failed":
        return State("failed", "bad", "the last turn ended with an error", "Read the ledger below, then run it again")
    wrong = _standing_state(going.standing)
    if wrong is not None and wrong.tone == "bad":
        return wrong
    if turn is not None and turn.open:
        return State(_WORKS.get(turn.state, turn.state), "busy", f"a turn of {turn.cause} is under way")
    if going.busy:
        return State("at work", "busy", "a flow of it runs")
    if known.desired is not None and known.desired.candidate is not None and known.desired.candidate.mode != "prove":
        return State("releasing", "busy", f"version {known.desired.candidate.version} is tried beside the champion")
    measured = _measured_state(known, windows)
    return measured if wrong is None or measured.tone == wrong.tone else wrong


def _standing_state(standing: Sequence[Finding]) -> State | None:
    """Say how a use case does by its findings, the worst first; None where none is more than information."""
    if not standing or standing[0].severity == "info":
        return None
    worst = standing[0]
    more = sum(each.severity == worst.severity for each in standing) - 1
    why = f"{worst.title}{f', and {more} more' if more else ''}"
    return State(worst.severity, SEVERITY_TONES[worst.severity], why, "Read its findings: they say what to do")


def _measured_state(known: Known, windows: Sequence[Glimpse]) -> State:
    """Say how a use case does by what was measured."""
    if known.desired is None or known.desired.champion is None:
        return State(
            "no model yet", "none", "nothing was trained", f"Run the loop, or `driftwheel run loop {known.name}`"
        )
    if not windows:
        return State("not measured", "unknown", "the champion answers; no window is over yet", "Wait, or run monitor")
    last = next((each for each in reversed(windows) if each.status != "unknown"), None)
    if last is None:
        return State("unknown", "unknown", "labels are not known yet", "Nothing: they ripen by themselves")
    if last.status == "violated":
        return State("worse", "worse", f"its metric fell below the bar in {last.name}")
    return State("good", "good", f"within its bar in {last.name}")


# --- a use case -------------------------------------------------------------------------------------------------------


def live(use_cases: UseCases, database: Database, name: str, now: datetime) -> Live | None:
    """Return what changes on the page of a use case while something runs; None where there is none of that name."""
    registered = database.use_cases()
    if name not in use_cases.names(registered):
        return None
    known, glances, standing = use_cases.known(name, registered), Glances(database.url), database.open_findings(name)
    with glances.reading() as connection:
        windows, going = newest_windows(glances, connection, name), _going(glances, connection, name, standing, now)
        card = _card(use_cases, glances, connection, known, windows, going, now)
        return Live(card, _stages(glances, connection, name, windows))


def view(use_cases: UseCases, database: Database, name: str, now: datetime, most: int = WINDOWS) -> View | None:
    """Return what the page of a use case shows; None where there is none of that name."""
    registered = database.use_cases()
    if name not in use_cases.names(registered):
        return None
    known, glances, standing = use_cases.known(name, registered), Glances(database.url), database.open_findings(name)
    with glances.reading() as connection:
        windows = decode(glances.newest_contents(connection, name, most + 1))
        more, windows = len(windows) > most, windows[-most:]
        going = _going(glances, connection, name, standing, now)
        marked = glances.lines(connection, name, _MAX_MARKS, kinds=("decision", "deploy"), actions=MARKS)
        card = _card(use_cases, glances, connection, known, windows, going, now)
        stages = _stages(glances, connection, name, windows)
        trials = _trials(glances, connection, name)
        data = _data(glances, connection, name, going.held)
        gates = _gates(glances, connection, name)
        runs = _runs(glances, connection, name)
    since = datetime.fromisoformat(windows[0].start) if windows else None
    return View(
        known=known,
        live=Live(card, stages),
        turn=going.turn,
        windows=tuple(windows),
        marks=tuple(_mark(line) for line in reversed(marked) if since is None or line.as_of >= since),
        causes=next(
            ((each, each.causes) for each in reversed(windows) if each.causes and each.causes.status == "named"), None
        ),
        trials=trials,
        data=data,
        releasing=_releasing(use_cases, known),
        gates=gates,
        runs=runs,
        more=more,
    )


_MARK_TONES: Mapping[str, Tone] = {
    "retrain": "busy",
    "promoted": "good",
    "rollback": "bad",
    "rolled back": "bad",
    "withdrawn": "worse",
    "hold": "bad",
    "warn": "worse",
}


def _mark(line: Line) -> Mark:
    return Mark(line.number, line.as_of, line.action, line.summary, _MARK_TONES.get(line.action, "none"))


_ENDED: Mapping[str, tuple[Tone, str]] = {
    "done": ("good", "done"),
    "promoted": ("good", "promoted"),
    "rolled back": ("bad", "rolled back"),
    "held": ("bad", "held"),
    "failed": ("bad", "failed"),
    "refused": ("worse", "refused"),
    "withdrawn": ("worse", "withdrawn"),
    "unknown": ("unknown", "unknown"),
    "late": ("worse", "late rows"),
    "lost": ("bad", "rows lost"),
}


@dataclass(frozen=True)
class _Part:
    """A stage of the ring.

    Attributes
    ----------
    task : str
        The task in Prefect whose time is its own; all of the flow where none is.
    kind : str
        Kind of the ledger's entries that say how it went; none of monitor, which the newest window tells.
    begins : bool
        Whether it is well where what comes after it in its flow was refused.
    """

    name: str
    flow: str
    task: str
    kind: str
    begins: bool = False


_RING = (
    _Part("collect", "collect", "collect sources", "collect"),
    _Part("clean", "collect", "validate and repair", "collect"),
    _Part("prepare", "train", "select rows", "train", begins=True),
    _Part("train", "train", "train and judge", "train", begins=True),
    _Part("evaluate", "train", "publish gates", "train"),
    _Part("deploy", "deploy", "", "deploy"),
    _Part("monitor", "monitor", "measure windows", ""),
    _Part("decide", "monitor", "decide", "decision"),
)
_MEASURED: Mapping[str, Tone] = {"good": "good", "violated": "worse"}


def _stages(glances: Glances, connection: Connection, name: str, windows: Sequence[Glimpse]) -> tuple[Stage, ...]:
    kinds = ("collect", "train", "deploy", "decision")
    last = {line.kind: line for kind in kinds for line in glances.lines(connection, name, 1, kinds=(kind,))}
    return tuple(_stage(part, last.get(part.kind), windows) for part in _RING)


def _stage(part: _Part, line: Line | None, windows: Sequence[Glimpse]) -> Stage:
    tone: Tone = "none"
    word, when, said = "not yet", None, ""
    if part.name == "monitor" and windows:
        newest = windows[-1]
        tone = _MEASURED.get(newest.status, "unknown")
        word, said = f"{newest.rows:,} rows", f"window {newest.name}: {newest.status}"
    elif line is not None:
        tone, word = _ENDED.get(line.action, ("good", line.action))
        when, said = line.recorded_at, line.summary
        if part.name == "decide":
            tone, word = _MARK_TONES.get(line.action, "good"), line.action
        elif part.begins and line.action != "failed":
            tone, word = "good", "done"
    return Stage(part.name, part.flow, part.task, tone, word, when, said)


def _trials(glances: Glances, connection: Connection, name: str) -> tuple[Trial, ...]:
    found = []
    for line, evidence in glances.evidence_of(connection, name, TRIAL, _TRIALS):
        variance, gap, back = (evidence.get(name) for name in ("variance", "gap", "back"))
        found.append(
            Trial(
                line.number,
                line.as_of,
                line.action,
                str(evidence.get("metric", "")),
                evidence.get("champion"),
                evidence.get("challenger"),
                int(evidence.get("rows") or 0),
                str(evidence.get("start", "")),
                None if gap is None else -math.expm1(-gap),
                math.sqrt(variance) if isinstance(variance, float) and variance >= 0 else None,
                None if back is None else math.expm1(-back),
            )
        )
    return tuple(found)


def _data(glances: Glances, connection: Connection, name: str, held: tuple[str, ...]) -> Data:
    arrivals, reasons = [], dict[str, int]()
    for line, evidence in glances.evidence_of(connection, name, "collect", _COLLECTS, ("done", "held")):
        cleaned, collected = evidence.get("cleaned") or {}, evidence.get("collected") or {}
        came = evidence.get("arrived") or collected
        apart: Mapping[str, int] = cleaned.get("quarantined") or {}
        for reason, rows in apart.items():
            reasons[reason] = reasons.get(reason, 0) + rows
        arrivals.append(
            Arrival(
                line.number,
                line.as_of,
                int(came.get("new") or 0),
                int(came.get("corrected") or 0),
                int(came.get("quarantined") or sum(apart.values())),
            )
        )
    return Data(tuple(reversed(arrivals)), tuple(sorted(reasons.items(), key=lambda each: -each[1])), held)


def _gates(glances: Glances, connection: Connection, name: str) -> tuple[dict[str, Any], ...]:
    found = glances.evidence_of(connection, name, "train", 1, ("done", "refused"))
    return tuple(found[0][1].get("gates", ())) if found else ()


def _runs(glances: Glances, connection: Connection, name: str) -> dict[str, str]:
    runs: dict[str, str] = {}
    for _, evidence in glances.evidence_of(connection, name, "deploy", _TRIALS):
        if evidence.get("version") and evidence.get("run"):
            runs.setdefault(str(evidence["version"]), str(evidence["run"]))
    return runs


def _releasing(use_cases: UseCases, known: Known) -> Releasing | None:
    candidate = known.desired.candidate if known.desired else None
    if candidate is None:
        return None
    return Releasing(candidate.version, candidate.mode, candidate.share, use_cases.releases.watched(known.name))


# --- findings ---------------------------------------------------------------------------------------------------------

_LABELS = ("Likely cause", "What was done", "What you can do")
_FINDINGS = 30


def findings(database: Database, name: str) -> list[Finding]:
    """Return what stands, the worst first, and then the newest of what was."""
    past = [each for each in database.findings(name, _FINDINGS) if not each.open]
    return [*database.open_findings(name), *past]


def finding(database: Database, name: str, key: str, number: int | None = None) -> Finding | None:
    """Return the finding of a key: the open one, else the newest that was; or the one of a number."""
    return database.finding(name, key, number)


def told(body: str) -> list[tuple[str, str]]:
    r"""Return the lines of a finding, each with what it is about.

    Examples
    --------
    >>> told("Nobody asks.\nLikely cause: a key.")
    [('What', 'Nobody asks.'), ('Likely cause', 'a key.')]
    """
    lines: list[tuple[str, str]] = []
    for line in filter(None, body.split("\n")):
        label, colon, rest = line.partition(": ")
        lines.append((label, rest) if colon and label in _LABELS else ("What" if not lines else "Also", line))
    return lines


# --- the ledger -------------------------------------------------------------------------------------------------------


def ledger(database: Database, name: str, kind: str = "", before: int | None = None) -> tuple[list[Line], bool]:
    """Return a page of the ledger, newest first, and whether there is more."""
    glances = Glances(database.url)
    with glances.reading() as connection:
        found = glances.lines(connection, name, LINES + 1, kinds=(kind,) if kind else (), before=before)
    return found[:LINES], len(found) > LINES


def entry(database: Database, name: str, number: int) -> tuple[Line, dict[str, Any]] | None:
    """Return one entry of the ledger with its evidence."""
    glances = Glances(database.url)
    with glances.reading() as connection:
        return glances.evidence(connection, name, number)


def now() -> datetime:
    """Return the instant that ages count to."""
    return datetime.now(UTC)
