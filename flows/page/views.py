"""What the page of a use case shows of what is kept here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from expectations.deciding import TURNED
from expectations.windows import Window
from flows.page.answered import Answered, read_versions
from flows.page.brought import Data, read_data
from flows.page.cards import WINDOWS, Card, newest_windows, read_card, read_going
from flows.page.known import Known, UseCases
from flows.page.ring import MARK_TONES, Stage, stages_of
from flows.page.states import Tone
from tasks.evaluation.causes.model import Causes
from tasks.stores.database import RELEASE_LOOK, Database
from tasks.stores.drawn_measurements import DrawnWindow, FoundColumn, read_drawn
from tasks.stores.glances import Glances, LedgerLine, Working
from tasks.stores.ledger import TRIAL
from tasks.stores.measurements import Measurement, read_measurement

MAX_WINDOWS = 1200
MARKS = (*TURNED, "rollback", "hold", "warn", "promoted", "rolled back", "withdrawn")
"""What was decided or done that is marked over time; that nothing was to do is not."""
_MAX_MARKS = 400
_TRIALS = 12
"""Trials that are shown."""


@dataclass(frozen=True)
class Mark:
    """A decision, or what came of one, at a place in time."""

    number: int
    at: datetime
    action: str
    said: str
    tone: Tone


@dataclass(frozen=True)
class ShownTrial:
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


class Guardrail(msgspec.Struct, frozen=True):
    """How a guardrail stood."""

    guardrail: str
    limit: float | None
    status: str
    value: float | None = None


class Looked(msgspec.Struct, frozen=True):
    """A look at a step of a release, as whoever watches it notes it."""

    bundle: str
    where: str
    at: datetime
    until: datetime
    status: str
    rows: int
    findings: list[Guardrail] = []


@dataclass(frozen=True)
class Releasing:
    """A candidate beside the champion, while it is judged."""

    version: str
    mode: str
    share: float
    watched: bool
    looked: Looked | None = None
    """What was found when it was looked at last; None before the first look."""


@dataclass(frozen=True)
class Live:
    """What changes on the page of a use case while something runs."""

    card: Card
    stages: tuple[Stage, ...]
    releasing: Releasing | None = None


@dataclass(frozen=True)
class View:
    """All that the page of a use case shows of what is kept here."""

    known: Known
    live: Live
    turn: Working | None
    windows: tuple[DrawnWindow, ...]
    marks: tuple[Mark, ...]
    causes: tuple[DrawnWindow, Causes] | None
    trials: tuple[ShownTrial, ...]
    versions: tuple[Answered, ...]
    data: Data
    gates: tuple[dict[str, Any], ...] = ()
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow runs by version, of those that were promoted."""
    more: bool = False
    report: tuple[str, str] | None = None
    """Window of the newest report that was drawn, and where it was shown then."""

    @property
    def covered(self) -> DrawnWindow | None:
        """The newest window in which it is known how often intervals held the truth."""
        return next((each for each in reversed(self.windows) if each.covered), None)

    @property
    def parted(self) -> DrawnWindow | None:
        """The newest window with groups; where none has any, the newest with slices."""
        newest = [*reversed(self.windows)]
        groups = next((each for each in newest if each.fairness), None)
        return groups or next((each for each in newest if each.slices), None)


def read_live(use_cases: UseCases, database: Database, name: str, now: datetime) -> Live | None:
    """Return what changes on the page of a use case while something runs; None where there is none of that name."""
    registered = database.use_cases()
    if name not in use_cases.names(registered):
        return None
    known, glances, standing = use_cases.known(name, registered), Glances(database.url), database.open_findings(name)
    with glances.reading() as connection:
        windows, going = newest_windows(glances, connection, name), read_going(glances, connection, name, standing, now)
        card = read_card(use_cases, glances, connection, known, windows, going, now)
        stages = stages_of(glances, connection, name, windows)
        return Live(card, stages, _releasing(use_cases, glances, connection, known))


def read_view(use_cases: UseCases, database: Database, name: str, now: datetime, most: int = WINDOWS) -> View | None:
    """Return what the page of a use case shows; None where there is none of that name."""
    registered = database.use_cases()
    if name not in use_cases.names(registered):
        return None
    known, glances, standing = use_cases.known(name, registered), Glances(database.url), database.open_findings(name)
    with glances.reading() as connection:
        kept = glances.newest(connection, name, most + 1, str)
        more, windows = len(kept) > most, read_drawn(kept[-most:])
        going = read_going(glances, connection, name, standing, now)
        marked = glances.lines(connection, name, _MAX_MARKS, kinds=("decision", "deploy"), actions=MARKS)
        card = read_card(use_cases, glances, connection, known, windows, going, now)
        stages = stages_of(glances, connection, name, windows)
        tried = glances.evidence_of(connection, name, TRIAL, _TRIALS)
        metric = card.metric.name if card.metric else None
        versions = read_versions(glances, connection, name, windows, metric)
        data = read_data(database, connection, name, going.held, known.loaded.spec if known.loaded else None)
        gates = _gates(glances, connection, name)
        runs, report = _runs(glances, connection, name), _report(glances, connection, name)
        releasing = _releasing(use_cases, glances, connection, known)
    since = windows[0].start if windows else None
    return View(
        known=known,
        live=Live(card, stages, releasing),
        turn=going.turn,
        windows=tuple(windows),
        marks=tuple(_mark(line) for line in reversed(marked) if since is None or line.as_of >= since),
        causes=next(
            ((each, each.causes) for each in reversed(windows) if each.causes and each.causes.status == "named"), None
        ),
        trials=_trials(tried),
        versions=versions,
        data=data,
        gates=gates,
        runs=runs,
        more=more,
        report=report,
    )


def read_windows(use_cases: UseCases, database: Database, name: str) -> list[Measurement]:
    """Return the windows that the page of a use case shows, oldest first, and read nothing else of it."""
    if name not in use_cases.names(database.use_cases()):
        return []
    glances = Glances(database.url)
    with glances.reading() as connection:
        return glances.newest(connection, name, WINDOWS, read_measurement)


def _mark(line: LedgerLine) -> Mark:
    return Mark(line.number, line.as_of, line.action, line.summary, MARK_TONES.get(line.action, "none"))


def _trials(tried: Sequence[tuple[LedgerLine, Mapping[str, Any]]]) -> tuple[ShownTrial, ...]:
    found = []
    for line, evidence in tried:
        variance, gap, back = (evidence.get(name) for name in ("variance", "gap", "back"))
        found.append(
            ShownTrial(
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


def _gates(glances: Glances, connection: Connection, name: str) -> tuple[dict[str, Any], ...]:
    found = glances.evidence_of(connection, name, "train", 1, ("done", "refused"))
    return tuple(found[0][1].get("gates", ())) if found else ()


def _runs(glances: Glances, connection: Connection, name: str) -> dict[str, str]:
    runs: dict[str, str] = {}
    for _, evidence in glances.evidence_of(connection, name, "deploy", _TRIALS):
        if evidence.get("version") and evidence.get("run"):
            runs.setdefault(str(evidence["version"]), str(evidence["run"]))
    return runs


def _report(glances: Glances, connection: Connection, name: str) -> tuple[str, str] | None:
    found = glances.evidence_of(connection, name, "report", 1)
    return (Window.of(found[0][1]).name, str(found[0][1].get("report") or "")) if found else None


def _releasing(use_cases: UseCases, glances: Glances, connection: Connection, known: Known) -> Releasing | None:
    candidate = known.desired.candidate if known.desired else None
    if candidate is None:
        return None
    look = glances.marks(connection, RELEASE_LOOK).get(known.name)
    looked = None if look is None else msgspec.json.decode(look, type=Looked)
    return Releasing(
        candidate.version,
        candidate.mode,
        candidate.share,
        use_cases.releases.watched(known.name),
        looked if looked is not None and looked.bundle == candidate.bundle else None,
    )


def by_column(windows: Sequence[DrawnWindow]) -> list[tuple[str, list[FoundColumn | None]]]:
    """Return what was found of each column of the newest window over time, those that drifted last first."""
    newest = {each.column: each for each in windows[-1].drift} if windows else {}
    order = sorted(newest, key=lambda column: (not newest[column].drifted, -(newest[column].score or 0.0)))
    found: dict[str, list[FoundColumn | None]] = {column: [None] * len(windows) for column in order}
    for place, window in enumerate(windows):
        for each in window.drift:
            if (course := found.get(each.column)) is not None:
                course[place] = each
    return list(found.items())
