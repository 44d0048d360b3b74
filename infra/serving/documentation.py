"""The service's own description: OpenAPI 3.1 and a page to read, both of the use cases it serves at this moment."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from infra.serving.explaining import MAX_ROWS as MAX_EXPLAINED
from infra.serving.feedback import MAX_LABELS
from infra.serving.forms import MAX_PARAMS_BYTES
from infra.serving.mounts import Model
from infra.serving.pieces import MAX_ROW_BYTES
from infra.serving.protocol import MEDIA
from tasks.bundles.bundle import Bundle, BundleColumn, Manifest

_JSON_TYPES = {
    "number": ["number", "boolean"],
    "integer": ["integer", "boolean"],
    "text": ["string", "number", "boolean"],
    "boolean": ["boolean"],
    "instant": ["string"],
}
_NOTES = {
    "number": "true and false count as 1 and 0; null is a missing value",
    "integer": "a whole number of 64 bits, true and false as 1 and 0; null is a missing value",
    "text": "numbers and booleans become their text; one never seen is predicted too; null is missing",
    "boolean": "1 and 0 count as true and false; null is a missing value",
    "instant": "ISO 8601, years 1800 to 2500; without a zone in the use case's own; null is a missing value",
}
_OUTCOMES = (
    ("a column of the model is absent", "400, naming it; send null for an unknown value"),
    ("a column the model does not know", "ignored"),
    ("null, NaN, Infinity where a number is needed", "a missing value"),
    ("a number beyond a float, a whole one beyond 64 bits, a text with a NUL", "400, naming column and row"),
    ('a text where a number is needed (also "5"), nesting', "400, naming column and row"),
    ("a number where a text is needed", "its text"),
    ("true or false where a number is needed", "1 or 0"),
    ("5.0 where a whole number is needed", "5; 5.5 is 400"),
    ("a date that is not ISO 8601", "400, naming column and row"),
    ("a category never seen", "predicted"),
    ("more rows or bytes than allowed, also once it is unpacked", "400; 413"),
    (
        f"in a large body a row of more than {MAX_ROW_BYTES >> 10} kB; params of more than {MAX_PARAMS_BYTES >> 10} kB",
        "400",
    ),
    ("a table of Parquet or Arrow", "as JSON of the same rows; what is damaged or takes too long to read is 400"),
    ("another content type, or a content encoding other than gzip and deflate", "415"),
    (
        "predictions cannot be logged (disk full), or large requests or explanations come faster than they are made",
        "503 with Retry-After",
    ),
)
_TABLES = {
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
    for name, model in served.items():
        _describe(name, model, most_rows, paths, schemas)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "driftwheel service",
            "version": "1",
            "description": "MLflow's scoring protocol; each prediction has an id that feedback may name. Bodies may be "
            "compressed (Content-Encoding: gzip or deflate).",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if needs_key:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
        for path in ("/livez", "/readyz"):
            paths[path]["get"]["security"] = []
        for operations in paths.values():
            for operation in operations.values():
                if operation.get("security") != []:
                    operation["responses"] |= {"401": _error("No key, or none of ours"), "403": _error("Not its scope")}
    return described


def example(bundle: Bundle) -> dict[str, Any]:
    """Make up a plausible row from what the training rows looked like as a whole; no row of theirs."""
    reference = bundle.reference()
    tables = reference["tables"] if isinstance(reference.get("format"), int) else ()  # before sketches: none
    known = {
        name: each["middle"]
        for table in tables
        for name, each in (table["columns"] if "columns" in table else table["values"]).items()
    }
    return {column.name: _typical(column, known.get(column.name), bundle) for column in bundle.manifest.columns}


def _typical(column: BundleColumn, middle: object, bundle: Bundle) -> object:
    if column.type == "instant":
        return bundle.manifest.cutoff.isoformat()
    if isinstance(middle, str) and column.type == "text" and column.hashed_from is None:
        return middle
    if isinstance(middle, float) and column.type in ("number", "integer"):
        return round(middle) if column.type == "integer" else round(middle, 3)
    return {"number": 1.0, "integer": 1, "boolean": True}.get(column.sent, "text")


def _describe(name: str, model: Model, most_rows: int, paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    manifest = model.bundle.manifest
    row = {
        "type": "object",
        "required": [column.name for column in manifest.columns if column.role == "input"],
        "properties": {column.name: _column(column) for column in manifest.columns},
        "example": example(model.bundle),
    }
    schemas[f"{name}.row"] = row
    schemas[f"{name}.request"] = _request(name, manifest.columns, most_rows)
    schemas[f"{name}.explain"] = _request(name, manifest.columns, MAX_EXPLAINED)
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
                "description": _meaning(model),
            },
            "ids": {"type": "array", "items": {"type": "string"}},
            "version": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            **({"classes": {"type": "array", "items": {"type": "string"}}} if model.names else {}),
        },
    }
    refused = {
        "400": _error("What is wrong, by column and row; never a value"),
        "413": _error("Too many bytes"),
        "415": _error("None of the content types, or compressed by other means than gzip or deflate"),
        "503": _error("No model yet, or predictions cannot be logged"),
    }
    paths[f"/{name}/invocations"] = {
        "post": {
            "operationId": f"{name}.predict",
            "summary": manifest.title,
            "requestBody": _body(f"{name}.request"),
            "responses": {
                "200": _answer("The predictions", {"$ref": f"#/components/schemas/{name}.answer"}),
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
            "summary": f"Tell {manifest.label} of earlier predictions by their ids; all labels are taken, or none",
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}.feedback"}}},
            },
            "responses": {"200": _object("How many were taken"), **refused},
        }
    }


def _request(name: str, columns: Sequence[BundleColumn], most_rows: int) -> dict[str, Any]:
    """Describe the forms of MLflow's protocol; by position, columns may come in any order that `columns` names."""
    rows = {"type": "array", "maxItems": most_rows, "items": {"$ref": f"#/components/schemas/{name}.row"}}
    params = {
        "type": ["object", "null"],
        "properties": {"output": {"enum": ["default", "label", "probabilities"]}},
    }
    line = {
        "type": "array",
        "prefixItems": [_column(column) for column in columns],
        "minItems": len(columns),
        "maxItems": len(columns),
    }
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"const": [column.name for column in columns]},
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
            "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
            "text/csv": {"schema": {"type": "string", "description": "A line of column names, then a line a row"}},
            **{name: {"schema": {"format": "binary", "description": said}} for name, said in _TABLES.items()},
        },
    }


def _meaning(model: Model) -> str:
    manifest = model.bundle.manifest
    return manifest.problem.meaning(manifest.answers)


def _column(column: BundleColumn) -> dict[str, Any]:
    words = [column.description, f"unit: {column.unit}" if column.unit else "", _NOTES[column.sent]]
    if column.format is not None:
        words.append(f"also written like {column.format}; then ISO 8601 needs its zone")
    if column.hashed_from is not None:
        words.append("personal: hashed before anything is kept of it")
    if column.role == "key":
        words.append("a key: finds the truth later; may be left out")
    schema: dict[str, Any] = {"description": "; ".join(word for word in words if word)}
    types = [*_JSON_TYPES[column.sent], "null"]
    if column.sent == "instant":
        return {**schema, "type": types, "format": "date-time"}
    if column.sent == "integer":
        return {**schema, "type": types, "minimum": -(2**63) + 1, "maximum": 2**63 - 1}
    if column.sent == "number":
        return {**schema, "type": types, "minimum": -1e300, "maximum": 1e300}
    if column.sent == "text":
        limits = {"minimum": -(2**63) + 1, "maximum": 2**63 - 1}
        return {**schema, "type": types, "pattern": "^[^\\u0000]*$", **limits}
    return {**schema, "type": types}


def _plain(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {"text/plain": {}}}}}


def _object(description: str) -> dict[str, Any]:
    return _answer(description, {"type": "object"})


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> dict[str, Any]:
    return _answer(description, {"$ref": "#/components/schemas/Error"})


# --- the page -----------------------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
h3 { margin-bottom: .3rem } code, pre { font: 13px/1.5 ui-monospace, monospace }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: 6px; white-space: pre-wrap }
pre, p { overflow-wrap: anywhere } td { overflow-wrap: break-word }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
.method { font-weight: 600; background: var(--soft); padding: .1rem .45rem; border-radius: 4px }
"""


ADDRESS = "ADDRESS-OF-THIS-SERVICE"
"""Stands on the page for the address by which a reader came."""


def page(served: Mapping[str, Model], *, needs_key: bool) -> str:
    """Write a page about what is served here, for people; it loads nothing from elsewhere."""
    out = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>driftwheel service</title>",
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        "<h1>driftwheel service</h1>",
        "<p>MLflow's scoring protocol over HTTP. For machines: <a href=/openapi.json>openapi.json</a> (OpenAPI 3.1). ",
        "<code>/version</code> says what is served, <code>/metrics</code> how it does.</p>",
    ]
    if needs_key:
        out.append("<p>Every request needs a key: <code>Authorization: Bearer KEY</code>.</p>")
    if not served:
        out.append("<p>No use case is served yet.</p>")
    for name, model in served.items():
        out += _section(name, model, needs_key=needs_key)
    rows = "".join(f"<tr><td>{html.escape(what)}<td>{html.escape(outcome)}" for what, outcome in _OUTCOMES)
    out.append(f"<h2>What becomes of odd input</h2><table><tr><th>input<th>outcome{rows}</table>")
    out.append('<p>An error is <code>{"error_code": …, "message": …}</code>; it names columns and rows, no values.</p>')
    return "\n".join(out)


_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", re.ASCII)


def address_of(scheme: str, host: str, port: int) -> str:
    """Return by which address a reader came: what the request says, where that is one."""
    return f"{scheme if scheme == 'https' else 'http'}://{host if _HOST.fullmatch(host) else f'localhost:{port}'}"


def _section(name: str, model: Model, *, needs_key: bool) -> list[str]:
    manifest = model.bundle.manifest
    sent = html.escape(f'{{"id": "…", "label": {json.dumps(model.names[-1] if model.names else 1)}}}', quote=False)
    key = " \\\n  -H 'authorization: Bearer KEY'" if needs_key else ""
    body = shlex.quote(json.dumps({"dataframe_records": [example(model.bundle)]}, ensure_ascii=False))
    curl = f"curl -s {ADDRESS}/{name}/invocations \\\n  -H 'content-type: application/json'{key} \\\n  -d {body}"
    columns = "".join(
        f"<tr><td><code>{html.escape(column.name)}</code><td>{column.sent}<td>{html.escape(column.unit)}"
        f"<td>{html.escape(column.description)}{' (key, may be left out)' if column.role == 'key' else ''}"
        for column in manifest.columns
    )
    return [
        f"<h2>{html.escape(name)}</h2>",
        f"<p>{html.escape(manifest.title)} Version {html.escape(model.version)} answers, learnt from",
        f"{manifest.rows:,} rows up to {manifest.cutoff:%Y-%m-%d}.</p>",
        f"<h3><span class=method>POST</span> /{name}/invocations</h3>",
        f"<p>Answers {html.escape(_meaning(model))}, with an id for each row.</p><pre>{html.escape(curl)}</pre>",
        "<p>CSV is taken too (<code>content-type: text/csv</code>): a line of column names, then a line a row.",
        f"So are tables of Parquet or Arrow IPC: {', '.join(f'<code>{each}</code>' for each in _TABLES)}.",
        "Bodies may be compressed: <code>content-encoding: gzip</code> or <code>deflate</code>.</p>",
        f"<table><tr><th>column<th>type<th>unit<th>meaning{columns}</table>",
        f"<h3><span class=method>POST</span> /{name}/explain</h3><p>The same body; what each feature adds.</p>",
        f"<h3><span class=method>POST</span> /{name}/feedback</h3>",
        f"<p>The truth, later: <code>{sent}</code>, with a label that is {html.escape(manifest.label_words)}; or a "
        f'list of such, <code>{{"feedback": [{sent}, …]}}</code>, which is taken whole or not at all.'
        + (" It needs a key with the scope <code>feedback</code>." if needs_key else "")
        if manifest.accepts_feedback
        else "<p>Not taken: the use case says so.</p>",
    ]
