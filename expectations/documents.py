"""Read a YAML file that is not to be relied on: plain values, the line of each, and every fault as a problem.

What is read is bounded before it is built: size, depth, and how many values there are once aliases are filled in. Tags
make nothing, numbers are finite and fit 64 bits, texts hold no control characters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from expectations.errors import UseCaseProblem
from expectations.files import open_regular

try:
    from yaml import CSafeLoader as _BaseLoader  # libyaml's, twenty times as fast
except ImportError:  # PyYAML was built without it
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 50_000
"""In one file, each alias counted with all it stands for."""
MAX_KEY_CHARACTERS = 200
_MAX_NUMBER_CHARACTERS = 40
_INTEGER_LIMIT = 2**63
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_CONTROL = "a control character, which no text may hold"

Path_ = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = SafeConstructor()
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Document:
    """What a file says.

    Attributes
    ----------
    data : object
        Dictionaries with text keys, lists, texts, numbers, booleans and None.
    lines : dict
        Path of keys and positions -> the line it is written on.
    content : bytes
        The file itself, as it was when it was read.
    whole : bool
        Whether every value could be read; where one could not, its problem is reported, and None stands in its place.
    """

    data: Any = None
    lines: dict[Path_, int] = field(default_factory=dict)
    content: bytes = b""
    whole: bool = False


class _BeyondError(Exception):
    """A file goes beyond its bounds; to get out of the walk through it."""

    def __init__(self, line: int, depth: int) -> None:
        self.line = line
        found = f"nested deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_VALUES:,} values"
        super().__init__(f"{found} (an alias counts as all it stands for)")


class _Loader(_BaseLoader):
    """Leaves instants as text (the schema reads them) and, as YAML 1.2 does, `on` and `no`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {f"{_TAG}timestamp", f"{_TAG}bool"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_document(file: Path, problems: list[UseCaseProblem], absent: str = "is not there") -> Document:
    """Read a file; what is wrong with it is added to `problems`."""

    def report(line: int | None, message: str) -> None:
        problems.append(UseCaseProblem(str(file), line, "", message))

    try:
        with open_regular(file) as opened:
            content = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        report(None, absent)
        return Document()
    except OSError as error:
        report(None, f"cannot be read: {error.strerror}")
        return Document()
    if len(content) > MAX_BYTES:
        report(1, f"larger than {MAX_BYTES // 1024} KB")
        return Document(content=content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report(content[: error.start].count(b"\n") + 1, f"not UTF-8: {error.reason}; save it as UTF-8")
        return Document(content=content)
    odd = _UNREADABLE.search(text)
    if odd is not None:
        report(text[: odd.start()].count("\n") + 1, f"the character U+{ord(odd[0]):04X}, which no text may hold")
        return Document(content=content)
    builder = _Builder(str(file), problems)
    try:
        _check_size(text)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            report(1, "the file is empty")
            return Document(content=content)
        data = builder.value(node, (), 0)
        return Document(data, builder.lines, content, whole=builder.whole)
    except _BeyondError as error:
        report(error.line, str(error))
    except yaml.MarkedYAMLError as error:
        report(_line(error.problem_mark or error.context_mark), f"not YAML: {error.problem}")
    except yaml.YAMLError as error:
        report(1, f"not YAML: {type(error).__name__}")
    return Document(content=content)


def _check_size(text: str) -> None:
    """Walk through the file without building anything of it."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        values += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or values > MAX_VALUES:
            raise _BeyondError(_line(event.start_mark), depth)


def _line(mark: Any) -> int:  # noqa: ANN401 - of either parser
    return mark.line + 1 if mark is not None else 1


class _Builder:
    """Builds values from nodes, and notes their lines."""

    def __init__(self, file: str, problems: list[UseCaseProblem]) -> None:
        self.lines: dict[Path_, int] = {}
        self.whole = True
        self._file, self._problems, self._count = file, problems, 0

    def value(self, node: yaml.Node, path: Path_, depth: int) -> Any:  # noqa: ANN401 - whatever the file holds
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:  # an alias that holds itself ends here
            raise _BeyondError(_line(node.start_mark), depth)
        self.lines[path] = _line(node.start_mark)
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, kind, path)
        return self._refuse_tag(node, kind, path)

    def _mapping(self, node: yaml.MappingNode, path: Path_, depth: int) -> dict[str, Any]:
        written: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = _MERGE if key.tag == _MERGE else key.value
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}null":
                self._refuse(key, path, "a key must be a text (is this a template's {{ name }}, not filled in?)")
            elif len(key.value) > MAX_KEY_CHARACTERS:
                self._refuse(key, path, f"a key of {len(key.value):,} characters")
            elif _UNREADABLE.search(key.value):
                self._refuse(key, path, _CONTROL)
            elif name in written:
                self._report(key, (*path, key.value), "written twice")
            else:
                written[name] = (key, value)
        found: dict[str, Any] = {}
        if _MERGE in written:
            self._merge(found, written.pop(_MERGE)[1], path, depth)
        for name, (key, value) in written.items():
            found[name] = self.value(value, (*path, name), depth + 1)
            self.lines[(*path, name)] = _line(key.start_mark)
        return found

    def _merge(self, found: dict[str, Any], node: yaml.Node, path: Path_, depth: int) -> None:
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(each, yaml.MappingNode):
                for name, value in self.value(each, path, depth + 1).items():
                    found.setdefault(name, value)
            else:
                self._refuse(each, path, "<< takes over a mapping, or a list of them")

    def _scalar(self, node: yaml.ScalarNode, kind: str, path: Path_) -> Any:  # noqa: ANN401
        text = node.value
        if kind in ("str", "value", "merge"):
            if _UNREADABLE.search(text):
                return self._refuse(node, path, _CONTROL)
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return _BOOLEANS[text.lower()] if text.lower() in _BOOLEANS else self._refuse(node, path, "no boolean")
        if kind in ("int", "float"):
            return self._number(node, kind, path)
        return self._refuse_tag(node, kind, path)

    def _number(self, node: yaml.ScalarNode, kind: str, path: Path_) -> Any:  # noqa: ANN401
        if len(node.value) > _MAX_NUMBER_CHARACTERS:
            return self._refuse(node, path, f"a number of {len(node.value):,} characters; quote it if it is a text")
        read = _SCALARS.construct_yaml_int if kind == "int" else _SCALARS.construct_yaml_float
        try:
            number = read(node)
        except (ValueError, IndexError):  # a tag said that it is one
            return self._refuse(node, path, "no number")
        if not (math.isfinite(number) if isinstance(number, float) else -_INTEGER_LIMIT <= number < _INTEGER_LIMIT):
            return self._refuse(node, path, "a number must be finite and fit 64 bits")
        return number

    def _refuse_tag(self, node: yaml.Node, kind: str, path: Path_) -> None:
        shown = kind if len(kind) <= MAX_KEY_CHARACTERS else f"{kind[:MAX_KEY_CHARACTERS]}…"
        self._refuse(node, path, f"the tag {shown!r} means nothing here; write the value without it")

    def _refuse(self, node: yaml.Node, path: Path_, message: str) -> None:
        self.whole = False
        self._report(node, path, message)

    def _report(self, node: yaml.Node, path: Path_, message: str) -> None:
        self._problems.append(UseCaseProblem(self._file, _line(node.start_mark), dotted(path), message))


def dotted(path: Path_) -> str:
    """Write a path of keys and positions as text."""
    return ".".join(str(part) for part in path)
