"""Bars of the page as SVG: shares, rows that came, and two distributions side by side."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from flows.page.brought import Arrival
from flows.page.shown import Bar


def beam(share: float, kind: str, width: int = 220) -> Markup:
    """Draw a share of a whole as a bar; one below zero to the left of the middle."""
    reach, below = min(abs(share), 1.0) * (width - 2), " below" if share < 0 else ""
    return Markup(
        f'<svg class="beam" viewBox="0 0 {width} 10" width="{width}" height="10" aria-hidden="true">'
        f'<rect class="track" x="0" y="1" width="{width}" height="8" rx="2"/>'
        f'<rect class="{escape(kind)}{below}" x="1" y="1" width="{reach:.1f}" height="8" rx="2"/>'
        "</svg>"
    )


def arrivals(found: Sequence[Arrival]) -> Markup:
    """Draw rows that came by collection, and over them those in quarantine."""
    if not any(each.new or each.quarantined for each in found):
        return Markup("")
    width, height = 960, 90
    most = max(max(each.new, each.quarantined) for each in found)
    step = width / len(found)
    drawn = []
    for index, each in enumerate(found):
        wide = min(max(step * 0.7, 0.8), 28.0)
        x = index * step + (step - wide) / 2
        tall, apart = each.new / most * (height - 6), each.quarantined / most * (height - 6)
        said = f"{each.at:%Y-%m-%d %H:%M}: {each.new:,} new rows, {each.corrected:,} corrected, "
        said += f"{each.quarantined:,} in quarantine"
        drawn.append(
            f'<g><rect class="rows" x="{x:.1f}" y="{height - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}"/>'
            + (
                f'<rect class="apart" x="{x:.1f}" y="{height - apart:.1f}" width="{wide:.1f}" height="{apart:.1f}"/>'
                if apart
                else ""
            )
            + f'<rect class="hover" x="{index * step:.1f}" y="0" width="{step:.1f}" height="{height}">'
            f"<title>{escape(said)}</title></rect></g>"
        )
    label = f"rows that came in {len(found)} collections, at most {most:,}"
    return Markup(
        f'<svg class="chart bars" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(drawn)
        + "</svg>"
    )


def swatch(kind: str) -> Markup:
    """Draw the sign that a legend has for one of two distributions."""
    box = f'<rect class="{escape(kind)}" x="1" y="1" width="10" height="10" rx="2"/>'
    return Markup(f'<svg class="pair" width="12" height="12" aria-hidden="true">{box}</svg>')


def two_distributions(column: str, bars: Sequence[Bar]) -> Markup:
    """Draw both distributions, bar by bar side by side."""
    width, height, foot = 960, 200, 6
    most = max((max(each.before, each.now) for each in bars), default=0.0) or 1.0
    step = width / max(1, len(bars))
    drawn = []
    for index, each in enumerate(bars):
        for place, (kind, share) in enumerate((("before", each.before), ("now", each.now))):
            tall = share / most * (height - 2 * foot)
            drawn.append(
                f'<rect class="{kind}" x="{index * step + step * (0.1 + 0.4 * place):.1f}" '
                f'y="{height - foot - tall:.1f}" width="{step * 0.38:.1f}" height="{tall:.1f}"/>'
            )
        said = f"{each.name}: {each.before:.1%} of the training rows, {each.now:.1%} of the window"
        drawn.append(
            f'<rect class="hover" x="{index * step:.1f}" y="0" width="{step:.1f}" height="{height}">'
            f"<title>{escape(said)}</title></rect>"
        )
    label = f"{column}: shares of the training rows and of the window; the table below says the same"
    return Markup(
        f'<svg class="chart pair" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f'<path class="grid" d="M0 {height - foot} H{width}"/>{"".join(drawn)}</svg>'
    )
