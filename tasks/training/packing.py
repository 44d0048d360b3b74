"""Turn a refit into a bundle."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import polars as pl

from expectations.column_types import column_type
from expectations.contradictions import REPLAY
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from expectations.windows import TICK
from tasks.bundles.bundle import EVALUATION, EXPECTED, LOSSES, load_bundle
from tasks.bundles.judged_rows import write_judged
from tasks.bundles.manifest import BundleColumn, Manifest, seal
from tasks.bundles.row_frames import jsonable, rows_to_frame
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.learning import learn_expectation
from tasks.evaluation.interval import in_time
from tasks.evaluation.losses import hourly_losses
from tasks.evaluation.sketches import Reference, references_to_dict, sketch
from tasks.modelling.calibrated import CALIBRATION
from tasks.modelling.intervals import INTERVALS, Intervals
from tasks.preprocessing.program import FeatureProgram
from tasks.stores.known import Known
from tasks.stores.lake_tables import TECHNICAL, UNREAD, Version
from tasks.stores.plain import to_json
from tasks.training.judging import Judged, Judgement, Refit, rows_before
from tasks.training.labelled import declared_digest, labels
from tasks.training.learning import Trained

GOLDEN_ROWS = 20
RANGE_ROWS = 20_000
"""Rows before the holdout that say, at most twice as many, which range of features was learnt from."""


def bundle_columns(
    spec: UseCase, program: FeatureProgram, frame: pl.DataFrame, *, collected: bool = False
) -> tuple[BundleColumn, ...]:
    """Columns of rows that are asked about: what the program reads and entities are identified by, then keys and clock.

    Parameters
    ----------
    collected : bool
        Whether requests carry rows that were collected, as in a replay: in these, personal values are protected.
    """
    inputs = {column.name: column.kind for column in program.inputs}
    columns = []
    clock = (spec.time_column,) if spec.timed else ()
    identifying = [each for name in inputs if name in spec.history for each in spec.history[name].by]
    for name in dict.fromkeys((*inputs_in_order(program), *identifying, *spec.keys, *clock)):
        known = spec.columns.get(name)
        # what the program reads as an instant is checked as one, also where the source holds texts
        guessed = "instant" if inputs.get(name) == "instant" else column_type(frame.schema[name])
        kind = known.type if known else guessed
        # an instant is refused where it is collected
        how = spec.personal.get(name)
        changed = how is not None and how.keeps and how.changes
        sent = kind if changed and kind != "instant" and kind != "image" else None
        columns.append(
            BundleColumn(
                name=name,
                type=how.type_of(sent) if how is not None and sent else kind,
                hashed_from=None if collected else sent,
                protection=None if collected or not sent else how,
                unit=known.unit if known else "",
                description=known.description if known else "",
                role="history" if name in spec.history else "input" if name in inputs or name in identifying else "key",
                format=spec.format_of(name),
                size=known.size if known else None,
                channels=(known.channels or 1) if known and kind == "image" else None,
            )
        )
    return tuple(columns)


def inputs_in_order(program: FeatureProgram) -> list[str]:
    """Names of the program's inputs."""
    return [column.name for column in program.inputs]


def pack(
    folder: Path,
    usecase: LoadedUseCase,
    rows: pl.DataFrame,
    raw: pl.DataFrame,
    judged: Judged,
    refitted: Refit,
    *,
    data: Version,
    data_hash: str,
    commit: str,
    parent: str,
    name: str,
    as_of: datetime,
) -> str:
    """Write the bundle of a refit into a folder and return its hash. The same content gives the same hash.

    Parameters
    ----------
    rows, raw : polars.DataFrame
        All ripe labelled rows, and the same time before any repair: the reference for drift and the golden rows, as
        windows and requests are raw.
    as_of : datetime
        When the rows were known as they are.

    Raises
    ------
    BundleError
        If what was written does not reproduce its own golden predictions.
    """
    spec, judgement = usecase.spec, judged.judgement
    program = refitted.trained.program
    folder.mkdir(parents=True, exist_ok=True)
    refitted.trained.fitted.save(folder)
    if refitted.trained.calibrator is not None:
        (folder / CALIBRATION).write_text(refitted.trained.calibrator.model_dump_json(), encoding="utf-8")
    (folder / "features.json").write_text(program.to_json(), encoding="utf-8")
    columns = bundle_columns(spec, program, rows, collected=usecase.name.endswith(REPLAY))
    references = _references(spec, program, raw, judged, refitted)
    (folder / "reference.json").write_text(to_json(references_to_dict(references)), encoding="utf-8")
    if spec.timed and judged.holdout is not None and judged.prediction is not None:
        squares = spec.problem.squares(labels(judged.holdout, spec, judged.classes), judged.prediction)
        by_hour = hourly_losses(judged.holdout[spec.time_column], pl.Series(squares))
        known = by_hour.drop_nulls("loss")
        (folder / LOSSES).write_text(
            to_json({"hours": known["hour"].to_list(), "losses": known["loss"].to_list()}), encoding="utf-8"
        )
    golden = jsonable(
        raw.select([column.name for column in columns]).gather_every(max(1, len(raw) // GOLDEN_ROWS)).head(GOLDEN_ROWS)
    )
    seen = refitted.trained.predict(rows_to_frame(golden, columns), repaired=False)
    (folder / "golden.json").write_text(to_json({"rows": golden, "predictions": seen}, indent=1), encoding="utf-8")
    _keep_judged(folder, spec, judged, refitted, as_of)
    expected = expectation_of(spec, refitted.learnt, judged, refitted.trained)
    if expected is not None:
        (folder / EXPECTED).write_text(to_json(expected.to_dict()), encoding="utf-8")
    intervals = _learn_intervals(spec, judged)
    if intervals is not None:
        (folder / INTERVALS).write_text(intervals.model_dump_json(), encoding="utf-8")
    if judged.evaluation is not None:
        (folder / EVALUATION).write_text(to_json(judged.evaluation), encoding="utf-8")
    digest = seal(
        folder,
        _manifest(spec, judgement, refitted, columns, rows, data, data_hash, commit, parent, name, usecase.digest),
    )
    load_bundle(folder, digest).prove()
    return digest


def _references(
    spec: UseCase, program: FeatureProgram, raw: pl.DataFrame, judged: Judged, refitted: Refit
) -> list[Reference]:
    """Sketch the inputs, the predictions of the holdout and the label, each with the times of its rows (if any).

    Inputs are those that the model learnt from. Labels are those of the level that is answered: where only the
    calibration was learnt again, the rows that taught it.
    """
    clock, zone = spec.time_column, spec.local_zone
    first, last = _span(refitted.learnt, clock)
    inputs = raw.filter((pl.col(clock) >= first) & (pl.col(clock) <= last))
    inputs = inputs.select(list(dict.fromkeys((*inputs_in_order(program), clock))))
    known = refitted.learnt if refitted.kept is None else refitted.kept.rows

    def times(frame: pl.DataFrame) -> pl.Series | None:
        return frame[clock] if spec.timed else None

    references = [sketch(inputs.drop(clock), times(inputs), timezone=zone)]
    if judged.holdout is not None and judged.prediction is not None:
        predictions = spec.problem.columns(judged.prediction, judged.classes)
        references.append(sketch(predictions, times(judged.holdout), timezone=zone))
    return [*references, sketch(known.select(spec.label.column), times(known), timezone=zone)]


def _span(rows: pl.DataFrame, clock: str) -> tuple[datetime, datetime]:
    """Return the first and the last event time of rows."""
    return rows.select(pl.col(clock).min(), pl.col(clock).max().alias("last")).row(0)


def _keep_judged(folder: Path, spec: UseCase, judged: Judged, refitted: Refit, as_of: datetime) -> None:
    """Keep what the judged model said of its holdout, where causes are looked for and it had not learnt from it."""
    if judged.holdout is None or judged.prediction is None or "causes" in spec.problem.unwatched:
        return
    if not refitted.trained.fitted.recipe.learns:  # what others trained may have learnt from these very rows
        return
    classes = refitted.trained.classes
    scores = spec.problem.aligned(judged.prediction, judged.classes, classes)
    write_judged(folder, judged.holdout, scores[:, : len(classes)] if scores.ndim > 1 else scores, spec, as_of)


def _learn_intervals(spec: UseCase, judged: Judged) -> Intervals | None:
    """Learn how far predictions may be off from the holdout, which the judged model had not seen."""
    scored = judged.scored.get("challenger")
    if scored is None:
        return None
    coverage, classifies = spec.evaluation.coverage, spec.problem.classifies
    return Intervals.learn(scored.label, scored.prediction, coverage, classifies=classifies)


def expectation_of(spec: UseCase, rows: pl.DataFrame, judged: Judged, released: Trained) -> Expectation | None:
    """Learn from the holdout, which the judged model had not seen, what a metric is to be without labels.

    Parameters
    ----------
    rows : polars.DataFrame
        All that the model itself learnt from: its rows before the holdout are within the known range.
    released : Trained
        The released model: windows are seen through its features, and answered in the order of its classes.
    """
    holdout, prediction, clock = judged.holdout, judged.prediction, spec.time_column
    program = released.program
    if holdout is None or prediction is None or "estimates" in spec.problem.unwatched:
        return None
    if any(column.kind == "image" for column in program.inputs):  # of what is asked no picture is kept
        return None
    older = rows_before(rows, holdout, spec)
    seconds, block = in_time(holdout[clock], spec)
    scores = spec.problem.aligned(prediction, judged.classes, released.classes)
    return learn_expectation(
        spec.task,
        scores[:, : len(released.classes)] if scores.ndim > 1 else scores,
        labels(holdout, spec, released.classes),
        program.transform(holdout, repaired=True),
        seconds,
        metrics=list(spec.greater_is_better),
        threshold=spec.threshold,
        block=block,
        categorical=[at for at, name in enumerate(program.features) if name in program.categorical],
        learnt=program.transform(older.gather_every(max(1, len(older) // RANGE_ROWS)), repaired=True),
        seed=spec.model.seed,
    )


def _manifest(
    spec: UseCase,
    judgement: Judgement,
    refitted: Refit,
    columns: tuple[BundleColumn, ...],
    rows: pl.DataFrame,
    data: Version,
    data_hash: str,
    commit: str,
    parent: str,
    name: str,
    digest: str,
) -> Manifest:
    recipe, kept = refitted.trained.recipe, refitted.kept
    cutoff = _span(rows, spec.time_column)[1]
    return Manifest(
        usecase=name,
        title=spec.title,
        task=spec.task,
        label=spec.label.column,
        unit=spec.label.unit,
        clock=spec.time_column,
        timezone=spec.clock_zone,
        keys=spec.keys,
        columns=columns,
        history={column.name: spec.looked_back[column.name] for column in columns if column.role == "history"},
        family=recipe.family,
        recipe=recipe.model_dump(mode="json"),
        classes=refitted.trained.classes,
        threshold=spec.threshold,
        label_bounds=spec.problem.bounds(rows[spec.label.column]),
        spellings=spec.label.words,
        accepts_feedback=spec.feedback.accept,
        cutoff=cutoff,
        learnt_until=kept.champion.learnt_until if kept else cutoff,
        learnt_at_most=kept is not None and kept.champion.manifest.learnt_before,
        rows=refitted.rows,
        data_version=data.version,
        data_hash=data_hash,
        usecase_digest=digest,
        declared=declared_digest(spec),
        commit=commit,
        metrics={name: value for name, value in judgement.metrics.items() if math.isfinite(value)},
        parent=parent,
        recalibrated_from=kept.champion.digest if kept else "",
    )


def training_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out the lake's own columns."""
    return frame.drop(*TECHNICAL, UNREAD, strict=False)


def raw_rows(known: Known, rows: pl.DataFrame) -> pl.DataFrame:
    """Read the raw rows of the time that training rows span."""
    clock = known.spec.time_column
    first, last = _span(rows, clock)
    return known.rows("raw", since=first, until=last + TICK)
