"""A bundle made ready to answer: what reads requests and rows for it, proved on its golden rows, and what it costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from expectations.errors import BundleError
from expectations.families import Matrix, Score
from infra.serving.counters import ModelCounters
from infra.serving.looking_back import RowHistory
from infra.serving.protocol import Reader
from infra.serving.row_reader import Row
from tasks.bundles.bundle import Bundle
from tasks.bundles.manifest import Manifest
from tasks.deployment.sharing import entity_columns, place_of
from tasks.modelling.intervals import Intervals
from tasks.modelling.predictors import processor_seconds
from tasks.preprocessing.rows import RowExecutor

_MEASURED_ROWS, _FEW_ROWS = 100, 4


class ScoringCost(NamedTuple):
    """Processor seconds a model takes for one row, and for some: once for all of them and for each."""

    one: float
    all: float
    each: float

    def of(self, rows: int) -> float:
        """Return what `rows` rows take."""
        return self.one if rows == 1 else self.all + self.each * rows


@dataclass(frozen=True)
class Model:
    """A proved bundle, ready to answer."""

    version: str
    bundle: Bundle
    reader: Reader
    executor: RowExecutor
    """Of checked rows."""
    counters: ModelCounters
    entity: tuple[str, ...]
    """Attributes of a row that say whom it is about: the key without the clock."""
    row_seconds: float
    """What its trees or network take for a row, of many."""
    feature_seconds: float
    """What its feature program takes for a row."""
    cost: ScoringCost
    """What it takes of the processor, as measured when it was loaded."""
    explainable: bool = True
    """Whether contributions of features add up to its predictions."""
    outputs: int = 1
    """Scores of a row."""
    names: tuple[str, ...] = ()
    """Classes in the order of its probabilities, where answers name them: not of labels that are 0 and 1."""
    learnt: Intervals | None = None
    """What its intervals are made by, where they learnt since it was packed."""

    @property
    def intervals(self) -> Intervals | None:
        """What its intervals, or sets of classes, are made by now; None where it has none."""
        return self.learnt or self.bundle.intervals

    def predict(self, rows: Sequence[Row]) -> list[Score]:
        """Predict checked rows."""
        predictor = self.bundle.predictor
        if len(rows) == 1:
            return [predictor.predict_row(self.executor.one(rows[0]))]
        if not rows:
            return []
        return self.predict_features(self.executor.matrix(rows))

    def predict_features(self, features: Matrix) -> list[Score]:
        """Predict rows of features, shape (n_rows, n_features)."""
        found: list[Score] = self.bundle.predictor.predict(features).tolist()
        return found

    def share(self, row: Row) -> float:
        """Return where the row's entity falls in [0, 1): the same for the same entity, always and everywhere."""
        values = [getattr(row, field) for field in self.entity]
        if all(value is None for value in values):  # about nobody: the row itself decides
            values = [row]
        return place_of(values)


class Ready(NamedTuple):
    """What a bundle needs to answer requests; see `Model`."""

    reader: Reader
    executor: RowExecutor
    row_seconds: float
    feature_seconds: float
    cost: ScoringCost
    explainable: bool


def make_ready(bundle: Bundle, most_rows: int, secret: bytes | None = None) -> Ready:
    """Make what reads requests and rows for a bundle, and prove it on the golden rows.

    Parameters
    ----------
    secret : bytes, optional
        As of `Reader`.

    Raises
    ------
    BundleError
        If a golden prediction differs.
    """
    manifest, kinds = bundle.manifest, {column.name: column.kind for column in bundle.program.inputs}
    columns = [
        column.model_copy(update={"type": "instant"})
        if column.type == "text" and kinds.get(column.name) == "instant"
        else column
        for column in manifest.columns
    ]
    reader = Reader(columns, manifest.clock, manifest.timezone, most_rows, secret)
    reader.history = RowHistory(manifest.history, reader.fields, manifest.clock)
    executor = bundle.program.compile(reader.readings(bundle.program))
    bundle.prove(
        RowExecutor(
            lambda row: executor.one(reader.row(row)),
            lambda rows: executor.many(map(reader.row, rows)),
            executor.width,
        )
    )
    golden, _ = bundle.golden()
    known = golden or [{}]  # all may have been erased
    rows = list(itertools.islice(itertools.cycle(map(reader.row, known)), _MEASURED_ROWS))
    features, predictor = executor.matrix(rows), bundle.predictor
    scoring = processor_seconds(lambda: predictor.predict(features)) / _MEASURED_ROWS
    program = processor_seconds(lambda: executor.matrix(rows)) / _MEASURED_ROWS
    one = processor_seconds(lambda: predictor.predict_row(executor.one(rows[0])))
    few = processor_seconds(lambda: predictor.predict(executor.matrix(rows[:_FEW_ROWS])))
    cost = ScoringCost(one, max(0.0, few - _FEW_ROWS * (scoring + program)), scoring + program)
    return Ready(reader, executor, scoring, program, cost, _adds_up(bundle, features[:_FEW_ROWS]))


def _adds_up(bundle: Bundle, features: Matrix) -> bool:
    """Whether contributions are shares of the predictions: not with every objective and kind of trees."""
    if bundle.predictor.explains == "prediction":
        return True  # shares of the difference to a row of zeros, made from predictions
    try:
        scores = bundle.predictor.contributions(features).sum(axis=-1)
    except BundleError:  # trees with models in their leaves have none
        return False
    found = bundle.manifest.problem.link(scores)
    return bool(np.allclose(found, bundle.predictor.predict(features), rtol=1e-6, atol=1e-9))


def make_model(
    bundle: Bundle,
    version: str,
    most_rows: int,
    secret: bytes | None = None,
    counters: Callable[[], ModelCounters] | None = None,
) -> Model:
    """Make a bundle ready to answer; parameters and errors as of `make_ready`.

    Parameters
    ----------
    counters : function, optional
        Returns what it is counted in, once it is ready; counters of its own otherwise.
    """
    ready, manifest = make_ready(bundle, most_rows, secret), bundle.manifest
    fields = ready.reader.fields
    entity = [fields[name] for name in entity_columns(manifest) if name in fields]
    return Model(
        version,
        bundle,
        ready.reader,
        ready.executor,
        counters() if counters is not None else ModelCounters(version),
        tuple(entity or fields.values()),
        ready.row_seconds,
        ready.feature_seconds,
        ready.cost,
        ready.explainable,
        manifest.problem.outputs(manifest.classes),
        manifest.problem.names(manifest.answers),
    )


def check_signature(now: Manifest, new: Manifest) -> None:
    """Hold a new bundle's inputs against those served: clients must not notice the change.

    Raises
    ------
    BundleError
        If it predicts something else, needs a column that is not sent today, or reads one as another type.
    """
    known = {column.name: column.sent for column in now.columns if column.role == "input"}
    needed = {column.name: column.sent for column in new.columns if column.role == "input"}
    wrong = [f"{name} is new" for name in needed if name not in known]
    wrong += [f"{name} was {known[name]}" for name, kind in needed.items() if known.get(name, kind) != kind]
    if (now.task, now.label) != (new.task, new.label):
        wrong.append(f"it predicts {new.label} ({new.task})")
    elif now.problem.outputs(now.classes) == 1 and now.problem.names(now.answers) != new.problem.names(new.answers):
        theirs, ours = (f"{each[-1]!r} (and not {each[0]!r})" for each in (new.classes, now.classes))
        wrong.append(f"it predicts the probability of {theirs}, and that of {ours} is served")
    if wrong:
        raise BundleError(
            "the inputs that are served today",
            "; ".join(wrong),
            "Let the clients send them, then `driftwheel deploy --new-signature`",
        )
