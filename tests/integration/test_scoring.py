"""A table is predicted as the service would predict its rows, whatever way its instants are written."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from expectations.errors import SourceError
from infra.serving.models import make_ready
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.manifest import BundleColumn, seal
from tasks.deployment.request_types import as_requested
from tasks.deployment.scoring import predict_frame, score_table
from tasks.preprocessing.instants import Instants
from tasks.stores.desired_state import Served
from tasks.stores.lake import Lake
from tasks.stores.releases import Releases
from tests.integration.test_service import made, sample

__all__ = ["made"]
ZONE = "America/New_York"
MOMENTS = ["2011-02-02T08:00:00", "2011-11-06T01:30:00", "2011-03-13T02:30:00", "2011-07-01 00:00"]


@pytest.fixture(scope="module")
def local(made, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The first bundle, its clock in a zone with summer time."""
    import shutil

    folder = tmp_path_factory.mktemp("local") / "bundle"
    shutil.copytree(made[1].folder, folder)
    return load_bundle(folder, seal(folder, made[1].manifest.model_copy(update={"timezone": ZONE})))


def asked(bundle: Bundle, rows: list[dict]) -> list[float]:
    """Predict as the service does."""
    ready = make_ready(bundle, 1000)
    read, _ = ready.reader.read(json.dumps({"dataframe_records": rows}).encode())
    return [bundle.predictor.predict_row(ready.executor.one(row)) for row in read]


def as_texts(texts: list[str]) -> pl.Series:
    return pl.Series(texts)


def as_times(texts: list[str]) -> pl.Series:
    return pl.Series([datetime.fromisoformat(text) for text in texts])


def as_times_of_a_zone(texts: list[str]) -> pl.Series:
    local = [datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC) for text in texts]
    return pl.Series(local, dtype=pl.Datetime("ms", "UTC")).dt.convert_time_zone("Asia/Tokyo")


@pytest.mark.parametrize("written", [as_texts, as_times, as_times_of_a_zone])
def test_instants_mean_the_same_in_a_table_as_in_a_request(made, local: Bundle, written) -> None:
    clock = local.manifest.clock
    rows = [{**record, clock: moment} for record, moment in zip(sample(made, 4), MOMENTS, strict=True)]
    frame = pl.DataFrame(rows).with_columns(written(MOMENTS).alias(clock))
    assert predict_frame(local, frame)["prediction"].to_list() == asked(local, rows)


def test_dates_and_mixed_texts_are_read_as_in_a_request(made, local: Bundle) -> None:
    clock, record = local.manifest.clock, sample(made, 1)[0]
    texts = ["2011-02-02", "2011-02-02T08:00:00Z", "2011-02-02T08:00:00+09:00", "2011-02-02T08:00"]
    rows = [{**record, clock: text} for text in texts]
    assert predict_frame(local, pl.DataFrame(rows))["prediction"].to_list() == asked(local, rows)
    dates = pl.DataFrame([record]).with_columns(pl.Series(clock, [date(2011, 2, 2)]))
    assert predict_frame(local, dates)["prediction"].to_list() == asked(local, rows[:1])


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("boolean", [True, None, False], [True, None, False]),
        ("boolean", [1.0, math.nan, 0.0], [True, None, False]),
        ("boolean", [0, 1, 2], "true or false"),
        ("boolean", ["true"], "a number"),
        ("integer", [1.0, math.nan, -3.0], [1, None, -3]),
        ("integer", [True, None], [1, None]),
        ("integer", [2**62 + 1, None], [2**62 + 1, None]),
        ("integer", [2.5], "a whole number"),
        ("integer", [Decimal("2.50")], "a whole number"),
        ("integer", ["5"], "a number"),
        ("number", [1, None, 2], [1.0, None, 2.0]),
        ("number", [1.5, math.nan], [1.5, None]),
        ("number", [1.5, math.inf], [1.5, None]),
        ("integer", [math.inf], "a whole number"),
        ("boolean", [math.inf], "true or false"),
        ("number", ["5"], "a number"),
        ("number", [date(2011, 1, 1)], "a number"),
        ("number", [None, None], [None, None]),
        ("instant", [date(9999, 1, 1)], "between the years"),
        ("instant", [5], "an ISO 8601 instant"),
        ("instant", [None], [None]),
    ],
)
def test_a_column_is_taken_or_refused_as_its_values_would_be(
    made, kind: str, values: list, expected: list | str
) -> None:
    column = BundleColumn(name="c", type=kind, role="input")  # type: ignore[arg-type]
    series = pl.Series("c", values)
    if isinstance(expected, str):
        with pytest.raises(TypeError, match=f"column c needs .*{expected}"):
            as_requested(series, column, made[1].manifest)
    else:
        assert as_requested(series, column, made[1].manifest).to_list() == expected


def test_a_column_of_instants_is_read_as_each_of_them() -> None:
    instants = Instants(ZoneInfo(ZONE))
    start = datetime(2011, 3, 12, tzinfo=UTC).replace(tzinfo=None)
    naive = [start + timedelta(minutes=15 * step) for step in range(96 * 3)]
    naive += [value + timedelta(days=238) for value in naive]
    found = instants.column(pl.Series([*naive, None]))
    assert found.to_list()[:-1] == [instants.in_utc(value) for value in naive]
    assert found[-1] is None


class Job:
    """As much of a job as batch scoring looks at."""

    def __init__(self, made, folder: Path, as_of: datetime) -> None:
        self.name, self.usecase, self.as_of = "rentals", made[0], as_of
        self.releases, self.lake = Releases(folder / "releases"), Lake(str(folder / "lake"), "rentals")
        self.places = SimpleNamespace(
            journal=folder / "home" / "journal", reports=folder / "home" / "reports", secret=b"k"
        )
        self.releases.add("rentals", made[1].folder, made[1].digest)
        self.releases.set_desired("rentals", champion=Served(bundle=made[1].digest, version="1"))


def test_of_a_row_that_was_corrected_the_newest_version_counts(made, tmp_path: Path) -> None:
    from tests.unit.test_training import rows

    job = Job(made, tmp_path, datetime(2011, 2, 3, tzinfo=UTC))
    keys, clock = list(made[0].spec.keys), made[0].spec.time_column
    first = rows(made[0], "2011-02-05").filter(pl.col(clock) >= datetime(2011, 2, 1, tzinfo=UTC))
    first = first.with_columns(pl.lit(1, pl.Int64).alias("_batch"))
    corrected = first.head(10).with_columns(pl.col("temp") + 0.3, pl.lit(2, pl.Int64).alias("_batch"))
    job.lake.append("clean", first, transactions={"a": 1})
    job.lake.append("clean", corrected, transactions={"b": 1})
    done = score_table(job, "lake:clean", str(tmp_path / "new" / "out.parquet"))  # type: ignore[arg-type]
    scored = pl.read_parquet(tmp_path / "new" / "out.parquet").sort(keys)
    known = pl.concat([first.join(corrected, on=keys, how="anti"), corrected]).filter(pl.col(clock) < job.as_of)
    assert done.rows == len(known) == scored.select(keys).n_unique()
    expected = predict_frame(made[1], known).sort(keys)
    assert scored["prediction"].to_list() == expected["prediction"].to_list()


def test_where_predictions_cannot_go_is_told(made, tmp_path: Path) -> None:
    job = Job(made, tmp_path, datetime(2011, 2, 3, tzinfo=UTC))
    pl.DataFrame(sample(made, 3)).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(SourceError, match="a folder"):
        score_table(job, str(tmp_path / "in.parquet"), str(tmp_path))  # type: ignore[arg-type]
    own = tmp_path / "releases" / "out.parquet"
    (tmp_path / "link.parquet").symlink_to(tmp_path / "in.parquet")
    (tmp_path / "device.parquet").symlink_to("/dev/null")
    for output, says in (
        (tmp_path / "in.parquet", "which is read"),
        (tmp_path / "link.parquet", "which is read"),
        (tmp_path / "out.csv", "a .csv file"),
        (own, "its own files"),
        ("/dev/null", "no regular file"),
        (tmp_path / "device.parquet", "no regular file"),
        ("", "this one"),
    ):
        with pytest.raises(SourceError, match=says):
            score_table(job, str(tmp_path / "in.parquet"), str(output))  # type: ignore[arg-type]
    assert Path("/dev/null").is_char_device()
    assert len(pl.read_parquet(tmp_path / "in.parquet")) == 3
    wrong = pl.DataFrame(sample(made, 3)).with_columns(pl.lit("soon").alias(made[1].manifest.clock))
    wrong.write_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(SourceError, match=f"column {made[1].manifest.clock} needs an ISO 8601 instant"):
        score_table(job, str(tmp_path / "wrong.parquet"), str(tmp_path / "out.parquet"))  # type: ignore[arg-type]
    assert not list(tmp_path.glob("out.parquet*"))
