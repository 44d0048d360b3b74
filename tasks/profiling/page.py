"""Draw a profile as one page: a row for each column, with its histogram; no script, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from tasks.profiling.choices import Choices
from tasks.profiling.profile import ColumnProfile, Profile, as_text
from tasks.profiling.writing import column_type

_STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1a1a1a, #e6e6e6); --soft: light-dark(#666, #999);
  --line: light-dark(#ddd, #333); --bar: light-dark(#4477aa, #77aadd); --odd: light-dark(#a33, #f88); }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: light-dark(#fff, #151515);
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .45rem .7rem;
  border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 500; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { display: block; } rect { fill: var(--bar); } .soft { color: var(--soft); } .odd { color: var(--odd); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; }
"""
_WIDE, _HIGH = 168, 36
_MAX_BARS, _SHOWN = 24, 5


def write_page(profile: Profile, choices: Choices) -> str:
    """Return the page; it shows no value of a column that may name persons."""
    suspected: dict[str, list[str]] = {}
    for each in choices.suspicions:
        suspected.setdefault(each.column, []).append(f"{each.what} {each.said}")
    facts = [
        ("target", f"{choices.target.column}, {choices.target.task.replace('_', ' ')}"),
        ("clock", f"{choices.clock.column}: {choices.clock.said}" if choices.clock.column else choices.clock.said),
        ("keys", ", ".join(choices.keys)),
        ("missing", "empty" + "".join(f", {each}" for each in profile.missing if each)),
    ]
    if choices.trial is not None:
        trial = choices.trial
        facts.append(
            ("first try", f"{trial.metric} {trial.value:.3f} on the newest {trial.rows:,} of the rows looked at")
        )
    listed = "".join(f"<dt>{escape(what)}</dt><dd>{escape(said)}</dd>" for what, said in facts)
    rows = "\n".join(_row(column, choices, suspected.get(name, ())) for name, column in profile.columns.items())
    title = f"{choices.name}: {profile.rows:,} rows, {len(profile.columns)} columns"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<dl>{listed}</dl>
<table><thead><tr><th>column</th><th>type</th><th>missing</th><th>different</th><th>values</th><th>use</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


def _row(column: ColumnProfile, choices: Choices, suspected: Sequence[str]) -> str:
    hidden = column.name in choices.personal
    share = column.missing / column.rows
    odd = "".join(f'<div class="odd">{escape(each)}</div>' for each in suspected)
    values = '<span class="soft">not shown</span>' if hidden else "".join(_values(column))
    return (
        f"<tr><td>{escape(column.name)}</td><td>{column_type(column, choices)}</td>"
        f'<td class="n">{f"{share:.1%}" if share else ""}</td><td class="n">{column.distinct:,}</td>'
        f"<td>{values}</td><td>{escape(_use(column.name, choices))}{odd}</td></tr>"
    )


def _use(name: str, choices: Choices) -> str:
    roles = (
        ("target", (choices.target.column,)),
        ("clock", (choices.clock.column,)),
        ("key", choices.keys),
        ("number", choices.numeric),
        ("category", choices.encoded),
    )
    return ", ".join(role for role, names in roles if name in names) or "left out"


def _values(column: ColumnProfile) -> Iterator[str]:
    if column.bins and column.kind != "boolean" and len(column.values) < 3:
        yield _bars(column.bins)
    elif column.values:
        yield _bars([count for _, count in column.values][:_MAX_BARS])
    if column.least is not None:
        yield f'<span class="soft">{escape(as_text(column.least))} to {escape(as_text(column.most))}</span>'
    elif column.values:
        more = ", …" if len(column.values) > _SHOWN else ""
        yield f'<span class="soft">{escape(", ".join(value[:30] for value, _ in column.values[:_SHOWN]))}{more}</span>'
    elif column.kind == "text":
        yield f'<span class="soft">texts of {column.length:.0f} characters as a mean</span>'


def _bars(counts: Sequence[int]) -> str:
    tallest, wide = max([*counts, 1]), _WIDE / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{index * wide:.1f}" y="{_HIGH * (1 - count / tallest):.1f}" width="{max(wide - 1, 0.5):.1f}" '
        f'height="{_HIGH * count / tallest:.1f}"/>'
        for index, count in enumerate(counts)
        if count
    )
    return f'<svg width="{_WIDE}" height="{_HIGH}" role="img" aria-label="how often each value is there">{bars}</svg>'
