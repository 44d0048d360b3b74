"""Pictures of the page as SVG, drawn on the server: no script, colours by class, a title on what can be pointed at."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from markupsafe import Markup, escape

from expectations.deciding import TURNED
from expectations.durations import spoken
from flows.page.cards import Metric
from flows.page.thinning import Point, spread
from flows.page.views import Mark
from tasks.evaluation.causes.model import Causes
from tasks.stores.drawn_measurements import DrawnWindow, FoundColumn

_WIDTH, _HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 32, 24
_HOVERS = 200
"""Windows that each have a title of their own; with more of them only marks do."""
_SHAPES = {
    "retrain": "M0 5 L-5 -4 L5 -4 Z",
    "recalibrate": "M0 5 L-5 -4 L5 -4 Z",
    "promoted": "M0 -5 L5 4 L-5 4 Z",
    "rollback": "M-4 -4 L4 4 M-4 4 L4 -4",
    "rolled back": "M-4 -4 L4 4 M-4 4 L4 -4",
    "withdrawn": "M0 -5 L5 0 L0 5 L-5 0 Z",
    "hold": "M-4 -4 H4 V4 H-4 Z",
    "warn": "M0 -5 L5 0 L0 5 L-5 0 Z",
}


def number(value: float | None) -> str:
    """Write a number with as many digits as are read: three or four."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Write a duration in little room."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.1f} s" if value < 60 else spoken(value)


def spark(values: Sequence[float | None], said: str, width: int = 132, height: int = 34) -> Markup:
    """Draw a line without axes; gaps where nothing is known."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    scale = _scale(min(known), max(known), height - 4.0, 4.0)
    step = (width - 8) / max(1, len(values) - 1)
    last = next(place for place in reversed(range(len(values))) if values[place] is not None)
    return Markup(
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(said)}">{_lines(spread(values, 4, step), scale, "line")}'
        f'<circle class="dot" cx="{4 + last * step:.1f}" cy="{scale(known[-1]):.1f}" r="2.6"/></svg>'
    )


def course(
    windows: Sequence[DrawnWindow],
    metric: Metric,
    marks: Sequence[Mark],
    frozen: Mapping[str, float] = MappingProxyType({}),
) -> Markup:
    """Draw a metric over time with its interval, the estimate made before, the best baseline, the bar, and marks.

    Parameters
    ----------
    frozen : mapping of str to float
        Of a replay: start of a window -> value of the first model, had it never been replaced.
    """
    known = [each.known(metric.name) for each in windows]
    first = [each.first.value if each else None for each in (each.expected(metric.name) for each in windows)]
    bars = [each.bar(metric.greater) if each else None for each in known]
    best = [each.best(metric.greater) if each else None for each in known]
    bases = [each[1] if each else None for each in best]
    values = [each.value if each else None for each in known]
    lows, highs = [each.low if each else None for each in known], [each.high if each else None for each in known]
    never = [frozen.get(each.start.isoformat()) for each in windows] if frozen else []
    shown = [value for line in (values, first, bars, bases, lows, highs, never) for value in line if value is not None]
    if not shown:
        return Markup("")
    least, most = min(shown), max(shown)
    room = (most - least) * 0.06 or abs(most) * 0.05 or 1.0
    scale = _scale(least - room, most + room, _HEIGHT - _BOTTOM, _TOP)
    inner = _WIDTH - _LEFT - _RIGHT
    step = inner / max(1, len(windows))

    def place(index: float) -> float:
        return _LEFT + (index + 0.5) * step

    def points(line: Sequence[float | None]) -> list[Point]:
        return [(place(index), value) for index, value in enumerate(line)]

    drawn = [_axis(least, most, scale), _ticks(windows, place)]
    drawn += [_band(points(lows), points(highs), scale)]
    drawn += [_lines(points(bases), scale, "base"), _lines(points(bars), scale, "bar")]
    drawn += [_lines(points(never), scale, "frozen")]
    drawn += [_lines(points(first), scale, "estimate"), _lines(points(values), scale, "value", dots=len(windows) <= 60)]
    if len(windows) <= _HOVERS:
        drawn += [
            f'<rect class="hover" x="{place(index) - step / 2:.1f}" y="{_TOP}" width="{step:.1f}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"><title>{escape(_described(each, metric))}</title></rect>'
            for index, each in enumerate(windows)
        ]
    ends = [each.end for each in windows]
    drawn += [_mark(each, place(bisect_right(ends, each.at) - 0.5)) for each in marks]
    label = f"{metric.name} over {len(windows)} windows; the table below says the same"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join(map(str, drawn))
        + "</svg>"
    )


def _described(window: DrawnWindow, metric: Metric) -> str:
    known, made = window.known(metric.name), window.expected(metric.name)
    parts = [f"{window.name}: "]
    if known is not None:
        parts.append(f"{metric.name} {number(known.value)} ({number(known.low)} to {number(known.high)})")
        parts += [f"; without a model {number(value)} ({name})" for name, value in known.baselines.items()]
    if made is not None:
        first = made.first
        parts.append(f"; estimated before {number(first.value)} ({number(first.low)} to {number(first.high)})")
    if window.drifted:
        parts.append("; drifted: " + ", ".join(each.column for each in window.drifted))
    return "".join(parts) + f"; {window.rows:,} rows, version {window.version}"


def _mark(mark: Mark, x: float) -> str:
    x = min(max(x, _LEFT), _WIDTH - _RIGHT)
    y = 8 if mark.action in (*TURNED, "rollback", "hold", "warn") else 20  # a decision, and below it what came of it
    line = f'<path d="M0 6 V{_HEIGHT - _BOTTOM - y}" class="stem"/>' if mark.action != "warn" else ""
    return (
        f'<g class="mark {mark.tone}" transform="translate({x:.1f} {y})">{line}'
        f'<path class="shape" d="{_SHAPES.get(mark.action, _SHAPES["warn"])}"/>'
        f"<title>{escape(f'{mark.at:%Y-%m-%d} {mark.action}: {mark.said}')}</title></g>"
    )


def _scale(least: float, most: float, bottom: float, top: float) -> Callable[[float], float]:
    span = most - least
    return lambda value: (bottom + top) / 2 if span <= 0 else bottom - (value - least) / span * (bottom - top)


def _lines(points: Sequence[Point], scale: Callable[[float], float], kind: str, *, dots: bool = False) -> str:
    """Draw what is known as lines; a point between gaps as a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, value in points:
        if value is None or not math.isfinite(value):
            runs.append([])
        else:
            runs[-1].append((x, scale(value)))
    drawn = []
    for run in filter(None, runs):
        if len(run) == 1:
            drawn.append(f'<circle class="{kind} single" cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="2"/>')
        else:
            drawn.append(f'<polyline class="{kind}" points="{_written(run)}"/>')
        if dots:
            drawn += [f'<circle class="{kind} point" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in run]
    return "".join(drawn)


def _written(points: Sequence[tuple[float, float]]) -> str:
    """Write points as an outline wants them; all at once takes half of the time of one by one."""
    return " ".join(["%.1f,%.1f"] * len(points)) % tuple(chain.from_iterable(points))


def _band(lows: Sequence[Point], highs: Sequence[Point], scale: Callable[[float], float]) -> str:
    drawn, run = [], list[tuple[float, float, float]]()
    for (x, low), (_, high) in [*zip(lows, highs, strict=True), ((0.0, None), (0.0, None))]:
        if low is not None and high is not None:
            run.append((x, scale(low), scale(high)))
            continue
        if len(run) > 1:
            around = [(x, high) for x, _, high in run] + [(x, low) for x, low, _ in reversed(run)]
            drawn.append(f'<polygon class="band" points="{_written(around)}"/>')
        drawn += [
            f'<path class="whisker" d="M{x:.1f} {high:.1f} V{low:.1f}"/>' for x, low, high in run[:1] if len(run) == 1
        ]
        run = []
    return "".join(drawn)


def _axis(least: float, most: float, scale: Callable[[float], float]) -> str:
    drawn = []
    for value in nice(least, most, 4):
        y = scale(value)
        drawn.append(f'<path class="grid" d="M{_LEFT} {y:.1f} H{_WIDTH - _RIGHT}"/>')
        drawn.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    return "".join(drawn)


def nice(least: float, most: float, about: int) -> list[float]:
    """Return about so many round numbers between two.

    Examples
    --------
    >>> nice(0.61, 0.79, 4)
    [0.65, 0.7, 0.75]
    """
    span = most - least
    if not span > 0 or not math.isfinite(span):
        return [least]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    digits = max(0, 2 - math.floor(math.log10(step)))
    count = math.floor(most / step)
    return [round(index * step, digits) for index in range(math.ceil(least / step), count + 1)]


def _ticks(windows: Sequence[DrawnWindow], place: Callable[[float], float]) -> str:
    drawn, year = [], ""
    every = max(1, math.ceil(len(windows) / 8))
    for number, index in enumerate(range(0, len(windows), every)):
        name = windows[index].name
        if name[:4].isdigit() and name[4:5] == "-":
            text, year = (name[5:] if name[:4] == year else name), name[:4]
        else:
            text = name
        anchor = "start" if index == 0 else "middle"
        drawn.append(
            f'<text class="tick{" odd" * (number % 2)}" x="{place(index) if index else _LEFT:.1f}" y="{_HEIGHT - 6}" '
            f'text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    return "".join(drawn)


def drift(column: str, found: Sequence[FoundColumn | None]) -> Markup:
    """Draw how far a column lay from the training rows over time, with marks where that was beyond chance.

    Windows measured by another score than the newest are left out: a scale holds numbers of one. Records from before
    a score's name was kept are taken for such of the newest.
    """
    width, height = 168, 36
    measured = {each.by for each in found if each is not None and each.score is not None} - {""}
    by = score_of(found) if measured else ""
    others = sorted(measured - {by})
    values = [None if each is None or (others and each.by not in (by, "")) else each.score for each in found]
    known = [value for value in values if value is not None]
    if not known:
        return Markup("")
    scale = _scale(0.0, max(*known, 0.1), height - 4.0, 5.0)
    step = (width - 10) / max(1, len(values) - 1)
    r = 4 if step > 8 else 2
    beyond = [index for index, each in enumerate(found) if each is not None and each.drifted]
    marks = "".join(
        f"M{5 + index * step:.1f} {scale(value) - r:.1f}l{r} {r} -{r} {r} -{r} -{r}z"
        for index in beyond
        if (value := values[index]) is not None
    )
    said = f"{column}: distance from the training rows over {len(found)} windows, beyond chance in {len(beyond)}"
    said += f"; by {by}" if by else ""
    said += f", windows measured by {' or '.join(others)} left out" if others else ""
    return Markup(
        f'<svg class="spark drift" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(said)}"><title>{escape(said)}</title><path class="grid" d="M0 {height - 4} H{width}"/>'
        f"{_lines(spread(values, 5, step), scale, 'line')}"
        f'<g class="mark worse"><path class="shape" d="{marks}"/></g></svg>'
    )


def score_of(found: Sequence[FoundColumn | None]) -> str:
    """Return the score of the newest windows that have a number of it; empty where that is not known.

    One that failed has none, and must not hide what was measured by the one before.
    """
    return next((each.by for each in reversed(found) if each is not None and each.by and each.score is not None), "")


def parts(causes: Causes) -> list[tuple[str, str, float, float, bool, str]]:
    """Return the parts of a difference in loss, those not named as one rest, so that they add up to the whole.

    Returns
    -------
    list of (what, kind, value, share, named, remedy)
    """
    total = causes.total or 0.0
    named = [(each.what, each.kind, each.value, each.remedy) for each in causes.parts if each.named]
    rest = total - sum(value for _, _, value, _ in named)
    rows = [(what, kind, value, value / total if total else 0.0, True, remedy) for what, kind, value, remedy in named]
    return [*rows, ("not told apart", "rest", rest, rest / total if total else 0.0, False, "")]
