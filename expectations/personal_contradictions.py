"""What contradicts itself of how personal columns are protected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expectations.usecase import UseCase


def impossible_protections(spec: UseCase) -> list[str]:
    """Say which personal columns could not be protected as is declared, or identify nothing any more."""
    problems = [
        f"personal: {column} identifies rows and cannot be {how.words}; hash it"
        for column, how in sorted(spec.personal.items())
        if column in spec.keys and not how.tells_apart
    ]
    for column, how in spec.personal.items():
        declared = spec.columns.get(column)
        if declared is None or (declared.type == "instant" and not how.misfits("text")):
            continue  # one that no request carries has one text; one that a request does is refused when collected
        if needed := how.misfits(declared.type):
            problems.append(f"personal: {column}, declared {declared.type}, cannot be {how.words}: it takes {needed}")
    return [*problems, *_read_though_encrypted(spec)]


def _read_though_encrypted(spec: UseCase) -> list[str]:
    """Say which encrypted columns are read by something: of equal values no two ciphertexts are."""
    encrypted = {column for column, how in spec.personal.items() if how.encrypts}
    return [
        f"{place}: {column} is encrypted under `personal`, and only people read it again; hash it, so that equal "
        "values stay equal"
        for place, columns in _readers(spec)
        for column in dict.fromkeys(columns)
        if column in encrypted
    ]


def _readers(spec: UseCase) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield what reads columns of collected rows; keys and joins of labels are refused in their own words."""
    label, monitoring = spec.label, spec.monitoring
    yield "clock.column", [spec.clock.column] if spec.clock is not None else []
    yield "label.column", [label.column]
    yield "label.expression", label.expression.columns if label.expression is not None else ()
    yield "label.arrived", [label.arrived] if label.arrived is not None else []
    for index, clean in enumerate(spec.cleaning):
        yield f"cleaning.{index}", clean.reads()
    for index, step in enumerate(spec.features):
        yield f"features.{index}", step.reads({})
    for name, history in spec.history.items():
        yield f"history.{name}.by", history.by
    yield "monitoring.slices", monitoring.slices
    yield "monitoring.fairness", [each.by for each in monitoring.fairness]
