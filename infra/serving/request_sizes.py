"""Which requests are answered where they arrive, on the event loop, and which beside it."""

from __future__ import annotations

from infra.serving.answering import Question
from infra.serving.models import Model

BESIDE_SECONDS = 0.0002
"""A request whose trees or network take longer is scored beside the event loop; to hand over less costs more."""
LOOP_SECONDS = 0.0005
"""Features that take longer than this are computed beside it too, where they compete with it for the interpreter."""
HELD_SECONDS = 0.001
"""Trees that need the interpreter too win nothing beside the loop, but others have their turn: from here on."""
SMALL_BYTES = 4 * 1024
"""Smaller bodies are read at once: most of them are answered at once."""


def is_small(body: bytes, model: Model | None) -> bool:
    """Whether a body is read at once, however many wait: not where few bytes may be a large picture."""
    return len(body) < SMALL_BYTES and not (model is not None and model.reader.pictures)


def is_large(rows: int, model: Model) -> bool:
    """Whether a request is better scored beside the event loop."""
    if model.bundle.predictor.holds_interpreter:
        return (model.row_seconds + model.feature_seconds) * rows > HELD_SECONDS
    return model.row_seconds * rows > BESIDE_SECONDS or model.feature_seconds * rows > LOOP_SECONDS


def is_large_again(rows: int, candidate: Model) -> bool:
    """Whether it is better scored beside the event loop by a candidate too, which reads the body for itself."""
    return bool(candidate.reader.pictures) or is_large(rows, candidate)


def is_large_question(question: Question) -> bool:
    """Whether what is asked is better scored beside the event loop, by the champion or by whoever answers for it."""
    rows, candidate = len(question.rows), question.candidate
    if is_large(rows, question.champion):
        return True
    return candidate is not None and bool(question.chosen) and is_large_again(rows, candidate)
