"""Read a dirty file as a use case would, follow what errors say to declare, and ask the service with the same texts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from expectations.errors import SourceError
from expectations.usecase import UseCase
from infra.serving.protocol import Reader
from tasks.bundles.manifest import BundleColumn
from tasks.collection.expected_types import expected_of
from tasks.collection.reading import read_source
from tasks.collection.types import type_of
from tasks.preprocessing.fitting import fit_program
from tests.torture.dirty import Dirty

NUMBERS = ("pressure", "size", "größe")
_SHOWN = ("decimal", "thousands", "signs", "separator")
_MOST = 12


class Outcome(NamedTuple):
    """What became of a file: right at once or after what was said, silently wrong, or a dead end."""

    what: Literal["right", "refused, then right", "wrong", "stuck", "served otherwise"]
    why: str


def use_case(file: Dirty, declared: dict[str, object]) -> UseCase:
    """Return the use case of somebody who declares so much."""
    source = {"kind": "file", "path": file.name, **{name: each for name, each in declared.items() if name != "clock"}}
    clock = {"column": "time", "timezone": file.zone}
    clock |= {"format": declared["clock"]} if "clock" in declared else {}
    numbers = [name for name in file.truth if name in NUMBERS]
    return UseCase.model_validate_json(
        json.dumps(
            {
                "name": "torture",
                "title": "?",
                "task": "regression",
                "clock": clock,
                "keys": ["time"],
                "sources": {"rows": source},
                "columns": {"note": {"type": "text"}},
                "label": {"column": "y", "available_after": "0d"},
                "features": [
                    {"numeric": numbers},
                    {"encode": ["code", "note"]},
                    {"calendar": "time", "parts": ["hour", "weekday"]},
                ],
                "model": {"candidates": [{"family": "lightgbm"}]},
                "gates": [{"metric": "rmse", "max": 1}],
                "monitoring": {"every": "1d", "performance": [{"metric": "rmse", "drop": 1}]},
            }
        )
    )


def try_file(file: Dirty, folder: Path) -> Outcome:
    """Read a file with nothing declared but its zone, then with what each error says."""
    (folder / file.name).write_bytes(file.content)
    declared: dict[str, object] = {}
    said = ""
    for _ in range(_MOST):
        spec = use_case(file, declared)
        try:
            rows = read_source("rows", spec.sources["rows"], folder, spec.columns, spec.clock, expected_of(spec, {}))
        except SourceError as error:
            said = str(error)
            named = {
                name: each for name, each in file.needed.items() if name not in declared and advises(said, name, each)
            }
            if not named:
                return Outcome("stuck", said)
            declared |= named
            continue
        if wrong := _differs(file, rows):
            return Outcome("wrong", wrong)
        if other := _served_otherwise(file, rows, spec):
            return Outcome("served otherwise", other)
        return Outcome("refused, then right" if declared else "right", said)
    return Outcome("stuck", said)


def advises(said: str, field: str, value: object) -> bool:
    """Whether an error says to declare a field; of those whose value the file shows, with the right one."""
    if field not in _SHOWN:
        return ("format" if field == "clock" else field) in said
    return any(f"`{field}: {json.dumps(value, ensure_ascii=each)}`" in said for each in (True, False))


def _differs(file: Dirty, rows: pl.DataFrame) -> str:
    """Say where rows are not the truth; a code may be a whole number where that gives it back."""
    for name, truth in file.truth.items():
        if name not in rows.columns:
            if any(value is not None for value in truth):
                return f"no column {name}"
            continue
        found = rows[name].to_list()
        if name == "code":
            found = [None if value is None else str(value) for value in found]
        if len(found) != len(truth):
            return f"{len(found)} rows, of {len(truth)}"
        for at, (one, other) in enumerate(zip(found, truth, strict=True)):
            if one != other or type(one) is not type(other):
                return f"{name}, row {at}: {one!r} in the place of {other!r}, written {file.texts[name][at]!r}"
    return ""


def _served_otherwise(file: Dirty, rows: pl.DataFrame, spec: UseCase) -> str:
    """Say where the service makes other features of the same texts than training made of the rows."""
    if any(rows[name].null_count() == len(rows) for name in rows.columns) or set(file.truth) - set(rows.columns):
        return ""
    program = fit_program(spec.features, rows).program
    trained = program.transform(rows)
    kinds = {name: type_of(dtype) or "text" for name, dtype in rows.schema.items()}
    columns = [
        BundleColumn(name=name, type=kinds[name], role="input", format=spec.format_of(name))  # type: ignore[arg-type]
        for name in file.truth
    ]
    plain = file.plain and "missing" not in file.needed
    texts = {
        name: ["" if text == "NA" and name in NUMBERS else text for text in file.texts[name]]
        if name == "time" or (plain and name in NUMBERS)
        else ["" if value is None else repr(value) if isinstance(value, float) else str(value) for value in truth]
        for name, truth in file.truth.items()
    }
    out = io.StringIO(newline="")
    write = csv.writer(out)
    write.writerow(texts)
    write.writerows(zip(*texts.values(), strict=True))
    reader = Reader(columns, "time", file.zone, len(rows))
    read, _ = reader.read(out.getvalue().encode(), "csv")
    served = program.compile(reader.readings(program)).matrix(read)
    for at, (one, other) in enumerate(zip(trained.tolist(), served.tolist(), strict=True)):
        if repr(one) != repr(other) and file.texts["time"].count(file.texts["time"][at]) == 1:  # else only order tells
            return f"row {at}: {other} served, {one} trained"
    return ""
