"""What nobody should send: thousands of malformed bodies, and all that OpenAPI allows and forbids."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tasks.stores.desired_state import Served
from tests.integration.test_service import Running, journaled, made, sample

__all__ = ["made"]
BODIES = int(os.environ.get("DRIFTWHEEL_FUZZ", "2000"))
EXAMPLES = int(os.environ.get("DRIFTWHEEL_EXAMPLES", "25"))
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def service(processes: None, tmp_path_factory: pytest.TempPathFactory, made) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("service"))
    running.releases.add("rentals", made[1].folder, made[1].digest)
    running.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    running.start()
    yield running
    running.stop()


ODD = [
    None, True, 0, -1, 1.5, 1e308, -1e308, 10**30, "", "x", "5", "NaN", "\u0000", "ü" * 500, "2011-01-01",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "2011-02-30T00:00:00Z", [], [1], {}, {"a": 1}, float("nan"), float("inf"), -float("inf"),
]  # fmt: skip


def bodies(records: list[dict], number: int) -> Iterator[bytes]:
    """Make bodies: good ones with something odd in them, and good ones with bytes torn out or turned."""
    chance = random.Random(7)
    for _ in range(number):
        rows = [dict(chance.choice(records)) for _ in range(chance.choice((0, 1, 1, 2, 5)))]
        for row in rows:
            for _ in range(chance.choice((0, 1, 3))):
                row[chance.choice([*row, "unheard_of", ""])] = chance.choice(ODD)
            if chance.random() < 0.1 and row:
                del row[chance.choice(list(row))]
        columns = list(rows[0]) if rows else []
        body: object = chance.choice(
            [
                {"dataframe_records": rows},
                {
                    "instances": rows,
                    "params": chance.choice([None, {}, {"output": chance.choice(ODD)}, chance.choice(ODD)]),
                },
                {"dataframe_split": {"columns": columns, "data": [list(row.values()) for row in rows]}},
                {"inputs": {column: [row.get(column) for row in rows] for column in columns}},
                {"dataframe_records": chance.choice(ODD)},
                {chance.choice(["dataframe_split", "inputs", "instances", "rows"]): chance.choice(ODD)},
                chance.choice(ODD),
            ]
        )
        content = json.dumps(body).encode()
        if chance.random() < 0.4:
            torn = bytearray(content)
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(torn)) if torn else 0
                how = chance.random()
                if how < 0.4 and torn:
                    torn[at] = chance.randrange(256)
                elif how < 0.7:
                    del torn[at : at + chance.randint(1, 20)]
                else:
                    torn[at:at] = chance.choice([b"[" * 200, b"\xff\xfe", b'"', b"{", b"}", b"1" * 400, b"\x00"])
            content = bytes(torn)
        yield content


def test_the_next_good_request_is_answered_whatever_came_before(service: Running, made) -> None:
    records = sample(made, 20)
    good = {"dataframe_records": records[:2]}
    expected = service.ask(good).json()["predictions"]
    seen: dict[int, int] = {}
    with httpx.Client(base_url=service.url) as client:
        for number, body in enumerate(bodies(records, BODIES)):
            answer = client.post("/invocations", content=body, headers=JSON)
            assert answer.status_code in (200, 400), body
            assert set(answer.json()) >= ({"predictions"} if answer.status_code == 200 else {"error_code", "message"})
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            if number % 100 == 0:
                assert client.post("/invocations", json=good).json()["predictions"] == expected
    assert min(seen[200], seen[400]) > BODIES / 20
    assert len({line["id"] for line in journaled(service.journal)}) > seen[200] / 2


def test_no_error_message_holds_a_value(service: Running, made) -> None:
    secret = "Xyzzy-4711"
    record = sample(made, 1)[0]
    for column in record:
        for value in (secret, [secret], {secret: secret}):
            answer = service.ask({"dataframe_records": [{**record, column: value}], "params": {"output": secret}})
            assert secret not in answer.text, column


FIRST, LAST = datetime(1800, 1, 2), datetime(2500, 12, 30)  # noqa: DTZ001 - the zone is written below
INSTANTS = st.datetimes(FIRST, LAST).map(lambda instant: f"{instant.isoformat()}Z")


def as_long_as_it_says(case: schemathesis.Case) -> schemathesis.Case:
    """Let tensors have the length that their shape says, the same for all: JSON Schema cannot say so."""
    if case.operation.path.endswith("/infer"):
        inputs = case.body["inputs"]
        rows = min((len(each["data"]) for each in inputs), default=0)
        case.body["inputs"] = [{**each, "shape": [rows], "data": each["data"][:rows]} for each in inputs]
    return case


@pytest.mark.filterwarnings("ignore:Do not use the `random` module")  # that other threads here draw, too
def test_the_service_keeps_to_its_description(service: Running) -> None:
    schemathesis.openapi.format("date-time", INSTANTS)  # JSON Schema cannot say which years; the description does
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    paths = set[str]()
    for found in schema.get_all_operations():
        operation = found.ok()
        paths.add(operation.path)

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy().map(as_long_as_it_says))
        def ask(case: schemathesis.Case) -> None:
            excluded = [negative_data_rejection]  # it takes more than it promises, on purpose
            if case.media_type != "application/json":  # of which the description says no more than that it is a text
                excluded.append(positive_data_acceptance)
            case.call_and_validate(excluded_checks=excluded)

        ask()
    assert paths == {
        "/livez", "/readyz", "/version", "/metrics", "/rentals/invocations", "/rentals/explain", "/rentals/feedback",
        "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/rentals", "/v2/models/rentals/ready",
        "/v2/models/rentals/infer", "/v2/models/rentals/versions/{version}",
        "/v2/models/rentals/versions/{version}/ready", "/v2/models/rentals/versions/{version}/infer",
    }  # fmt: skip


def test_a_batch_is_scored_to_the_last_bit_as_the_service_does(service: Running, made, tmp_path: Path) -> None:
    import polars as pl

    from tasks.deployment.scoring import score_table
    from tests.integration.test_service import rows

    frame = rows(made[0], "2011-02-01").select([column.name for column in made[1].manifest.columns])
    frame.write_parquet(tmp_path / "in.parquet")

    class Job:
        name, releases = "rentals", service.releases
        places = SimpleNamespace(
            journal=tmp_path / "home" / "journal", reports=tmp_path / "home" / "reports", secret=b"k"
        )

    done = score_table(Job(), str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"))  # type: ignore[arg-type]
    scored = pl.read_parquet(tmp_path / "out.parquet")
    assert done.rows == len(frame)
    asked = service.ask({"dataframe_records": sample(made, 300)}).json()["predictions"]
    assert scored["prediction"].to_list()[:300] == asked
    one = [service.ask({"dataframe_records": [record]}).json()["predictions"][0] for record in sample(made, 20)]
    assert scored["prediction"].to_list()[:20] == one
