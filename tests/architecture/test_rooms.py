"""What depends on a problem kind, a column type or a clock is asked in one room each, and nowhere else."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from expectations.slots import PROBLEMS

ROOT = Path(__file__).parents[2]
ROOMS = ("expectations", "tasks", "infra", "flows")
TYPES = frozenset({"number", "integer", "text", "boolean", "instant"})
KINDS = frozenset(PROBLEMS.names())
TABLE_OF_KINDS = "expectations/slots.py"
OBJECTIVES = frozenset(
    f"tasks/modelling/{name}.py"
    for name in ("boosted_trees", "linear", "model_files", "network_rows", "neural", "xgboost_family")
)
"""Families, each of which maps a kind to what its own library minimises; other kinds its `misfits` refuses."""
TABLE_OF_TYPES = "expectations/slots.py"
READERS_OF_REQUESTS = "infra/serving/values.py"
"""How the service reads a value of each type: functions of the wire, which the rooms below it do not know."""
READERS_OF_TYPES = frozenset(
    {
        READERS_OF_REQUESTS,
        "infra/serving/row_reader.py",  # which values need no check, as the decoder was made for their type
        "tasks/deployment/request_types.py",  # the same as `values`, of a whole column of a table
        "tasks/preprocessing/program.py",  # what a compiled program calls the readers of a value
    }
)


def modules(*rooms: str, naming: Iterable[str] = ("",)) -> Iterator[tuple[str, ast.Module]]:
    """Parse the modules of rooms, or those whose text has one of the words without which there is nothing to find."""
    words = tuple(naming)
    for room in rooms:
        assert (ROOT / room).is_dir(), room
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if any(word in text for word in words):
                yield str(path.relative_to(ROOT)), ast.parse(text)


@pytest.fixture(scope="module")
def everything() -> list[tuple[str, ast.Module]]:
    """All modules of all rooms, parsed once."""
    return list(modules(*ROOMS))


def name_of(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def words(nodes: Iterable[ast.AST | None]) -> set[str]:
    """Return the texts among constants."""
    return {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def cases(node: ast.Match) -> set[str]:
    return words(each for case in node.cases for each in ast.walk(case.pattern))


def asks_for_a_kind(node: ast.AST) -> bool:
    """Whether something called `task` is held against kinds that are written there, or kinds are keys of a table."""
    if isinstance(node, ast.Dict):
        return len(words(node.keys) & KINDS) > 1
    if isinstance(node, ast.Match):
        return name_of(node.subject) == "task" or len(cases(node) & KINDS) > 1
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    named = any(name_of(each) == "task" for each in sides)
    parts = [part for each in sides for part in (getattr(each, "elts", None) or [each])]
    return named and bool(words(parts))


def asks_for_types(node: ast.AST) -> bool:
    """Whether there is an entry or a case for each of several column types."""
    if isinstance(node, ast.Dict):
        return len(words(node.keys) & TYPES) > 2
    return isinstance(node, ast.Match) and len(cases(node) & TYPES) > 2


def asks_for_the_clock(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "clock" and name_of(node.value) == "spec"


def first(text: str) -> ast.AST:
    """Return the one statement or expression of a text."""
    statement = ast.parse(text).body[0]
    return statement.value if isinstance(statement, ast.Expr) else statement


def test_no_room_but_that_of_problems_asks_which_kind_one_is(everything: list[tuple[str, ast.Module]]) -> None:
    asking = {
        (name, type(node).__name__): node.lineno
        for name, module in everything
        if not name.startswith("tasks/problems/")
        for node in ast.walk(module)
        if asks_for_a_kind(node)
    }
    assert set(asking) == {(name, "Dict") for name in (TABLE_OF_KINDS, *OBJECTIVES)}, asking


@pytest.mark.parametrize(
    "text",
    [
        'task in ("regression", "ranking")',
        '"regression" == spec.task',
        '{"regression": 1, "binary_classification": 2}',
        "match spec.task:\n case _: pass",
        'match kind:\n case "regression" | "binary_classification": pass',
    ],
)
def test_a_question_for_the_kind_is_seen(text: str) -> None:
    assert asks_for_a_kind(first(text))
    assert not asks_for_a_kind(first(text.replace("task", "x").replace("regression", "y").replace("binary", "z")))


def test_column_types_are_asked_for_where_it_is_listed() -> None:
    asking = {
        name: node.lineno
        for name, module in modules(*ROOMS, naming={f'"{name}"' for name in TYPES})
        for node in ast.walk(module)
        if asks_for_types(node)
    }
    assert set(asking) == {TABLE_OF_TYPES, *READERS_OF_TYPES}, asking


@pytest.mark.parametrize(
    "text",
    [
        '{"number": 1, "text": 2, "instant": 3}',
        'match kind:\n case "number": pass\n case "text" | "instant": pass',
        'match kind, known:\n case ("number", "text"): pass\n case ("instant", _): pass',
    ],
)
def test_a_question_for_types_is_seen(text: str) -> None:
    assert asks_for_types(first(text))
    assert not asks_for_types(first(text.replace("number", "colour")))


def test_what_comes_after_collection_does_not_read_the_declared_clock() -> None:
    """Rows have their time in one column there, and `timed` says whether it is more than an order."""
    reading = {
        f"{name}:{node.lineno}"
        for name, module in modules("tasks", "infra", naming=("clock",))
        if not name.startswith("tasks/collection/")
        for node in ast.walk(module)
        if asks_for_the_clock(node)
    }
    assert reading == set()
    assert asks_for_the_clock(first("job.usecase.spec.clock"))
    assert not asks_for_the_clock(first("manifest.clock"))


TWICE = {
    # what the page shows of a thing has the thing's name there; only modules of the page read these
    **dict.fromkeys(("Cause", "Known", "Metric", "Run", "Stage", "State", "Version", "View"), "flows/page"),
    # what answers requests for predictions, and the record of what it answered
    "Predictions": "infra/serving/predicting.py",
}
"""Names that a class has in one more place, and which; every other public name is that of one class."""


def test_a_name_is_that_of_one_class(everything: list[tuple[str, ast.Module]]) -> None:
    found: dict[str, list[str]] = {}
    for name, module in everything:
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    several = {name: places for name, places in found.items() if len(places) > 1}
    assert set(several) == set(TWICE), several
    for name, places in several.items():
        assert len(places) == 2, places
        assert sum(place.startswith(TWICE[name]) for place in places) == 1, places
