"""The cards of the overview, read from the platform database and the folder of releases."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from flows.page.known import Known, UseCases, greater_is_better
from flows.page.states import Going, State, Tone, state_of
from tasks.stores.database import HELD, Database
from tasks.stores.findings import Finding
from tasks.stores.glances import Glances, LedgerLine
from tasks.stores.measurements import Glimpse, read_glimpse
from tasks.stores.presences import PRESENCE

CARD_WINDOWS = 12
"""Windows whose metric a card shows."""
WINDOWS = 120
"""Windows that a use case's page shows, where no more are asked for."""
BASELINES = {
    "constant": "the mean label",
    "last": "the last known label",
    "season": "the same hour of the week",
}


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
    learnt_until: datetime | None
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


def read_cards(use_cases: UseCases, database: Database, now: datetime) -> list[Card]:
    """Return a card of each use case, those that need a person first."""
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
            cards.append(read_card(use_cases, glances, connection, each, windows, going, now))
    order: Mapping[Tone, int] = {"bad": 0, "worse": 1, "busy": 2, "unknown": 3, "good": 4, "none": 5}
    return sorted(cards, key=lambda card: (card.replay, order[card.state.tone], card.name))


def read_going(
    glances: Glances, connection: Connection, name: str, standing: Sequence[Finding], now: datetime
) -> Going:
    """Read what goes on with a use case now, and what is wrong with it."""
    busy = glances.at_work(connection, now, PRESENCE).get(name, 0) > 0
    held = _held(glances.marks(connection, HELD), name)
    return Going(glances.turns_of(connection, name).get(name), busy, held, tuple(standing))


def _held(marks: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(json.loads(marks.get(name, "[]")))


def newest_windows(glances: Glances, connection: Connection, name: str) -> list[Glimpse]:
    """Return the newest windows that a state is judged by: more where labels of the newest are not known yet."""
    found = glances.newest(connection, name, CARD_WINDOWS, read_glimpse)
    if len(found) == CARD_WINDOWS and all(each.status == "unknown" for each in found):
        found = glances.newest(connection, name, WINDOWS, read_glimpse)
    return found


def read_card(
    use_cases: UseCases,
    glances: Glances,
    connection: Connection,
    known: Known,
    windows: Sequence[Glimpse],
    going: Going,
    now: datetime,
) -> Card:
    """Read the card of a use case, of which windows and what goes on are known already."""
    newest = glances.lines(connection, known.name, 1)
    return card_of(known, windows, going, newest, _promoted(use_cases, glances, connection, known), now)


def _promoted(use_cases: UseCases, glances: Glances, connection: Connection, known: Known) -> LedgerLine | None:
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
    newest: Sequence[LedgerLine],
    promoted: LedgerLine | None,
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


def _champion(known: Known, windows: Sequence[Glimpse], promoted: LedgerLine | None, now: datetime) -> Champion | None:
    served = known.desired.champion if known.desired else None
    if served is None:
        return None
    since = promoted.as_of if promoted else None
    last = windows[-1].end if windows else None
    until = (last or since) if known.replay else now  # a replay has no now
    packed = known.packed
    return Champion(
        served.version,
        served.bundle,
        since,
        until - since if since and until and until > since else None,
        (packed.learnt_until or packed.cutoff) if packed else None,
        packed.rows if packed else None,
        packed.family if packed else "",
    )
