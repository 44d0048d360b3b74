"""What the template of a use case is given: of what is kept here, and of what servers said, where any were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flows.page.answers import Answers, Run, model_link, report_link, run_link, tracking_link
from flows.page.cards import WINDOWS
from flows.page.doing import Errand
from flows.page.known import UseCases
from flows.page.records import KINDS, read_findings, read_ledger
from flows.page.served import Course, read_course
from flows.page.states import SEVERITY_TONES
from flows.page.views import Live, View, by_column, read_view
from flows.page.walked import Walked, read_walked
from infra.settings import Settings
from tasks.stores.database import Database
from tasks.stores.findings import Finding
from tasks.stores.glances import LedgerLine

_TIMED_FLOWS = ("collect", "train", "deploy", "monitor")
_RUNS = 8


@dataclass(frozen=True)
class Kept:
    """What is kept here of a use case, as its page shows it.

    Attributes
    ----------
    kind : str
        What was asked for: the kind of entries that `lines` are of; all where it is none.
    older : bool
        Whether the ledger has entries before `lines`.
    """

    view: View
    walked: Walked | None
    lines: Sequence[LedgerLine]
    older: bool
    found: Sequence[Finding]
    served: Course
    kind: str = ""


@dataclass(frozen=True)
class Asked:
    """What servers said of a use case; of a page that is kept as a file none is asked."""

    answers: Answers = field(default_factory=Answers)
    addresses: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    errands: Sequence[Errand] = ()
    experiment: str | None = None
    backtest: bool = False
    """Whether a picture of its last backtest can be asked for."""
    reader: str = ""
    """Login of who may look and do nothing, as the one in front says; empty where who asks may do all."""


def read_kept(
    settings: Settings,
    use_cases: UseCases,
    database: Database,
    name: str,
    now: datetime,
    most: int = WINDOWS,
    kind: str = "",
    before: int | None = None,
) -> Kept | None:
    """Read what is kept of a use case; None where there is none of that name.

    Parameters
    ----------
    most : int
        Windows to show, the newest ones.
    kind : str
        Of entries of the ledger to list; all where it is no kind.
    before : int, optional
        Number of an entry; older ones than that are listed.
    """
    view = read_view(use_cases, database, name, now, most)
    if view is None:
        return None
    lines, older = read_ledger(database, name, kind if kind in KINDS else "", before)
    found, served = read_findings(database, name), read_course(database, name, now)
    return Kept(view, read_walked(settings.folder, name), lines, older, found, served, kind)


def latest_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """Return the newest run of each flow, of runs from the newest on."""
    latest: dict[str, Run] = {}
    for run in runs:
        latest.setdefault(run.flow, run)
    return latest


def timed_runs(answers: Answers, name: str) -> list[Run]:
    """Return the runs whose stages' durations are shown."""
    latest = latest_runs(answers.runs_of(name))
    return [latest[flow] for flow in _TIMED_FLOWS if flow in latest]


def live_values(name: str, live: Live, asked: Asked) -> dict[str, Any]:
    """Return what the part is shown by that is asked for again."""
    runs = asked.answers.runs_of(name)
    going = live.card.busy or any(run.going for run in runs) or any(each.going for each in asked.errands)
    return {
        "name": name,
        "card": live.card,
        "stages": live.stages,
        "releasing": live.releasing,
        "latest": latest_runs(runs),
        "seconds": asked.seconds,
        "errands": asked.errands,
        "going": going,
        "runs": [(run, run_link(asked.addresses, run)) for run in runs[:_RUNS]],
        "away": asked.answers.away,
    }


def page_values(name: str, kept: Kept, asked: Asked) -> dict[str, Any]:
    """Return what the whole page of a use case is shown by."""
    return {
        **live_values(name, kept.view.live, asked),
        "view": kept.view,
        "walked": kept.walked,
        "deployed": asked.answers.deployed_of(name),
        "counts": asked.answers.counts.get(name),
        "served": kept.served,
        "backtest": asked.backtest,
        "reader": asked.reader,
        "lines": kept.lines,
        "older": kept.older,
        "found": kept.found,
        "tones": SEVERITY_TONES,
        "kind": kept.kind,
        "kinds": KINDS,
        "drift_columns": by_column(kept.view.windows),
        "report": lambda kept: report_link(asked.addresses, kept),
        "model": lambda version: model_link(asked.addresses, name, version),
        "tracking": lambda run: tracking_link(asked.addresses, asked.experiment, run),
    }
