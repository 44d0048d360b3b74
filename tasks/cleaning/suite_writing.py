"""Expectations written into the YAML of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from expectations.documents import read_document
from expectations.errors import DriftwheelError, UseCaseProblem
from tasks.cleaning.suggesting import Suggestion
from tasks.stores.files import scratch, storing
from tasks.stores.whole_files import replace_file


def add_to_suite(path: Path, added: Sequence[Suggestion]) -> None:
    """Write expectations at the end of a suite; all else in it stays as it is, to the byte.

    Raises
    ------
    DriftwheelError
        If they cannot be written there without changing anything else.
    """
    path = path.resolve()  # a link stays one
    with storing("read", path):
        text = path.read_bytes().decode("utf-8")
    entries = [{"type": each.type, "kwargs": each.kwargs} for each in added]
    content = with_expectations(text, added).encode("utf-8")
    problems: list[UseCaseProblem] = []
    with scratch() as folder:
        (folder / path.name).write_bytes(content)
        old, new = (read_document(file, problems).data for file in (path, folder / path.name))
    if problems or new != [*old, *entries]:
        wrong = "; ".join(f"line {each.line} would be {each.message}" for each in problems)
        raise DriftwheelError(
            f"to change nothing in {path} but its end",
            wrong or "a form of YAML that does not allow it",
            "Write them by hand: " + "; ".join(map(_line, entries)),
        )
    with storing("write the expectations to", path):
        replace_file(path, content, mode=None)


def with_expectations(text: str, added: Sequence[Suggestion]) -> str:
    """Return the YAML of a suite with further expectations, each in one line; comments stay."""
    newline = "\r\n" if "\r\n" in text else "\n"
    suite: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = [_line({"type": each.type, "kwargs": each.kwargs}) for each in added]
    if suite is not None and suite.flow_style and suite.value:
        last = suite.value[-1].end_mark.index
        return f"{text[:last]}, {', '.join(lines)}{text[last:]}"
    indent, before = "", text
    if suite is not None and suite.flow_style:  # an empty list
        before = text[: suite.start_mark.index] + text[suite.end_mark.index :].lstrip(" ")
    elif suite is not None:
        indent = " " * suite.start_mark.column
    if before and not before.endswith("\n"):
        before += newline
    remarked = (
        f"{indent}- {line}  # held {each.held} of {each.parts}, set {each.apart:,} of {each.rows:,} rows apart{newline}"
        for line, each in zip(lines, added, strict=True)
    )
    return (
        before
        + f"{indent}# by `driftwheel suggest`, with what each did to the newer history{newline}"
        + "".join(remarked)
    )


def _line(entry: dict[str, Any]) -> str:
    return yaml.safe_dump(entry, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True).strip()
