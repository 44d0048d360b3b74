"""From checked rows to an answer and the records that log it, by the champion, or by a candidate for some entities."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from infra.serving.faults import trace
from infra.serving.mounts import Model
from infra.serving.noise import random_texts
from infra.serving.protocol import BadRequestError, Media, Reader, Row
from infra.serving.stamps import present_instant
from tasks.modelling.family import Matrix
from tasks.stores.journal import Origin, Predictions, Shadows, pack

OUTPUTS = ("default", "label", "probabilities")
_ID_DIGITS = 24
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
    values: Sequence[float] | None
    seconds: float


class Scored(msgspec.Struct, frozen=True):
    """Predictions, and by which models: in one list a row each where there were two."""

    values: Sequence[float]
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
    output = params.get("output", "default") if params else "default"
    if output not in OUTPUTS:
        raise BadRequestError(f"`params.output` is one of {', '.join(OUTPUTS)}")
    chosen = [at for at, row in enumerate(rows) if champion.share(row) < share] if candidate is not None else ()
    return Question(body, media, rows, output, champion, candidate, chosen)


def prepare(question: Question) -> Question:
    """Run the feature program already, where the champion alone answers: native code is then all that is left."""
    if question.chosen:
        return question
    started = time.thread_time()
    features = question.champion.executor.matrix(question.rows)
    return msgspec.structs.replace(question, prepared=Prepared(features, time.thread_time() - started))


def score(question: Question) -> Scored:
    """Predict the rows of a question; may run beside the event loop.

    Raises
    ------
    BadRequestError
        If a row has no finite prediction.
    """
    rows, champion, candidate, chosen = question.rows, question.champion, question.candidate, question.chosen
    if candidate is None or not chosen:
        run = _predict(champion, rows, question.prepared)
        return Scored(run.values or (), None, (run,))
    tried = _try(candidate, question, chosen)
    if tried.values is None:
        run = _predict(champion, rows)
        return Scored(run.values or (), None, (tried, run))
    theirs = dict(zip(chosen, tried.values, strict=True))
    rest = [at for at in range(len(rows)) if at not in theirs]
    run = _predict(champion, [rows[at] for at in rest], places=rest)
    values = theirs | dict(zip(rest, run.values or (), strict=True))
    models = [candidate if at in theirs else champion for at in range(len(rows))]
    return Scored([values[at] for at in range(len(rows))], models, (tried, run) if rest else (tried,))


def compose(question: Question, scored: Scored, *, logged: bool = True) -> Answer:
    """Write the answer and, where it is logged, its records; and count what was scored."""
    count(scored.runs, question.champion)
    champion, values = question.champion, scored.values
    ids = random_texts(_ID_DIGITS, len(values))
    said: dict[str, Any] = {
        "predictions": present(values, question.output, scored.models or champion),
        "ids": ids,
        "version": champion.version,
    }
    if scored.models is not None:
        versions = [model.version for model in scored.models]
        said["versions"] = versions
        if len(question.chosen) == len(versions):
            said["version"] = versions[0]
    return Answer(_encode(said), ids, _records(question, scored, ids) if logged and ids else b"")


def shadow(question: Question, candidate: Model) -> Run:
    """Score a request that was answered with a candidate too; may run beside the event loop."""
    return _try(candidate, question, range(len(question.rows)))


def shadow_records(run: Run, champion: Model, ids: Sequence[str]) -> bytes:
    """Write what a candidate would have answered; nothing where it could not."""
    count((run,), champion)
    if not run.values:
        return b""
    return pack(Shadows(present_instant(), ids, run.values, run.model.version, run.model.bundle.digest))


def present(values: Sequence[float], output: str, by: Model | Sequence[Model]) -> Sequence[Any]:
    """Bring predictions into the form a request asks for: a regression has one, its value.

    Parameters
    ----------
    by : Model or sequence of Model
        Who predicted all, or each: a label is what its own threshold says.
    """
    if output == "default":
        return values
    models = itertools.repeat(by) if isinstance(by, Model) else by
    manifests = [model.bundle.manifest for model, _ in zip(models, values, strict=False)]
    if not manifests or manifests[0].task != "binary_classification":
        return values
    if output == "label":
        return [int(value >= manifest.threshold) for value, manifest in zip(values, manifests, strict=True)]
    return [[1.0 - value, value] for value in values]


def count(runs: Sequence[Run], champion: Model) -> None:
    """Count what models did; on the event loop alone, where nothing else counts meanwhile."""
    for run in runs:
        tally = run.model.tally
        if run.values is None:
            tally.failures += 1
            continue
        tally.requests += 1
        tally.rows += len(run.values)
        tally.expected += champion.cost.of(len(run.values))
        tally.seconds.add(run.seconds)


def _predict(
    model: Model, rows: Sequence[Row], prepared: Prepared | None = None, places: Sequence[int] | None = None
) -> Run:
    started = time.thread_time() - (prepared.seconds if prepared else 0.0)
    values = model.predict(rows) if prepared is None else model.predict_features(prepared.features)
    if not all(map(math.isfinite, values)):
        position = next(at for at, value in enumerate(values) if not math.isfinite(value))
        raise BadRequestError(f"row {places[position] if places else position} has no finite prediction")
    return Run(model, values, time.thread_time() - started)


def _try(candidate: Model, question: Question, chosen: Sequence[int]) -> Run:
    """Predict rows with a candidate, which reads the body for itself."""
    try:
        rows, _ = candidate.reader.read(question.body, question.media)
        return _predict(candidate, [rows[at] for at in chosen])
    except Exception as error:  # noqa: BLE001 - whatever a candidate does, the champion answers and it is counted
        if not isinstance(error, BadRequestError):
            _log.error("candidate version %s failed: %s", candidate.version, trace(error))
        return Run(candidate, None, 0.0)


def _records(question: Question, scored: Scored, ids: list[str]) -> bytes:
    """Write what was answered, a record for each model that had a part in it."""
    reader, now, values = question.champion.reader, present_instant(), scored.values
    rows = list(map(msgspec.structs.astuple, question.rows))
    if scored.models is None:
        return _record(question.champion, reader, now, ids, values, rows)
    places: dict[int, list[int]] = {}
    for at, model in enumerate(scored.models):
        places.setdefault(id(model), []).append(at)
    found = []
    for some in places.values():
        theirs, predicted, asked = [ids[at] for at in some], [values[at] for at in some], [rows[at] for at in some]
        found.append(_record(scored.models[some[0]], reader, now, theirs, predicted, asked))
    return b"".join(found)


def _record(
    by: Model, reader: Reader, now: str, ids: list[str], values: Sequence[float], rows: Sequence[tuple[Any, ...]]
) -> bytes:
    origin = Origin(by.version, by.bundle.digest, reader.order, reader.clock)
    return pack(Predictions(now, ids, values, origin, rows))
