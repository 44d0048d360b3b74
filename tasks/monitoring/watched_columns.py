"""The columns of windows that are watched: of the inputs those declared, and predictions and label always."""

from __future__ import annotations

from expectations.drift_scores import ColumnKind
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle
from tasks.evaluation.sketches import Reference, references_from_dict


def is_watched(name: str, bundle: Bundle, spec: UseCase) -> bool:
    """Whether a column is watched, by `monitoring.drift.columns` where it is an input."""
    columns = spec.monitoring.drift.columns
    return columns == "all" or name in columns or name not in bundle.inputs


def only_watched(table: Reference, bundle: Bundle, spec: UseCase) -> Reference:
    """Leave out of a table what is not watched; predictions and label lie in tables of their own.

    A view is watched where it is named, or the column that it is a view of.
    """
    columns = spec.monitoring.drift.columns
    if columns == "all" or not {*bundle.inputs} & {*table.inputs}:
        return table
    return table.only(columns)


def watched_kinds(bundle: Bundle, spec: UseCase) -> dict[str, ColumnKind]:
    """Return whether each watched column is one of numbers or of categories; views, predictions and label too."""
    found: dict[str, ColumnKind] = {}
    for table in references_from_dict(bundle.reference()):
        found |= {name: column.kind for name, column in only_watched(table, bundle, spec).columns.items()}
    return found
