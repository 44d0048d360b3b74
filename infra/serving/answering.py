"""From a body to an answer and the lines that log it, by the champion, or by a candidate for a share of entities."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from infra.serving.mounts import Model
from infra.serving.noise import random_text
from infra.serving.protocol import BadRequestError, Row
from tasks.deployment.bundle import Manifest

OUTPUTS = ("default", "label", "probabilities")
_ID_DIGITS = 24
_log = logging.getLogger("driftwheel.serving")
_encoder = msgspec.json.Encoder()
_encode = _encoder.encode


class Line(msgspec.Struct, gc=False):
    """One prediction in the journal."""

    id: str
    event_time: str | None
    served_at: str
    version: str
    bundle: str
    prediction: float
    row: Any


class ShadowLine(msgspec.Struct, gc=False):
    """What a candidate would have answered."""

    id: str
    served_at: str
    version: str
    bundle: str
    prediction: float


class Answer(NamedTuple):
    """A body to send, and lines to write before."""

    body: bytes
    ids: list[str]
    lines: bytes


def answer(body: bytes, champion: Model, candidate: Model | None, share: float) -> Answer:
    """Read a body, predict its rows and write answer and log.

    Parameters
    ----------
    candidate : Model, optional
        Answers for the entities whose hash lies below `share`. What it cannot read or predict the champion answers,
        and the failure is counted against the candidate.

    Raises
    ------
    BadRequestError
    """
    rows, params = champion.reader.read(body)
    output = params.get("output", "default") if params else "default"
    if output not in OUTPUTS:
        raise BadRequestError(f"`params.output` is one of {', '.join(OUTPUTS)}")
    models = [champion] * len(rows)
    values = [0.0] * len(rows)
    chosen = [at for at, row in enumerate(rows) if champion.share(row) < share] if candidate else []
    if candidate is not None and chosen:
        tried = _try(candidate, body, chosen)
        if tried is not None:
            for at, value in zip(chosen, tried, strict=True):
                models[at], values[at] = candidate, value
    rest = [at for at, model in enumerate(models) if model is champion] if candidate else None
    if rest is None:
        values = _predict(champion, rows)
    else:
        for at, value in zip(rest, _predict(champion, [rows[at] for at in rest]), strict=True):
            values[at] = value
    ids = _make_ids(len(rows))
    lines = _lines(champion.bundle.manifest, champion.reader.fields, rows, ids, models, values)
    said: dict[str, Any] = {
        "predictions": present(values, output, champion.bundle.manifest),
        "ids": ids,
        "version": champion.version,
    }
    if rest is not None and len(rest) < len(rows):
        versions = [model.version for model in models]
        said["versions"] = versions
        if not rest:
            said["version"] = versions[0]
    return Answer(_encode(said), ids, lines)


def shadow(body: bytes, candidate: Model, ids: Sequence[str]) -> bytes:
    """Score a request that was answered with a candidate too; returns lines for the journal, none where it cannot."""
    found = _try(candidate, body, range(len(ids)))
    if not found:
        return b""
    now = datetime.now(UTC).isoformat()
    return _encoder.encode_lines(
        [
            ShadowLine(id_, now, candidate.version, candidate.bundle.digest, value)
            for id_, value in zip(ids, found, strict=True)
        ]
    )


def present(values: list[float], output: Any, manifest: Manifest) -> list[Any]:  # noqa: ANN401 - of the request
    """Bring predictions into the form a request asks for: a regression has one, its value."""
    if output == "default" or manifest.task != "binary_classification":
        return values
    if output == "label":
        return [int(value >= manifest.threshold) for value in values]
    return [[1.0 - value, value] for value in values]


def _predict(model: Model, rows: Sequence[Row]) -> list[float]:
    started = time.perf_counter()
    values = model.predict(rows)
    for position, value in enumerate(values):
        if not math.isfinite(value):
            raise BadRequestError(f"row {position} has no finite prediction")
    model.tally.requests += 1
    model.tally.rows += len(rows)
    model.tally.seconds.add(time.perf_counter() - started)
    return values


def _try(candidate: Model, body: bytes, chosen: Sequence[int]) -> list[float] | None:
    """Predict rows with a candidate, which reads the body for itself; None where it cannot."""
    try:
        rows, _ = candidate.reader.read(body)
        return _predict(candidate, [rows[at] for at in chosen])
    except Exception as error:  # noqa: BLE001 - whatever a candidate does, the champion answers and it is counted
        if not isinstance(error, BadRequestError):
            _log.exception("candidate version %s failed", candidate.version)
        candidate.tally.failures += 1
        return None


def _make_ids(count: int) -> list[str]:
    return [random_text(_ID_DIGITS) for _ in range(count)]


def _lines(
    manifest: Manifest,
    fields: Mapping[str, str],
    rows: Sequence[Row],
    ids: Sequence[str],
    models: Sequence[Model],
    values: Sequence[float],
) -> bytes:
    now = datetime.now(UTC).isoformat()
    clock = fields.get(manifest.clock, "")
    return _encoder.encode_lines(
        [
            Line(id_, getattr(row, clock, None), now, model.version, model.bundle.digest, value, row)
            for id_, row, model, value in zip(ids, rows, models, values, strict=True)
        ]
    )
