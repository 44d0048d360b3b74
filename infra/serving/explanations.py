"""Explains for a worker, in a process of its own: ``python -m infra.serving.explanations``, which is asked by pipes.

It loads the bundle that the worker serves, by its hash, and reads, explains and writes as the worker would. So the
worker's interpreter has nothing to do with it, and its event loop has by far the most of a processor that both need.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from infra.serving.bad_requests import BadRequestError
from infra.serving.explaining import answer
from infra.serving.faults import trace
from infra.serving.helper_process import bound_memory, questions, reply, stand_back, yield_to_others
from infra.serving.looking_back import KeptHistory, series_needed
from infra.serving.models import Model, make_model
from infra.serving.protocol import Media
from tasks.bundles.bundle import load_bundle

DONE, UNKNOWN, FAILED = 0, 1, 500
"""How it went, where it is not a status of HTTP that says what is wrong with the request: the answer follows; the model
is not loaded; a fault of ours, and where."""
_IDLE_SECONDS = 300
"""This process ends where nobody asked for so long."""
MEMORY = 512 * 1024 * 1024
"""What explaining may take beside the models; what takes more is explained by the worker."""
_MAX_MODELS = 4
"""Of those that were asked for last: a use case each, and one that is swapped in."""


class ExplanationRequest(msgspec.Struct):
    """Of one model, to be loaded, or to explain the rows of a body, which follows.

    Attributes
    ----------
    folder, digest, version : str
        Where its bundle is, its hash, and what it is called.
    most_rows : int
    secret : bytes, optional
        As of `infra.serving.protocol.Reader`.
    size : int, optional
        Of the body; None to load the model.
    history : str
        The state of history that the model looks back into; empty where it does into none.
    """

    folder: str
    digest: str
    version: str
    most_rows: int
    secret: bytes | None
    media: Media = "json"
    size: int | None = None
    history: str = ""


class Explanations:
    """The models this process has."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def reply(self, asked: ExplanationRequest, body: bytes) -> tuple[int, bytes]:
        """Load a model, or explain."""
        try:
            if asked.size is None:
                self._load(asked)
                return DONE, b""
            model = self._models.pop(asked.digest, None)
            if model is None:
                return UNKNOWN, b""
            self._models[asked.digest] = model
            self._refresh(model)
            return DONE, answer(replace(model, version=asked.version), body, asked.media)
        except BadRequestError as error:
            return error.status, str(error).encode()
        except Exception as error:  # noqa: BLE001 - handed over, whatever it is, without the values it may name
            return FAILED, trace(error).encode()

    def _load(self, asked: ExplanationRequest) -> None:
        with contextlib.suppress(KeyError):
            del self._models[asked.digest]
        while len(self._models) >= _MAX_MODELS:
            del self._models[next(iter(self._models))]
        with _any_memory():
            bundle = load_bundle(Path(asked.folder), asked.digest)
            model = make_model(bundle, asked.version, asked.most_rows, asked.secret)
            if bundle.manifest.history:
                kept = self._kept(Path(asked.history))
                kept.needed = series_needed(bundle.manifest.history)
                model.reader.history.kept = kept.serve(bundle.manifest.history)
        self._models[asked.digest] = model

    def _kept(self, path: Path) -> KeptHistory:
        """Return what a model has of a state already: one copy is enough for all that look back into it."""
        held = (model.reader.history.kept for model in self._models.values())
        return next((kept for kept in held if kept is not None and kept.path == path), None) or KeptHistory(path)

    @staticmethod
    def _refresh(model: Model) -> None:
        """Look back into the newest state that has what this model needs; others that lack something then say so."""
        history = model.reader.history
        if history.kept is None:
            return
        history.kept.needed = series_needed(history.columns)
        if history.kept.is_due():
            with _any_memory():
                history.kept.refresh()
        history.kept.require(history.columns)


@contextlib.contextmanager
def _any_memory() -> Iterator[None]:
    """Let what stays be read however large it is; then bound what is taken beside it."""
    bound_memory(None)
    try:
        yield
    finally:
        bound_memory(MEMORY)


def main() -> None:
    """Answer one question after the other, until nobody asks any more."""
    answers = stand_back()
    yield_to_others()
    explanations = Explanations()
    for question in questions(_IDLE_SECONDS):
        asked = msgspec.json.decode(question, type=ExplanationRequest)
        reply(answers, *explanations.reply(asked, sys.stdin.buffer.read(asked.size or 0)))


if __name__ == "__main__":
    main()
