"""What is suspected of columns: that they leak the label, name a person, or number the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Matrix, Scores, Task, Vector
from expectations.problems import problem_of
from tasks.evaluation.metrics import Scored
from tasks.evaluation.metrics import score as score_by
from tasks.profiling.profile import ColumnProfile, split_name
from tasks.stores.progress import doing

TELLS = 0.99
"""Score on rows not fitted on from which a column leaks the label."""
_PAIR_TELLS = 0.995
_ROWS = 5000
_MIN_ROWS = 60
_MAX_PAIRED = 40
_HOLDOUT = 0.3
_CATEGORIES = 200

Mask = npt.NDArray[np.bool_]

_PERSONAL_WORDS = frozenset(
    {"email", "mail", "phone", "mobile", "telephone", "tel", "fax", "surname", "firstname", "lastname", "fullname"}
    | {"forename", "address", "street", "birthdate", "birthday", "dob", "ssn", "passport", "iban"}
)
_PERSONAL_PAIRS = frozenset(
    {("first", "name"), ("last", "name"), ("full", "name"), ("customer", "name"), ("user", "name"), ("person", "name")}
    | {("birth", "date"), ("birth", "day"), ("of", "birth"), ("ip", "address"), ("credit", "card")}
)
_PERSONAL_VALUES = {
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$",
    "telephone numbers": r"^(\+\d|\(\d)[\d\s().-]{6,}$",
    "bank accounts": r"^[A-Z]{2}\d{2}[A-Z0-9]{11,30}$",
    "network addresses": r"^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$",
}
_MIN_PERSONS = 20
"""Different values below which a column identifies no one: yes and no under `telephone`."""
_IDENTIFIERS = frozenset(
    {"id", "ids", "uuid", "guid", "key", "identifier", "rownames", "index", "nr", "number", "rowid"}
)
_CODES = frozenset({"code", "zip", "zipcode", "postcode", "postal", "type", "class", "category", "cat", "region"})


@dataclass(frozen=True)
class Leak:
    """Columns that leak the label, and how well: by the `first_score` of the kind of problem."""

    columns: tuple[str, ...]
    score: float


def is_personal(column: ColumnProfile, sample: pl.Series) -> str:
    """Return why a column may name persons; empty where nothing says so."""
    if column.distinct < _MIN_PERSONS or column.kind not in ("text", "integer", "instant"):
        return ""
    words = split_name(column.name)
    if words == ("name",) or set(words) & _PERSONAL_WORDS or any(pair in _PERSONAL_PAIRS for pair in pairwise(words)):
        return "its name"
    if column.kind == "text":
        known = sample.drop_nulls()
        for said, pattern in _PERSONAL_VALUES.items():
            if (known.str.contains(pattern).mean() or 0) >= 0.8:  # type: ignore[operator] # of booleans
                return said
    return ""


def named_like_key(name: str) -> bool:
    """Whether a column's name says that it identifies."""
    words = split_name(name)
    return not words or words[-1] in _IDENTIFIERS


def is_identifier(column: ColumnProfile) -> bool:
    """Whether a column tells (nearly) every row apart and says nothing else."""
    if column.present < _MIN_PERSONS or column.kind not in ("integer", "text"):
        return False
    share = column.distinct / column.present
    if named_like_key(column.name) and share >= 0.5:
        return True
    if column.kind == "text":
        return share >= 0.9
    dense = isinstance(column.least, float) and isinstance(column.most, float)
    return dense and column.distinct == column.present and column.most - column.least < 1.5 * column.present  # type: ignore[operator]


def is_code(column: ColumnProfile) -> bool:
    """Whether whole numbers are names of categories, not amounts."""
    words = split_name(column.name)
    return column.kind == "integer" and (named_like_key(column.name) or bool(set(words) & _CODES))


# --- leaks ------------------------------------------------------------------------------------------------------------


def find_leaks(sample: pl.DataFrame, columns: Mapping[str, ColumnProfile], label: Vector, task: Task) -> list[Leak]:
    """Find the columns that leak the label, alone or two of them together.

    Parameters
    ----------
    sample : polars.DataFrame of shape (n_rows, any)
        In order of time, where there is one.
    columns : mapping of str to ColumnProfile
        Those to look at.
    label : ndarray of shape (n_rows,)
        NaN where it is not known.
    """
    rows = np.flatnonzero(np.isfinite(label))
    if len(rows) < _MIN_ROWS:
        return []
    rows = rows[:: -(-len(rows) // _ROWS)]
    truth = label[rows]
    train, test = _split(truth, task)
    found, numbers = [], {}
    for name, column in columns.items():
        doing(f"looking whether {name} leaks the label")
        values, categorical = encode(sample[name], column)
        values = values[rows]
        score = _alone(values, truth, train, test, task, categorical=categorical)
        if score >= TELLS:
            found.append(Leak((name,), score))
        elif column.is_number and column.distinct > 1:
            numbers[name] = values
    doing("looking whether two columns together leak the label")
    return found + _together(numbers, truth, train, test, task)


def _split(truth: Vector, task: Task) -> tuple[Mask, Mask]:
    """Fit on the older rows and score on the newest; where these are of one class, on rows drawn by a seed."""
    test = np.arange(len(truth)) >= len(truth) * (1 - _HOLDOUT)
    if problem_of(task).classifies and (len(np.unique(truth[test])) < 2 or len(np.unique(truth[~test])) < 2):
        test = np.random.default_rng(0).random(len(truth)) < _HOLDOUT
    return ~test, test


def encode(values: pl.Series, column: ColumnProfile) -> tuple[Vector, bool]:
    """Return a column as numbers, NaN where it is missing, and whether these are codes of categories."""
    if column.kind == "text":
        counts = values.drop_nulls().value_counts().sort(["count", values.name], descending=[True, False])
        known = counts[values.name].head(_CATEGORIES)
        codes = values.replace_strict(known, list(range(len(known))), default=None, return_dtype=pl.Float64)
        return codes.fill_null(math.nan).to_numpy(), True
    if column.kind == "instant":
        values = values.dt.epoch("s")
    return values.cast(pl.Float64).fill_null(math.nan).to_numpy(), False


def score(prediction: Scores, truth: Vector, task: Task) -> float:
    """Return the `first_score` of a task as the platform counts it; NaN where it is not defined."""
    return score_by(problem_of(task).first_score, Scored(truth, prediction))


def fit_trees(matrix: Matrix, truth: Vector, task: Task, categorical: Sequence[int], **settings: Any) -> Any:  # noqa: ANN401
    """Fit some trees of LightGBM, in one thread, always the same ones."""
    import lightgbm

    least = max(2, min(20, len(truth) // 50))
    problem = problem_of(task)
    params: dict[str, Any] = {"objective": "regression", "min_data_in_leaf": least, "seed": 0}
    if problem.has_threshold:
        params["objective"] = "binary"
    elif problem.classifies:
        params |= {"objective": "multiclass", "num_class": int(truth.max()) + 1}
    params |= {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, **settings}
    rounds = params.pop("rounds")
    data = lightgbm.Dataset(matrix, truth, categorical_feature=list(categorical))
    return lightgbm.train(params, data, num_boost_round=rounds)


def _alone(values: Vector, truth: Vector, train: Mask, test: Mask, task: Task, *, categorical: bool) -> float:
    if len(np.unique(values[np.isfinite(values)])) < 2 and np.isfinite(values).all():
        return 0.0
    classifies = problem_of(task).classifies
    shape = {"max_depth": 2, "num_leaves": 4, "rounds": 10} if classifies else {"num_leaves": 31, "rounds": 60}
    matrix = values.reshape(-1, 1)
    model = fit_trees(matrix[train], truth[train], task, [0] if categorical else [], learning_rate=0.2, **shape)
    found = score(np.asarray(model.predict(matrix[test])), truth[test], task)
    if not classifies and not categorical and np.isfinite(values).all():  # a line goes on where trees end
        found = max(found, _linear(matrix, truth, train, test, task), _orders(values[test], truth[test]))
    return found


def _orders(values: Vector, truth: Vector) -> float:
    """Return the squared rank correlation: 1 for a logarithm of the label, or another scale of it."""
    if not np.ptp(values) or not np.ptp(truth):
        return 0.0
    ranks = [pl.Series(each).rank().to_numpy() for each in (values, truth)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1] ** 2)


def _together(numbers: Mapping[str, Vector], truth: Vector, train: Mask, test: Mask, task: Task) -> list[Leak]:
    problem = problem_of(task)
    if problem.classifies and not problem.has_threshold:  # a line tells amounts, or one class from another
        return []
    whole = {name: values for name, values in numbers.items() if np.isfinite(values).all() and np.ptp(values)}
    found = []
    for one, other in combinations(list(whole)[:_MAX_PAIRED], 2):
        explained = _linear(np.column_stack([whole[one], whole[other]]), truth, train, test, task)
        if explained >= _PAIR_TELLS:
            found.append(Leak((one, other), explained))
    return found


def _linear(matrix: Matrix, truth: Vector, train: Mask, test: Mask, task: Task) -> float:
    centred = matrix - matrix[train].mean(axis=0)
    target = truth - truth[train].mean()
    covariance = centred[train].T @ centred[train]
    if np.linalg.cond(covariance) > 1e12:
        return 0.0
    weights = np.linalg.solve(covariance, centred[train].T @ target[train])
    return score(centred[test] @ weights, truth[test] if problem_of(task).classifies else target[test], task)
