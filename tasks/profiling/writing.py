"""Write a use case: what was found and chosen as YAML a person can read, each choice with its reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import yaml

from expectations.problems import problem_of
from tasks.profiling.choices import Choices
from tasks.profiling.profile import ColumnProfile, Profile, as_text
from tasks.profiling.reading import SOURCE
from tasks.profiling.suspicions import is_code

_WIDTH = 116
_MAX_EXACT = 2**53
_SMALL_SET = 20
_MIN_IN_SET = 3
_TREND = 0.9
_PLAIN = re.compile(r"[^\W\d][\w ./-]*")


def write_use_case(profile: Profile, choices: Choices) -> str:
    """Return the text of ``usecase.yaml``."""
    return "\n".join([*_head(profile, choices), *_columns(profile, choices), *_model(choices)]) + "\n"


def quote(text: str) -> str:
    """Write a text as YAML, with quotes only where it needs them.

    Examples
    --------
    >>> quote("arr_delay"), quote("no"), quote("a: b")
    ('arr_delay', '"no"', '"a: b"')
    """
    plain = bool(_PLAIN.fullmatch(text)) and not text.endswith(" ") and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(quote, values))}]"


def _comment(text: str) -> str:
    """Make one line of a remark: a name may hold anything."""
    return "# " + " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _long_list(key: str, values: Sequence[str]) -> Iterator[str]:
    """Write a list over as many lines as it takes."""
    line = f"{key}["
    for index, value in enumerate(values):
        word = quote(value) + ("]" if index == len(values) - 1 else ", ")
        if len(line) + len(word) > _WIDTH:
            yield line.rstrip()
            line = " " * (len(key) + 1)
        line += word
    yield line


# --- usecase.yaml -----------------------------------------------------------------------------------------------------


def _head(profile: Profile, choices: Choices) -> Iterator[str]:
    target, clock, command = choices.target, choices.clock, "adopt" if choices.first else "new"
    yield _comment(
        f"Written by `driftwheel {command}` from {profile.rows:,} rows and {len(profile.columns)} columns; change"
    )
    yield "# whatever is otherwise, then run `driftwheel check`. profile.html shows what was seen."
    yield f"name: {choices.name}"
    yield f"title: {quote(f'What will {target.column} be?')}"
    yield f"task: {target.task}"
    others = f"; also possible: {', '.join(clock.others)}" if clock.others else ""
    if clock.column is None:
        yield _comment(f"clock: {clock.said}; so rows count in the order they come, and those that judge are drawn")
    else:
        said = f"{clock.said}{others}; UTC where it says no zone"
        yield f"clock: {{column: {quote(clock.column)}}}  {_comment(said)}"
    keyed = "no two rows share them"
    if choices.row_key:
        keyed = "no columns identify all rows: made of what a row holds, so a corrected row is another one"
    elif choices.keyed.shared:
        keyed = f"{choices.keyed.shared:,} rows share theirs with another: the last one counts"
    yield f"keys: {_list(choices.keys)}  {_comment(keyed)}"
    yield "sources:"
    key = f", row_key: {choices.row_key}" if choices.row_key else ""
    missing = f", missing: [{', '.join(json.dumps(each, ensure_ascii=False) for each in profile.missing)}]"
    written = missing if profile.texts and set(profile.missing) != {""} else ""
    parted = f", separator: {json.dumps(profile.separator)}" if profile.separator != "," else ""
    yield f"  {SOURCE}: {{kind: file, path: {quote(profile.address)}{parted}{written}{key}}}"
    after = f", available_after: {choices.available_after}" if clock.column else ""
    if clock.column:
        yield _comment(f"how long after a row its {target.column} is known: {choices.available_after} is a guess")
    positive = f", positive: {_text(target.positive)}" if target.positive is not None else ""
    joined = ", ".join(f"{_text(rare)}: {_text(other)}" for rare, other in target.joined.items())
    words = f", words: {{{joined}}}" if joined else ""
    yield f"label: {{column: {quote(target.column)}{positive}{words}{after}}}"
    if choices.forbidden:
        yield "# these leak the label; where you know one before the event, move it to `features`"
        yield from _long_list("forbidden: ", choices.forbidden)
    if choices.personal:
        yield "# these may name persons; write `keep` where they do not, `hash` where equal ones must stay equal"
        entries = (f"{quote(name)}: {how}" for name, how in choices.personal.items())
        yield f"personal: {{{', '.join(entries)}}}"


def _text(value: str) -> str:
    """Write a word as a text, whatever YAML would make of it."""
    return json.dumps(value, ensure_ascii=False)


def _columns(profile: Profile, choices: Choices) -> Iterator[str]:
    yield "# what each column is, once for all deliveries and for the service; a value that is none is an error"
    yield "columns:"
    seen: dict[str, list[str]] = {}
    for each in choices.suspicions:
        seen.setdefault(each.column, []).append(f"{each.what} {each.said}")
    for name, column in profile.columns.items():
        if choices.personal.get(name) == "drop":
            continue
        remarks = [_say(column, hidden=name in choices.personal), *seen.get(name, ())]
        yield f"  {quote(name)}: {{type: {column_type(column, choices)}}}  {_comment('; '.join(remarks))}"


def column_type(column: ColumnProfile, choices: Choices) -> str:
    """Return the type to declare: amounts are numbers, whole or not; what only names something is kept exactly."""
    if column.kind != "integer":
        return "text" if column.kind == "empty" else column.kind
    exact = max(abs(float(column.least or 0)), abs(float(column.most or 0))) < _MAX_EXACT  # type: ignore[arg-type]
    names = column.name in choices.keys or column.name in choices.left_out or is_code(column)
    return ("integer" if exact else "text") if names else "number"


def _say(column: ColumnProfile, *, hidden: bool) -> str:
    """Say what was seen of a column; no value of one that may name persons."""
    parts = []
    if column.kind == "empty":
        return "no value yet: whatever comes is kept as text"
    if column.least is not None and not hidden:
        parts.append(f"{as_text(column.least)} to {as_text(column.most)}")
    parts.append(f"{column.distinct:,} different")
    if column.missing:
        parts.append(f"{column.missing / column.rows:.2g} missing" if column.missing < column.rows / 1000 else
                     f"{column.missing / column.rows:.1%} missing")  # fmt: skip
    return ", ".join(parts)


def _model(choices: Choices) -> Iterator[str]:
    target, trial = choices.target, choices.trial
    yield "features:"
    if choices.calendar and choices.clock.column:
        yield f"  - calendar: {quote(choices.clock.column)}"
        yield f"    parts: {_list(choices.calendar)}"
    if choices.numeric:
        yield from _long_list("  - numeric: ", choices.numeric)
    if choices.encoded:
        yield from _long_list("  - encode: ", choices.encoded)
    small = choices.min_rows < 200
    recipe = "rounds: 60, leaves: 7, min_rows_in_leaf: 10" if small else "rounds: 100, leaves: 15"
    yield "model:"
    if choices.first:
        yield _comment(f"{choices.proof}; it answers until a candidate is better")
        yield f"  first: {choices.first}"
    yield "  candidates:"
    yield f"    - {{family: lightgbm, {recipe}, patience: null}}"
    yield f"evaluation: {{min_rows: {choices.min_rows}}}  # fewest rows a model is judged on"
    yield _comment("what a first model must reach, and how much worse than the champion a new one may be")
    if trial is not None:
        yield _comment(
            f"a first try reached {trial.metric} {trial.value:.3f} on the newest {trial.rows:,} of the rows looked at"
        )
    yield "gates:"
    problem = problem_of(target.task)
    if not problem.classifies:
        error = trial.error if trial is not None else 0.0
        yield "  - {metric: r2, min: 0}  # 0 is what the mean label reaches"
        yield f"  - {{metric: rmse, versus: champion, margin: {_two_digits(0.02 * error)}}}"
        rule = f"{{metric: rmse, drop: {_two_digits(0.1 * error)}}}"
    else:
        metric = problem.first_score
        chance = 0.5 if not target.classes else math.floor(100 / len(target.classes)) / 100
        yield f"  - {{metric: {metric}, min: {chance:g}}}"
        yield f"  - {{metric: {metric}, versus: champion, margin: 0.02}}"
        rule = f"{{metric: {metric}, drop: 0.05}}"
    yield "monitoring:"
    window = f"a window has about {choices.windows.rows:,} rows" if choices.clock.column else "predictions in a window"
    yield f"  every: {choices.windows.every}  # {window}"
    least = max(2, min(100, choices.windows.rows // 2))
    if least < 100:
        yield f"  min_rows: {least}  # of a window worth a number"
    yield f"  performance: [{rule}]"
    if choices.start is not None:
        yield f'start: "{_utc(choices.start)}"  # a replay learns its first model from what is before'


def _two_digits(value: float) -> str:
    return (
        f"{value:.2g}"
        if math.isfinite(value) and "e" not in f"{value:.2g}"
        else f"{value:.10f}".rstrip("0").rstrip(".")
    )


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- suite.yaml -------------------------------------------------------------------------------------------------------


def write_suite(profile: Profile, choices: Choices) -> str:
    """Return the text of ``suite.yaml``: expectations mild enough for an honest next batch."""
    lines = [
        "# Great Expectations' own words. A row outside goes to quarantine; a batch with too few inside is held.",
        "# Bounds are those seen, with as much room again on either side; widen what is too narrow.",
    ]
    used = [*choices.numeric, *choices.encoded]
    for name in used:
        column = profile.columns[name]
        if not column.missing and profile.rows >= _MIN_IN_SET * _SMALL_SET:
            lines.append(_expectation("expect_column_values_to_not_be_null", column=name, mostly=0.9))
    for name in choices.numeric:
        column = profile.columns[name]
        bounds = _bounds(column)
        if bounds is None or _grows(profile, choices, name):
            continue
        least, most = bounds
        lines.append(
            _expectation("expect_column_values_to_be_between", column=name, min_value=least, max_value=most, mostly=0.9)
        )
    for name in choices.encoded:
        column = profile.columns[name]
        if column.kind != "text" or not 0 < len(column.values) <= _SMALL_SET:
            continue
        values = [value for value, _ in column.values]
        if column.values[-1][1] >= _MIN_IN_SET:  # a rare one says that others may come
            lines.append("# a new word is reported, and its rows are kept")
            lines.append(
                _expectation(
                    "expect_column_values_to_be_in_set", severity="warning", column=name, value_set=values, mostly=0.9
                )
            )
    return "\n".join([*lines, *([] if len(lines) > 2 else ["[]"])]) + "\n"


def _expectation(kind: str, severity: str | None = None, **kwargs: object) -> str:
    level = f", severity: {severity}" if severity else ""
    entries = ", ".join(f"{key}: {_value(value)}" for key, value in kwargs.items())
    return f"- {{type: {kind}{level}, kwargs: {{{entries}}}}}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f"{value:g}" if isinstance(value, float) and f"{value:g}".lstrip("-").isdigit() else json.dumps(value)


def _bounds(column: ColumnProfile) -> tuple[float, float] | None:
    """Return bounds around all that was seen: as far again as the middle 98 % reach, on either side."""
    if column.kind == "boolean" or not column.quantiles or not isinstance(column.least, float):
        return None
    least, most = float(column.least), float(column.most)  # type: ignore[arg-type] # both are numbers
    room = column.quantiles[-1] - column.quantiles[0] or most - least
    if not math.isfinite(room) or not room:
        return None
    low, high = least - room, most + room
    digits = max(0, 2 - math.floor(math.log10(room)))
    return round(low - 0.5 * 10**-digits, digits), round(high + 0.5 * 10**-digits, digits)


def _grows(profile: Profile, choices: Choices, name: str) -> bool:
    """Whether a column goes up or down with time: its next values lie outside of any bounds."""
    if choices.clock.column is None:
        return False
    rows = profile.sample.sort(choices.clock.column, maintain_order=True)[name].drop_nulls()
    place = rows.rank().to_numpy()
    if len(place) < _SMALL_SET or not place.std():
        return False
    time = range(len(place))
    return abs(float(np.corrcoef(place, list(time))[0, 1])) > _TREND
