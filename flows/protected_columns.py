"""What `driftwheel check` says of protected columns."""

from __future__ import annotations

from collections.abc import Iterator

from expectations.parts import input_kinds
from expectations.usecase import UseCase


def say_protected(spec: UseCase) -> Iterator[str]:
    """Say what becomes of protected columns that requests carry, and of encrypted ones."""
    read = {*spec.keys, *input_kinds(spec.features), *spec.looked_back_by}
    protected: dict[str, list[str]] = {}
    for name, how in spec.personal.items():
        if how.changes and how.keeps and name in read:
            protected.setdefault(how.words, []).append(name)
    for words, names in protected.items():
        yield (
            f"{', '.join(names)}: {words} where it enters, when collected and by the service alike; a request carries "
            "the value as the source has it"
        )
    if encrypted := spec.encrypted:
        yield (
            f"{', '.join(encrypted)}: encrypted when collected, for `driftwheel rows --decrypt` alone; no request "
            "carries it"
        )
