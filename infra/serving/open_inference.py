"""The Open Inference Protocol, version 2 (REST, JSON), as KServe and Triton speak it, beside MLflow's own.

A model's columns are its input tensors, of shape [n] or [n, 1]; a request becomes one of `/invocations`, and so is
checked, scored, journaled and released as any other.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from expectations.column_types import TYPES_BY_NAME
from infra.serving.admission import Admitted
from infra.serving.bad_requests import BadRequestError, too_many_rows, why_no_json
from infra.serving.models import Model
from infra.serving.mount import Mount
from infra.serving.offloading import QueueFullError
from infra.serving.predicting import Predictions
from infra.serving.replies import RETRY_SECONDS, headers_of, request_id_of
from infra.serving.request_sizes import SMALL_BYTES
from tasks.bundles.manifest import BundleColumn

_NUMBERS = ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_DATATYPES = frozenset({*_NUMBERS, "BOOL", "BYTES"})
PARTS = ("predictions", "intervals", "sets", "ids")
"""Of an answer, those that are tensors."""
MAX_BYTES = 2 * 1024 * 1024
"""Of a body: a thread reads it that takes turns with the event loop, and not in steps as those of `/invocations`."""
_encode = msgspec.json.Encoder().encode

ReadBody = Callable[[Request, Mount], Awaitable[bytes]]


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Wanted(msgspec.Struct):
    name: str


class _Asked(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[_Wanted] | None = None


class Inference(NamedTuple):
    """A request, as one of MLflow's protocol.

    Attributes
    ----------
    body : bytes
        Of `/invocations`.
    id : str, optional
        The client's own, which comes back.
    outputs : tuple of str, optional
        Tensors it asks for; all where it names none.
    """

    body: bytes
    id: str | None
    outputs: tuple[str, ...] | None


def read_inference(body: bytes, most_rows: int) -> Inference:
    """Read a request for an inference.

    Parameters
    ----------
    most_rows : int
        Rows there may be.

    Raises
    ------
    BadRequestError
        If it is none, or a tensor is no column.
    """
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"the body is no inference request: {error}") from None
    except (ValueError, RecursionError) as error:
        raise BadRequestError(why_no_json(error)) from None
    rows = max((each.shape[0] for each in asked.inputs if each.shape), default=0)
    if rows > most_rows:
        raise too_many_rows(rows, most_rows)
    columns = {tensor.name: _column(tensor) for tensor in asked.inputs}
    if not asked.inputs or len(columns) < len(asked.inputs):
        raise BadRequestError("`inputs` holds a tensor for each column, each once")
    outputs = None if asked.outputs is None else tuple(each.name for each in asked.outputs)
    unknown = [name for name in outputs or () if name not in PARTS]
    if unknown:
        raise BadRequestError(f"`outputs` may name {', '.join(PARTS)}; there is no {unknown[0]!r}")
    return Inference(_encode({"inputs": columns, "params": asked.parameters or {}}), asked.id, outputs)


def _column(tensor: _Tensor) -> list[Any]:
    if tensor.datatype not in _DATATYPES:
        raise BadRequestError(f"the input {tensor.name} needs a datatype of {', '.join(sorted(_DATATYPES))}")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 0:
        raise BadRequestError(f"the input {tensor.name} is a column: its shape must be [n] or [n, 1]")
    nested = len(tensor.shape) == 2 and any(isinstance(each, list) for each in tensor.data)
    if nested and not all(isinstance(each, list) and len(each) == 1 for each in tensor.data):
        raise BadRequestError(f"the input {tensor.name} is a column: each row must have one value")
    values = [each[0] for each in tensor.data] if nested else tensor.data
    if len(values) != math.prod(tensor.shape):
        raise BadRequestError(f"the input {tensor.name} has {len(values)} values, and its shape says {tensor.shape}")
    return values


def write_inference(name: str, answer: Mapping[str, Any], asked: Inference) -> dict[str, Any]:
    """Write an answer of `/invocations` as an inference response."""
    wanted = PARTS if asked.outputs is None else asked.outputs
    found: dict[str, Any] = {
        "model_name": name,
        "model_version": str(answer["version"]),
        "outputs": [_tensor(part, answer[part]) for part in wanted if part in answer],
    }
    extra = {key: answer[key] for key in ("classes", "versions", "coverage") if key in answer}
    if extra:
        found["parameters"] = {key: _encode(value).decode() for key, value in extra.items()}
    return found if asked.id is None else {**found, "id": asked.id}


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    shape, datatype = [len(values)], "BYTES"
    if name == "sets":  # of many lengths: each a list in JSON
        values = [_encode(each).decode() for each in values]
    elif values and isinstance(values[0], list):
        shape, datatype = [len(values), len(values[0])], "FP64"
        values = [value for each in values for value in each]
    elif values and all(isinstance(value, int) for value in values):
        datatype = "INT64"
    elif not values or isinstance(values[0], float | int):
        datatype = "FP64" if name != "ids" else "BYTES"
    return {"name": name, "shape": shape, "datatype": datatype, "data": values}


def describe_model(name: str, model: Model) -> dict[str, Any]:
    """Return what a model takes and gives: its metadata."""
    classes = model.outputs if model.outputs > 1 else 0
    return {
        "name": name,
        "versions": [model.version],
        "platform": "driftwheel",
        "inputs": [_input(column) for column in model.bundle.manifest.asked],
        "outputs": [
            {"name": "predictions", "datatype": "FP64", "shape": [-1, classes] if classes else [-1]},
            {"name": "ids", "datatype": "BYTES", "shape": [-1]},
            *_surroundings(model),
        ],
    }


def _surroundings(model: Model) -> list[dict[str, Any]]:
    """Describe what ``{"output": "interval"}`` adds, where the model has intervals."""
    learnt = model.intervals
    if learnt is None:
        return []
    if learnt.reach:
        return [{"name": "intervals", "datatype": "FP64", "shape": [-1, 2]}]
    return [{"name": "sets", "datatype": "BYTES", "shape": [-1]}]


def datatype_of(column: BundleColumn) -> str:
    """Return the protocol's name of a column's type."""
    return TYPES_BY_NAME[column.sent].tensor


def _input(column: BundleColumn) -> dict[str, Any]:
    described: dict[str, Any] = {"name": column.name, "datatype": datatype_of(column), "shape": [-1]}
    return described if column.role == "input" else {**described, "parameters": {"optional": True}}


class OpenInference:
    """Answers the protocol's routes.

    Parameters
    ----------
    predictions : Predictions
    read_body : callable
        Returns what a request holds.
    version : str
        Of the service.
    ready : callable
        Returns whether the service can answer.
    """

    def __init__(self, predictions: Predictions, read_body: ReadBody, version: str, ready: Callable[[], bool]) -> None:
        self._predictions, self._read_body, self._version, self._ready = predictions, read_body, version, ready

    def routes(self) -> list[Route]:
        """Return the routes."""
        below = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        return [
            Route("/v2", self._server),
            Route("/v2/health/live", lambda _: JSONResponse({"live": True})),
            Route("/v2/health/ready", self._is_ready),
            *(Route(path, self._model) for path in below),
            *(Route(f"{path}/ready", self._model_is_ready) for path in below),
            *(Route(f"{path}/infer", self._infer, methods=["POST"]) for path in below),
        ]

    async def _server(self, _: Request) -> Response:
        return JSONResponse({"name": "driftwheel", "version": self._version, "extensions": []})

    async def _is_ready(self, _: Request) -> Response:
        ready = self._ready()
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    def _found(self, request: Request) -> Mount | Response:
        """Return the mount that is asked for, or why there is none."""
        name, version = request.path_params["model"], request.path_params.get("version")
        mount = self._predictions.mount(name)
        if mount is None or mount.champion is None:
            status, why = self._predictions.no_model(name, mount)
            return JSONResponse({"error": why["message"]}, status)
        if version is not None and version != mount.champion.version:
            return JSONResponse({"error": f"{name} serves version {mount.champion.version}, not {version!r}"}, 404)
        return mount

    async def _model(self, request: Request) -> Response:
        mount = self._found(request)
        if isinstance(mount, Response):
            return mount
        return JSONResponse(describe_model(mount.usecase, _champion(mount)))

    async def _model_is_ready(self, request: Request) -> Response:
        mount = self._found(request)
        if isinstance(mount, Response):
            return mount
        return JSONResponse({"name": mount.usecase, "ready": True})

    async def _read(self, body: bytes) -> Inference:
        read = partial(read_inference, body, self._predictions.mounts.most_rows)
        if len(body) < SMALL_BYTES:
            return read()
        return await self._predictions.explaining.result(read, len(body))

    async def _infer(self, request: Request) -> Response:
        mount = self._found(request)
        if isinstance(mount, Response):
            return mount
        try:
            body = await self._read_body(request, mount)
            asked = await self._read(body)
        except BadRequestError as error:
            mount.counters.requests += 1
            mount.counters.error("bad_request")
            headers = {name.decode(): value.decode() for name, value in headers_of(error)}
            return JSONResponse({"error": str(error)}, error.status, headers)
        except QueueFullError:
            mount.counters.requests += 1
            mount.counters.error("busy")
            headers = {"retry-after": str(RETRY_SECONDS)}
            return JSONResponse({"error": "too many bodies to unpack at once"}, 503, headers)
        mount = self._found(request)  # anew: the champion may have been swapped while the body arrived
        if isinstance(mount, Response):
            return mount
        admitted = Admitted(request_id_of(request.scope["headers"]), _JSON)
        reply = await self._predictions.reply(f"/{mount.usecase}/invocations", admitted, asked.body)
        answer = msgspec.json.decode(reply.body)
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        after = BackgroundTask(reply.after) if reply.after is not None else None
        if reply.status != 200:
            return JSONResponse({"error": answer["message"]}, reply.status, headers, background=after)
        written = _encode(write_inference(mount.usecase, answer, asked))
        return Response(written, headers=headers, media_type="application/json", background=after)


_JSON: Literal["json"] = "json"


def _champion(mount: Mount) -> Model:
    if mount.champion is None:
        raise RuntimeError("a champion that was there is gone")
    return mount.champion
