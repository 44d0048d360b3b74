"""A class is not cut in two to make its module shorter: what is private to one is used in its own module."""

import ast
from collections.abc import Iterator

from tests.architecture.test_rooms import ROOMS, modules

BASES = {
    "infra/serving/row_reader.py": {"_read_json"},  # reads rows at once; `Reader` in steps, by these
    "infra/supervised.py": {"_is_ours"},  # what every supervised process is asked; `Stack` knows which there are
    "flows/page/asker.py": {"_ask_soon", "_patience"},  # how a page asks another server; each subclass asks one
    "flows/page/runs.py": {"_ask_prefect"},
}
"""Bases that subclasses elsewhere build on, and what of them these use."""


def members(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Return each class with the name of each function and attribute that its body defines."""
    for found in ast.walk(module):
        if isinstance(found, ast.ClassDef):
            for each in found.body:
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not each.decorator_list:
                    yield found.name, each.name
                elif isinstance(each, ast.Assign | ast.AnnAssign):
                    targets = each.targets if isinstance(each, ast.Assign) else [each.target]
                    yield from ((found.name, target.id) for target in targets if isinstance(target, ast.Name))


def unused(module: ast.Module) -> set[str]:
    """Return private members that nothing in the module uses."""
    used = {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    return {name for _, name in members(module) if name[:1] == "_" and name[:2] != "__" and name not in used}


def test_what_is_private_to_a_class_is_used_in_its_module() -> None:
    found = {name: unused(module) for name, module in modules(*ROOMS)}
    assert {name: names for name, names in found.items() if names} == BASES
    assert unused(ast.parse("class A:\n def _a(self): pass\n def b(self): self._c()\n _d: int = 0")) == {"_a", "_d"}
