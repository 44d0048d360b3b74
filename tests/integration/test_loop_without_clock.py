"""The loop and a replay of a use case without a clock, against real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from flows.replay import replay
from infra.settings import Addresses, Settings
from tests.conftest import write_csv
from tests.unit.test_without_clock import Cells, cells

pytestmark = pytest.mark.flow
ASKED = ("patient", "mean_radius", "mean_texture", "mean_smoothness")


@pytest.fixture(autouse=True)
def told(stack: Addresses) -> Iterator[None]:
    """Point this process's Prefect at the stack."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        yield


def ask(stack: Addresses, name: str, rows: pl.DataFrame, *, tell: bool = False) -> None:
    """Send rows as clients would, without a time and without their label; the label by feedback, if that is asked."""
    for part in rows.iter_slices(16):
        table = {"columns": list(ASKED), "data": part.select(ASKED).rows()}
        answer = httpx.post(f"{stack.service}/{name}/invocations", json={"dataframe_split": table}, timeout=30)
        for one, label in zip(answer.raise_for_status().json()["ids"], part["benign"].to_list(), strict=True):
            if tell:
                said = {"id": one, "label": label}
                httpx.post(f"{stack.service}/{name}/feedback", json=said, timeout=30).raise_for_status()


def measured(name: str) -> list[dict[str, Any]]:
    return [each.to_dict() for each in Settings().platform().measurements(name)]


def test_the_wheel_turns_without_a_clock(stack: Addresses, tmp_path: Path, run: Callable[[str, str, str], Any]) -> None:
    made = Cells(tmp_path / "cells")
    made.write({"monitoring.policy": {"trigger": "schedule", "windows": 4}})

    def turn(rows: int, seed: int) -> Any:
        write_csv(made.folder / "cells.csv", cells().head(rows).sample(fraction=1, shuffle=True, seed=seed))
        return run("loop", str(made.folder), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}")

    assert turn(300, 1).outcome == "done"
    ask(stack, "cells", cells()[300:420])
    assert turn(300, 2).outcome == "keep"
    first = measured("cells")
    assert [each["counted"] for each in first] == [[1, 40], [41, 80], [81, 120]]
    assert {each["status"] for each in first} == {"unknown"}  # no label has come

    assert turn(420, 3).outcome == "keep"  # now the sources have them, however they are ordered
    known = measured("cells")
    assert [(each["start"], each["end"]) for each in known] == [(each["start"], each["end"]) for each in first]
    assert {each["coverage"] for each in known} == {1.0}
    assert "unknown" not in {each["status"] for each in known}
    assert set(known[0]["realised"][0]["baselines"]) == {"constant"}
    assert {each["column"] for each in known[0]["drift"]} >= {"mean_radius", "benign"}

    ask(stack, "cells", cells()[420:465], tell=True)
    verdict = turn(420, 4)
    assert verdict.outcome == "done", verdict.summary
    fourth = measured("cells")[3]
    assert (fourth["counted"], fourth["feedback"]["used"], fourth["start"]) == ([121, 160], 40, known[2]["end"])
    served = httpx.get(f"{stack.service}/version").json()["usecases"]["cells"]
    assert served["champion"]["version"] == "2"
    trained = [each for each in Settings().platform().entries("cells") if each.kind == "train"][-1]
    assert 35 <= trained.evidence["holdout_rows"] <= 37  # drawn from the 120 that the first champion had not learnt


def test_a_replay_walks_the_order_of_the_rows(stack: Addresses, tmp_path: Path) -> None:
    made = Cells(tmp_path / "cells")
    made.write({"name": "walked", "monitoring.every": {"rows": 120}})
    write_csv(made.folder / "cells.csv", cells())
    story = replay(str(made.folder))
    assert [each["counted"] for each in story.windows] == [[1, 120], [121, 240], [241, 360]]
    assert [each["rows"] for each in story.windows] == [120, 120, 120]
    assert min(each["loop"] for each in story.windows) > 0.85
    assert story.failed_requests == 0
    assert [each["status"] != "unknown" for each in measured("walked-replay")] == [True] * 3
