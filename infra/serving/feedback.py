"""What clients tell of earlier predictions."""

from __future__ import annotations

import msgspec

from infra.serving.protocol import BadRequestError, why_no_json

LARGEST_LABEL = 1e300
MOST_LABELS = 10_000


def read_feedback(body: bytes) -> list[tuple[str, float]]:
    """Return ids of predictions and their labels.

    Raises
    ------
    BadRequestError
    """
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(why_no_json(error)) from None
    items = data.get("feedback") if isinstance(data, dict) and "feedback" in data else [data]
    if not isinstance(items, list) or not items:
        raise BadRequestError('feedback is {"id": …, "label": …} or {"feedback": [{…}, …]}')
    if len(items) > MOST_LABELS:
        raise BadRequestError(f"at most {MOST_LABELS} labels in a request; it has {len(items)}")
    found = []
    for position, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise BadRequestError(f"item {position} needs the `id` of a prediction")
        label = item.get("label")
        if not isinstance(label, bool | int | float) or not abs(label) <= LARGEST_LABEL:
            raise BadRequestError(f"item {position} needs a `label`, a number")
        found.append((item["id"], float(label)))
    return found
