"""Properties draw from Hypothesis alone: its own warning is off, as other threads of the process draw numbers, too."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def draws(module: ast.Module) -> set[str]:
    """Return the functions of `random` that a module which imports Hypothesis names; `Random` has a seed of its own."""
    imported = {
        (name.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for node in ast.walk(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    if not {"hypothesis", "random"} <= imported:
        return set()
    named = {
        node.attr
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    }
    taken = {
        name.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for name in node.names
    }
    return (named | taken) - {"Random"}


def test_no_property_draws_from_the_module_random() -> None:
    texts = {str(path.relative_to(TESTS)): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    found = {path: draws(ast.parse(text)) for path, text in texts.items() if "hypothesis" in text and "random" in text}
    assert {path: names for path, names in found.items() if names} == {}
    assert draws(ast.parse("import random\nfrom hypothesis import given\nrandom.choice([1])")) == {"choice"}
    assert draws(ast.parse("from random import shuffle\nimport hypothesis")) == {"shuffle"}
