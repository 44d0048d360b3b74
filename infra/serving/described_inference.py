"""The Open Inference Protocol's routes of a use case, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.serving.models import Model
from infra.serving.open_inference import PARTS, datatype_of
from infra.serving.outputs import OUTPUTS
from tasks.bundles.manifest import BundleColumn

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string"},
        "data": {"type": "array"},
    },
}
_REFUSED = {
    "400": "What is wrong, by column; never a value",
    "404": "No such model, or another version answers",
    "413": "Too many bytes",
    "415": "None of the content types, or compressed by other means than gzip or deflate",
    "503": "No model yet, or predictions cannot be logged",
}


def describe_health(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add the routes that are of no model, and the form of the protocol's errors."""
    schemas["InferenceError"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
    paths["/v2/health/live"] = {"get": _get("v2.live", "The process lives", {})}
    paths["/v2/health/ready"] = {
        "get": _get("v2.ready", "Whether the service can answer", {"503": _json("Not ready", {"type": "object"})})
    }


def describe_inference(
    name: str,
    model: Model,
    columns: Sequence[tuple[BundleColumn, Mapping[str, Any]]],
    most_rows: int,
    paths: dict[str, Any],
    schemas: dict[str, Any],
) -> None:
    """Add the protocol's routes of one use case; their paths may also name the version that answers.

    Parameters
    ----------
    columns : sequence of (BundleColumn, mapping)
        Each with the schema of one of its values.
    """
    schemas[f"{name}.inference"] = _request([_input(column, value, most_rows) for column, value in columns])
    schemas[f"{name}.inferred"] = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": name},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _TENSOR},
            "parameters": {"type": "object"},
        },
    }
    errors = {status: _json(said, {"$ref": "#/components/schemas/InferenceError"}) for status, said in _REFUSED.items()}
    lacking = {each: errors[each] for each in ("404", "503")}
    base = f"/v2/models/{name}"
    paths[base] = {"get": _get(f"{name}.metadata", "Its tensors (Open Inference Protocol, version 2)", lacking)}
    paths[f"{base}/ready"] = {"get": _get(f"{name}.ready", "Whether a version of it answers", lacking)}
    paths[f"{base}/infer"] = {
        "post": {
            "operationId": f"{name}.infer",
            "summary": f"{model.bundle.manifest.title} As a request of the Open Inference Protocol, version 2",
            "description": f"The same as /{name}/invocations: each column is an input. {base}/versions/VERSION/infer "
            "asks the version that answers, by its number.",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}.inference"}}},
            },
            "responses": {
                "200": _json("The predictions", {"$ref": f"#/components/schemas/{name}.inferred"}),
                **errors,
            },
        }
    }


def _request(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a request with all columns in their order; others are taken, too, as keys may be left out."""
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "the client's own; it comes back"},
            "inputs": {"type": "array", "prefixItems": inputs, "minItems": len(inputs), "maxItems": len(inputs)},
            "parameters": {"type": "object", "properties": {"output": {"enum": list(OUTPUTS)}}},
            "outputs": {
                "type": "array",
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


def _get(operation: str, summary: str, errors: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": _json(summary, {"type": "object"}), **errors},
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
