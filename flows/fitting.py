"""Fit a use case's first model on all that is known, in this process: no server, nothing kept but the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from expectations.errors import SourceError, StorageError, TrainingError
from expectations.loading import LoadedUseCase
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.stores.files import scratch, storing
from tasks.stores.hashing import hash_frame
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Version
from tasks.stores.whole_files import copied
from tasks.training.evaluating import evaluated
from tasks.training.judging import Judgement, judge, refit
from tasks.training.packing import pack, raw_rows, training_rows


@dataclass(frozen=True)
class FitResult:
    """A model that passed its gates.

    Attributes
    ----------
    bundle : Bundle
        Refitted on all rows, sealed and proved on its golden rows.
    judgement : Judgement
        Metrics on the holdout, gates with their reasons, and rows learnt from.
    """

    bundle: Bundle
    judgement: Judgement


def fit(usecase: LoadedUseCase, folder: Path, as_of: datetime, secret: bytes, commit: str) -> FitResult:
    """Collect, clean, train, judge and pack, as the flows do for a first model.

    Parameters
    ----------
    folder : Path
        Where the bundle goes; it must not be there yet.

    Raises
    ------
    SourceError
        If there are no rows, or the suite holds them.
    TrainingError
        If there are too few rows, or the model does not pass its gates.
    StorageError
        If the folder is there already, or cannot be written to.
    """
    if folder.exists():
        raise StorageError(f"a folder {folder} that is not there yet", "one that is", "Name another, or remove it")
    spec = usecase.spec
    with scratch() as beside:
        lake = Lake(str(beside / "lake"), usecase.name)
        collect_sources(usecase, lake, as_of, secret)
        cleaned = clean_batches(usecase, lake)
        if cleaned.held:
            raise SourceError("data that keep their expectations", "; ".join(cleaned.held), "Correct data, or suite")
        version = lake.version("clean")
        if version is None:
            raise SourceError("rows to learn from", f"none as of {as_of:%Y-%m-%d %H:%M}", "Check the sources")
        known = Known(lake, spec, as_of)
        rows = training_rows(known.labelled(version=version))
        judged = evaluated(judge(rows, spec, None), rows, spec)
        if judged.judgement.outcome != "passed":
            raise TrainingError("a model that passes its gates", judged.judgement.rationale, "See its gates")
        refitted = refit(rows, spec, judged)
        if not refitted.disagreement <= spec.evaluation.agreement:
            raise TrainingError(
                f"a refit within {spec.evaluation.agreement:g} of the model that was judged",
                f"a mean distance of {refitted.disagreement:.4f}",
                "Give it more rows, or a calmer recipe",
            )
        raw = raw_rows(known, rows)
        made = beside / "bundle"
        digest = pack(
            made,
            usecase,
            rows,
            raw,
            judged,
            refitted,
            data=Version("clean", version, len(rows)),
            data_hash=hash_frame(rows),
            commit=commit,
            parent="",
            name=usecase.name,
            as_of=as_of,
        )
        with storing("write the bundle to", folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with copied(made, folder) as copy:
                copy.rename(folder)
    return FitResult(load_bundle(folder, digest), judged.judgement)
