"""The service's own description, of the use cases it serves at this moment: OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expectations.column_types import TYPES_BY_NAME
from infra.serving.described_inference import describe_health, describe_inference
from infra.serving.explaining import MAX_ROWS as MAX_EXPLAINED
from infra.serving.feedback import MAX_LABELS
from infra.serving.models import Model
from infra.serving.openapi_parts import REFUSALS, json_answer, reference
from infra.serving.outputs import OUTPUTS
from infra.serving.protocol import MEDIA
from tasks.bundles.bundle import Bundle
from tasks.bundles.manifest import BundleColumn, Manifest

TABLES = {
    name.decode(): f"A table of {'Parquet' if media == 'parquet' else 'Arrow IPC'}; columns by their names"
    for name, media in MEDIA.items()
    if media not in ("json", "csv")
}


def openapi(served: Mapping[str, Model], most_rows: int, *, needs_key: bool) -> dict[str, Any]:
    """Describe the service in OpenAPI 3.1.

    Parameters
    ----------
    served : mapping
        Use case -> the champion that answers.
    most_rows : int
        Rows a request may have.
    """
    paths: dict[str, Any] = {
        "/livez": {"get": _plain("The process lives")},
        "/readyz": {
            "get": {
                "operationId": "readyz",
                "summary": "Ready to answer: all that is desired was tried, and predictions can be logged",
                "responses": {"200": _object("Ready"), "503": _object("Not ready; says why")},
            }
        },
        "/version": {"get": {"operationId": "version", "responses": {"200": _object("What is served")}}},
        "/metrics": {"get": _plain("Metrics for Prometheus")},
    }
    schemas: dict[str, Any] = {
        "Error": {
            "type": "object",
            "required": ["error_code", "message"],
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
        },
    }
    describe_health(paths, schemas)
    for name, model in served.items():
        values = {column.name: _column(column) for column in model.bundle.manifest.asked}
        _describe(name, model, values, most_rows, paths, schemas)
        describe_inference(name, model, values, most_rows, paths, schemas)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "driftwheel service",
            "version": "1",
            "description": "MLflow's scoring protocol, and the Open Inference Protocol (version 2) below /v2. Each "
            "prediction has an id that feedback may name; bodies may be compressed (gzip or deflate).",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if needs_key:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
        for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
            paths[path]["get"]["security"] = []
        for operations in paths.values():
            for operation in operations.values():
                if operation.get("security") != []:
                    operation["responses"] |= {"401": _error("No key, or none of ours"), "403": _error("Not its scope")}
    return described


def example(bundle: Bundle) -> dict[str, Any]:
    """Make up a plausible row from what the training rows looked like as a whole; no row of theirs."""
    held = bundle.reference()
    tables = held["tables"] if isinstance(held.get("format"), int) else ()  # before sketches: none
    known = {
        name: each["middle"]
        for table in tables
        for name, each in (table["columns"] if "columns" in table else table["values"]).items()
    }
    return {column.name: _typical(column, known.get(column.name), bundle) for column in bundle.manifest.asked}


def _typical(column: BundleColumn, middle: object, bundle: Bundle) -> object:
    if column.type == "instant":
        return bundle.manifest.cutoff.isoformat()
    if isinstance(middle, str) and column.type == "text" and column.hashed_from is None:
        return middle
    if isinstance(middle, float) and column.type in ("number", "integer"):
        return round(middle) if column.type == "integer" else round(middle, 3)
    return TYPES_BY_NAME[column.sent].example


def _describe(
    name: str,
    model: Model,
    values: Mapping[str, dict[str, Any]],
    most_rows: int,
    paths: dict[str, Any],
    schemas: dict[str, Any],
) -> None:
    """Add the routes of one use case; `values` holds the schema of each column's values, in the columns' order."""
    manifest = model.bundle.manifest
    row = {
        "type": "object",
        "required": [column.name for column in manifest.columns if column.role == "input"],
        "properties": dict(values),
        "example": example(model.bundle),
    }
    schemas[f"{name}.row"] = row
    schemas[f"{name}.request"] = _request(name, values, most_rows)
    schemas[f"{name}.explain"] = _request(name, values, MAX_EXPLAINED)
    if model.outputs > 1:
        for form in schemas[f"{name}.explain"]["oneOf"]:
            form["properties"]["params"] = {
                "type": ["object", "null"],
                "properties": {"class": {"enum": [*model.names], "description": "to explain; else the predicted one"}},
            }
    schemas[f"{name}.answer"] = {
        "type": "object",
        "required": ["predictions", "ids", "version"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": manifest.problem.answer_schema(manifest.answers),
                "description": meaning(model),
            },
            "ids": {"type": "array", "items": {"type": "string"}},
            "version": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            **_surroundings(model),
            **({"classes": {"type": "array", "items": {"type": "string"}}} if model.names else {}),
        },
    }
    refused = {status: _error(said) for status, said in REFUSALS.items()}
    paths[f"/{name}/invocations"] = {
        "post": {
            "operationId": f"{name}.predict",
            "summary": manifest.title,
            "requestBody": _body(f"{name}.request"),
            "responses": {
                "200": json_answer("The predictions", reference(f"{name}.answer")),
                **refused,
            },
        }
    }
    paths[f"/{name}/explain"] = {
        "post": {
            "operationId": f"{name}.explain",
            "summary": f"What each feature adds to a prediction; at most {MAX_EXPLAINED} rows",
            "requestBody": _body(f"{name}.explain"),
            "responses": {"200": _object("base, score and contributions of each row"), **refused},
        }
    }
    if manifest.accepts_feedback:
        _describe_feedback(name, manifest, refused, paths, schemas)


def _describe_feedback(
    name: str, manifest: Manifest, refused: dict[str, Any], paths: dict[str, Any], schemas: dict[str, Any]
) -> None:
    label = manifest.problem.label_schema(manifest.answers)
    one = {
        "type": "object",
        "required": ["id", "label"],
        "properties": {
            "id": {"type": "string", "description": "of a prediction"},
            "label": {"description": f"{manifest.label}: {manifest.label_words}", **label},
        },
    }
    several = {"type": "array", "minItems": 1, "maxItems": MAX_LABELS, "items": one}
    schemas[f"{name}.feedback"] = {
        "oneOf": [
            {**one, "not": {"required": ["feedback"]}},
            {"type": "object", "required": ["feedback"], "properties": {"feedback": several}},
        ]
    }
    paths[f"/{name}/feedback"] = {
        "post": {
            "operationId": f"{name}.feedback",
            "summary": f"Report {manifest.label} of earlier predictions by their ids; all labels are taken, or none",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": reference(f"{name}.feedback")}},
            },
            "responses": {"200": _object("How many were taken"), **refused},
        }
    }


def _surroundings(model: Model) -> dict[str, Any]:
    """Describe what `params: {"output": "interval"}` adds, where the model has intervals."""
    learnt = model.intervals
    if learnt is None:
        return {}
    held = f"holds the truth of {learnt.coverage:.0%} of rows like those it was learnt from"
    both = {"items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    number = {"type": "array", **both, "description": f"least and largest: {held}"}
    classes = {"type": "array", "items": {"type": ["string", "number"]}, "description": f"classes: {held}"}
    inside = {"intervals": number} if learnt.reach else {"sets": classes}
    found = {key: {"type": "array", "items": schema} for key, schema in inside.items()}
    return {**found, "coverage": {"type": "number"}}


def _request(name: str, values: Mapping[str, dict[str, Any]], most_rows: int) -> dict[str, Any]:
    """Describe the forms of MLflow's protocol; by position, columns may come in any order that `columns` names."""
    rows = {"type": "array", "maxItems": most_rows, "items": reference(f"{name}.row")}
    params = {
        "type": ["object", "null"],
        "properties": {"output": {"enum": list(OUTPUTS)}},
    }
    line = {
        "type": "array",
        "prefixItems": list(values.values()),
        "minItems": len(values),
        "maxItems": len(values),
    }
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"const": list(values)},
            "data": {"type": "array", "maxItems": most_rows, "items": line},
        },
    }
    forms = {"dataframe_records": rows, "instances": rows, "inputs": rows, "dataframe_split": split}
    return {
        "oneOf": [
            {
                "type": "object",
                "required": [form],
                "properties": {form: schema, "params": params},
                "additionalProperties": False,
            }
            for form, schema in forms.items()
        ]
    }


def _body(schema: str) -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "application/json": {"schema": reference(schema)},
            "text/csv": {"schema": {"type": "string", "description": "A line of column names, then a line a row"}},
            **{name: {"schema": {"format": "binary", "description": said}} for name, said in TABLES.items()},
        },
    }


def meaning(model: Model) -> str:
    """Say what a prediction is."""
    manifest = model.bundle.manifest
    return manifest.problem.meaning(manifest.answers)


def _column(column: BundleColumn) -> dict[str, Any]:
    words = [column.description, f"unit: {column.unit}" if column.unit else "", TYPES_BY_NAME[column.sent].note]
    if column.format is not None:
        words.append(f"also written like {column.format}; then ISO 8601 needs its zone")
    if column.size is not None:
        colours = "in colours" if column.channels == 3 else "grey"
        words.append(f"a picture, brought to {column.size[0]} × {column.size[1]} pixels, {colours}")
    if (how := column.replaced_by) is not None:
        words.append(f"personal: {how.words} before anything is kept of it")
    if column.role == "key":
        words.append("a key: finds the truth later; may be left out")
    schema: dict[str, Any] = {"description": "; ".join(word for word in words if word)}
    kind = TYPES_BY_NAME[column.sent]
    return {**schema, "type": [*kind.json_types, "null"], **kind.limits}


def _plain(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {"text/plain": {}}}}}


def _object(description: str) -> dict[str, Any]:
    return json_answer(description, {"type": "object"})


def _error(description: str) -> dict[str, Any]:
    return json_answer(description, reference("Error"))
