"""The registry against a real MLflow: what it keeps comes back, and nothing else is written anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from expectations.errors import BundleError, UnreachableError
from infra.settings import Addresses, Settings
from tasks.monitoring.courses import track_windows
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from tests.pages import window

pytestmark = pytest.mark.flow


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, and no address but the one that is handed over; it is empty afterwards too."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.txt").write_text("a model")
    return folder


def registered(registry: Registry, bundle: Path) -> ModelVersion:
    return registry.register(registry.start_run("a run", {}), bundle, "abc", {"x": "double"}, {"rmse": 1.0})


def test_every_operation_leaves_the_folder_it_is_called_in_empty(
    stack: Addresses, bundle: Path, tmp_path: Path
) -> None:
    registry = Registry(stack.mlflow, "operations")
    run = registry.start_run("a run", {"driftwheel.turn": "t1"})
    registry.log(run, params={"a": 1}, metrics={"m": 0.5}, curves={"c": [1.0, 2.0]}, tags={"t": "x"})
    registry.log_figures(run, {"empty": Figure()})
    registry.log_dataset(run, "clean", "0" * 64, {"uri": "lake"}, 10, "training")
    assert registry.run_link(run).startswith(stack.mlflow)
    assert registry.fail_orphan(run)
    assert registry.fail_orphans("t1") == 0
    registry.end_run(run)
    version = registered(registry, bundle)
    assert registry.find("abc") == version == registered(registry, bundle)
    registry.point(CHAMPION, version.version)
    registry.point(CHALLENGER, version.version)
    registry.unpoint(CHALLENGER)
    assert (registry.alias(CHAMPION), registry.alias(CHALLENGER)) == (version, None)
    assert registry.versions() == [version]
    assert (registry.fetch(version.version, tmp_path / "back") / "model.txt").read_text() == "a model"
    registry.forget()


def test_of_more_metrics_than_a_request_takes_none_is_dropped(stack: Addresses) -> None:
    from mlflow import MlflowClient

    registry = Registry(stack.mlflow, "operations")
    run = registry.start_run("long", {})
    registry.log(run, metrics={"m": 0.5}, curves={"c": [float(step) for step in range(2300)]})
    client = MlflowClient(stack.mlflow)
    assert [each.value for each in client.get_metric_history(run, "m")] == [0.5]
    assert sorted(each.step for each in client.get_metric_history(run, "c")) == list(range(2300))


def test_mlflow_opens_an_experiment_as_machine_learning_an_older_one_too(stack: Addresses) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(stack.mlflow)
    client.create_experiment("older")  # as an earlier version made it: its page was of language models
    for name in ("newer", "older"):
        Registry(stack.mlflow, name).experiment()
        assert client.get_experiment_by_name(name).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_run_that_somebody_deleted_takes_no_window(stack: Addresses) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    registry, at = Registry(stack.mlflow, "deleted"), datetime(2024, 1, 1, tzinfo=UTC)
    kept, deleted = registry.start_run("kept", {}), registry.start_run("deleted", {})
    MlflowClient(stack.mlflow).delete_run(deleted)
    assert registry.log_window(kept, {"monitoring/rmse": 1.0}, at, 0)
    assert not registry.log_window(deleted, {"monitoring/rmse": 1.0}, at, 0)
    assert not registry.log_window("0" * 32, {"monitoring/rmse": 1.0}, at, 0)
    with pytest.raises(MlflowException):
        registry.log_window(kept, {"a name : that / is * none?": 1.0}, at, 0)


def test_a_bundle_that_mlflow_has_lost_too_is_told(home: Path, stack: Addresses, bundle: Path, tmp_path: Path) -> None:
    registry = Registry(stack.mlflow, "lost")
    version = registered(registry, bundle)
    for model in (home / "artifacts").glob("*/models/*"):
        if (model / "artifacts" / "data" / "bundle" / "model.txt").exists():
            shutil.rmtree(model)
    with pytest.raises(BundleError, match=r"found nothing\. Deploy another version"):
        registry.fetch(version.version, tmp_path / "back")


def test_without_an_address_nothing_is_asked() -> None:
    with pytest.raises(UnreachableError, match="driftwheel up"):
        Registry("", "x")


def test_old_runs_go_and_what_made_a_version_stays(stack: Addresses, bundle: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    from infra.pages import collect_garbage

    registry = Registry(stack.mlflow, "aging")
    version = registered(registry, bundle)
    idle = registry.start_run("refused", {})
    registry.log_figures(idle, {"empty": Figure()})
    registry.end_run(idle)
    client = MlflowClient(stack.mlflow)
    plots = Settings().folder / "artifacts" / registry.experiment() / idle

    def known() -> list[str]:
        return [run.info.run_id for run in client.search_runs([registry.experiment()], run_view_type=ViewType.ALL)]

    assert registry.retire_runs(1) == 0
    assert registry.retire_runs(-1) == 1  # of a day to come
    assert set(known()) == {version.run, idle}
    assert list(plots.rglob("*.png"))
    assert collect_garbage(Settings(), int(stack.mlflow.rpartition(":")[2]), "0d") == 0
    assert known() == [version.run]
    assert not list(plots.rglob("*.png"))
    assert registry.find("abc") == version


def test_mlflow_says_in_words_what_experiments_models_versions_and_aliases_are(stack: Addresses, bundle: Path) -> None:
    from mlflow import MlflowClient

    client, registry = MlflowClient(stack.mlflow), Registry(stack.mlflow, "worded")
    client.create_registered_model("worded")  # as an older version made it
    run = registry.start_run("as of 2024-01-01", {})
    registry.log(run, tags={"mlflow.note.content": "rmse: 1.0, at most 2"})

    version = registry.register(
        run, bundle, "abc", {"x": "double"}, {"rmse": 1.0}, title="How many?", facts={"family": "lightgbm"}
    )

    model = client.get_registered_model("worded").description
    assert model.startswith("How many?")
    assert "**champion** is the version that answers" in model
    assert "driftwheel rollback worded" in model
    told = client.get_model_version("worded", version.version)
    assert (told.description, told.tags) == ("rmse: 1.0, at most 2", {"bundle": "abc", "family": "lightgbm"})
    assert "`monitoring/*`" in client.get_experiment_by_name("worded").tags["mlflow.note.content"]


def test_what_people_wrote_about_a_model_stays(stack: Addresses, bundle: Path) -> None:
    from mlflow import MlflowClient

    client, registry = MlflowClient(stack.mlflow), Registry(stack.mlflow, "described")
    client.create_experiment("described", tags={"mlflow.note.content": "ours"})
    client.create_registered_model("described", description="ours")
    registered(registry, bundle)
    assert client.get_registered_model("described").description == "ours"
    assert client.get_experiment_by_name("described").tags["mlflow.note.content"] == "ours"


def test_windows_are_logged_once_to_the_run_of_the_version_that_answered(
    home: Path, stack: Addresses, bundle: Path, make_use_case: Callable[..., Path]
) -> None:
    from mlflow import MlflowClient

    settings = Settings()
    usecase = settings.use_case(str(make_use_case("tracked")))
    job = Job(usecase, replace(settings.places(), tracking=stack.mlflow), datetime(2024, 2, 1, tzinfo=UTC))
    version, (metric, greater) = registered(job.registry(), bundle), next(iter(usecase.spec.greater_is_better.items()))
    (rule,) = window(0)["realised"]

    def measured(day: int, **changes: Any) -> Measurement:
        own = {"champion": "abc", "realised": [{**rule, "metric": metric}], "estimated": []}
        return Measurement.from_dict(window(day, **(own | changes)))

    contents = [measured(0), measured(1, champion="gone"), measured(2), measured(3, status="unknown")]
    assert track_windows(job, contents, {metric: greater}) == 2
    assert track_windows(job, contents, {metric: greater}) == 0
    assert track_windows(job, [*contents[:3], measured(3)], {metric: greater}) == 1

    found = MlflowClient(stack.mlflow).get_metric_history(version.run, "monitoring/rows")
    assert [(each.step, each.value) for each in found] == [(0, 1000.0), (1, 1002.0), (2, 1003.0)]
    assert found[0].timestamp == datetime(2024, 1, 2, tzinfo=UTC).timestamp() * 1000
    assert MlflowClient(stack.mlflow).get_run(version.run).data.metrics["monitoring/labels_known"] == 0.99


def test_a_trial_is_a_run_below_another_with_its_own_times(stack: Addresses) -> None:
    from mlflow import MlflowClient

    registry = Registry(stack.mlflow, "searches")
    parent = registry.start_run("a training", {})
    made = [
        registry.log_trial(
            parent, f"trial {state}", params={"leaves": 7}, metrics={"rmse": value}, state=state, start=1e9, seconds=2.5
        )
        for state, value in (("complete", 0.5), ("pruned", float("nan")), ("failed", float("nan")))
    ]
    client = MlflowClient(stack.mlflow)
    found = client.search_runs([registry.experiment()], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {run.info.run_id for run in found} == set(made)
    first = client.get_run(made[0])
    assert (first.data.params, first.data.metrics) == ({"leaves": "7"}, {"rmse": 0.5})
    assert (first.info.start_time, first.info.end_time) == (10**12, 10**12 + 2500)
    assert [client.get_run(run).info.status for run in made] == ["FINISHED", "FINISHED", "FAILED"]
    assert [client.get_run(run).data.tags["driftwheel.trial"] for run in made] == ["complete", "pruned", "failed"]
