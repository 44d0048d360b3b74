"""Choose what a use case begins with: clock, keys, task, features, windows; nothing of it silently."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.errors import SourceError
from expectations.families import Task, Vector
from expectations.problems import problem_of
from expectations.wording import nearest
from tasks.profiling.choices import Choices, Clocked, FirstModel, Windows
from tasks.profiling.clocks_and_keys import choose_clock, choose_keys
from tasks.profiling.profile import ColumnProfile, Profile
from tasks.profiling.roles import Roles
from tasks.profiling.suspicions import Leak, encode, find_leaks, fit_trees, score
from tasks.profiling.targets import choose_target, truth_of
from tasks.stores.progress import doing

WINDOWS = ("1y", "1q", "1mo", "1w", "1d", "1h", "15m", "5m", "1m")
_PARTS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "hour": lambda times: times.dt.hour(),
    "weekday": lambda times: times.dt.weekday(),
    "month": lambda times: times.dt.month(),
}
_MAX_NAMED = 20


def choose(profile: Profile, name: str, target: str, *, clock: str | None = None, keys: Sequence[str] = ()) -> Choices:
    """Choose what a use case begins with.

    Parameters
    ----------
    clock, keys : str, sequence of str, optional
        Those that the user named; found where not given.

    Raises
    ------
    SourceError
        If a named column is absent or cannot be what it is named for, or nothing is left to learn from.
    """
    require_columns(profile.columns, target, clock, keys)
    label = choose_target(profile, target)
    timed = choose_clock(profile, target, clock)
    keyed = choose_keys(profile, label, timed, tuple(keys))
    sorted_sample = profile.sample.sort(timed.column, maintain_order=True) if timed.column else _drawn(profile.sample)
    truth = truth_of(sorted_sample[target], profile.columns[target], label)
    roles = Roles(profile, label, timed, keyed.columns, sorted_sample)
    leaks = _leaks(roles, truth)
    roles.forbid(leaks)
    windows = _windows(profile, timed)
    early = _early_rows(profile, timed)
    start = None
    if timed.column and early < 100 and profile.rows >= 200:
        start = sorted_sample[timed.column][int(0.4 * len(sorted_sample))]
        early = int(0.4 * profile.rows)
    numeric, encoded = roles.of("number"), roles.of("category")
    calendar = _calendar(profile, timed)
    if not numeric and not encoded and not calendar:
        raise SourceError(
            "columns to learn from beside target, clock and keys",
            "; ".join(f"{column}: {why}" for column, why in roles.left_out.items()) or "none",
            "Give a table with more columns",
        )
    features = {name: profile.columns[name] for name in (*numeric, *encoded)}
    times = [_PARTS[part](sorted_sample[timed.column]) for part in calendar if timed.column]
    trial = _try(sorted_sample, features, times, truth, label.task)
    return Choices(
        name=name,
        target=label,
        clock=timed,
        keyed=keyed,
        numeric=numeric,
        encoded=encoded,
        calendar=calendar,
        left_out=roles.left_out,
        personal=roles.personal,
        leaks=tuple(leaks) if roles.leaks_are_left_out else (),
        suspicions=tuple(roles.suspicions),
        windows=windows,
        available_after=_delay(windows.every) if timed.column else "0d",
        min_rows=max(10, min(200, early // 8)),
        start=start,
        trial=trial,
    )  # fmt: skip


def require_columns(
    columns: Sequence[str] | Mapping[str, ColumnProfile], target: str, clock: str | None, keys: Sequence[str]
) -> None:
    """Refuse names of a target, a clock and keys that no column has, as `require_column` does."""
    for column in (target, *([clock] if clock else []), *keys):
        require_column(column, columns)


def require_column(column: str, columns: Sequence[str] | Mapping[str, ColumnProfile]) -> None:
    """Refuse a name that no column has.

    Raises
    ------
    SourceError
        With the nearest name, and some of those there.
    """
    if column in columns:
        return
    names = list(columns)
    folded = {name.lower(): name for name in names}
    near = nearest(column.lower(), folded)
    hint = f"; there is {folded[near]!r}" if near else ""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    raise SourceError(
        f"a column {column!r}",
        f"none of that name{hint}; the columns: {', '.join(names[:_MAX_NAMED])}{more}",
        "Write its name as the first line of the file has it",
    )


def _windows(profile: Profile, clock: Clocked) -> Windows:
    """Choose how long a window is: long enough for a number, and short enough that there are several."""
    if clock.column is None:
        size = max(20, min(500, profile.rows // 10))
        return Windows(f"{{rows: {size}}}", size)
    column = profile.columns[clock.column]
    span = (column.most - column.least).total_seconds()  # type: ignore[operator,union-attr] # of an instant
    found: dict[str, tuple[float, float]] = {}
    for every in WINDOWS:
        windows = max(span / Duration.parse(every).approximate_seconds, 1e-9)
        found[every] = (windows, profile.rows / max(windows, 1))
    for least_windows, least_rows in ((12, 300), (8, 200), (8, 50), (6, 0)):
        for every, (windows, rows) in found.items():
            if windows >= least_windows and rows >= least_rows:
                return Windows(every, int(rows))
    return Windows(WINDOWS[-1], int(found[WINDOWS[-1]][1]))


def _delay(every: str) -> str:
    """Guess how long after a row its label is there: a day, or a window where that is shorter."""
    return "1d" if Duration.parse(every).approximate_seconds > 86400 else every


def _drawn(sample: pl.DataFrame) -> pl.DataFrame:
    """Put rows in an order that says nothing, as a use case without a clock draws those that judge."""
    return sample.sample(fraction=1.0, shuffle=True, seed=0)


def _early_rows(profile: Profile, clock: Clocked) -> int:
    """Rows in the first fifth of the history, from which a replay learns its first model."""
    if clock.column is None:
        return profile.rows // 5
    times = profile.sample[clock.column].drop_nulls()
    least, most = times.min(), times.max()
    border = least + (most - least) / 5  # type: ignore[operator]
    return int((times < border).sum() / len(times) * profile.rows)


def _calendar(profile: Profile, clock: Clocked) -> tuple[str, ...]:
    """Choose parts of the clock that come round at least twice."""
    if clock.column is None:
        return ()
    times = profile.sample[clock.column].drop_nulls()
    span: timedelta = times.max() - times.min()  # type: ignore[operator, assignment]
    twice = {"hour": timedelta(days=2), "weekday": timedelta(weeks=2), "month": timedelta(days=730)}
    return tuple(part for part, least in twice.items() if span >= least and _PARTS[part](times).n_unique() > 2)


def _leaks(roles: Roles, truth: Vector) -> list[Leak]:
    return find_leaks(roles.sample, roles.judged(), truth, roles.task)


def _try(
    sample: pl.DataFrame, features: Mapping[str, ColumnProfile], times: Sequence[pl.Series], truth: Vector, task: Task
) -> FirstModel | None:
    """Learn from the older rows of the sample and score the newest, to set gates by."""
    doing("trying a first model")
    known = np.isfinite(truth)
    encoded = [encode(sample[name], column) for name, column in features.items()]
    columns = [*(values for values, _ in encoded), *(each.cast(pl.Float64).to_numpy() for each in times)]
    matrix = np.column_stack(columns)[known]
    truth = truth[known]
    border = int(len(truth) * 0.7)
    if border < 20 or len(truth) - border < 10 or not np.ptp(truth[:border]):
        return None
    codes = [index for index, (_, categorical) in enumerate(encoded) if categorical]
    model = fit_trees(matrix[:border], truth[:border], task, codes, num_leaves=15, learning_rate=0.1, rounds=100)
    prediction, newest = np.asarray(model.predict(matrix[border:])), truth[border:]
    error = math.nan if problem_of(task).classifies else float(np.sqrt(np.mean((prediction - newest) ** 2)))
    return FirstModel(problem_of(task).first_score, score(prediction, newest, task), error, len(newest))
