"""What clients report of earlier predictions."""

from __future__ import annotations

import msgspec

from infra.serving.bad_requests import BadRequestError, why_no_json
from tasks.bundles.manifest import Manifest

MAX_LABELS = 10_000


def read_feedback(body: bytes, manifest: Manifest) -> dict[str, float | str]:
    """Return the label of each prediction that is named; where one is named twice, the last counts.

    Parameters
    ----------
    manifest : Manifest
        Of the bundle that answers: it says which labels can be true.

    Raises
    ------
    BadRequestError
        If any item is wrong: then none of the request counts.
    """
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(why_no_json(error)) from None
    items = data.get("feedback") if isinstance(data, dict) and "feedback" in data else [data]
    if not isinstance(items, list) or not items:
        raise BadRequestError('feedback is {"id": …, "label": …} or {"feedback": [{…}, …]}')
    if len(items) > MAX_LABELS:
        raise BadRequestError(f"at most {MAX_LABELS} labels in a request; it has {len(items)}")
    found: dict[str, float | str] = {}
    problem, answers = manifest.problem, manifest.answers
    for position, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise BadRequestError(f"item {position} needs the `id` of a prediction")
        label = problem.take(item.get("label"), answers)
        if label is None:
            raise BadRequestError(f"item {position} needs a `label`: {manifest.label_words}")
        found[item["id"]] = label
    return found
