"""The families by name. A new one is a module and a line here."""

from __future__ import annotations

from importlib import import_module

from tasks.modelling.family import Family

_FAMILIES = {
    "lightgbm": "tasks.modelling.boosted_trees:BoostedTrees",
    "torch.mlp": "tasks.modelling.perceptron:Perceptron",
}


def family(name: str) -> Family:
    """Return a family; its library is imported now."""
    module, _, attribute = _FAMILIES[name].partition(":")
    found: Family = getattr(import_module(module), attribute)()
    return found
