"""The table that says of each window what the picture of a metric shows: up to 1,200 rows, and so by a function."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from flows.page.charts import number
from tasks.stores.drawn_measurements import DrawnWindow


def window_rows(windows: Sequence[DrawnWindow], metric: str) -> Markup:
    """Return the rows of the table of windows, newest first."""
    return Markup("".join(_row(each, metric) for each in reversed(windows)))


def _row(window: DrawnWindow, metric: str) -> str:
    known, made = window.known(metric), window.expected(metric)
    interval = f"{number(known.low)} to {number(known.high)}" if known and known.low is not None else ""
    estimate = number(made.first.value) if made else ""
    if made and not made.trusted:
        estimate += f' <span title="{escape(made.why)}">(not to be trusted)</span>'
    drifted = escape(", ".join(each.column for each in window.drifted))
    return (
        f'<tr><th scope="row">{window.name}</th><td class="n">{window.rows:,}</td>'
        f'<td class="n">{number(known.value) if known else "not known"}</td><td class="n">{interval}</td>'
        f'<td class="n">{estimate}</td><td class="n">{window.coverage:.0%}</td><td>{drifted}</td>'
        f'<td class="n">{escape(window.version)}</td></tr>\n'
    )
