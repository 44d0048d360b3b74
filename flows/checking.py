"""`driftwheel check`: try all of a use case on what its sources hold, and report every problem at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from expectations.contradictions import REPLAY
from expectations.data import EVENT_TIME
from expectations.drift_scores import ScoresOfColumns
from expectations.errors import DriftwheelError
from expectations.parts import input_kinds
from expectations.usecase import UseCase
from flows.protected_columns import say_protected
from infra.settings import Settings
from tasks.stores.progress import doing, part

_SAMPLE = 5000
_MAX_NAMED = 20
_MANY, _MOSTLY = 100, 0.5
"""Different values from which, and share of the rows above which, a column is hardly one of categories."""
_STEPS = 5
"""What is tried after the sources."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was tried."""

    what: str
    good: bool
    found: str


class _Steps:
    """Counts what is tried."""

    def __init__(self, number: int) -> None:
        self._number, self._begun = number, 0

    def say(self, text: str) -> str:
        """Count what is tried now, and return words for it."""
        self._begun += 1
        return f"step {self._begun} of {self._number}, {text}"

    def begin(self, text: str) -> None:
        """Say what is tried now."""
        doing(self.say(text))


def check_use_case(settings: Settings, reference: str) -> Iterator[CheckResult]:
    """Try a use case, and yield what was found as it is; nothing of it is kept.

    Raises
    ------
    UseCaseError, UseCaseNotFoundError
        If it cannot even be loaded.
    """
    from tasks.cleaning.suite import build_suite
    from tasks.collection.expected_types import expected_of
    from tasks.collection.reading import read_source_of
    from tasks.collection.sources.tables import TableFiles
    from tasks.collection.unreadable import without_marks

    usecase = settings.use_case(reference)
    spec = usecase.spec
    yield CheckResult("use case", True, f"{usecase.name}, {spec.task}, {len(spec.features)} feature steps")
    if spec.retention and settings.lake is not None and "://" in settings.lake:
        where = "a lake at a store's address is kept whole: others could not be held off while older rows are erased"
        yield CheckResult("retention", False, f"{where}. Take it out, or let DRIFTWHEEL_LAKE be a folder")
    sound = True
    steps = _Steps(len(spec.sources) + _STEPS)
    for name, source in spec.sources.items():
        steps.begin(f"reading source {name}")
        try:
            reported: list[str] = []
            frame = read_source_of(usecase, name, until=_far(), expected=expected_of(spec, {}), report=reported.append)
            number, width = len(frame), len(without_marks(frame).columns)
            del frame
            key = source.row_key if isinstance(source, TableFiles) else None
            said = f"; {key} is made of what a row holds, so a corrected row is another one" if key else ""
            said += "".join(f"; {each.removeprefix(f'{name}: ')}" for each in reported)
            yield CheckResult(f"source {name}", True, f"{number:,} rows, {width} columns{said}")
        except DriftwheelError as error:
            sound = False
            yield CheckResult(f"source {name}", False, str(error))
    steps.begin("building the suite")
    try:
        build_suite(usecase)
        yield CheckResult("suite", True, f"{len(usecase.suite)} expectations")
    except DriftwheelError as error:
        sound = False
        yield CheckResult("suite", False, str(error))
    if sound:
        try:
            yield from _try_stages(settings, reference, steps)
        except DriftwheelError as error:
            yield CheckResult("trial", False, str(error))


def _try_stages(settings: Settings, reference: str, steps: _Steps) -> Iterator[CheckResult]:
    from tasks.bundles.bundle import load_bundle
    from tasks.cleaning.judgement import judge
    from tasks.cleaning.repair import repair
    from tasks.collection.joining import join_sources
    from tasks.monitoring.watched_columns import watched_kinds
    from tasks.stores.files import scratch
    from tasks.stores.lake_tables import UNREAD, Version
    from tasks.training.judging import Judged, Judgement, Refit
    from tasks.training.learning import fit_recipe
    from tasks.training.packing import pack

    usecase = settings.use_case(reference)
    if usecase.spec.clock is None:  # what is tried is kept nowhere: rows are in the order of the source
        usecase = usecase.renamed(usecase.name + REPLAY)
    spec = usecase.spec
    steps.begin("joining")
    joined = join_sources(usecase, since=None, until=_far(), secret=settings.places().secret)
    coverage = ", ".join(f"{name} {share:.1%}" for name, share in joined.coverage.items()) or "nothing to join"
    undated = f"; {len(joined.undated):,} more have no event time and are lost" if len(joined.undated) else ""
    yield CheckResult("joins", True, f"{len(joined.rows):,} rows; coverage {coverage}{undated}")
    yield from _shadowed(spec, joined.rows)
    if undeclared := _say_types(spec, joined.rows):
        yield CheckResult("columns", True, undeclared)
    yield CheckResult("lookback" if spec.clock else "order", True, _say_lookback(spec))
    if protected := "; ".join(say_protected(spec)):
        yield CheckResult("personal", True, protected)
    rows = joined.rows.sort(spec.time_column)
    del joined  # of many rows one copy is enough
    known = rows.filter(pl.col(spec.label.column).is_not_null()) if rows[spec.label.column].null_count() else rows
    problem, label = spec.problem, known[spec.label.column]
    classes = problem.classes(label, spec.label)
    share = problem.describe(problem.codes(label, classes), classes)
    share = f", {share}" if share else ""
    different = label.n_unique() > 1
    least = 2 * spec.evaluation.min_rows
    learnable = different and len(known) >= least
    lacking = "" if learnable else f"; at least {least} rows with different values are needed to learn"
    misfit = problem.misfit(label) if learnable else ""
    lacking = lacking or (f"; {misfit}" if misfit else "")
    yield CheckResult(
        "label", learnable and not misfit, f"{len(known):,} of {len(rows):,} rows have one{share}{lacking}"
    )
    if problem.unwatched:
        yield CheckResult("monitoring", True, "; ".join(problem.unwatched.values()))
    sample = _spread(known if learnable else rows, spec)
    steps.begin("holding a sample against the suite")
    for outcome in judge(usecase, sample):
        if not outcome.success:
            found = outcome.error or f"{len(outcome.failing)} of {len(sample)} sampled rows fail"
            yield CheckResult(f"expectation {outcome.name}", not outcome.holds, found)
    if not learnable:  # what is left needs labels
        return
    with part(steps.say("learning from a sample")):
        cleaned, _ = repair(sample.drop(UNREAD, strict=False), spec.cleaning, spec.keys)
        cleaned = _with_history(cleaned, rows, spec)
        trained = fit_recipe(cleaned, spec, spec.model.candidates[0].shortened())
        if spec.model.first is not None:  # which is what will be packed
            trained = fit_recipe(cleaned, spec, spec.model.first)
    of_all = f", from a sample of {len(sample):,} of {len(known):,} rows, spread over them" * (len(sample) < len(known))
    yield CheckResult("features", True, f"{len(trained.program.features)}{of_all}: {_named(trained.program.features)}")
    for words, value in trained.program.measured.items():
        yield CheckResult("features", True, f"{words}: {value:.1%}")
    yield from _say_history(cleaned, spec)
    for column, words in _free_texts(spec, cleaned):
        yield CheckResult(f"categories of {column}", True, words)
    steps.begin("packing a bundle, and predicting by it")
    with scratch() as folder:
        prediction = trained.predict(cleaned, repaired=True)
        judged = Judged(Judgement("passed", "a trial"), trained, cleaned, {}, prediction)
        digest = pack(
            folder / "b",
            usecase,
            cleaned,
            cleaned,
            judged,
            Refit(trained, cleaned, disagreement=0.0),
            data=Version("clean", 0, len(cleaned)),
            data_hash="",
            commit="",
            parent="",
            name=usecase.name.removesuffix(REPLAY),
            as_of=_far(),
        )
        bundle = load_bundle(folder / "b", digest)
        kinds = watched_kinds(bundle, spec)
        (value,) = bundle.predict(cleaned.head(1), repaired=True).tolist()
        said = ", ".join(f"{each:.4f}" for each in np.atleast_1d(value))
        size = sum(file.stat().st_size for file in bundle.folder.iterdir())
    yield CheckResult(
        "one prediction",
        True,
        f"{said} for the first row, from a bundle of {size / 1e3:.0f} kB "
        f"({len([name for name in cleaned.columns if name != EVENT_TIME])} columns in the row)",
    )
    for misfit in ScoresOfColumns.declared(spec.monitoring.drift.scores).misfits(kinds):
        yield CheckResult("monitoring.drift.scores", False, misfit)


def _with_history(sample: pl.DataFrame, rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Return a sample with what its rows get from earlier ones, of all rows."""
    from tasks.cleaning.repair import repair
    from tasks.preprocessing.history.earlier_rows import EarlierRows, columns_read

    if not spec.history:
        return sample
    repaired = [name for step in spec.cleaning for name in step.reads()]
    order = dict.fromkeys((spec.time_column, *spec.keys))
    read = [*dict.fromkeys((*columns_read(spec.looked_back), *repaired, *order))]
    past, _ = repair(rows.select(read).sort(*order), spec.cleaning, spec.keys)
    return EarlierRows.of(spec.looked_back, past, spec.time_column).beside(sample)


def _say_history(rows: pl.DataFrame, spec: UseCase) -> Iterator[CheckResult]:
    """Say for how many rows earlier ones are known."""
    known = [f"{name} in {1 - rows[name].null_count() / len(rows):.1%}" for name in spec.history]
    if known:
        said = f"from earlier rows: {', '.join(known)} of the sampled rows; no request carries these"
        yield CheckResult("history", True, said)


def _shadowed(spec: UseCase, rows: pl.DataFrame) -> Iterator[CheckResult]:
    """Refuse columns of `history` that have the name of a collected one."""
    if shadowed := sorted(spec.history.keys() & {*rows.columns}):
        why = "the sources have columns of these names, too; call those under `history` otherwise"
        yield CheckResult("history", False, f"{', '.join(shadowed)}: {why}")


def _say_types(spec: UseCase, rows: pl.DataFrame) -> str:
    """Say what columns are that the use case reads and does not declare: decided once, by the first collection."""
    from tasks.collection.expected_types import needed_columns
    from tasks.collection.types import type_of

    said = {*spec.columns, spec.time_column, spec.label.column}
    read = [name for name in needed_columns(spec) if name in rows.columns and name not in said]
    found = ", ".join(f"{name} {type_of(rows.schema[name])}" for name in read[:_MAX_NAMED])
    more = f" and {len(read) - _MAX_NAMED} more" if len(read) > _MAX_NAMED else ""
    return f"not declared, so found by the first collection and kept: {found}{more}" if read else ""


def _spread(rows: pl.DataFrame, spec: UseCase) -> pl.DataFrame:
    """Return a sample over all rows; of each column that a feature reads it holds the first value."""
    step = -(-len(rows) // _SAMPLE)
    if step <= 1:
        return rows
    present = [rows[name].is_not_null() for name in input_kinds(spec.features) if name in rows.columns]
    firsts = [at for each in present if (at := each.arg_max()) is not None]
    return rows[sorted({*range(0, len(rows), step), *firsts})]


def _named(features: Sequence[str]) -> str:
    """Name features, of very many the first and the last."""
    return ", ".join(features) if len(features) <= _MAX_NAMED else f"{', '.join(features[:3])} … {features[-1]}"


def _free_texts(spec: UseCase, rows: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield columns whose categories are hardly ever seen again."""
    for step in spec.features:
        if not step.learns_each_value:
            continue
        name = next(iter(type(step).model_fields))
        for column in step.reads({}):
            different = rows[column].n_unique() if column in rows.columns else 0
            if different >= _MANY and different > _MOSTLY * len(rows):
                words = (
                    f"{different:,} in {len(rows):,} rows: most are never seen again, so `{name}` learns nothing of "
                )
                yield (
                    column,
                    f"{words}them. Take the column out, or read it by `hashed` or as a text (`tfidf`, `ngrams`)",
                )


def _far() -> datetime:
    """Return an instant by which all rows are known."""
    return datetime.now(UTC) + timedelta(days=36500)


def _say_lookback(spec: UseCase) -> str:
    if spec.clock is None:
        return (
            "no clock: rows are ordered by when they were first collected; corrected rows and missing labels are found "
            "however late they come"
        )
    if spec.label.source is not None:
        return (
            f"corrected rows are found for {spec.collection.lookback} after their time; new rows, and labels of "
            f"{spec.label.source}, corrected ones too, however late they come"
        )
    return (
        f"corrected rows are found for {spec.collection.lookback} after their label is due "
        f"({spec.label.available_after} after their time); new rows and missing labels however late they come"
    )
