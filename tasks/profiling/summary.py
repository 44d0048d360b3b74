"""Say what was found and chosen: lines for a terminal, and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.profiling.choices import Choices
from tasks.profiling.profile import Profile
from tasks.profiling.writing import column_type


def summary_lines(profile: Profile, choices: Choices, folder: Path) -> Iterator[tuple[str, str]]:
    """Return a line for each thing that was found or chosen, and what it is about."""
    target, clock, trial = choices.target, choices.clock, choices.trial
    yield "read", f"{profile.rows:,} rows, {len(profile.columns)} columns"
    for words in profile.said:
        yield "read", words
    classes = f", {len(target.classes)} classes" if target.classes else ""
    share = f", {target.share:.1%} of them {target.positive or 1}" if target.share is not None else ""
    yield "target", f"{target.column}: {target.task}{classes}{share}"
    others = f"; --clock takes another: {', '.join(clock.others)}" if clock.others else ""
    yield "clock", f"{clock.column}: {clock.said}{others}" if clock.column else clock.said
    shared = (
        f"; {choices.keyed.shared:,} rows share theirs with another, and the last one counts"
        if choices.keyed.shared
        else ""
    )
    content = f"{choices.row_key}: no columns identify all rows, so it is made of what a row holds"
    yield "keys", content if choices.row_key else ", ".join(choices.keys) + shared
    calendar = f", {' and '.join(choices.calendar)} of {clock.column}" if choices.calendar else ""
    yield "features", f"{len(choices.numeric)} numbers, {len(choices.encoded)} categories{calendar}"
    for each in choices.suspicions:
        yield "suspected", f"{each.column}: {each.what} {each.said}"
    if choices.proof:
        yield "adopted", choices.proof
    if trial is not None:
        yield "tried", f"{trial.metric} {trial.value:.3f} on the newest {trial.rows:,} of the rows looked at"
    about = f"{choices.windows.every}, about {choices.windows.rows:,} rows in each"
    yield "windows", about if clock.column else f"of {choices.windows.rows:,} predictions"
    model = ", and the model" if choices.first else ""
    yield "written", f"{folder.name}/: usecase.yaml, suite.yaml, profile.html{model}"
    yield "next", f"driftwheel check {choices.name}"


def to_dict(profile: Profile, choices: Choices, folder: Path) -> dict[str, Any]:
    """Return what JSON carries; values of personal columns are not in it."""
    suspected: dict[str, list[str]] = {}
    for each in choices.suspicions:
        suspected.setdefault(each.column, []).append(f"{each.what} {each.said}")
    columns = [
        {
            "name": name,
            "type": column_type(column, choices),
            "missing": column.missing,
            "distinct": column.distinct,
            "least": None if name in choices.personal else column.least,
            "most": None if name in choices.personal else column.most,
            "values": [] if name in choices.personal else [value for value, _ in column.values],
            "suspected": suspected.get(name, []),
        }
        for name, column in profile.columns.items()
    ]
    target, trial = choices.target, choices.trial
    return {
        "folder": folder,
        "rows": profile.rows,
        "said": profile.said,
        "missing": profile.missing,
        "columns": columns,
        "target": {"column": target.column, "task": target.task, "positive": target.positive},
        "clock": {"column": choices.clock.column, "why": choices.clock.said, "others": choices.clock.others},
        "keys": choices.keys,
        "shared_keys": choices.keyed.shared,
        "row_key": choices.row_key,
        "numeric": choices.numeric,
        "encoded": choices.encoded,
        "left_out": choices.left_out,
        "personal": choices.personal,
        "leaks": [{"columns": each.columns, "score": each.score} for each in choices.leaks],
        "every": choices.windows.every,
        "trial": None if trial is None else {"metric": trial.metric, "value": trial.value, "rows": trial.rows},
    }
