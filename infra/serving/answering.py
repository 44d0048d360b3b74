"""From checked rows to an answer and the records that log it, by the champion, or by a candidate for some entities."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from expectations.families import Matrix, Score
from infra.serving.bad_requests import BadRequestError
from infra.serving.faults import trace
from infra.serving.models import Model
from infra.serving.outputs import OUTPUTS, names_of, present, surround
from infra.serving.protocol import Media, Reader
from infra.serving.random_ids import random_texts
from infra.serving.row_reader import Row
from infra.serving.steps import Steps
from infra.serving.timestamps import present_instant
from tasks.stores.journal import Origin, Predictions, Shadows, pack

_ID_DIGITS = 24
_RECORD_ROWS, _RECORD_PICTURES = 256, 16
"""More rows are logged as several records, each made in a step of its own; fewer where each has pictures to hash."""
_SHARED_ROWS = 64
"""So many rows are shared out in one step."""
_log = logging.getLogger("driftwheel.serving")
# what is made for every request is a struct made by position: a named tuple takes three times as long
_encode = msgspec.json.Encoder().encode


class Question(msgspec.Struct, frozen=True):
    """What a request asks.

    Attributes
    ----------
    chosen : list of int
        Rows whose entities the candidate answers.
    prepared : Prepared, optional
        What `prepare` did already.
    """

    body: bytes
    media: Media
    rows: Sequence[Row]
    output: str
    champion: Model
    candidate: Model | None
    chosen: Sequence[int]
    prepared: Prepared | None = None


class Prepared(msgspec.Struct, frozen=True):
    """Features of the rows for the champion, and the seconds they took."""

    features: Matrix
    seconds: float


class Run(msgspec.Struct, frozen=True):
    """What scoring with one model took; it failed where there are no values.

    Seconds are the processor's, of the thread that scored: a model is not to blame for where it had to wait.
    """

    model: Model
    values: Sequence[Score] | None
    seconds: float


class ScoredAnswer(msgspec.Struct, frozen=True):
    """Predictions, and by which models: in one list a row each where there were two."""

    values: Sequence[Score]
    models: Sequence[Model] | None
    runs: Sequence[Run]


class Answer(msgspec.Struct, frozen=True):
    """A body to send, and records to write before."""

    body: bytes
    ids: list[str]
    records: bytes


def understand(body: bytes, media: Media, champion: Model, candidate: Model | None, share: float) -> Question:
    """Read a body.

    Parameters
    ----------
    candidate : Model, optional
        Answers for the entities whose hash lies below `share`. What it cannot read or predict the champion answers,
        and the failure is counted against the candidate.

    Raises
    ------
    BadRequestError
    """
    rows, params = champion.reader.read(body, media)
    output = _output(params)
    chosen = [at for at, row in enumerate(rows) if champion.share(row) < share] if candidate is not None else ()
    return Question(body, media, rows, output, champion, candidate, chosen)


def understand_in_steps(
    body: bytes, media: Media, champion: Model, candidate: Model | None, share: float
) -> Steps[Question]:
    """Do what `understand` does, in steps."""
    rows, params = yield from champion.reader.read_in_steps(body, media)
    output, chosen = _output(params), list[int]()
    if candidate is not None:
        for first in range(0, len(rows), _SHARED_ROWS):
            some = rows[first : first + _SHARED_ROWS]
            chosen += [at for at, row in enumerate(some, first) if champion.share(row) < share]
            yield
    return Question(body, media, rows, output, champion, candidate, chosen)


def _output(params: Mapping[str, Any]) -> str:
    output = params.get("output", "default") if params else "default"
    if output not in OUTPUTS:
        raise BadRequestError(f"`params.output` is one of {', '.join(OUTPUTS)}")
    return str(output)


def prepare(question: Question) -> Question:
    """Run the feature program already, where the champion alone answers: native code is then all that is left."""
    if question.chosen:
        return question
    started = time.thread_time()
    features = question.champion.executor.matrix(question.rows)
    return msgspec.structs.replace(question, prepared=Prepared(features, time.thread_time() - started))


def score(question: Question) -> ScoredAnswer:
    """Predict the rows of a question; may run beside the event loop.

    Raises
    ------
    BadRequestError
        If a row has no finite prediction.
    """
    rows, champion, candidate, chosen = question.rows, question.champion, question.candidate, question.chosen
    lacks = question.output == "interval" and candidate is not None and candidate.intervals is None
    if candidate is None or not chosen or lacks:  # to have no intervals is no failure of its own
        run = _predict(champion, rows, question.prepared)
        return ScoredAnswer(run.values or (), None, (run,))
    tried = _try(candidate, question, chosen)
    if tried.values is None:
        run = _predict(champion, rows)
        return ScoredAnswer(run.values or (), None, (tried, run))
    theirs = dict(zip(chosen, tried.values, strict=True))
    rest = [at for at in range(len(rows)) if at not in theirs]
    run = _predict(champion, [rows[at] for at in rest], places=rest)
    values = theirs | dict(zip(rest, run.values or (), strict=True))
    models = [candidate if at in theirs else champion for at in range(len(rows))]
    return ScoredAnswer([values[at] for at in range(len(rows))], models, (tried, run) if rest else (tried,))


def compose(question: Question, scored: ScoredAnswer, *, logged: bool = True) -> Answer:
    """Write the answer and, where it is logged, its records; and count what was scored."""
    count(scored.runs, question.champion)
    champion, values = question.champion, scored.values
    ids = random_texts(_ID_DIGITS, len(values))
    said: dict[str, Any] = {
        "predictions": present(values, question.output, scored.models or champion),
        "ids": ids,
        "version": champion.version,
    }
    if champion.names:
        said["classes"] = names_of(scored.models or champion)
    if question.output == "interval" and ids:
        said |= surround(values, scored.models or champion)
    if scored.models is not None:
        versions = [model.version for model in scored.models]
        said["versions"] = versions
        if len(question.chosen) == len(versions):
            said["version"] = versions[0]
    body = _encode(said)
    if not (logged and ids):
        return Answer(body, ids, b"")
    if scored.models is None and len(ids) <= rows_a_record(champion.reader):
        record = _record(champion, champion.reader, present_instant(), ids, values, question.rows)
        return Answer(body, ids, record)
    return Answer(body, ids, b"".join(_records(question, scored, ids)))


def compose_in_steps(question: Question, scored: ScoredAnswer, *, logged: bool = True) -> Steps[Answer]:
    """Do what `compose` does, in steps."""
    answer, records = compose(question, scored, logged=False), list[bytes]()
    for record in _records(question, scored, answer.ids) if logged else ():
        records.append(record)
        yield
    return Answer(answer.body, answer.ids, b"".join(records))


def shadow(question: Question, candidate: Model) -> Run:
    """Score a request that was answered with a candidate too; may run beside the event loop."""
    return _try(candidate, question, range(len(question.rows)))


def shadow_records(run: Run, champion: Model, ids: Sequence[str]) -> bytes:
    """Write what a candidate would have answered; nothing where it could not."""
    count((run,), champion)
    if not run.values:
        return b""
    return pack(Shadows(present_instant(), ids, run.values, run.model.version, run.model.bundle.digest))


def count(runs: Sequence[Run], champion: Model) -> None:
    """Count what models did; on the event loop alone, where nothing else counts meanwhile."""
    for run in runs:
        counters = run.model.counters
        if run.values is None:
            counters.failures += 1
            continue
        counters.requests += 1
        counters.rows += len(run.values)
        counters.expected += champion.cost.of(len(run.values))
        counters.seconds.add(run.seconds)


def _predict(
    model: Model, rows: Sequence[Row], prepared: Prepared | None = None, places: Sequence[int] | None = None
) -> Run:
    started = time.thread_time() - (prepared.seconds if prepared else 0.0)
    values = model.predict(rows) if prepared is None else model.predict_features(prepared.features)
    if not (_are_finite(values) if model.outputs == 1 else np.isfinite(values).all()):
        position = next(at for at, value in enumerate(values) if not np.isfinite(value).all())
        raise _unpredicted(model.reader.pictures.absent(rows[position]), places[position] if places else position)
    return Run(model, values, time.thread_time() - started)


def _unpredicted(absent: str | None, position: int) -> BadRequestError:
    if absent is not None:
        return BadRequestError(f"a picture is needed in row {position}, column {absent}")
    return BadRequestError(f"row {position} has no finite prediction")


def _are_finite(values: Sequence[Any]) -> bool:
    """Whether all are finite, of one number a row: much faster than by numpy."""
    return all(map(math.isfinite, values))


def _try(candidate: Model, question: Question, chosen: Sequence[int]) -> Run:
    """Predict rows with a candidate, which reads the body for itself."""
    try:
        rows, _ = candidate.reader.read(question.body, question.media)
        return _predict(candidate, [rows[at] for at in chosen])
    except Exception as error:  # noqa: BLE001 - whatever a candidate does, the champion answers and it is counted
        if not isinstance(error, BadRequestError):
            _log.error("candidate version %s failed: %s", candidate.version, trace(error))
        return Run(candidate, None, 0.0)


def _records(question: Question, scored: ScoredAnswer, ids: list[str]) -> Iterator[bytes]:
    """Write what was answered, records for each model that had a part in it."""
    reader, now, values, rows = question.champion.reader, present_instant(), scored.values, question.rows
    models, most = scored.models or [question.champion] * len(ids), rows_a_record(reader)
    places: dict[int, list[int]] = {}
    for at, model in enumerate(models):
        places.setdefault(id(model), []).append(at)
    for theirs in places.values():
        for first in range(0, len(theirs), most):
            part = theirs[first : first + most]
            named, predicted, asked = [ids[at] for at in part], [values[at] for at in part], [rows[at] for at in part]
            yield _record(models[part[0]], reader, now, named, predicted, asked)


def rows_a_record(reader: Reader) -> int:
    """Return how many rows are logged in one step at most."""
    return _RECORD_PICTURES if reader.pictures else _RECORD_ROWS


def _record(by: Model, reader: Reader, now: str, ids: list[str], values: Sequence[Score], rows: Sequence[Row]) -> bytes:
    origin = Origin(by.version, by.bundle.digest, reader.order, reader.clock)
    return pack(Predictions(now, ids, values, origin, reader.kept(rows)))
