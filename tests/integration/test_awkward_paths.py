"""Folders have the names people give them: with blanks, umlauts, quotes, and signs that mean something elsewhere."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl
import pytest

from expectations.errors import LakeError
from expectations.loading import LoadedUseCase, load_use_case
from infra.backup import back_up, restore
from infra.backup_manifest import verify
from infra.settings import Settings
from tasks.bundles.bundle import load_bundle
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.addresses import locate_files
from tasks.collection.collecting import collect_sources
from tasks.deployment.scoring import score_table
from tasks.stores import engines
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tests.integration.test_service import Running, made, sample

__all__ = ["made"]
NAMES = ["a b", "Jörg Müßig", "it's", 'q"q', "100%", "%zz", "#x", "a;b", "a&b=c", "{a}", "~", "价格 🙂", "a*"]
UNUSABLE = ["a[1]", "a|b", "a^b", "a?b", "back\\slash", "%41", "two\nlines", "caf\udce9"]
TOGETHER = ["a b", 'Jörg\'s "100%" #1; {x}&y=~', "价格 🙂 %zz*"]
AS_OF = datetime(2011, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize("name", NAMES)
def test_a_lake_is_written_and_read_in_it(tmp_path: Path, name: str) -> None:
    lake = Lake(str(tmp_path / name), "rentals")
    for batch in (1, 2):
        lake.append("raw", pl.DataFrame({"x": [batch, batch]}), transactions={"a": batch})
    assert sorted(lake.scan("raw").collect()["x"]) == [1, 1, 2, 2]
    assert lake.scan("raw").filter(pl.col("x") > 1).collect().height == 2  # files are left out by their statistics
    assert lake.scan("raw", version=0).collect()["x"].to_list() == [1, 1]
    assert (lake.version("raw"), lake.transaction("raw", "a")) == (1, 2)


@pytest.fixture(params=TOGETHER)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(folder / "home"))
    return folder / "home"


@pytest.mark.slow
def test_all_of_a_home_is_written_and_read_in_it(
    made: tuple[LoadedUseCase, object, object], folder: Path, home: Path
) -> None:
    shutil.copytree(made[0].folder, folder / "rentals")
    settings = Settings()
    usecase = load_use_case(str(folder / "rentals"))
    settings.platform().add_use_case(usecase.name, usecase.folder, usecase.digest)
    assert (home / "platform.db").exists()
    job = Job(settings.use_case("rentals"), settings.places(), AS_OF)

    first = collect_sources(job.usecase, job.lake, datetime(2011, 2, 1, tzinfo=UTC), b"k")
    second = collect_sources(job.usecase, job.lake, AS_OF, b"k")
    cleaned = clean_batches(job.usecase, job.lake)

    raw = job.lake.scan("raw").collect()
    assert (first.new, second.new, len(raw)) == (688, 47, 735)
    assert cleaned.clean == 735
    assert Known(job.lake, usecase.spec, AS_OF).rows("raw", version=0).height == 688
    assert job.lake.transaction("clean", "clean") == 2

    job.releases.add("rentals", made[1].folder, made[1].digest)
    job.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    bundle = load_bundle(job.releases.bundle("rentals", made[1].digest), made[1].digest)
    assert job.releases.names() == ["rentals"]
    rows = job.known.rows().select(c.name for c in bundle.manifest.columns)
    rows.write_parquet(folder / "rows.parquet")
    for source in ("lake:clean", str(folder / "rows.parquet")):
        output = folder / "new" / "out.parquet"
        assert score_table(job, source, str(output)).rows == 735
        found = pl.read_parquet(output.read_bytes()).sort("time")["prediction"]
        assert found.to_list() == bundle.predict(rows).tolist()
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["out.parquet"]

    kept = back_up(home, folder / "vault")
    assert verify(kept.folder, "home").files == kept.files
    shutil.rmtree(home)
    shutil.rmtree(folder / "rentals")
    engines.close_engines()  # as another process would find it
    restore(kept.folder, home)
    again = Job(settings.use_case("rentals"), settings.places(), AS_OF)
    assert again.usecase.folder == home / "usecases" / "rentals"
    assert again.lake.scan("raw").collect().height == 735
    assert again.releases.desired("rentals").champion.bundle == made[1].digest


@pytest.mark.parametrize("name", [*NAMES, "a[1]", "a?b", "{a,b}", "[!x]"])
def test_a_use_case_is_read_in_it_and_only_its_own_pattern_is_one(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    for path in ("data/a.csv", "data/b.csv", "data/report[1].csv"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x\n1\n")

    def found(path: str, at: Path = folder) -> list[str]:
        where = locate_files("s", path, at)
        return [str(Path(each).relative_to(folder)) for each in where]

    assert found("data/[ab].csv") == ["data/a.csv", "data/b.csv"]
    assert found("data/report[1].csv") == ["data/report[1].csv"]
    assert found("**/?.csv") == ["data/a.csv", "data/b.csv"]
    assert found(str(folder / "data" / "a.csv"), tmp_path) == ["data/a.csv"]


@pytest.mark.process
@pytest.mark.parametrize("name", ["Jörg Müßig", 'it\'s "100%" #1'])
def test_the_service_serves_and_logs_in_it(made, tmp_path: Path, name: str) -> None:
    running = Running(tmp_path / name)
    running.releases.add("rentals", made[1].folder, made[1].digest)
    running.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))
    try:
        running.start("--keys", str(tmp_path / name / "keys.json"))
        answer = running.ask({"dataframe_records": sample(made)}, "/rentals/invocations").json()
        assert len(answer["predictions"]) == 3
        httpx.post(f"{running.url}/journal/seal?usecase=rentals").raise_for_status()
        lake = Lake(str(tmp_path / name / "lake"), "rentals")
        assert harvest(running.journal, "rentals", lake).predictions == 3
        assert lake.scan("predictions").collect()["id"].to_list() == answer["ids"]
    finally:
        running.stop()


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_written(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lake = Lake(str(tmp_path / name), "rentals")
    with pytest.raises(LakeError, match="Set DRIFTWHEEL_HOME"):
        lake.append("raw", pl.DataFrame({"x": [1]}), transactions={"a": 1})
    with pytest.raises(LakeError, match="a folder that Delta and SQLite can have files in"):
        lake.scan("raw")
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / name))
    with pytest.raises(LakeError, match="Set DRIFTWHEEL_HOME"):
        Settings().platform()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["a b", "Jörg", "100%", "#1"])
def test_an_address_of_a_store_that_needs_quoting_is_refused(prefix: str) -> None:
    with pytest.raises(LakeError, match="Set DRIFTWHEEL_LAKE"):
        Lake(f"s3://bucket/{prefix}", "rentals").version("raw")
    assert Lake("s3://bucket/lake", "rentals").address("raw") == "s3://bucket/lake/rentals/raw"


def test_an_address_of_a_folder_is_that_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Jörg's lake"
    lake = Lake(folder.as_uri(), "rentals")
    lake.append("raw", pl.DataFrame({"x": [1]}), transactions={"a": 1})
    assert lake.scan("raw").collect()["x"].to_list() == [1]
    assert (folder / "rentals" / "raw" / "_delta_log").is_dir()


def test_a_copy_beside_a_folder_named_like_a_pattern_is_not_read_too(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "a*"), "rentals")
    lake.append("raw", pl.DataFrame({"x": [1, 2]}), transactions={"a": 1})
    shutil.copytree(tmp_path / "a*", tmp_path / "ab")
    assert lake.scan("raw").collect().height == 2
    assert lake.scan("raw").filter(pl.col("x") > 1).collect().height == 1
