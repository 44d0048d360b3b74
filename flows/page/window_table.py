"""The table that says of each window what the picture of a metric shows: up to 1,200 rows, and so by a function."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from flows.page.charts import number
from tasks.stores.measurements import Measurement

_ROW = Markup(
    '<tr><th scope="row">{}</th><td class="n">{}</td><td class="n">{}</td><td class="n">{}</td><td class="n">{}{}</td>'
    '<td class="n">{}</td><td>{}</td><td class="n">{}</td></tr>\n'
)
_DOUBT = Markup(' <span title="{}">(not to be trusted)</span>')


def window_rows(windows: Sequence[Measurement], metric: str) -> Markup:
    """Return the rows of the table of windows, newest first."""
    return Markup("").join(_row(each, metric) for each in reversed(windows))


def _row(window: Measurement, metric: str) -> Markup:
    known, made = window.known(metric), window.expected(metric)
    doubt = _DOUBT.format(made.why) if made and not made.trusted else ""
    return _ROW.format(
        window.name,
        f"{window.rows:,}",
        number(known.value) if known else "not known",
        f"{number(known.low)} to {number(known.high)}" if known and known.low is not None else "",
        number(made.first.value) if made else "",
        doubt,
        f"{window.coverage:.0%}",
        ", ".join(each.column for each in window.drifted),
        window.version,
    )
