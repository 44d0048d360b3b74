"""Choose what a use case begins with: clock, keys, task, features, windows; nothing of it silently."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations

import numpy as np
import polars as pl

from expectations.durations import Duration
from expectations.errors import SourceError
from expectations.families import Task, Vector
from tasks.profiling.profile import LEADING_ZEROS, MAX_SET, Column, Profile, as_text
from tasks.profiling.reading import collect
from tasks.profiling.suspicions import (
    METRIC,
    Leak,
    encode,
    find_leaks,
    fit_trees,
    is_code,
    is_identifier,
    is_personal,
    named_like_key,
    score,
)
from tasks.stores.progress import doing

ROW_KEY = "row_key"
WINDOWS = ("1y", "1q", "1mo", "1w", "1d", "1h", "15m", "5m", "1m")
_PARTS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "hour": lambda times: times.dt.hour(),
    "weekday": lambda times: times.dt.weekday(),
    "month": lambda times: times.dt.month(),
}
_POSITIVE = frozenset(
    {"true", "yes", "y", "t", "positive", "pos", "p", "bad", "churned", "churn", "default", "fraud", "spam"}
)
_MAX_CATEGORIES = 1000
_MAX_SHARE, _MIN_CATEGORIES = 0.2, 12
_FREE_TEXT = 5
"""Words from which a text is no name of a category."""
_MAX_CLASSES = 20
MIN_OF_CLASS = 10
"""Rows of a class that can be learnt."""
MIN_LABELLED = 40
"""Rows with a label that a first model can be learnt from and judged on."""
_EXACT_TEXT = 1e10
"""Whole numbers below this are written with all of their digits (`as_text`)."""
_SCORED = {"r2": "explains {:.1%}", "roc_auc": "area under ROC {:.3f}", "balanced_accuracy": "balanced accuracy {:.3f}"}
_MOSTLY_MISSING, _HEAVILY_MISSING = 0.99, 0.5
_MAX_NAMED = 20
_PAIRS_LOOKED_AT = 30


@dataclass(frozen=True)
class Suspicion:
    """What may be wrong with a column, and what was done about it."""

    column: str
    what: str
    said: str


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Attributes
    ----------
    positive : str or None
        The value that counts as 1, as the use case writes it; None where the column holds 0 and 1 or amounts.
    share : float or None
        Of the positive rows in the sample.
    classes : tuple of str
        Where there are more than two.
    joined : mapping of str to str
        Classes too rare to be learnt -> the one they are counted as.
    """

    column: str
    task: Task
    positive: str | None = None
    numeric: bool = True
    share: float | None = None
    classes: tuple[str, ...] = ()
    joined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clocked:
    """The column of event times, and others that could be it; None where rows are taken in the order they come."""

    column: str | None
    others: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Keyed:
    """What tells rows apart.

    Attributes
    ----------
    shared : int
        Rows that share their keys with another one.
    made : bool
        Whether no column does: the source makes one of what a row holds.
    """

    columns: tuple[str, ...]
    shared: int = 0
    made: bool = False


@dataclass(frozen=True)
class Windows:
    """How long a window is, as the use case writes it, and about how many rows it has."""

    every: str
    rows: int


@dataclass(frozen=True)
class Trial:
    """A first model: learnt from the older rows of the sample, scored on the newest.

    Attributes
    ----------
    metric : str
        That of the task (`METRIC`).
    error : float
        Root mean squared error; of a classifier NaN.
    """

    metric: str
    value: float
    error: float
    rows: int


@dataclass(frozen=True)
class Choices:
    """All that is chosen."""

    name: str
    target: Target
    clock: Clocked
    keyed: Keyed
    numeric: tuple[str, ...]
    encoded: tuple[str, ...]
    calendar: tuple[str, ...]
    left_out: Mapping[str, str]
    personal: Mapping[str, str]
    """Column -> drop or hash."""
    leaks: tuple[Leak, ...]
    suspicions: tuple[Suspicion, ...]
    windows: Windows
    available_after: str
    min_rows: int
    start: datetime | None
    trial: Trial | None = field(default=None)

    @property
    def keys(self) -> tuple[str, ...]:
        """What tells rows apart."""
        return self.keyed.columns

    @property
    def row_key(self) -> str | None:
        """The key that the source makes of what a row holds, where nothing tells rows apart."""
        return self.keyed.columns[0] if self.keyed.made else None

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Columns that tell the label."""
        return tuple(dict.fromkeys(name for leak in self.leaks for name in leak.columns))


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
    label = _target(profile, target)
    timed = _clock(profile, target, clock)
    keyed = _keys(profile, label, timed, tuple(keys))
    sorted_sample = profile.sample.sort(timed.column, maintain_order=True) if timed.column else _drawn(profile.sample)
    truth = _truth(sorted_sample[target], profile.columns[target], label)
    roles = _Roles(profile, label, timed, keyed.columns, sorted_sample)
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
    columns: Sequence[str] | Mapping[str, Column], target: str, clock: str | None, keys: Sequence[str]
) -> None:
    """Refuse names of a target, a clock and keys that no column has, as `require_column` does."""
    for column in (target, *([clock] if clock else []), *keys):
        require_column(column, columns)


def require_column(column: str, columns: Sequence[str] | Mapping[str, Column]) -> None:
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
    near = [folded[each] for each in difflib.get_close_matches(column.lower(), folded, n=1)]
    hint = f"; there is {near[0]!r}" if near else ""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    raise SourceError(
        f"a column {column!r}",
        f"none of that name{hint}; the columns: {', '.join(names[:_MAX_NAMED])}{more}",
        "Write its name as the first line of the file has it",
    )


# --- what is to be predicted ------------------------------------------------------------------------------------------


def _target(profile: Profile, name: str) -> Target:
    column = profile.columns[name]
    if not column.present:
        raise SourceError(f"values in the target {name!r}", f"none in {profile.rows:,} rows", "Name another column")
    if column.present < MIN_LABELLED:
        raise SourceError(
            f"{MIN_LABELLED} rows at least with a value in the target {name!r}, to learn from some and judge on others",
            f"{column.present} of {profile.rows}",
            "Give more rows",
        )
    if column.distinct == 1:
        raise SourceError(
            f"two values at least in the target {name!r}",
            f"the same one in all {column.present:,} rows that have one",
            "Name another column, or a file that holds the other rows, too",
        )
    if column.kind == "instant":
        raise SourceError(
            f"numbers or classes in the target {name!r}", "instants", "Compute what is to be predicted of them first"
        )
    if column.distinct == 2 and (column.kind != "number" or _is_whole(column)):
        return _two_classes(column)
    few = column.kind == "integer" and len(column.values) <= _MAX_CLASSES and column.present >= 20 * column.distinct
    if column.values and (column.kind == "text" or few):
        return _several_classes(profile, column)
    if column.kind == "text":
        raise SourceError(
            f"numbers, or at most {MAX_SET} different words, in the target {name!r}",
            f"{column.distinct:,} different texts" + "".join(f"; {note}" for note in column.notes),
            "Write numbers, or name a column of fewer classes",
        )
    return Target(name, "regression")


def _is_whole(column: Column) -> bool:
    """Whether the least and the largest number of a column are whole: 0.0 and 1.0, as a column with gaps holds them."""
    ends = [each for each in (column.least, column.most) if isinstance(each, float)]
    return len(ends) == 2 and all(each.is_integer() and abs(each) < _EXACT_TEXT for each in ends)


def _several_classes(profile: Profile, column: Column) -> Target:
    """Return a target of words or of few whole numbers; classes too rare to be learnt become one."""
    counted = collect(profile.scan.group_by(pl.col(column.name)).len().drop_nulls())
    counts = {as_text(value): number for value, number in counted.iter_rows()}
    rare = sorted(value for value, number in counts.items() if number < MIN_OF_CLASS)
    if rare and column.kind == "integer":
        return Target(column.name, "regression")
    if len(counts) - len(rare) < 2:
        raise SourceError(
            f"two classes of {MIN_OF_CLASS} rows at least in the target {column.name!r}",
            f"{len(counts) - len(rare)} of {len(counts)} different words",
            "Give more rows, or name a column of fewer classes",
        )
    other = "other"
    while other in counts:
        other += "_"
    if rare and sum(counts[value] for value in rare) < MIN_OF_CLASS:  # they are too few together, too
        other = max(counts, key=lambda value: (counts[value], value))
    return Target(
        column.name,
        "multiclass_classification",
        numeric=column.is_number,
        classes=tuple(sorted({*(set(counts) - set(rare)), *([other] if rare else [])})),
        joined=dict.fromkeys(rare, other),
    )


def _two_classes(column: Column) -> Target:
    counts = dict(column.values)
    values = [value for value, _ in column.values]
    task: Task = "binary_classification"
    share = {value: counts[value] / max(1, sum(counts.values())) for value in values}
    if column.kind == "boolean":
        return Target(column.name, task, share=share.get("true"))
    if set(values) == {"0", "1"}:
        return Target(column.name, task, share=share.get("1"))
    if column.is_number:  # 1 among numbers is positive where the others are 0 alone: else it would say nothing
        positive = max((value for value in values if value != "1"), key=float)
        return Target(column.name, task, positive, share=share[positive])
    known = [value for value in values if value.strip().lower() in _POSITIVE]
    positive = known[0] if len(known) == 1 else min(values, key=lambda value: (counts[value], value))
    return Target(column.name, task, positive, column.is_number, share[positive])


def _truth(values: pl.Series, column: Column, target: Target) -> Vector:
    if target.classes:
        places = {name: float(at) for at, name in enumerate(target.classes)}
        words = [None if value is None else as_text(value) for value in values.to_list()]
        codes = [None if word is None else places[target.joined.get(word, word)] for word in words]
        return pl.Series(codes, dtype=pl.Float64).fill_null(math.nan).to_numpy()
    if target.positive is not None:
        texts = [None if value is None else float(as_text(value) == target.positive) for value in values.to_list()]
        return pl.Series(texts, dtype=pl.Float64).fill_null(math.nan).to_numpy()
    return encode(values, column)[0]


# --- when, and which row ----------------------------------------------------------------------------------------------


def _clock(profile: Profile, target: str, asked: str | None) -> Clocked:
    if asked is not None:
        column = profile.columns[asked]
        if column.kind != "instant":
            raise SourceError(
                f"instants in the clock {asked!r}: 2024-01-31, or 2024-01-31T06:00Z",
                "; ".join(column.notes) or f"{column.kind}s"
                if column.kind != "text" or column.notes
                else "other texts",
                "Write its instants so, or name another column",
            )
        lost = f"; {column.missing:,} rows have none and are lost" if column.missing else ""
        return Clocked(asked, (), f"as you said{lost}")
    possible = [
        name
        for name, column in profile.columns.items()
        if column.kind == "instant" and not column.missing and column.distinct > 1 and name != target
        and not is_personal(column, profile.sample[name])
    ]  # fmt: skip
    if not possible:
        odd = [f"{name}: {note}" for name, each in profile.columns.items() for note in each.notes if "dates" in note]
        gaps = [
            f"{name} is missing in {each.missing:,} rows"
            for name, each in profile.columns.items()
            if each.kind == "instant" and each.missing
        ]
        said = "no column has an instant, such as 2024-01-31 or 2024-01-31T06:00Z, in every row"
        return Clocked(None, (), f"none: {'; '.join([*odd, *gaps]) or said}")
    # a row's own time comes before those of what followed
    order = sorted(possible, key=lambda name: (not profile.sample[name].is_sorted(), profile.sample[name].mean()))
    first, *others = order
    grows = profile.sample[first].is_sorted()
    said = (
        "the only column with an instant in every row"
        if not others
        else "the earliest of those with an instant in every row"
    )
    if others and grows and not all(profile.sample[name].is_sorted() for name in others):
        said = "it grows from row to row"
    return Clocked(first, tuple(others), said)


def _keys(profile: Profile, target: Target, clock: Clocked, asked: tuple[str, ...]) -> Keyed:
    if asked:
        if target.column in asked:
            raise SourceError("keys that are known before the target", target.column, "Name other columns by --key")
        if empty := [
            f"{name} in {profile.columns[name].missing:,} rows" for name in asked if profile.columns[name].missing
        ]:
            raise SourceError("a value in every key", f"none of {', '.join(empty)}", "Name other columns by --key")
        return Keyed(asked, profile.rows - profile.exact_distinct(asked)[0])
    doing("looking for columns that tell rows apart")
    possible = [
        name
        for name, column in profile.columns.items()
        if name != target.column and not column.missing and column.kind in ("integer", "text", "instant")
    ]
    by_name = [(name,) for name in possible if named_like_key(name)]
    others = sorted((name for name in possible if name != clock.column), key=lambda n: (profile.columns[n].distinct, n))
    singles = [(name,) for name in possible if is_identifier(profile.columns[name])]
    timed: list[tuple[str, ...]] = [(clock.column,)] if clock.column in possible and clock.column else []
    pairs = [(*each, name) for each in timed for name in others]
    triples = [(*each, *pair) for each in timed for pair in combinations(others[:10], 2)]
    for sets in (by_name, timed, singles, pairs, triples):
        unique = [each for each in sets if profile.sample.select(each).is_unique().all()][:_PAIRS_LOOKED_AT]
        for each, distinct in zip(unique, profile.exact_distinct(*unique), strict=True):
            if distinct == profile.rows:
                return Keyed(each)
    name = ROW_KEY
    while name.lower() in {each.lower() for each in profile.columns}:
        name += "_"
    return Keyed((name,), made=True)


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


# --- what each column is for ------------------------------------------------------------------------------------------


class _Roles:
    """What each column is for; every one that is no feature has a reason."""

    def __init__(
        self, profile: Profile, target: Target, clock: Clocked, keys: Sequence[str], sample: pl.DataFrame
    ) -> None:
        self.columns, self.sample, self.task = profile.columns, sample, target.task
        self.left_out: dict[str, str] = {}
        self.personal: dict[str, str] = {}
        self.suspicions: list[Suspicion] = []
        self.leaks_are_left_out = True
        self._features: dict[str, str] = {}
        self._keys, self._taken = keys, (target.column, clock.column)
        self.late = [name for name, each in self.columns.items() if each.kind == "instant" and name not in self._taken]
        for name, column in self.columns.items():
            if name not in self._taken:
                self._place(name, column)
        if target.joined:
            into = next(iter(target.joined.values()))
            said = f"{', '.join(target.joined)} have fewer than {MIN_OF_CLASS} rows and count as {into!r}"
            self.suspicions.append(Suspicion(target.column, "rare classes", said))
        if target.positive is not None:
            said = f"{target.positive!r} counts as 1; change `label` where another one is meant"
            self.suspicions.append(Suspicion(target.column, "a label of two words", said))

    def _place(self, name: str, column: Column) -> None:
        if why := is_personal(column, self.sample[name]):
            self.personal[name] = "hash" if name in self._keys else "drop"
            done = "hashed" if name in self._keys else "dropped"
            self._leave(name, "personal data?", f"{why} says so; {done} where data enter")
        elif reason := _useless(column) or _unusable(column):
            self._leave(name, *reason)
        elif column.kind == "text" or is_code(column):
            self._features[name] = "category"
            if column.kind == "integer":
                self._suspect(name, "codes?", "whole numbers named like categories: encoded, not counted")
        else:
            self._features[name] = "number"
        if name in self._features and column.missing > _HEAVILY_MISSING * column.rows:
            self._suspect(name, "often missing", f"in {column.missing / column.rows:.1%} of the rows")

    def _leave(self, name: str, what: str, said: str) -> None:
        self.left_out[name] = f"{what}: {said}"
        if name not in self._keys or what == "personal data?":
            self._suspect(name, what, said)

    def _suspect(self, name: str, what: str, said: str) -> None:
        self.suspicions.append(Suspicion(name, what, said))

    def judged(self) -> dict[str, Column]:
        """Return the columns of which it is asked whether they tell the label."""
        return {name: self.columns[name] for name in (*self._features, *self.late) if name not in self._keys}

    def forbid(self, leaks: Sequence[Leak]) -> None:
        """Take what tells the label out of the features, unless nothing would be left."""
        telling = {name for leak in leaks for name in leak.columns}
        self.leaks_are_left_out = bool(set(self._features) - telling)
        done = "forbidden until you know it before the event"
        if not self.leaks_are_left_out:
            done = "kept, as nothing else is there to learn from"
        for leak in leaks:
            how = _SCORED[METRIC[self.task]].format(leak.score)
            for name in leak.columns:
                others = [each for each in leak.columns if each != name]
                alone = f"together with {others[0]}" if others else "alone"
                self._suspect(name, "tells the label?", f"{alone}, {how}: {done}")
        if self.leaks_are_left_out:
            for name in telling:
                self._features.pop(name, None)
                self.left_out[name] = "tells the label?"

    def of(self, kind: str) -> tuple[str, ...]:
        """Return the features of a kind, in the order of the table."""
        return tuple(name for name in self.columns if self._features.get(name) == kind)


def _useless(column: Column) -> tuple[str, str] | None:
    """Return why nothing can be learnt from a column."""
    if not column.present:
        return "empty", "no value in any row"
    if column.distinct == 1:
        return "constant", "the same value wherever it has one"
    if column.missing > _MOSTLY_MISSING * column.rows:
        return "nearly empty", f"missing in {column.missing / column.rows:.1%} of the rows"
    if is_identifier(column):
        return "identifier", f"{column.distinct:,} different values in {column.present:,} rows"
    return None


def _unusable(column: Column) -> tuple[str, str] | None:
    """Return why a column is better left out at first."""
    if column.kind == "instant":
        return "another instant", "it may be known only after the row's own time"
    if column.kind == "text" and column.notes and LEADING_ZEROS not in column.notes:
        return "odd values", column.notes[0]
    if column.kind == "text" and column.words >= _FREE_TEXT and column.distinct > column.present / 2:
        return "free text", f"{column.words:.0f} words as a mean"
    most = min(_MAX_CATEGORIES, max(_MAX_SHARE * column.present, _MIN_CATEGORIES))
    if (column.kind == "text" or is_code(column)) and column.distinct > most:
        return "many categories", f"{column.distinct:,} different values in {column.present:,} rows"
    return None


def _leaks(roles: _Roles, truth: Vector) -> list[Leak]:
    return find_leaks(roles.sample, roles.judged(), truth, roles.task)


def _try(
    sample: pl.DataFrame, features: Mapping[str, Column], times: Sequence[pl.Series], truth: Vector, task: Task
) -> Trial | None:
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
    error = float(np.sqrt(np.mean((prediction - newest) ** 2))) if task == "regression" else math.nan
    return Trial(METRIC[task], score(prediction, newest, task), error, len(newest))
