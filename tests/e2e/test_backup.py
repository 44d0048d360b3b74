"""The drill: everything is lost, a backup made while at work comes back, and the loop goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from expectations.errors import BackupError, StorageError
from infra.backup import back_up, restore
from infra.backup_manifest import verify
from infra.settings import Settings
from infra.stack import Stack
from tasks.bundles.bundle import load_bundle
from tasks.stores.database import Database
from tasks.stores.engines import close_engines
from tests.conftest import forget_prefect_services, instant

pytestmark = pytest.mark.system


def _predict(service: str, name: str, records: list[dict]) -> list[float]:
    answer = httpx.post(f"{service}/{name}/invocations", json={"dataframe_records": records})
    return answer.raise_for_status().json()["predictions"]


def test_all_is_lost_and_comes_back(
    tmp_path: Path, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.local_runs import run_flow

    home = tmp_path / "home"
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(home))
    for program in ("PREFECT", "MLFLOW", "EVIDENTLY", "SERVICE", "PAGE"):
        monkeypatch.setenv(f"DRIFTWHEEL_{program}_PORT", "0")
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    folder = make_use_case("drill")
    settings = Settings()
    settings.platform().add_use_case("drill", folder, settings.use_case(str(folder)).digest)
    stack = Stack(settings)
    addresses = stack.start(("prefect", "mlflow", "service"))
    try:
        with temporary_settings({PREFECT_API_URL: f"{addresses.prefect}/api"}):
            assert run_flow("loop", "drill", instant("2011-03-01")).outcome == "done"
        champion = settings.places().releases / "drill" / "bundles"
        records, expected = load_bundle(next(champion.iterdir())).golden()
        assert _predict(addresses.service, "drill", records) == pytest.approx(list(expected))
        made = back_up(settings.folder, tmp_path / "vault")  # while everything runs, its journal open
    finally:
        stack.stop()
        forget_prefect_services()

    shutil.rmtree(home)
    shutil.rmtree(folder)  # the use case's own folder too: it lay elsewhere
    close_engines()  # what this process holds open of the lost home is no home
    restore(made.folder, home)

    settings = Settings()
    assert settings.platform().use_cases() == {"drill": home / "usecases" / "drill"}
    stack = Stack(settings)
    addresses = stack.start(("prefect", "mlflow", "service"))
    try:
        assert _predict(addresses.service, "drill", records) == pytest.approx(list(expected))
        with temporary_settings({PREFECT_API_URL: f"{addresses.prefect}/api"}):
            assert run_flow("collect", "drill", instant("2011-04-02")).outcome == "done"
            assert run_flow("monitor", "drill", instant("2011-04-02")).outcome in ("keep", "warn", "hold", "retrain")
        platform, lake = settings.platform(), Path(settings.places().lake) / "drill"
        assert next(turn.state for turn in platform.turns("drill")) == "done"
        from tasks.stores.lake import Lake

        served = Lake(str(lake.parent), "drill").scan("predictions").collect()
        assert len(served) >= len(records)  # what was journaled before the backup, and after
        assert served["id"].n_unique() == len(served)
    finally:
        stack.stop()
        forget_prefect_services()

    with pytest.raises(BackupError, match="an empty home"):
        restore(made.folder, home)
    victim = next(made.folder.glob("home/releases/*/bundles/*/model.*"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(BackupError, match="missing, altered or added"):
        verify(made.folder, "home")
    with pytest.raises(BackupError, match="a backup of a stack"):
        verify(made.folder, "stack")


def test_half_a_backup_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra import backup

    home = tmp_path / "home"
    Database(f"sqlite:///{home / 'platform.db'}").use_cases()
    monkeypatch.setattr(backup, "hash_file", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="no space left"):
        back_up(home, tmp_path / "vault")
    assert list((tmp_path / "vault").iterdir()) == []
