"""What depends on a problem kind, a column type or a clock is asked in one room each, and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TYPES = {"number", "integer", "text", "boolean"}
READERS_OF_REQUESTS = "infra/serving/values.py"
"""How the service reads a value of each type: functions of the wire, which the rooms below it do not know."""


def modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def asks_for_a_kind(node: ast.AST) -> bool:
    """Whether a comparison holds something called `task` against kinds that are written there."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    named = any(getattr(each, "attr", getattr(each, "id", "")) == "task" for each in sides)
    parts = [part for each in sides for part in (getattr(each, "elts", None) or [each])]
    return named and any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)


def test_no_room_but_that_of_problems_asks_which_kind_one_is() -> None:
    asking = {
        f"{name}:{node.lineno}"
        for name, module in modules("expectations", "tasks", "infra", "flows")
        if not name.startswith("tasks/problems/")
        for node in ast.walk(module)
        if asks_for_a_kind(node)
    }
    assert asking == set()
    assert asks_for_a_kind(ast.parse('task in ("regression", "ranking")', mode="eval").body)
    assert asks_for_a_kind(ast.parse('"regression" == spec.task', mode="eval").body)


def test_there_is_one_table_of_column_types() -> None:
    tables = {
        name
        for name, module in modules("expectations", "tasks", "infra", "flows")
        for node in ast.walk(module)
        if isinstance(node, ast.Dict) and {each.value for each in node.keys if isinstance(each, ast.Constant)} >= TYPES
    }
    assert tables == {"expectations/column_types.py", READERS_OF_REQUESTS}


def test_what_comes_after_collection_does_not_read_the_declared_clock() -> None:
    """Rows have their time in one column there, and `timed` says whether it is more than an order."""
    reading = {
        f"{name}:{node.lineno}"
        for name, module in modules(
            "tasks/bundles", "tasks/training", "tasks/evaluation", "tasks/deployment", "tasks/monitoring"
        )
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and node.attr == "clock"
        and getattr(node.value, "attr", getattr(node.value, "id", "")) == "spec"
    }
    assert reading == set()
