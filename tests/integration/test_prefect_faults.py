"""A Prefect that is busy when a flow begins, and in the middle: it is asked again, and nobody sees a trace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from expectations.errors import UnreachableError
from infra.settings import Addresses
from tests.conftest import forget_prefect_services, instant
from tests.fronts import front

pytestmark = pytest.mark.flow
BUSY = {"/api/flows/": 2, "/api/artifacts/": 1}
"""Path -> how often it is answered 503: the first thing a run asks for, and one that a task asks for."""

TASKS = {"collect": 2, "loop": 10}
"""How many tasks a first run has, beside those that stand for a loop's stages."""


def test_a_busy_prefect_is_asked_again_and_the_run_succeeds(
    stack: Addresses, make_use_case: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.local_runs import run_flow

    left = dict(BUSY)

    def busy(method: str, path: str) -> int:
        if method != "POST" or not left.get(path):
            return 0
        left[path] -= 1
        return 503

    folder = make_use_case("busy")
    with front(stack.prefect, busy) as server:
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
            verdict = run_flow("collect", str(folder), instant("2011-03-01"))
        forget_prefect_services()  # they know the address of a front that goes
    assert (verdict.outcome, verdict.summary.partition(",")[0]) == ("done", "1337 new rows")
    asked = {path: [status for _, each, status in server.asked if each == path] for path in BUSY}
    assert asked["/api/flows/"] == [503, 503, 0]
    assert asked["/api/artifacts/"] == [503, 0, 0]  # what came, and how good it is
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("flow", ["collect", "loop"])
def test_a_prefect_too_busy_for_what_a_task_asks_is_told_in_a_sentence(
    flow: str, stack: Addresses, make_use_case: Callable[..., Path]
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.local_runs import run_flow

    folder = make_use_case(f"overrun{flow}")
    forget_prefect_services()  # those of tests before ask their own server
    with front(stack.prefect, lambda _, path: 503 if path == "/api/artifacts/" else 0) as server:
        told = temporary_settings({PREFECT_API_URL: f"{server.url}/api"})
        with told, pytest.raises(UnreachableError, match="found status 503"):
            run_flow(flow, str(folder), instant("2011-03-01"))
        forget_prefect_services()
    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}):
        assert run_flow("collect", str(folder), instant("2011-03-01")).outcome == "done"  # what it left is taken over


@pytest.mark.parametrize("flow", ["collect", "loop"])
def test_no_task_asks_prefect_for_room(flow: str, stack: Addresses, make_use_case: Callable[..., Path]) -> None:
    """For tasks with tags Prefect does, in a transaction that writes: what runs beside it waits for SQLite."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.dead_runs import tagged_process
    from flows.local_runs import run_flow

    folder = make_use_case(f"crowded{flow}")
    forget_prefect_services()  # those of tests before ask their own server
    with front(stack.prefect, lambda _, path: 503 if "concurrency_limits" in path else 0) as server:
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
            assert run_flow(flow, str(folder), instant("2011-03-01")).outcome == "done"
        forget_prefect_services()
    assert not [path for _, path, _ in server.asked if "concurrency_limits" in path]
    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=FlowRunFilterName(like_=f"crowded{flow} as of"))
        )
        of_these = FlowRunFilter(id=FlowRunFilterId(any_=[each.id for each in runs]))
        own, until = [], time.monotonic() + 60
        while len(own) < TASKS[flow] and time.monotonic() < until:  # they are recorded a second or more after they ran
            tasks = client.read_task_runs(flow_run_filter=of_these)
            own = [each for each in tasks if each.state is None or not each.state.state_details.child_flow_run_id]
            time.sleep(0.2)
    assert len(runs) == {"collect": 1, "loop": 4}[flow]
    assert all(tagged_process(each.tags) for each in runs)  # those of a loop's stages, too
    assert len(own) == TASKS[flow]
    assert not [each.tags for each in own if each.tags]


def test_what_prefect_does_not_answer_about_other_runs_ends_none(
    stack: Addresses, make_use_case: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    from prefect import tags
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.local_runs import run_flow
    from flows.superseded import SCHEDULED_TAG

    folder = make_use_case("alone")
    with front(stack.prefect, lambda _, path: 500 if path == "/api/flow_runs/filter" else 0) as server:
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}), tags(SCHEDULED_TAG):
            verdict = run_flow("collect", str(folder), instant("2011-03-01"))
        forget_prefect_services()
    assert verdict.outcome == "done"
    assert [record.getMessage() for record in caplog.records if record.name == "driftwheel.flows"] == [
        "whether runs pile up could not be seen: Prefect: status 500",
        "runs whose process died could not be marked as crashed: Prefect: status 500",
    ]
