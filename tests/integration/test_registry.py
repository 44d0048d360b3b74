"""The registry against a real MLflow: what it keeps comes back, and nothing else is written anywhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from expectations.errors import BundleError, UnreachableError
from infra.settings import Addresses, Settings
from tasks.stores.registry import CHALLENGER, CHAMPION, ModelVersion, Registry

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


def test_mlflow_opens_an_experiment_as_machine_learning_an_older_one_too(stack: Addresses) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(stack.mlflow)
    client.create_experiment("older")  # as an earlier version made it: its page was of language models
    for name in ("newer", "older"):
        Registry(stack.mlflow, name).experiment()
        assert client.get_experiment_by_name(name).tags["mlflow.experimentKind"] == "custom_model_development"


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
