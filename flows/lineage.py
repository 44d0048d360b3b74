"""From an answer back to what it was made of, and forward to what came of it; and the answer made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from expectations.contradictions import REPLAY
from expectations.errors import DriftwheelError, LakeError
from expectations.loading import shipped_use_cases
from flows.rows import SERVED, answered_rows
from infra.settings import Settings
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.manifest import read_manifest
from tasks.bundles.row_frames import rows_to_frame
from tasks.bundles.served_rows import decode_rows
from tasks.stores.lake import Lake
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement, measurement_in
from tasks.stores.plain import plain
from tasks.stores.releases import Releases
from tasks.stores.request_columns import is_request

_ERASED = "forget"


@dataclass(frozen=True)
class LoggedAnswer:
    """An answer as it was logged."""

    usecase: str
    id: str
    content: dict[str, Any]
    logged: pl.DataFrame
    """The same as one row, with what was asked."""


@dataclass(frozen=True)
class Proof:
    """An answer that was derived again.

    Attributes
    ----------
    by : str
        Which executor gave the same bits; empty where none did.
    difference : float
        The least difference to the logged answer, where none did.
    """

    answered: LoggedAnswer
    logged: list[float]
    again: list[float]
    by: str
    difference: float

    @property
    def same(self) -> bool:
        """Whether it came out with the same bits."""
        return bool(self.by)


def find_answer(settings: Settings, wanted: str, usecase: str | None) -> LoggedAnswer | None:
    """Find an answer by its id, of one use case or of all that have answers; None where no such is kept."""
    names = [usecase] if usecase is not None else _known(settings)
    for name in names:
        lake = Lake(settings.lake or str(settings.folder / "lake"), name)
        if lake.version("predictions") is None:
            continue
        found = lake.collect("predictions", lake.scan("predictions").filter(pl.col("id") == wanted))
        if len(found):
            content = found.select(column for column in found.columns if not is_request(column)).row(0, named=True)
            return LoggedAnswer(name, wanted, content, found)
    return None


def _known(settings: Settings) -> list[str]:
    """Return the names under which anything may be kept: registered, shipped, and their replays."""
    names = list(dict.fromkeys([*settings.platform().use_cases(), *shipped_use_cases()]))
    return [each for name in names for each in (name, name + REPLAY)]


def trace(settings: Settings, wanted: str, usecase: str | None) -> dict[str, Any]:
    """Follow a prediction, a version, a bundle or a run backward and forward.

    Parameters
    ----------
    wanted : str
        The id of a prediction; or, with `usecase`, a version's number, the hash of a bundle, or a run in MLflow.

    Raises
    ------
    LakeError
        If nothing of it is kept.
    UseCaseNotFoundError
        If it is unknown by now what of the row is personal.
    """
    answered = find_answer(settings, wanted, usecase)
    if answered is not None:
        made = _made(settings, answered.usecase, answered.content["bundle"])
        answer = {name: value for name, value in answered.content.items() if name != "bundle"}
        row = _row(settings, answered)
        after = _windows(settings, answered)
        return {"usecase": answered.usecase, "answer": answer, "row": row, **made, "windows": after}
    for name in [usecase] if usecase is not None else _known(settings):
        entries = settings.platform().entries(name)
        if bundle := _bundle_named(entries, wanted, versions=usecase is not None):
            return {"usecase": name, **_made(settings, name, bundle), "forward": _forward(settings, name, bundle)}
    raise LakeError("a prediction, version, bundle or run of this name", repr(wanted), _remedy(settings, usecase))


def _row(settings: Settings, answered: LoggedAnswer) -> dict[str, Any]:
    """Return what was asked, as `driftwheel rows predictions` shows it; nothing where its bundle is lost."""
    loaded = settings.use_case(answered.usecase.removesuffix(REPLAY))
    lake = Lake(settings.lake or str(settings.folder / "lake"), answered.usecase)
    rows = lake.scan("predictions").filter(pl.col("id") == answered.id)
    with lake.reading("predictions"):
        shown = answered_rows(
            loaded, lake, Releases(settings.folder / "releases"), rows, lambda: settings.places().secret
        )
        row = shown.collect().row(0, named=True)
    return {name: value for name, value in row.items() if name not in SERVED}


def _remedy(settings: Settings, usecase: str | None) -> str:
    names = [usecase] if usecase is not None else _known(settings)
    erased = sum(len(settings.platform().entries(name, kind=_ERASED)) for name in names)
    words = "An answer is kept once monitor has harvested it; of a version give --usecase too"
    return words + (f". {erased} erasures are in the ledger: what they erased cannot be followed" if erased else "")


def _bundle_named(entries: Sequence[Entry], wanted: str, *, versions: bool) -> str:
    for each in entries:
        facts = each.evidence
        names = {str(facts.get("bundle", "")), str(facts.get("run", ""))} - {"", "None"}
        if versions and each.kind == "deploy":
            names.add(str(facts.get("version", "")))
        if facts.get("bundle") and wanted in names:
            return str(facts["bundle"])
    return ""


def _made(settings: Settings, usecase: str, bundle: str) -> dict[str, Any]:
    """Say what a bundle was made of, and by which entries of the ledger."""
    entries = settings.platform().entries(usecase)
    kept = [
        {"entry": each.entry, "as_of": each.as_of, "kind": each.kind, "action": each.action, "turn": each.turn}
        for each in entries
        if each.evidence.get("bundle") == bundle and each.kind in ("train", "deploy")
    ]
    runs = {each.evidence.get("run") for each in entries if each.evidence.get("bundle") == bundle} - {None, ""}
    try:
        manifest = read_manifest(Releases(settings.folder / "releases").bundle(usecase, bundle), bundle)
    except DriftwheelError as error:
        return {"bundle": bundle, "lost": str(error), "ledger": kept, "runs": sorted(map(str, runs))}
    return {
        "bundle": bundle,
        "model": {"family": manifest.family, "recipe": manifest.recipe, "commit": manifest.commit},
        "data": {
            "rows": manifest.rows,
            "until": manifest.learnt_until,
            "calibrated_until": manifest.cutoff if manifest.recalibrated_from else None,
            "table": "clean",
            "version": manifest.data_version,
            "hash": manifest.data_hash,
            "usecase_digest": manifest.usecase_digest,
            "inputs": [column.name for column in manifest.columns],
        },
        "parent": manifest.parent,
        "recalibrated_from": manifest.recalibrated_from,
        "ledger": kept,
        "runs": sorted(map(str, runs)),
    }


def _windows(settings: Settings, answered: LoggedAnswer) -> list[dict[str, Any]]:
    """Return the windows an answer counts in, with what they came to."""
    when = answered.content["event_time"]
    measured = settings.platform().measurements(answered.usecase)
    return [
        {**_span(each), "realised": plain(each.realised)}
        for each in measured
        if when is not None and each.start <= when < each.end
    ]


def _forward(settings: Settings, usecase: str, bundle: str) -> dict[str, Any]:
    """Say what came of a bundle: its answers, windows, decisions, and the versions that followed it."""
    lake = Lake(settings.lake or str(settings.folder / "lake"), usecase)
    answers = 0
    if lake.version("predictions") is not None:
        mine = lake.scan("predictions").filter(pl.col("bundle") == bundle)
        answers = int(lake.collect("predictions", mine.select(pl.len())).item())
    entries = settings.platform().entries(usecase)
    decided = [
        {"entry": each.entry, "as_of": each.as_of, "action": each.action}
        for each in entries
        if each.kind == "decision" and (found := measurement_in(each.evidence)) and found.champion == bundle
    ]
    children = [each.evidence.get("bundle") for each in entries if each.evidence.get("parent") == bundle]
    windows = settings.platform().measurements(usecase, champion=bundle)
    return {
        "answers": answers,
        "windows": [_span(each) for each in windows],
        "decisions": decided,
        "challengers": sorted({str(each) for each in children if each}),
    }


def _span(measured: Measurement) -> dict[str, Any]:
    return {"start": measured.start.isoformat(), "end": measured.end.isoformat(), "status": measured.status}


def prove_answer(settings: Settings, wanted: str, usecase: str | None) -> Proof:
    """Derive an answer again, from the bundle and the row that are kept.

    Raises
    ------
    LakeError
        If no such answer is kept.
    BundleError
        If its bundle is lost or altered.
    """
    answered = find_answer(settings, wanted, usecase)
    if answered is None:
        raise LakeError("an answer of this id", repr(wanted), _remedy(settings, usecase))
    digest = answered.content["bundle"]
    bundle = load_bundle(Releases(settings.folder / "releases").bundle(answered.usecase, digest), digest)
    pictures = [column.name for column in bundle.manifest.columns if column.type == "image"]
    if pictures:
        raise LakeError(
            "an answer about numbers, texts and instants, which are kept as they were asked",
            f"{', '.join(pictures)}, of which the journal keeps the hash of each picture, its brightness and contrast",
            "Ask the service again with the same picture",
        )
    found = _again(bundle, answered.logged)
    logged = np.atleast_1d(np.array(answered.content["prediction"], dtype=np.float64))
    for by, again in found.items():
        if again.shape == logged.shape and again.tobytes() == logged.tobytes():
            return Proof(answered, logged.tolist(), again.tolist(), by, 0.0)
    apart = {by: float(np.abs(again - logged).max()) for by, again in found.items() if again.shape == logged.shape}
    nearest = min(apart, key=lambda by: apart[by], default=next(iter(found)))
    return Proof(answered, logged.tolist(), found[nearest].tolist(), "", apart.get(nearest, float("inf")))


def _again(bundle: Bundle, logged: pl.DataFrame) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Predict one row by each executor that may have answered: one row alone, and among others."""
    (row,) = decode_rows(logged, bundle.manifest.columns).to_dicts()
    executor, predictor = bundle.program.compile(), bundle.predictor
    alone = predictor.predict_row(executor.one(row))
    among = predictor.predict(executor.matrix([row]))[0]
    frame = bundle.predict(rows_to_frame([row], bundle.manifest.columns))[0]
    found = {"one row": alone, "among others": among, "a table": frame}
    return {by: np.atleast_1d(np.array(value, dtype=np.float64)) for by, value in found.items()}
