"""What is known of a use case and its versions, gathered for people who have to account for it.

The contents follow Annex IV and Articles 11 and 12 of the EU AI Act (Regulation 2024/1689). Each number says where it
comes from: the entry of the ledger, or the file of the bundle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import polars as pl

from expectations.contradictions import REPLAY
from expectations.errors import DriftwheelError, UseCaseNotFoundError
from expectations.loading import LoadedUseCase
from infra.settings import Settings
from tasks.bundles.bundle import read_evaluation
from tasks.bundles.manifest import read_manifest
from tasks.stores.lake import Lake
from tasks.stores.ledger import Entry, champions
from tasks.stores.measurements import Measurement
from tasks.stores.releases import Releases

_LAST_WINDOWS = 12
_NUMBERS = (pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.Int16, pl.Int8)


def gather(settings: Settings, name: str) -> dict[str, Any]:
    """Gather all that is known.

    Raises
    ------
    UseCaseNotFoundError
        If no version of it was ever released.
    """
    database = settings.platform()
    entries = database.entries(name)
    stood = champions(each for each in entries if each.kind == "deploy")
    if not stood:
        raise UseCaseNotFoundError(
            "a use case with a version that answers or answered", repr(name), "See `driftwheel list`, and run its loop"
        )
    usecase = settings.use_case(name.removesuffix(REPLAY))
    lake = Lake(settings.lake or str(settings.folder / "lake"), name)
    releases = Releases(settings.folder / "releases")
    return {
        "usecase": _purpose(usecase, name),
        "data": _data(usecase, lake),
        "versions": [_version(each, entries, releases, name) for each in stood],
        "answering": stood[-1].evidence.get("version"),
        "monitoring": _monitoring(usecase, database.measurements(name)),
        "records": _records(entries, lake),
        "oversight": _oversight(usecase, entries),
        "licences": _licences(),
    }


def _purpose(usecase: LoadedUseCase, name: str) -> dict[str, Any]:
    spec = usecase.spec
    return {
        "name": name,
        "title": spec.title,
        "task": spec.task,
        "label": {"column": spec.label.column, "unit": spec.label.unit, "known_after": str(spec.label_delay)},
        "sources": {source: type(each).__name__ for source, each in spec.sources.items()},
        "features": [step.model_dump(mode="json", exclude_defaults=True) for step in spec.features],
        "cleaning": [step.model_dump(mode="json", exclude_defaults=True) for step in spec.cleaning],
        "personal": {column: str(how) for column, how in spec.personal.items()},
        "forbidden": list(spec.forbidden),
        "gates": [gate.model_dump(mode="json", exclude_none=True) for gate in spec.gates],
        "digest": usecase.digest,
    }


def _data(usecase: LoadedUseCase, lake: Lake) -> dict[str, Any]:
    """Say which rows there are, from when, and of each column its range; of personal ones the missing alone."""
    spec, version = usecase.spec, lake.version("clean")
    if version is None:
        return {}
    rows = lake.scan("clean")
    schema = rows.collect_schema()
    named = [column for column in schema if not column.startswith("_")]
    numbers = [column for column in named if schema[column] in _NUMBERS and column not in spec.personal]
    asked = [pl.len().alias("rows"), pl.col(spec.time_column).min().alias("from"), pl.col(spec.time_column).max()]
    asked[-1] = asked[-1].alias("to")
    asked += [pl.col(column).null_count().alias(f"missing/{column}") for column in named]
    for column in numbers:
        asked += [pl.col(column).min().alias(f"least/{column}"), pl.col(column).max().alias(f"largest/{column}")]
    found = lake.collect("clean", rows.select(asked)).row(0, named=True)
    columns = {
        column: {
            "type": str(schema[column]),
            "missing": found[f"missing/{column}"],
            **({"least": found[f"least/{column}"], "largest": found[f"largest/{column}"]} if column in numbers else {}),
        }
        for column in named
    }
    return {
        "table": "clean",
        "version": version,
        "rows": found["rows"],
        "from": found["from"],
        "to": found["to"],
        "columns": columns,
        "quarantined": _count(lake, "quarantine"),
    }


def _count(lake: Lake, table: str) -> int:
    known = lake.version(table)  # type: ignore[arg-type] # a name of the tables
    return 0 if known is None else int(lake.collect(table, lake.scan(table).select(pl.len())).item())  # type: ignore[arg-type]


def _version(entry: Entry, entries: Sequence[Entry], releases: Releases, name: str) -> dict[str, Any]:
    bundle = str(entry.evidence["bundle"])
    trained = [each for each in entries if each.kind == "train" and each.evidence.get("bundle") == bundle]
    found: dict[str, Any] = {
        "version": entry.evidence.get("version"),
        "bundle": bundle,
        "run": entry.evidence.get("run"),
        "released": {"at": entry.as_of, "entry": entry.entry, "summary": entry.summary},
    }
    if trained:
        facts = trained[-1].evidence
        found["judged"] = {
            "entry": trained[-1].entry,
            "gates": facts.get("gates", []),
            "metrics": facts.get("metrics", {}),
            "champion_metrics": facts.get("champion_metrics", {}),
            "rationale": facts.get("rationale", ""),
        }
    try:
        folder = releases.bundle(name, bundle)
        manifest = read_manifest(folder, bundle)
        evaluation = read_evaluation(folder, manifest)
    except (DriftwheelError, OSError) as error:
        return {**found, "lost": f"its bundle cannot be read: {type(error).__name__}"}
    kept = manifest.model_dump(mode="json", exclude={"files", "columns", "title", "usecase", "format"})
    inputs = [column.model_dump(mode="json", exclude_defaults=True) for column in manifest.columns]
    return {**found, "manifest": kept, "inputs": inputs, "evaluation": evaluation, "limits": _limits(manifest.problem)}


def _limits(problem: Any) -> list[str]:  # noqa: ANN401 - any kind of problem
    return list(problem.unwatched.values())


def _monitoring(usecase: LoadedUseCase, measured: Sequence[Measurement]) -> dict[str, Any]:
    rules = usecase.spec.monitoring
    kept = ("start", "end", "version", "rows", "coverage", "status", "realised", "slices", "fairness", "covered")
    windows = [each.to_dict() for each in measured[-_LAST_WINDOWS:]]
    return {
        "every": str(rules.every),
        "rules": [rule.model_dump(mode="json") for rule in rules.performance],
        "slices": list(rules.slices),
        "fairness": [each.model_dump(mode="json") for each in rules.fairness],
        "policy": rules.policy.model_dump(mode="json"),
        "windows": [{name: each[name] for name in kept if name in each} for each in windows],
    }


def _records(entries: Sequence[Entry], lake: Lake) -> dict[str, Any]:
    """Say what is logged, as Article 12 asks: answers, labels, and every decision."""
    answers: dict[str, Any] = {"rows": 0}
    if lake.version("predictions") is not None:
        event = pl.col("event_time")
        asked = (pl.len().alias("rows"), event.min().alias("from"), event.max().alias("to"))
        answers = lake.collect("predictions", lake.scan("predictions").select(asked)).row(0, named=True)
    listed = [
        {"entry": each.entry, "as_of": each.as_of, "kind": each.kind, "action": each.action, "summary": each.summary}
        for each in entries
        if each.kind != "trial"
    ]
    return {"answers": answers, "ledger": listed}


def _oversight(usecase: LoadedUseCase, entries: Sequence[Entry]) -> dict[str, Any]:
    spec = usecase.spec
    return {
        "policy": spec.monitoring.policy.model_dump(mode="json"),
        "release": spec.release.model_dump(mode="json"),
        "messages_to": len(spec.alerts),
        "persons_asked": [
            {"entry": each.entry, "as_of": each.as_of, "summary": each.summary}
            for each in entries
            if each.kind == "person"
        ],
    }


def _licences() -> list[dict[str, str]]:
    """Return what is installed, and under which licence its package says it is."""
    found = {}
    for each in distributions():
        facts = each.metadata
        classified = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or () if "License ::" in line]
        said = _said(facts, "License-Expression") or ", ".join(classified) or _said(facts, "License").split("\n")[0]
        found[str(facts["Name"])] = {"name": str(facts["Name"]), "version": each.version, "licence": said[:80]}
    return [found[name] for name in sorted(found, key=str.casefold)]


def _said(facts: Any, field: str) -> str:  # noqa: ANN401 - a message of an email, to its type checker none
    return str(facts[field]) if field in facts else ""


def write_card(found: Mapping[str, Any]) -> str:
    """Return a model card of each version as Markdown, the one that answers first."""
    about = found["usecase"]
    lines = [f"# {about['title']}", "", f"{about['name']}: {about['task']} of {about['label']['column']}.", ""]
    data = found["data"]
    if data:
        lines += [
            f"Data: {data['rows']:,} rows from {data['from']} to {data['to']} (table clean, v{data['version']}).",
            "",
        ]
    for version in reversed(found["versions"]):
        lines += [f"## Version {version['version']}", "", f"Released {version['released']['at']:%Y-%m-%d %H:%M} UTC: "]
        lines[-1] += f"{version['released']['summary']} (ledger: {version['released']['entry']})."
        lines += ["", *_card_of(version), ""]
    return "\n".join(lines) + "\n"


def _card_of(version: Mapping[str, Any]) -> list[str]:
    if "manifest" not in version:
        return [version["lost"]]
    made, lines = version["manifest"], []
    lines.append(
        f"- **Recipe**: {made['family']}, learnt from {made['rows']:,} rows up to {made['learnt_until']}, data version "
        f"{made['data_version']} (hash {made['data_hash'][:12]}), commit {made['commit'][:12] or 'unknown'}"
    )
    if made["recalibrated_from"]:
        lines[-1] += f"; its calibration was learnt again from rows up to {made['cutoff']}"
    lines.append(f"- **Inputs**: {', '.join(column['name'] for column in version['inputs'])}")
    lines += [f"- **Gate** {each['name']}: {each['outcome']}; {each['rationale']}" for each in _gates(version)]
    lines += [f"- **Limit**: {each}" for each in version["limits"]]
    evaluation = version["evaluation"]
    if evaluation is None:
        return [*lines, "- It was packed before an evaluation was kept."]
    lines += ["", f"On {evaluation['rows']:,} rows of its holdout (evaluation.json of the bundle):", ""]
    lines += [f"| metric | value | {evaluation['confidence']:.0%} |", "|---|---|---|"]
    lines += [f"| {metric} | {_cell(value)} | {_span(value)} |" for metric, value in evaluation["metrics"].items()]
    for each in evaluation["extra"].get("slices", ()):
        metrics = "; ".join(f"{name} {_cell(value)} ({_span(value)})" for name, value in each["metrics"].items())
        lines.append(f"- slice {each['words']}, {each['rows']:,} rows: {metrics or 'too few rows'}")
    for each in evaluation["extra"].get("found_slices", ()):
        if each["sure"]:
            lines.append(f"- found worse: {each['words']}, {each['rows']:,} rows, by {_span(each['excess'])}")
    for each in evaluation["extra"].get("fairness", ()):
        lines += [f"- {name} by {each['column']}: {_cell(v)} ({_span(v)})" for name, v in each["measures"].items()]
    return lines


def _gates(version: Mapping[str, Any]) -> list[dict[str, Any]]:
    gates: list[dict[str, Any]] = version.get("judged", {}).get("gates", [])
    return gates


def _cell(value: Mapping[str, Any]) -> str:
    return "not defined" if value["value"] is None else f"{value['value']:.4g}"


def _span(value: Mapping[str, Any]) -> str:
    known = value["low"] is not None and value["high"] is not None
    return f"{value['low']:.4g} to {value['high']:.4g}" if known else "not known"


def named_like(settings: Settings, usecase: str) -> str:
    """Return the name that what was written is kept under: that of the ledger, or of the use case it names."""
    if settings.platform().entries(usecase, last=1):
        return usecase
    return settings.use_case(usecase).name


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which gets its name once all of it is written; else nothing of it stays.

    Raises
    ------
    DriftwheelError
        If something lies there.
    """
    if folder.exists():
        raise DriftwheelError(f"a folder {folder} that is not there yet", "one that is", "Name another, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        unfinished = Path(place) / folder.name
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)
