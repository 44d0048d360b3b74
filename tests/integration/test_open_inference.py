"""The Open Inference Protocol says what MLflow's says: the same rows, the same answers, the same journal."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from infra.serving.bad_requests import BadRequestError
from infra.serving.open_inference import read_inference
from tests.integration.test_hostile_input import service
from tests.integration.test_service import Running, made, sample
from tests.integration.test_serving_bodies import logged_rows

__all__ = ["made", "service"]
DATATYPES = {float: "FP64", int: "INT64", str: "BYTES"}


def asked(records: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    columns = {name: [record[name] for record in records] for name in records[0]}
    tensors = [
        {"name": name, "shape": [len(values)], "datatype": DATATYPES[type(values[0])], "data": values}
        for name, values in columns.items()
    ]
    return {"inputs": tensors, **more}


def test_an_inference_is_what_invocations_answers(service: Running, made) -> None:
    records = sample(made, 300)
    expected = service.ask({"dataframe_records": records}).json()
    found = service.ask(asked(records, id="mine"), "/v2/models/rentals/infer")
    assert found.status_code == 200, found.text
    answer = found.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("rentals", "1", "mine")
    predictions, ids = answer["outputs"]
    assert predictions == {
        "name": "predictions", "shape": [300], "datatype": "FP64", "data": expected["predictions"],
    }  # fmt: skip
    logged = logged_rows(service.journal)
    assert [logged[each] for each in ids["data"]] == [logged[each] for each in expected["ids"]]
    assert service.ask({"id": ids["data"][0], "label": 1}, "/feedback").json() == {"accepted": 1}


def test_rows_may_be_nested_outputs_chosen_and_a_version_named(service: Running, made) -> None:
    records = sample(made, 2)
    body = asked(records, outputs=[{"name": "predictions"}])
    for tensor in body["inputs"]:
        tensor |= {"shape": [2, 1], "data": [[each] for each in tensor["data"]]}
    answer = service.ask(body, "/v2/models/rentals/versions/1/infer").json()
    assert [each["name"] for each in answer["outputs"]] == ["predictions"]
    assert answer["outputs"][0]["data"] == service.ask({"dataframe_records": records}).json()["predictions"]
    assert "id" not in answer
    described = httpx.get(f"{service.url}/openapi.json").json()["components"]["schemas"]["rentals.inference"]
    for key in ("id", "parameters", "outputs"):  # what may be left out may be null, and is described so
        assert service.ask(asked(records, **{key: None}), "/v2/models/rentals/infer").status_code == 200
        assert "null" in described["properties"][key]["type"]
    lacking = service.ask(body, "/v2/models/rentals/versions/7/infer")
    assert (lacking.status_code, lacking.json()) == (404, {"error": "rentals serves version 1, not '7'"})


def test_health_and_metadata(service: Running, made) -> None:
    def get(path: str) -> tuple[int, Any]:
        answer = httpx.get(service.url + path)
        return answer.status_code, answer.json()

    assert get("/v2")[1]["name"] == "driftwheel"
    assert get("/v2/health/live") == (200, {"live": True})
    assert get("/v2/health/ready") == (200, {"ready": True})
    assert get("/v2/models/rentals/ready") == (200, {"name": "rentals", "ready": True})
    status, described = get("/v2/models/rentals")
    assert (status, described["versions"]) == (200, ["1"])
    inputs = {each["name"]: each["datatype"] for each in described["inputs"]}
    assert (inputs["temp"], inputs["holiday"], inputs["weathersit"], inputs["time"]) == (
        "FP64",
        "INT64",
        "BYTES",
        "BYTES",
    )
    assert {"name": "intervals", "datatype": "FP64", "shape": [-1, 2]} in described["outputs"]
    assert get("/v2/models/nobody")[0] == 404
    assert "nobody" not in get("/v2/models/nobody")[1]["error"]


def test_what_is_wrong_is_said_as_the_protocol_says_it(service: Running, made) -> None:
    said = httpx.get(f"{service.url}/metrics").text
    before = sum(float(line.split()[-1]) for line in said.splitlines() if line.startswith("driftwheel_requests_total"))
    body = asked(sample(made, 2)) | {"parameters": None}
    temp = next(each for each in body["inputs"] if each["name"] == "temp")
    temp["data"] = ["warm", 0.5]
    answer = service.ask(body, "/v2/models/rentals/infer")
    assert answer.status_code == 400
    assert answer.json() == {"error": "the column temp needs a number in row 0"}
    assert httpx.get(f"{service.url}/v2/models/rentals/infer").status_code == 405
    temp["data"] = ["x" * 3_000_000, 0.5]
    assert service.ask(body, "/v2/models/rentals/infer").status_code == 413
    assert service.ask({"inputs": []}, "/v2/models/rentals/infer").status_code == 400
    counted = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in httpx.get(f"{service.url}/metrics").text.splitlines()
        if line.startswith(("driftwheel_requests_total", "driftwheel_errors_total"))
    }
    requests = counted['driftwheel_requests_total{usecase="rentals"}']
    assert requests - before == 3  # what is refused was asked, too
    assert counted['driftwheel_errors_total{kind="bad_request",usecase="rentals"}'] >= 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "the body is no inference request: .*inputs"),
        ({"inputs": []}, "a tensor for each column"),
        ({"inputs": [{"name": "a", "shape": [11], "datatype": "FP64", "data": [1.0] * 11}]}, "at most 10 rows"),
        (
            {"inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [1.0]}]},
            r"1 values, and its shape says \[2\]",
        ),
        ({"inputs": [{"name": "a", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}, r"shape must be \[n\]"),
        ({"inputs": [{"name": "a", "shape": [2, 1], "datatype": "FP64", "data": [[1.0], 2.0]}]}, "one value"),
        ({"inputs": [{"name": "a", "shape": [-1], "datatype": "FP64", "data": []}]}, r"shape must be \[n\]"),
        ({"inputs": [{"name": "a", "shape": [1], "datatype": "TEXT", "data": ["x"]}]}, "a datatype of BOOL, BYTES"),
        ({"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}] * 2}, "each once"),
        (
            {"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1]}], "outputs": [{"name": "x"}]},
            "`outputs` may name predictions",
        ),
    ],
)
def test_a_request_that_is_none_is_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        read_inference(json.dumps(body).encode(), 10)
    with pytest.raises(BadRequestError, match="not JSON"):
        read_inference(b"{", 10)
