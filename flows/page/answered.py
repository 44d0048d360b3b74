"""The versions that answered: since when, why each came, what it reached, and whether it was worth it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from expectations.deciding import TURNED
from flows.page.states import Tone
from tasks.deciding.gaps import ROLLBACK_WINDOWS
from tasks.stores.database import Database
from tasks.stores.glances import Glances, LedgerLine, Stint
from tasks.stores.measurements import Glimpse

_VERSIONS, _DECISIONS = 12, 100
_CAME = ("promoted", "rolled back")
"""What is done to a version that answers from then on."""
_SURE = 2.0
"""Standard deviations that a difference must be away from none to be called one."""


@dataclass(frozen=True)
class Answered:
    """A version, and how it did while it answered.

    Attributes
    ----------
    came : str
        Why it came, in the words of the decision.
    decision, number : int or None, int
        Entries of the ledger: what was decided, and that it answers.
    bundle : str
        Its hash.
    windows, mean : int, float or None
        In how many of the windows that are shown its metric is known, and the mean of that.
    worth, tone : str, Tone
        Whether it was worth its release, in words.
    """

    version: str
    bundle: str
    since: datetime
    until: datetime | None
    came: str
    decision: int | None
    number: int
    windows: int
    mean: float | None
    worth: str
    tone: Tone


def read_versions(
    glances: Glances,
    connection: Connection,
    name: str,
    windows: Sequence[Glimpse],
    metric: str | None,
) -> tuple[Answered, ...]:
    """Return the versions that answered, newest first; one that was rolled back to answers twice."""
    deployed = glances.evidence_of(connection, name, "deploy", _VERSIONS + 1, _CAME)
    return _versions(glances, connection, name, deployed, windows, metric)


def _versions(
    glances: Glances,
    connection: Connection,
    name: str,
    deployed: Sequence[tuple[LedgerLine, Mapping[str, Any]]],
    windows: Sequence[Glimpse],
    metric: str | None,
) -> tuple[Answered, ...]:
    """Return the versions of releases that followed each other, newest first.

    The oldest given is taken for the first of all: where it is not, one more is given than is used.
    """
    turns = {line.turn for line, _ in deployed if line.turn}
    began: list[LedgerLine] = []
    if turns:
        began = glances.lines(connection, name, _DECISIONS, kinds=("decision",), actions=TURNED, turns=turns)
    decided = {line.turn: line for line in reversed(began)}
    ends = [None, *(line.as_of for line, _ in deployed)]
    stints = [
        Stint(str(evidence.get("bundle", "")), line.as_of, until)
        for (line, evidence), until in zip(deployed[:_VERSIONS], ends, strict=False)
    ]
    tried = glances.trials_of(connection, name, stints, ROLLBACK_WINDOWS)
    found = []
    for place, ((line, evidence), (bundle, _, until), trials) in enumerate(zip(deployed, stints, tried, strict=False)):
        first = place == len(deployed) - 1
        decision = decided.get(line.turn) if line.turn else None
        own = [each for each in windows if each.champion == bundle and _within(each, line.as_of, until)]
        known = [each.known(metric) for each in own] if metric else []
        values = [each.value for each in known if each is not None and each.value is not None]
        back = [each for _, each in trials if each.get("back") is not None]
        worth, tone = worth_of(back, first=first)
        found.append(
            Answered(
                str(evidence.get("version", "?")),
                bundle,
                line.as_of,
                until,
                decision.summary if decision else "the first one" if first else _came(line),
                decision.number if decision else None,
                line.number,
                len(values),
                sum(values) / len(values) if values else None,
                worth,
                tone,
            )
        )
    return tuple(found)


def version_that_came(database: Database, name: str, line: LedgerLine) -> Answered | None:
    """Return the version that came of a decision or a release in the ledger; None where none did.

    Other entries bring none, and nothing is asked for them.
    """
    released = line.kind == "deploy" and line.action in _CAME
    if not released and not (line.kind == "decision" and line.action in TURNED and line.turn):
        return None
    glances = Glances(database.url)
    with glances.reading() as connection:
        releases = [line]
        if not released:
            releases = glances.lines(connection, name, 1, kinds=("deploy",), actions=_CAME, turns=(line.turn or "",))
        if not releases:
            return None
        deployed = glances.around(connection, name, "deploy", releases[0].number, _CAME)
        found = _versions(glances, connection, name, deployed, (), None)
    return next((each for each in found if line.number in (each.decision, each.number)), None)


def _came(line: LedgerLine) -> str:
    if line.action == "rolled back":
        return line.summary
    return "it was asked for by hand" if line.cause == "manual" else "a turn that no decision of monitoring began"


def _within(window: Glimpse, since: datetime, until: datetime | None) -> bool:
    return window.end > since and (until is None or window.start < until)


def worth_of(back: Sequence[Mapping[str, Any]], *, first: bool = False) -> tuple[str, Tone]:
    """Say whether a release was worth it, by trials of the model before on rows that neither had seen.

    Parameters
    ----------
    back : sequence of mappings
        Trials, each with `back`, the logarithm of the loss of the version that answers over that of the one before, its
        variance `back_variance`, and `back_rows`, on how many rows: entries of before that was kept have none.

    Examples
    --------
    >>> worth_of([{"back": -0.2, "back_variance": 0.0025, "back_rows": 900}])
    ('yes: the version before would have lost 22.1 % more (± 6.1) on 900 rows that neither had seen', 'good')
    >>> worth_of([], first=True)
    ('nothing answered before', 'none')
    """
    if not back:
        if first:
            return "nothing answered before", "none"
        return "not known: no trial held the version before beside it", "unknown"
    mean = -sum(each["back"] for each in back) / len(back)
    deviation = math.sqrt(sum(each.get("back_variance") or 0.0 for each in back)) / len(back)
    counts = [int(each.get("back_rows") or 0) for each in back]
    rows = f"{sum(counts):,} rows" if all(counts) else "rows"
    share, around = math.expm1(mean), math.exp(mean) * deviation
    sign = "more" if share >= 0 else "less"
    change = f"{100 * abs(share):.1f} % {sign} (± {100 * around:.1f}) on {rows}"
    word, tone = _word(mean, deviation)
    return f"{word}: the version before would have lost {change} that neither had seen", tone


def _word(mean: float, deviation: float) -> tuple[str, Tone]:
    if abs(mean) <= _SURE * deviation:
        return "undetermined", "unknown"
    return ("yes", "good") if mean > 0 else ("no", "worse")
