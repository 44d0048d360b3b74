"""Whether the service looks back at rows before they are collected, as `history` of a use case rules out."""

from __future__ import annotations

from datetime import datetime, timedelta

from tasks.stores.finding_kinds import describe
from tasks.stores.findings import Findings, Found
from tasks.stores.service_history import Counted

BEHIND = "behind"
_MIN_BEHIND = 10
"""Values that were looked back at too early, in the minutes looked at, before that is a finding."""
_MINUTE = timedelta(minutes=1)


def judge_behind(database: Findings, name: str, newest: Counted, minute: datetime, *, stands: bool) -> list[Found]:
    """Return that rows are looked back at before they are collected; end that where rows came, and it was so of none.

    Parameters
    ----------
    newest : Counted
        What the service did for the use case in the newest minutes.
    minute : datetime
        The last of them.
    stands : bool
        Whether that was found before: one value is enough then.
    """
    if stands and newest.rows and not newest.behind:
        database.end(name, [BEHIND], "what rows look back at was collected before they came", minute)
    if newest.behind < (1 if stands else _MIN_BEHIND):
        return []
    summary = (
        f"{newest.behind:,} values that {newest.rows:,} rows looked back at in the five minutes to "
        f"{minute + _MINUTE:%H:%M} UTC may lack earlier rows, which training believes are there and were not collected "
        "yet"
    )
    return [describe(name, BEHIND, "warning", summary, {"behind": newest.behind, "rows": newest.rows})]
