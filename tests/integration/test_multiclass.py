"""A model of several classes as the service answers with it, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.page.answers import read_counts
from tasks.bundles.row_frames import jsonable
from tasks.deployment.scoring import predict_frame
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Version
from tasks.training.judging import judge, refit
from tasks.training.packing import pack
from tests.conftest import instant, known_by
from tests.integration.test_service import Running
from tests.unit.test_problems import sky_rows, write_sky

CLASSES = ["clear", "cloudy/misty", "light rain/snow"]


@pytest.fixture(scope="module")
def serving(
    processes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, list[dict], list[list[float]]]]:
    from tasks.bundles.bundle import load_bundle

    folder = tmp_path_factory.mktemp("sky")
    usecase = write_sky(folder / "sky")
    rows = sky_rows(usecase, instant("2011-03-01"))
    judged = judge(rows, usecase.spec, None)
    arguments = {"data": Version("clean", 0, len(rows)), "data_hash": "", "commit": "", "parent": "", "name": "sky"}
    refitted = refit(rows, usecase.spec, judged)
    arguments["as_of"] = known_by(usecase.spec, rows)
    digest = pack(folder / "bundle", usecase, rows, rows, judged, refitted, **arguments)  # type: ignore[arg-type]
    bundle = load_bundle(folder / "bundle", digest)
    running = Running(folder / "service")
    running.releases.root.mkdir(parents=True)
    running.releases.add("sky", bundle.folder, digest)
    running.releases.set_desired("sky", champion=Served(bundle=digest, version="1"))
    running.start()
    sample = rows.select([column.name for column in bundle.manifest.columns]).head(40)
    try:
        yield running, jsonable(sample), predict_frame(bundle, sample)["prediction"].to_list()
    finally:
        running.stop()


def test_it_answers_probabilities_labels_and_explanations_by_class(serving, tmp_path: Path) -> None:
    running, rows, expected = serving

    def ask(path: str, params: dict | None = None, number: int = 40) -> httpx.Response:
        return httpx.post(f"{running.url}/sky/{path}", json={"dataframe_records": rows[:number], "params": params})

    answered = ask("invocations").json()
    assert answered["classes"] == CLASSES
    assert answered["predictions"] == expected
    assert ask("invocations", number=1).json()["predictions"] == expected[:1]
    assert ask("invocations", {"output": "probabilities"}).json()["predictions"] == expected
    called = [CLASSES[max(range(3), key=each.__getitem__)] for each in expected]
    assert ask("invocations", {"output": "label"}).json()["predictions"] == called
    explained = ask("explain", number=2).json()
    assert [each["class"] for each in explained["explanations"]] == called[:2]
    assert explained["scale"] == "score before softmax"
    rain = ask("explain", {"class": CLASSES[2]}, number=2).json()
    assert {each["class"] for each in rain["explanations"]} == {CLASSES[2]}
    assert ask("explain", {"class": "hail"}, number=2).status_code == 400

    sent = httpx.post(f"{running.url}/sky/feedback", json={"id": answered["ids"][0], "label": CLASSES[1]})
    assert sent.status_code == 200
    wrong = httpx.post(f"{running.url}/sky/feedback", json={"id": answered["ids"][0], "label": "hail"})
    assert wrong.status_code == 400
    assert "'clear'" in wrong.text
    described = httpx.get(f"{running.url}/openapi.json").json()["components"]["schemas"]
    assert "classes" in described["sky.answer"]["properties"]
    assert "in the order of" in httpx.get(f"{running.url}/docs").text
    counted = read_counts(httpx.get(f"{running.url}/metrics").text)["sky"]
    assert (counted.requests, counted.rows, dict(counted.errors)) == (4, 121, {"bad_explain": 1, "bad_feedback": 1})

    httpx.post(f"{running.url}/journal/seal", params={"usecase": "sky"})
    lake = Lake(str(tmp_path / "lake"), "sky")
    harvest(running.journal, "sky", lake)
    kept = lake.scan("predictions").collect()
    found = dict(zip(kept["id"], kept["prediction"].to_list(), strict=True))
    assert [found[each] for each in answered["ids"]] == expected
    assert lake.scan("labels").collect()["label"].to_list() == [CLASSES[1]]
