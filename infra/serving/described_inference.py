"""The Open Inference Protocol's routes of a use case, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.serving.models import Model
from infra.serving.open_inference import PARTS, datatype_of
from infra.serving.openapi_parts import REFUSALS, json_answer, reference
from infra.serving.outputs import OUTPUTS
from tasks.bundles.manifest import BundleColumn


def _tensor(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - a schema
    known = {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        **more,
    }
    return {"type": "object", "required": list(known), "properties": known}


_REFUSALS = {**REFUSALS, "404": "No such model, or another version answers"}
_METADATA = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        **{key: {"type": "array", "items": _tensor()} for key in ("inputs", "outputs")},
    },
}
_SERVER = {
    "type": "object",
    "required": ["name", "version", "extensions"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "extensions": {"type": "array", "items": {"type": "string"}},
    },
}


def describe_health(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add the routes that are of no model, and the form of the protocol's errors."""
    schemas["InferenceError"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
    paths["/v2"] = {"get": _get("v2.metadata", "What serves (Open Inference Protocol, version 2)", {}, _SERVER)}
    paths["/v2/health/live"] = {"get": _get("v2.live", "The process lives", {})}
    not_ready = {"503": json_answer("Not ready", {"type": "object"})}
    paths["/v2/health/ready"] = {"get": _get("v2.ready", "Whether the service can answer", not_ready)}


def describe_inference(
    name: str,
    model: Model,
    values: Mapping[str, Mapping[str, Any]],
    most_rows: int,
    paths: dict[str, Any],
    schemas: dict[str, Any],
) -> None:
    """Add the protocol's routes of one use case; their paths may also name the version that answers.

    Parameters
    ----------
    values : mapping of str to mapping
        Column -> the schema of one of its values.
    """
    schemas[f"{name}.inference"] = _request(
        [_input(column, values[column.name], most_rows) for column in model.bundle.manifest.asked]
    )
    schemas[f"{name}.inferred"] = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": name},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _tensor(data={"type": "array"})},
            "parameters": {"type": "object"},
        },
    }
    errors = {status: json_answer(said, reference("InferenceError")) for status, said in _REFUSALS.items()}
    lacking = {each: errors[each] for each in ("404", "503")}
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "the one that answers; another is refused",
        "schema": {"enum": [model.version]},
    }
    base = f"/v2/models/{name}"
    for path, operation, more in (
        (base, name, {}),
        (f"{base}/versions/{{version}}", f"{name}.version", {"parameters": [version]}),
    ):
        metadata = _get(f"{operation}.metadata", "Its tensors (Open Inference Protocol, version 2)", lacking, _METADATA)
        paths[path] = {"get": {**metadata, **more}}
        ready = _get(f"{operation}.ready", "Whether a version of it answers", lacking)
        paths[f"{path}/ready"] = {"get": {**ready, **more}}
        paths[f"{path}/infer"] = {
            "post": {
                "operationId": f"{operation}.infer",
                "summary": f"{model.bundle.manifest.title} As a request of the Open Inference Protocol, version 2",
                "description": f"The same as /{name}/invocations: each column is an input.",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": reference(f"{name}.inference")}},
                },
                "responses": {"200": json_answer("The predictions", reference(f"{name}.inferred")), **errors},
                **more,
            },
        }


def _request(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a request with all columns in their order; others are taken, too, as keys may be left out."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "description": "the client's own; it comes back"},
            "inputs": {"type": "array", "prefixItems": inputs, "minItems": len(inputs), "maxItems": len(inputs)},
            "parameters": {"type": ["object", "null"], "properties": {"output": {"enum": list(OUTPUTS)}}},
            "outputs": {
                "type": ["array", "null"],
                "description": "tensors to answer; all where none are named",
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"enum": list(PARTS)}}},
            },
        },
        "additionalProperties": False,
    }


def _input(column: BundleColumn, value: Mapping[str, Any], most_rows: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"const": column.name},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0, "maximum": most_rows}],
                "minItems": 1,
                "maxItems": 1,
                "description": "[n], of n values; [n, 1] is taken, too",
            },
            "datatype": {"const": datatype_of(column)},
            "data": {"type": "array", "maxItems": most_rows, "items": value},
        },
    }


def _get(operation: str, summary: str, errors: dict[str, Any], schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": json_answer(summary, schema or {"type": "object"}), **errors},
    }
