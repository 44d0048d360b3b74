"""The page about the service, for people: what it serves at this moment, and what becomes of odd input."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Mapping

from infra.serving.documentation import TABLES, example, meaning
from infra.serving.forms import MAX_PARAMS_BYTES
from infra.serving.models import Model
from infra.serving.open_inference import datatype_of
from infra.serving.pieces import MAX_ROW_BYTES
from tasks.bundles.manifest import BundleColumn
from tasks.preprocessing.picture_bounds import MAX_REQUEST_PIXELS, MAX_SENT_PIXELS

_OUTCOMES = (
    ("a column of the model is absent", "400, naming it; send null for an unknown value, and a picture for a picture"),
    ("a column the model does not know", "ignored"),
    ("null, NaN, Infinity where a number is needed", "a missing value"),
    ("a number beyond a float, a whole one beyond 64 bits, a text with a NUL", "400, naming column and row"),
    ('a text where a number is needed (also "5"), nesting', "400, naming column and row"),
    ("a number where a text is needed", "its text"),
    ("true or false where a number is needed", "1 or 0"),
    ("5.0 where a whole number is needed", "5; 5.5 is 400"),
    ("a date that is not ISO 8601", "400, naming column and row"),
    ("a category never seen", "predicted"),
    ("a picture of another size", "brought to that of the column"),
    (
        f"a picture that is damaged, or of more than {MAX_SENT_PIXELS:,} pixels",
        "400, naming column and row",
    ),
    (
        f"a picture of about {MAX_ROW_BYTES * 3 // 4 >> 10} kB or more, whose row has over {MAX_ROW_BYTES >> 10} kB",
        "400",
    ),
    (f"pictures of more than {MAX_REQUEST_PIXELS:,} pixels together", "400, naming column and row"),
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
        "<p>MLflow's scoring protocol and the Open Inference Protocol over HTTP. For machines: ",
        "<a href=/openapi.json>openapi.json</a> (OpenAPI 3.1). ",
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


def _type(column: BundleColumn) -> str:
    """Name the type of what is sent, and the size that a picture is brought to."""
    return column.sent if column.size is None else f"{column.sent}, {column.size[0]} × {column.size[1]}"


_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?", re.ASCII)


def address_of(scheme: str, host: str, port: int) -> str:
    """Return by which address a reader came: what the request says, where that is one."""
    return f"{scheme if scheme == 'https' else 'http'}://{host if _HOST.fullmatch(host) else f'localhost:{port}'}"


def _inference(name: str, model: Model, key: str) -> str:
    """Write how the example is asked about by the Open Inference Protocol."""
    row = example(model.bundle)
    inputs = [
        {"name": column.name, "shape": [1], "datatype": datatype_of(column), "data": [row[column.name]]}
        for column in model.bundle.manifest.asked
    ]
    body = shlex.quote(json.dumps({"inputs": inputs}, ensure_ascii=False))
    return f"curl -s {ADDRESS}/v2/models/{name}/infer \\\n  -H 'content-type: application/json'{key} \\\n  -d {body}"


def _section(name: str, model: Model, *, needs_key: bool) -> list[str]:
    manifest = model.bundle.manifest
    sent = html.escape(f'{{"id": "…", "label": {json.dumps(model.names[-1] if model.names else 1)}}}', quote=False)
    key = " \\\n  -H 'authorization: Bearer KEY'" if needs_key else ""
    body = shlex.quote(json.dumps({"dataframe_records": [example(model.bundle)]}, ensure_ascii=False))
    curl = f"curl -s {ADDRESS}/{name}/invocations \\\n  -H 'content-type: application/json'{key} \\\n  -d {body}"
    columns = "".join(
        f"<tr><td><code>{html.escape(column.name)}</code><td>{_type(column)}<td>{html.escape(column.unit)}"
        f"<td>{html.escape(column.description)}{' (key, may be left out)' if column.role == 'key' else ''}"
        for column in manifest.asked
    )
    return [
        f"<h2>{html.escape(name)}</h2>",
        f"<p>{html.escape(manifest.title)} Version {html.escape(model.version)} answers, learnt from",
        f"{manifest.rows:,} rows up to {manifest.learnt_until:%Y-%m-%d}.</p>",
        f"<h3><span class=method>POST</span> /{name}/invocations</h3>",
        f"<p>Answers {html.escape(meaning(model))}, with an id for each row.</p><pre>{html.escape(curl)}</pre>",
        "<p>CSV is taken too (<code>content-type: text/csv</code>): a line of column names, then a line a row.",
        f"So are tables of Parquet or Arrow IPC: {', '.join(f'<code>{each}</code>' for each in TABLES)}.",
        "Bodies may be compressed: <code>content-encoding: gzip</code> or <code>deflate</code>.</p>",
        f"<table><tr><th>column<th>type<th>unit<th>meaning{columns}</table>",
        f"<h3><span class=method>POST</span> /{name}/explain</h3><p>The same body; what each feature adds.</p>",
        f"<h3><span class=method>POST</span> /v2/models/{name}/infer</h3>",
        "<p>The same by the Open Inference Protocol, version 2 (KServe, Triton): each column is an input of shape",
        f"<code>[n]</code>. <a href=/v2/models/{name}><code>/v2/models/{name}</code></a> names them.</p>",
        f"<pre>{html.escape(_inference(name, model, key))}</pre>",
        f"<h3><span class=method>POST</span> /{name}/feedback</h3>",
        f"<p>The truth, later: <code>{sent}</code>, with a label that is {html.escape(manifest.label_words)}; or a "
        f'list of such, <code>{{"feedback": [{sent}, …]}}</code>, which is taken whole or not at all.'
        + (" It needs a key with the scope <code>feedback</code>." if needs_key else "")
        if manifest.accepts_feedback
        else "<p>Not taken: the use case says so.</p>",
    ]
