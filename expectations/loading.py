"""Find a use case by name or path and load it, with errors that name file, line, key and the nearest known key."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from expectations import usecase as schema
from expectations.errors import Problem, UseCaseError, UseCaseNotFoundError
from expectations.usecase import REPLAY, UseCase

FILE = "usecase.yaml"
SUITE = "suite.yaml"
SHIPPED = Path(__file__).parent


@dataclass(frozen=True)
class ExpectationSpec:
    """One expectation in Great Expectations' own words."""

    type: str
    kwargs: dict[str, Any]
    meta: dict[str, Any]
    severity: str = "critical"


@dataclass(frozen=True)
class LoadedUseCase:
    """A use case with the folder it lies in and its Great Expectations suite."""

    spec: UseCase
    folder: Path
    suite: tuple[ExpectationSpec, ...]
    digest: str
    """SHA-256 of what the folder says: changes when the YAML or the suite does."""

    @cached_property
    def name(self) -> str:
        """Name under which rows, models and decisions are kept."""
        return self.spec.name

    def renamed(self, name: str) -> LoadedUseCase:
        """Return the same use case under another name: a namespace of its own in every store."""
        return LoadedUseCase(self.spec.model_copy(update={"name": name}), self.folder, self.suite, self.digest)


def shipped_use_cases() -> dict[str, Path]:
    """Name -> folder of the use cases that come with driftwheel."""
    return {path.parent.name: path.parent for path in sorted(SHIPPED.glob(f"*/{FILE}"))}


def find_use_case(reference: str, registered: dict[str, Path] | None = None) -> Path:
    """Return the folder of a use case given by a registered name, a shipped name or a path.

    Raises
    ------
    UseCaseNotFoundError
        If nothing of that name or path holds a ``usecase.yaml``.
    """
    known = {**shipped_use_cases(), **(registered or {})}
    if reference in known:
        return known[reference]
    path = Path(reference).expanduser()
    if path.name == FILE:
        path = path.parent
    if (path / FILE).is_file():
        return path.resolve()
    name = reference.removesuffix(REPLAY)
    if name != reference and name in known:
        raise UseCaseNotFoundError(
            "a use case",
            f"{reference!r}, a replay: it is over, and can only be looked at",
            f"Read it with `driftwheel why {reference}`, or give {name!r}",
        )
    near = difflib.get_close_matches(reference, known, n=1)
    raise UseCaseNotFoundError(
        f"a use case: one of {', '.join(sorted(known))}, or a folder holding {FILE}",
        f"{reference!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
        "Give the name of a registered or shipped use case, or the path of its folder",
    )


def load_use_case(reference: str, registered: dict[str, Path] | None = None) -> LoadedUseCase:
    """Load and check a use case.

    Raises
    ------
    UseCaseNotFoundError
        If there is none.
    UseCaseError
        If it is not valid; it carries every problem found.
    """
    folder = find_use_case(reference, registered)
    problems: list[Problem] = []
    spec = _read_spec(folder / FILE, problems)
    suite = _read_suite(folder / SUITE, problems)
    if problems or spec is None:
        raise UseCaseError(folder.name, problems)
    digest = hashlib.sha256()
    for name in (FILE, SUITE):
        digest.update((folder / name).read_bytes() if (folder / name).exists() else b"")
        digest.update(b"\0")
    return LoadedUseCase(spec, folder, tuple(suite), digest.hexdigest())


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of ``usecase.yaml``, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **UseCase.model_json_schema(by_alias=True)}


# --- reading YAML with the places of its keys ---------------------------------------------------------------------

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """A safe loader that leaves instants as text (the schema reads them) and, as YAML 1.2 does, `on` and `no`."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {"tag:yaml.org,2002:timestamp", _BOOLEAN}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _read_yaml(file: Path, problems: list[Problem]) -> tuple[Any, dict[Path_, int]]:
    lines: dict[Path_, int] = {}
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            problems.append(Problem(str(file), None, "", "the file is empty"))
            return None, lines
        _mark(node, (), str(file), lines, problems)
        return yaml.load(text, Loader=_Loader), lines  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        problems.append(Problem(str(file), line, "", f"not YAML: {error.problem}"))
    except UnicodeDecodeError as error:
        problems.append(Problem(str(file), None, "", f"not UTF-8: {error.reason}"))
    return None, lines


def _mark(node: yaml.Node, path: Path_, file: str, lines: dict[Path_, int], problems: list[Problem]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                problems.append(Problem(file, key.start_mark.line + 1, _dotted((*path, key.value)), "written twice"))
            seen.add(key.value)
            lines[(*path, key.value)] = key.start_mark.line + 1
            _mark(value, (*path, key.value), file, lines, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), file, lines, problems)


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _read_spec(file: Path, problems: list[Problem]) -> UseCase | None:
    data, lines = _read_yaml(file, problems)
    if data is None:
        return None
    try:
        return UseCase.model_validate_json(json.dumps(data))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problems.extend(_explain(item, str(file), lines))
    except TypeError as error:
        problems.append(Problem(str(file), None, "", f"keys must be text: {error}"))
    return None


def _explain(item: Any, file: str, lines: dict[Path_, int]) -> list[Problem]:  # noqa: ANN401 - Pydantic's dict
    path: Path_ = ()
    for part in item["loc"]:  # the location also names union members, which no file contains
        if (*path, part) in lines or (item["type"] == "missing" and part == item["loc"][-1]):
            path = (*path, part)
    line = lines.get(path) or lines.get(path[:-1])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), allowed, n=1)
        message = f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known: {', '.join(allowed)}"
    elif item["type"] == "union_tag_invalid":
        near = difflib.get_close_matches(str(item["ctx"]["tag"]), item["ctx"]["expected_tags"].split("'"), n=1)
        message += f" (did you mean {near[0]!r}?)" if near else ""
    elif item["type"] == "unknown_step" and isinstance(item["input"], dict):
        known = message.rpartition(": ")[2].split(", ")
        near = [match for key in item["input"] for match in difflib.get_close_matches(key, known, n=1)]
        message += f"; found {', '.join(map(str, item['input']))}" + (f" (did you mean {near[0]!r}?)" if near else "")
    if item["loc"]:
        return [Problem(file, line, _dotted(path), message)]
    found = []  # the model as a whole: its own checks say the path first
    for text in message.split("\n"):
        where, colon, rest = text.partition(": ")
        target: Path_ = tuple(int(part) if part.isdigit() else part for part in where.split("."))
        known_line = next((lines[target[:n]] for n in range(len(target), 0, -1) if target[:n] in lines), None)
        found.append(Problem(file, known_line, where, rest) if colon else Problem(file, None, "", text))
    return found


def _models() -> dict[str, type[BaseModel]]:
    """Union tag -> model."""
    return {
        "package": schema.PackageSource,
        "file": schema.FileSource,
        "lightgbm": schema.LightGBM,
        "torch.mlp": schema.TorchMLP,
        "drop_duplicates": schema.DropDuplicates,
        "clip": schema.Clip,
        "map": schema.MapValues,
        "drop_missing": schema.DropMissing,
        "numeric": schema.NumericStep,
        "expression": schema.ExpressionStep,
        "calendar": schema.CalendarStep,
        "impute": schema.ImputeStep,
        "encode": schema.EncodeStep,
        "scale": schema.ScaleStep,
        "versus": schema.ChampionGate,
        "absolute": schema.AbsoluteGate,
        "LastWindow": schema.LastWindow,
    }


def _fields_at(location: tuple[str | int, ...]) -> list[str]:
    """Keys the schema knows at a Pydantic error location."""
    model: type[BaseModel] = UseCase
    for part in location:
        names = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        if part in names:
            model = _first_model(names[str(part)]) or model
        elif part in _models():
            model = _models()[str(part)]
    return [field.alias or name for name, field in model.model_fields.items()]


def _first_model(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, (_first_model(argument) for argument in typing.get_args(annotation))), None)


def _read_suite(file: Path, problems: list[Problem]) -> list[ExpectationSpec]:
    if not file.exists():
        problems.append(
            Problem(str(file), None, "", "missing; write the expectations of what comes, or `[]` to expect nothing")
        )
        return []
    data, lines = _read_yaml(file, problems)
    if data is None:
        return []
    if not isinstance(data, list):
        problems.append(Problem(str(file), 1, "", "a suite is a list of expectations"))
        return []
    suite = []
    for index, item in enumerate(data):
        line = lines.get((index,))
        if not isinstance(item, dict) or not isinstance(item.get("type"), str):
            problems.append(Problem(str(file), line, str(index), "an expectation needs `type` and `kwargs`"))
            continue
        problems.extend(
            Problem(str(file), line, f"{index}.{key}", "unknown key; known: type, kwargs, meta, severity")
            for key in sorted(set(item) - {"type", "kwargs", "meta", "severity"})
        )
        severity = item.get("severity", "critical")
        if severity not in ("critical", "warning", "info"):
            problems.append(Problem(str(file), line, f"{index}.severity", "one of critical, warning, info"))
        suite.append(ExpectationSpec(item["type"], item.get("kwargs") or {}, item.get("meta") or {}, severity))
    return suite
