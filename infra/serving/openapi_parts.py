"""Parts of OpenAPI that both descriptions of the service are made of: its own routes, and those below ``/v2``."""

from __future__ import annotations

from typing import Any

REFUSALS = {
    "400": "What is wrong, by column and row; never a value",
    "413": "Too many bytes",
    "415": "None of the content types, or compressed by other means than gzip or deflate",
    "503": "No model yet, or predictions cannot be logged",
}
"""Why a request that holds rows is refused, by status."""


def json_answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a response that is JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def reference(schema: str) -> dict[str, Any]:
    """Refer to one of the schemas of the description."""
    return {"$ref": f"#/components/schemas/{schema}"}
