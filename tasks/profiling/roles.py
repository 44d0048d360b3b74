"""What each column of a table is for: a feature, or left out with a reason."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from expectations.problems import problem_of
from tasks.profiling.choices import LEAKS, PERSONAL, Clocked, Suspicion, Target
from tasks.profiling.profile import ColumnProfile, Profile
from tasks.profiling.suspicions import Leak, is_code, is_identifier, is_personal
from tasks.profiling.targets import MIN_OF_CLASS
from tasks.profiling.writings import LEADING_ZEROS

_MAX_CATEGORIES = 1000
_MAX_SHARE, _MIN_CATEGORIES = 0.2, 12
_FREE_TEXT = 5
"""Words from which a text is no name of a category."""
_SCORED = {"r2": "explains {:.1%}", "roc_auc": "area under ROC {:.3f}", "balanced_accuracy": "balanced accuracy {:.3f}"}
_MOSTLY_MISSING, _HEAVILY_MISSING = 0.99, 0.5


class Roles:
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

    def _place(self, name: str, column: ColumnProfile) -> None:
        if why := is_personal(column, self.sample[name]):
            self.personal[name] = "hash" if name in self._keys else "drop"
            done = "hashed" if name in self._keys else "dropped"
            self._leave(name, PERSONAL, f"{why} says so; {done} where data enter")
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
        if name not in self._keys or what == PERSONAL:
            self._suspect(name, what, said)

    def _suspect(self, name: str, what: str, said: str) -> None:
        self.suspicions.append(Suspicion(name, what, said))

    def judged(self) -> dict[str, ColumnProfile]:
        """Return the columns of which it is asked whether they leak the label."""
        return {name: self.columns[name] for name in (*self._features, *self.late) if name not in self._keys}

    def forbid(self, leaks: Sequence[Leak]) -> None:
        """Take what leaks the label out of the features, unless nothing would be left."""
        telling = {name for leak in leaks for name in leak.columns}
        self.leaks_are_left_out = bool(set(self._features) - telling)
        done = "forbidden until you know it before the event"
        if not self.leaks_are_left_out:
            done = "kept, as nothing else is there to learn from"
        for leak in leaks:
            how = _SCORED[problem_of(self.task).first_score].format(leak.score)
            for name in leak.columns:
                others = [each for each in leak.columns if each != name]
                alone = f"together with {others[0]}" if others else "alone"
                self._suspect(name, LEAKS, f"{alone}, {how}: {done}")
        if self.leaks_are_left_out:
            for name in telling:
                self._features.pop(name, None)
                self.left_out[name] = LEAKS

    def of(self, kind: str) -> tuple[str, ...]:
        """Return the features of a kind, in the order of the table."""
        return tuple(name for name in self.columns if self._features.get(name) == kind)


def _useless(column: ColumnProfile) -> tuple[str, str] | None:
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


def _unusable(column: ColumnProfile) -> tuple[str, str] | None:
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
