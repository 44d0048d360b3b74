"""Which labels the service takes: those that can be true of what its bundle predicts."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from infra.serving.bad_requests import BadRequestError
from infra.serving.feedback import MAX_LABELS, read_feedback
from tasks.bundles.manifest import Manifest
from tasks.problems.regression import MAX_LABEL

REGRESSION = Manifest(
    usecase="u", title="t", task="regression", label="y", clock="time", keys=("time",), columns=(), family="lightgbm",
    recipe={}, label_bounds=(-100.0, 210.0), cutoff=datetime(2024, 1, 1, tzinfo=UTC), rows=1, data_version=0,
    data_hash="", usecase_digest="", commit="", metrics={},
)  # fmt: skip
BINARY = REGRESSION.model_copy(update={"task": "binary_classification", "label_bounds": None})
FORMER = REGRESSION.model_copy(update={"label_bounds": None})


@pytest.mark.parametrize(
    ("manifest", "taken", "refused"),
    [
        (BINARY, [0, 1, True, False, 1.0, 0.0], [0.5, 7, -3, 2, 1e300, None, "1", [1], 0.9999999]),
        (REGRESSION, [0, -100, 210, 55.5, True], [-100.1, 211, 1e300, -1e300, None, "5", {}]),
        (FORMER, [0, -1e300, 1e300], [1.1e300, 10**400, None]),
    ],
)
def test_labels_that_can_be_true_are_taken(manifest: Manifest, taken: list[object], refused: list[object]) -> None:
    for label in taken:
        assert read_feedback(json.dumps({"id": "a", "label": label}).encode(), manifest) == {"a": float(label)}  # type: ignore[arg-type]
    for label in refused:
        body = {"feedback": [{"id": "a", "label": 1}, {"id": "b", "label": label}]}
        with pytest.raises(BadRequestError, match="item 1 needs a `label`") as error:
            read_feedback(json.dumps(body).encode(), manifest)
        assert manifest.label_words in str(error.value)


def test_the_message_says_what_is_allowed() -> None:
    assert BINARY.label_words == "0 or 1 (or false, true)"
    assert REGRESSION.label_words == "a number from -100 to 210"
    assert FORMER.label_words == f"a number from {-MAX_LABEL:g} to {MAX_LABEL:g}"


def test_of_two_labels_in_a_request_the_last_counts() -> None:
    body = {"feedback": [{"id": "a", "label": 1}, {"id": "b", "label": 2}, {"id": "a", "label": 3}]}
    assert read_feedback(json.dumps(body).encode(), REGRESSION) == {"a": 3.0, "b": 2.0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("text", "item 0 needs the `id`"),
        ({"feedback": []}, "feedback is"),
        ({"feedback": [1]}, "item 0 needs the `id`"),
        ({"id": 5, "label": 1}, "item 0 needs the `id`"),
        ({"feedback": [{"id": "a", "label": 1}] * (MAX_LABELS + 1)}, f"at most {MAX_LABELS}"),
    ],
)
def test_what_is_no_feedback_is_told(body: object, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        read_feedback(json.dumps(body).encode(), REGRESSION)
