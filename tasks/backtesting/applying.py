"""A policy written into the YAML of a use case."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from expectations.documents import read_document
from expectations.errors import DriftwheelError, UseCaseProblem
from tasks.backtesting.advice import policy_of, written
from tasks.stores.files import scratch, storing
from tasks.stores.whole_files import replace_file


def apply_policy(path: Path, spec: Mapping[str, Any]) -> None:
    """Write a policy into a use case's YAML; all else in it stays as it is, to the byte.

    Raises
    ------
    DriftwheelError
        If it cannot be written there without changing anything else.
    """
    path = path.resolve()  # a link stays one
    content = changed(path, spec)
    with storing("write the policy to", path):
        replace_file(path, content, mode=None)


def changed(path: Path, spec: Mapping[str, Any]) -> bytes:
    """Return what a use case's YAML would be with another policy.

    Raises
    ------
    DriftwheelError
        As for `apply_policy`.
    """
    policy = written(policy_of(spec))
    with storing("read", path):
        content = with_policy(path.read_bytes().decode("utf-8"), policy).encode("utf-8")
    problems: list[UseCaseProblem] = []
    with scratch() as folder:
        (folder / path.name).write_bytes(content)
        old, new = (read_document(file, problems).data for file in (path, folder / path.name))
    if not problems and new == {**old, "monitoring": {**old["monitoring"], "policy": policy}}:
        return content
    wrong = "; ".join(f"line {each.line} would be {each.message}" for each in problems)
    found = wrong or "an anchor, an alias or a form of YAML that does not allow it"
    raise DriftwheelError(f"to change nothing in {path} but `monitoring.policy`", found, _by_hand(policy))


def with_policy(text: str, policy: Mapping[str, Any]) -> str:
    """Return the YAML of a use case with another `monitoring.policy`, in one line; comments stay.

    Raises
    ------
    DriftwheelError
        If there is no place in it where that can be written.
    """
    line = _line(policy)
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise DriftwheelError("a use case in YAML", str(error), _by_hand(policy)) from error
    monitoring = _entry(document, "monitoring")
    if monitoring is None or not isinstance(monitoring[1], yaml.MappingNode) or not monitoring[1].value:
        raise DriftwheelError("a mapping `monitoring` to write the policy to", "none", _by_hand(policy))
    block = monitoring[1]
    found = _entry(block, "policy")
    if found is not None:
        key, value = found
        start, end = key.end_mark.index, max(key.end_mark.index + 1, _end(value))
        inside = [
            text[before.end_mark.index : after.start_mark.index]
            for before, after in pairwise(tokens)
            if start <= before.end_mark.index and after.start_mark.index <= end
        ]
        comments = [f"#{each.partition('#')[2].rstrip()}" for gap in inside for each in gap.splitlines() if "#" in each]
        begin = text.rfind("\n", 0, key.start_mark.index) + 1
        indent = " " * (len(text[begin:]) - len(text[begin:].lstrip(" ")))
        above = "".join(f"{indent}{each}{newline}" for each in comments)
        return f"{text[:begin]}{above}{text[begin:start]}: {line}{text[end:]}"
    key, value = block.value[-1]
    last = max(key.end_mark.index, _end(value))  # an alias has its end where its anchor is
    if block.flow_style:
        return f"{text[:last]}, policy: {line}{text[last:]}"
    indent = " " * block.value[0][0].start_mark.column
    at = text.find("\n", last) + 1
    if not at:
        return f"{text}{newline}{indent}policy: {line}{newline}"
    return f"{text[:at]}{indent}policy: {line}{newline}{text[at:]}"


def _line(policy: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        dict(policy), default_flow_style=True, width=1000, sort_keys=False, allow_unicode=True
    ).strip()


def _by_hand(policy: Mapping[str, Any]) -> str:
    return f"Write it by hand, under `monitoring`: `policy: {_line(policy)}`"


def _entry(node: Any, name: str) -> tuple[Any, Any] | None:  # noqa: ANN401 - yaml's nodes
    """Return key and value of a mapping node."""
    for key, value in getattr(node, "value", ()):
        if key.value == name:
            return key, value
    return None


def _end(node: Any) -> int:  # noqa: ANN401 - one of yaml's nodes
    """Return where a node's text ends. The end mark of a block lies after the blank lines and comments that follow."""
    if not getattr(node, "flow_style", True) and node.value:  # None for a list that is not indented
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end
