"""Whatever a test, a benchmark or a script imports of ours by name is there: nothing else looks at all of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.test_rooms import ROOMS, ROOT

PLACES = {
    **{room: ROOT / room for room in ROOMS},
    "driftwheel": ROOT / "flows/python/driftwheel",
    "tests": ROOT / "tests",
}


def file_of(module: str) -> Path | None:
    """Return where a module of ours lies; None for one of others, or one that is not there."""
    first, *rest = module.split(".")
    if first not in PLACES:
        return None
    place = PLACES[first].joinpath(*rest)
    return next((each for each in (place.with_suffix(".py"), place / "__init__.py", place) if each.exists()), None)


def bound(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield what a module's statements bind, whatever they stand in but functions and classes."""
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                yield from ((each.asname or each.name).split(".")[0] for each in node.names)
            case _:
                yield from (
                    each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
                )
                for part in ("body", "orelse", "finalbody"):
                    yield from bound(getattr(node, part, []))


def lacking(node: ast.ImportFrom, known: dict[Path, set[str]]) -> Iterator[str]:
    """Yield what an import asks for and does not get."""
    module = node.module or ""
    if node.level or module.split(".")[0] not in PLACES:
        return
    where = file_of(module)
    if where is None:
        yield module
        return
    if where.is_file() and where not in known:
        known[where] = set(bound(ast.parse(where.read_text(encoding="utf-8")).body))
    names = known.get(where, set())
    if "__getattr__" in names:
        return
    for each in node.names:
        if each.name not in names and file_of(f"{module}.{each.name}") is None:
            yield f"{module}.{each.name}"


def test_what_tests_benchmarks_and_scripts_import_is_there() -> None:
    known, wrong = dict[Path, set[str]](), list[str]()
    for path in sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "infra").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                wrong += (f"{path.relative_to(ROOT)}:{node.lineno}: {name}" for name in lacking(node, known))
    assert wrong == []
