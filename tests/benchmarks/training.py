"""The models the service's benchmarks measure, and rows to ask them for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from expectations.loading import LoadedUseCase
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.row_frames import jsonable
from tasks.collection.joining import join_sources
from tasks.stores.lake_tables import Version
from tasks.training.judging import judge, refit
from tasks.training.packing import pack


def train(
    usecase: LoadedUseCase, until: str, folder: Path, family: str | None, trees: int | None, leaves: int | None
) -> Bundle:
    """Make the bundle that is measured."""
    candidates = tuple(each for each in usecase.spec.model.candidates if family in (None, each.family))[:1]
    if trees and leaves:
        candidates = tuple(each.model_copy(update={"rounds": trees, "leaves": leaves}) for each in candidates)
    spec = usecase.spec.model_copy(update={"model": usecase.spec.model.model_copy(update={"candidates": candidates})})
    usecase = LoadedUseCase(spec, usecase.folder, usecase.suite, usecase.digest)
    rows = join_sources(usecase, since=None, until=datetime.fromisoformat(until).replace(tzinfo=UTC), secret=b"k").rows
    judged = judge(rows, spec, None)
    digest = pack(
        folder, usecase, rows, rows, judged, refit(rows, spec, judged), data=Version("clean", 1, len(rows)),
        data_hash="", commit="", parent="", name=usecase.name,
    )  # fmt: skip
    return load_bundle(folder, digest)


def some_rows(usecase: LoadedUseCase, bundle: Bundle, until: str) -> list[dict[str, object]]:
    """Take rows the model has not learnt from."""
    end = datetime.fromisoformat(until).replace(tzinfo=UTC)
    clock = usecase.spec.time_column
    rows = join_sources(usecase, since=end - timedelta(days=40), until=end, secret=b"k").rows
    rows = rows.filter(rows[clock] >= rows[clock].max() - timedelta(days=20))  # type: ignore[operator]
    return jsonable(
        rows.select([column.name for column in bundle.manifest.columns]).sample(2000, seed=1, with_replacement=True)
    )
