"""The columns of windows that are watched, as a bundle counts them."""

from __future__ import annotations

from expectations.drift_scores import ColumnKind
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle
from tasks.evaluation.sketches import references_from_dict


def watched_kinds(bundle: Bundle, spec: UseCase) -> dict[str, ColumnKind]:
    """Return whether each watched column is one of numbers or of categories; views, predictions and label too."""
    rules, inputs = spec.monitoring.drift, {*bundle.inputs}
    found: dict[str, ColumnKind] = {}
    for table in references_from_dict(bundle.reference()):
        kept = table.only(rules.columns) if rules.columns != "all" and inputs & {*table.inputs} else table
        found |= {name: column.kind for name, column in kept.columns.items()}
    return found
