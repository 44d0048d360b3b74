"""Find a use case by name or path and load it, with errors that name file, line, key and the nearest known key."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from expectations.alerts import AlertTarget, Targets
from expectations.code import Code, read_code
from expectations.contradictions import REPLAY
from expectations.documents import Document, read_document
from expectations.errors import UseCaseError, UseCaseNotFoundError, UseCaseProblem
from expectations.schema_errors import explain_errors
from expectations.usecase import UseCase
from expectations.variables import NO_VARIABLES, Variables
from expectations.wording import suggestion_behind

FILE = "usecase.yaml"
SUITE = "suite.yaml"
SHIPPED = Path(__file__).parent
MAX_PROBLEMS = 50


@dataclass(frozen=True)
class ExpectationSpec:
    """One expectation in Great Expectations' own words."""

    type: str
    kwargs: dict[str, Any]
    meta: dict[str, Any]
    severity: str = "critical"
    line: int | None = None


@dataclass(frozen=True)
class LoadedUseCase:
    """A use case with the folder it lies in and its Great Expectations suite."""

    spec: UseCase
    folder: Path
    suite: tuple[ExpectationSpec, ...]
    digest: str
    """SHA-256 of what the folder says: changes when the YAML, the suite or code it calls does."""
    variables: Variables = NO_VARIABLES
    """Of the environment: what its sources may fill in."""

    @property
    def code(self) -> Code | None:
        """The Python of its folder, where a source or a candidate calls it; what is declared has it."""
        return self.spec.code

    def having(self, code: Code | None) -> LoadedUseCase:
        """Return it with other Python of its folder, or the same with more said of it."""
        return replace(self, spec=self.spec.having(code))

    @cached_property
    def name(self) -> str:
        """Name under which rows, models and decisions are kept."""
        return self.spec.name

    def renamed(self, name: str) -> LoadedUseCase:
        """Return the same use case under another name: a namespace of its own in every store."""
        spec = self.spec.walked() if name.endswith(REPLAY) else self.spec
        return replace(self, spec=spec.model_copy(update={"name": name}))

    @property
    def walked(self) -> bool:
        """Whether its past is walked through by the order of its rows, as it has no clock."""
        return self.spec.clock is None and self.name.endswith(REPLAY)


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
    folder = _folder_at(reference)
    if folder is not None:
        return folder
    name = reference.removesuffix(REPLAY)
    if name != reference and name in known:
        raise UseCaseNotFoundError(
            "a use case",
            f"{reference!r}, a replay: it is over, and can only be looked at",
            f"Read it with `driftwheel why {reference}`, or give {name!r}",
        )
    raise UseCaseNotFoundError(
        f"a use case: one of {', '.join(sorted(known))}, or a folder holding {FILE}",
        f"{reference!r}{suggestion_behind(reference, known)}",
        "Give the name of a registered or shipped use case, or the path of its folder",
    )


def _folder_at(reference: str) -> Path | None:
    """Return the folder of a use case at a path, if there is one."""
    try:
        path = Path(reference).expanduser()
        if path.name == FILE:
            path = path.parent
        return path.resolve() if (path / FILE).is_file() else None
    except OSError as error:
        raise UseCaseNotFoundError(
            f"a folder holding {FILE}", f"{reference!r}, which cannot be read: {error.strerror}", "Check the path"
        ) from error
    except RuntimeError:  # ~NAME of nobody
        return None


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
    problems: list[UseCaseProblem] = []
    written = read_document(folder / FILE, problems)
    spec = _read_spec(folder / FILE, written, problems) if written.whole else None
    suite, expected = _read_suite(folder / SUITE, problems)
    code = _read_code(folder, spec, problems) if spec is not None else None
    if problems or spec is None:
        if len(problems) > MAX_PROBLEMS:
            problems[MAX_PROBLEMS:] = [UseCaseProblem(str(folder), None, "", "and more problems; these are the first")]
        raise UseCaseError(folder.name, problems)
    digest = hashlib.sha256()
    for content in (written.content, suite.content):
        digest.update(content + b"\0")
    if code is not None:
        digest.update(code.digest.encode())
    return LoadedUseCase(spec.having(code).lying_in(folder), folder, tuple(expected), digest.hexdigest())


def readable_alerts(folder: Path) -> Targets:
    """Return the alert targets of a use case that may be wrong in all else; those that can be read."""
    data = read_document(folder / FILE, []).data
    written = data.get("alerts") if isinstance(data, dict) else None
    found: list[AlertTarget] = []
    for each in written if isinstance(written, list) else []:
        with suppress(ValidationError):
            found += TypeAdapter(Targets).validate_python((each,))
    return tuple(found)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of ``usecase.yaml``, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **UseCase.model_json_schema(by_alias=True)}


# --- the two files --------------------------------------------------------------------------------------------------


def _read_spec(file: Path, document: Document, problems: list[UseCaseProblem]) -> UseCase | None:
    try:
        return UseCase.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        found = error.errors(include_url=False)[: MAX_PROBLEMS + 1]
        problems.extend(explain_errors(found, str(file), document))
    return None


def _read_code(folder: Path, spec: UseCase, problems: list[UseCaseProblem]) -> Code | None:
    calls = [call for source in spec.sources.values() for call in source.calls]
    calls += [call for candidate in spec.model.recipes.values() for call in candidate.calls]
    if not calls:
        return None
    try:
        return read_code(folder, calls)
    except OSError as error:
        problems.append(UseCaseProblem(str(error.filename or folder), None, "", f"cannot be read: {error.strerror}"))
    except ValueError as error:
        problems.append(UseCaseProblem(str(folder), None, "", f"{error}; keep what is not called elsewhere"))
    return None


def _read_suite(file: Path, problems: list[UseCaseProblem]) -> tuple[Document, list[ExpectationSpec]]:
    document = read_document(
        file, problems, absent="missing; write the expectations of what comes, or `[]` to expect nothing"
    )
    if not document.whole:
        return document, []
    if not isinstance(document.data, list):
        problems.append(UseCaseProblem(str(file), 1, "", "a suite is a list of expectations"))
        return document, []
    suite = []
    for index, item in enumerate(document.data):
        line = document.lines.get((index,))
        faults = [UseCaseProblem(str(file), line, f"{index}{path}", message) for path, message in _faults(item)]
        problems.extend(faults)
        if not faults:
            severity = item.get("severity", "critical")
            kwargs, meta = item.get("kwargs") or {}, item.get("meta") or {}
            suite.append(ExpectationSpec(item["type"], kwargs, meta, severity, line))
    return document, suite


def _faults(item: object) -> list[tuple[str, str]]:
    """Where an expectation is none, and why."""
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return [("", "an expectation needs `type` and `kwargs`")]
    found = [
        (f".{key}", "unknown key; known: type, kwargs, meta, severity")
        for key in sorted(item.keys() - {"type", "kwargs", "meta", "severity"})
    ]
    found += [
        (f".{key}", "must be a mapping") for key in ("kwargs", "meta") if not isinstance(item.get(key) or {}, dict)
    ]
    if item.get("severity", "critical") not in ("critical", "warning", "info"):
        found.append((".severity", "one of critical, warning, info"))
    return found
