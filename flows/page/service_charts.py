"""Pictures of what the service did over a day, as SVG: requests and errors, times, and health checks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from flows.page.charts import seconds
from flows.page.served import Span

_WIDTH = 960


def requests_chart(spans: Sequence[Span]) -> Markup:
    """Draw requests by quarters of an hour, and over them those refused or failed."""
    most = max((max(each.requests, each.failed) for each in spans), default=0)
    if not most:
        return Markup("")
    height = 90
    drawn = []
    for index, each in enumerate(spans):
        bars = (("rows", each.requests), ("apart", each.failed))
        drawn += [_bar(kind, index, len(spans), count / most * (height - 6), height) for kind, count in bars if count]
        drawn.append(_hover(index, len(spans), height, _described(each)))
    label = f"requests by quarters of an hour over a day, at most {most:,}; the table below names the causes of errors"
    return _svg("bars", height, label, drawn)


def times_chart(spans: Sequence[Span]) -> Markup:
    """Draw by when half of the requests, and 99 of a hundred, were answered, over a day; a scale of powers of ten."""
    known = [each.p99 for each in spans if each.p99 is not None and math.isfinite(each.p99)]
    if not known:
        return Markup("")
    height, top = 90, math.log10(max(*known, 0.01))
    least = math.log10(min(each.p50 for each in spans if each.p50 is not None and math.isfinite(each.p50)))
    room = max(top - least, 0.5)
    drawn = []
    for index, each in enumerate(spans):
        for kind, value in (("late", each.p99), ("rows", each.p50)):
            if value is not None:
                share = 1.0 if not math.isfinite(value) else (math.log10(value) - least + 0.15) / (room + 0.15)
                drawn.append(_bar(kind, index, len(spans), min(max(share, 0.0), 1.0) * (height - 6), height))
        drawn.append(_hover(index, len(spans), height, _described(each)))
    label = f"p50 and p99 by quarters of an hour over a day, p99 at most {seconds(max(known))}"
    return _svg("bars", height, label, drawn)


def health_strip(spans: Sequence[Span]) -> Markup:
    """Draw health checks by quarters of an hour: full where all were passed, a cross where one was not."""
    if not any(each.checks for each in spans):
        return Markup("")
    height, step = 18, _WIDTH / len(spans)
    drawn = []
    for index, each in enumerate(spans):
        x = index * step
        if each.checks:
            kind = "missed" if each.missed else "passed"
            drawn.append(f'<rect class="{kind}" x="{x + 0.5:.1f}" y="2" width="{step - 1:.1f}" height="{height - 4}"/>')
        if each.missed:
            drawn.append(
                f'<path class="cross" d="M{x + 2:.1f} 5 L{x + step - 2:.1f} {height - 5} '
                f'M{x + 2:.1f} {height - 5} L{x + step - 2:.1f} 5"/>'
            )
        drawn.append(_hover(index, len(spans), height, _checked(each)))
    missed = sum(each.missed for each in spans)
    label = f"health checks over a day, {missed:,} of {sum(each.checks for each in spans):,} not passed"
    return _svg("health", height, label, drawn)


def _described(span: Span) -> str:
    said = f"{span.start:%H:%M} UTC: {span.requests:,} requests, {span.failed:,} refused or failed"
    return said if span.p50 is None else f"{said}; p50 at most {seconds(span.p50)}, p99 at most {seconds(span.p99)}"


def _checked(span: Span) -> str:
    if not span.checks:
        return f"{span.start:%H:%M} UTC: not checked"
    return f"{span.start:%H:%M} UTC: {span.checks - span.missed} of {span.checks} health checks passed"


def _bar(kind: str, index: int, count: int, tall: float, height: int) -> str:
    step = _WIDTH / count
    wide = max(step * 0.7, 0.8)
    return (
        f'<rect class="{kind}" x="{index * step + (step - wide) / 2:.1f}" y="{height - tall:.1f}" '
        f'width="{wide:.1f}" height="{tall:.1f}"/>'
    )


def _hover(index: int, count: int, height: int, said: str) -> str:
    step = _WIDTH / count
    return (
        f'<rect class="hover" x="{index * step:.1f}" y="0" width="{step:.1f}" height="{height}">'
        f"<title>{escape(said)}</title></rect>"
    )


def _svg(kind: str, height: int, label: str, drawn: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart {kind}" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(drawn)
        + "</svg>"
    )
