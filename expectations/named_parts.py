"""Parts by name: a table of names and addresses, and how what a use case writes is read by it.

A part is the class that is declared in ``usecase.yaml`` and does the work, in one module of its stage. A slot holds its
address, so that what is declared can be read without importing what runs; the class is imported when a use case names
it. A name that is not built in is looked up among the entry points of installed packages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from expectations.errors import BundleError, PartError

if TYPE_CHECKING:
    from expectations.parts import Part

P = TypeVar("P", bound="Part")


class Slot(Generic[P]):
    """A table of parts, identified by the key that stands for each: ``{impute: …}`` is the part `impute`.

    As the metadata of an annotation it is a Pydantic type: ``Annotated[FeatureStep, FEATURES]``. Where several of the
    keys written name one, the part is that of the first name built in.

    Parameters
    ----------
    what : str
        What its parts are called in errors.
    base : str
        Address of the class that each part extends, ``module:Class``.
    built_in : mapping of str to str
        Name -> address of the class.
    group : str
        Entry points of other packages.
    tag : str, optional
        The key whose value names the part, where no key does so itself: ``{kind: file, …}`` is the part `file`.
    untagged : callable, optional
        Names the part of what was written without its tag.
    closed : str
        Why packages can add none, where they cannot: there is no group then.
    """

    def __init__(
        self,
        what: str,
        base: str,
        built_in: Mapping[str, str],
        group: str,
        tag: str | None = None,
        untagged: Callable[[Mapping[str, object]], str] | None = None,
        closed: str = "",
    ) -> None:
        self.what, self.base, self.built_in, self.group, self.tag = what, base, dict(built_in), group, tag
        self.untagged, self.closed = untagged, closed

    @property
    def one(self) -> str:
        """What one of its parts is called, with its article: `a source`, `an alert rule`."""
        return f"{'an' if self.what[0] in 'aeiou' else 'a'} {self.what}"

    def names(self) -> tuple[str, ...]:
        """Names that are built in, and then those of installed packages."""
        others = sorted(self._others().keys() - self.built_in.keys())
        return (*self.built_in, *others)

    def find(self, name: str) -> type[P] | None:
        """Return the part of a name; None where there is none.

        Raises
        ------
        PartError
            If what an installed package has under this name cannot be imported, or is no such part, or if two have one.
        """
        address = self.built_in.get(name)
        if address is not None:
            built_in: type[P] = load_address(address)
            return built_in
        points = self._others().get(name, ())
        if len(points) > 1:
            several = ", ".join(sorted(point.value for point in points))
            raise PartError(
                f"one {self.what} {name!r}", f"{len(points)}: {several}", "Remove all of these packages but one"
            )
        for point in points:
            expected = f"{self.one} {name!r} in the package {point.dist.name if point.dist else point.value}"
            try:
                found = point.load()
            except (ImportError, AttributeError) as error:
                raise PartError(expected, f"{error}", f"Repair or remove that package ({point.value})") from error
            if not (isinstance(found, type) and issubclass(found, load_address(self.base))):
                raise PartError(expected, f"{point.value}, which extends no {self.base}", "Correct its entry point")
            part: type[P] = found
            return part
        return None

    def released(self, name: str) -> type[P]:
        """Return the part that a bundle names.

        Raises
        ------
        BundleError
            If it is not installed, or its package is broken.
        """
        try:
            part = self.find(name)
        except PartError as error:
            raise BundleError(error.expected, error.found, error.remedy) from error
        if part is None:
            remedy = f"Install the package that has it (entry points {self.group}), or train again"
            raise BundleError(f"{self.one} that is installed", repr(name), remedy)
        return part

    def package_of(self, name: str) -> str:
        """Say which package a part comes from."""
        points = () if name in self.built_in else self._others().get(name, ())
        found = [point.dist.name if point.dist else point.value for point in points]
        return f"the package {found[0]}" if found else "driftwheel" if name in self.built_in else "an unknown package"

    def _others(self) -> dict[str, tuple[EntryPoint, ...]]:
        return {} if self.closed else _entry_points(self.group, tuple(sys.path))

    def part_of(self, written: object) -> type[P] | None:
        """Return the part that what was written names."""
        return next(filter(None, map(self.find, self._named(written))), None)

    def _named(self, written: object) -> list[str]:
        """Names a part might have that was written: those built in first, in their order."""
        if not isinstance(written, dict):
            return []
        found = [written.get(self.tag)] if self.tag else list(written)
        if self.untagged is not None and self.tag not in written:
            found = [self.untagged(written)]
        order = list(self.built_in)
        names = [name for name in found if isinstance(name, str)]
        return sorted(names, key=lambda name: order.index(name) if name in order else len(order))

    def _validate(self, value: Any, info: core_schema.ValidationInfo) -> P:  # noqa: ANN401 - whatever was written
        if isinstance(value, load_address(self.base)):
            made: P = value
            return made
        try:
            part = self.part_of(value)
        except PartError as error:
            raise ValueError(str(error)) from error  # what Pydantic collects: a problem of this use case, with its line
        if part is None:
            words = {"what": self._expected(), "known": self.names(), "found": self._named(value)}
            raise PydanticCustomError("unknown_part", "{what}", words)
        if info.mode == "json":  # where a list may stand for a tuple
            return part.model_validate_json(json.dumps(value))
        return part.model_validate(value)

    def _expected(self) -> str:
        where = f"the `{self.tag}` of {self.one} is" if self.tag else f"{self.one} starts with"
        return f"{where} one of: {', '.join(self.names())}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Say how Pydantic reads and writes a part of this slot."""
        del source, handler
        return core_schema.with_info_plain_validator_function(
            self._validate, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in JSON schema: one of all parts."""
        del schema
        parts = (self.find(name) for name in self.names())
        return {"oneOf": [handler(part.__pydantic_core_schema__) for part in parts if part is not None]}


class ShortForm:
    """As the metadata of an annotation beside a slot with a tag: its parts may be written in short.

    A name alone stands for the part with nothing else declared, and ``{name: {…}}`` for the part with these fields.
    """

    def __init__(self, slot: Slot[Any]) -> None:
        self.slot = slot

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Say how Pydantic reads it."""
        return core_schema.no_info_before_validator_function(self._written_out, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in JSON schema: a name, a name with fields, or a part."""
        names = {"enum": list(self.slot.names())}
        one = {"minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "object"}}
        return {"anyOf": [names, {"type": "object", "propertyNames": names, **one}, handler(schema)]}

    def _written_out(self, written: object) -> object:
        tag = self.slot.tag
        if isinstance(written, str):
            return {tag: written}
        if isinstance(written, dict) and len(written) == 1:
            ((name, fields),) = written.items()
            return {tag: name, **fields} if name != tag and isinstance(fields, dict) else written
        return written


class NameOf:
    """As the metadata of an annotation, the name of a part: where a use case says which one, and no more of it."""

    def __init__(self, slot: Slot[Any]) -> None:
        self.slot = slot

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Say how Pydantic reads it."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say it in JSON schema: one of the names."""
        return {**handler(schema), "enum": list(self.slot.names())}

    def _check(self, name: str) -> str:
        try:
            part = self.slot.find(name)
        except PartError as error:
            raise ValueError(str(error)) from error
        if part is None:
            known = self.slot.names()
            words = {"what": f"{self.slot.one} is one of: {', '.join(known)}", "known": known, "found": [name]}
            raise PydanticCustomError("unknown_part", "{what}", words)
        return name


def _dump(value: Part, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode, by_alias=bool(info.by_alias))


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """Return those of packages that are installed now: to look takes as long as to read a whole use case."""
    del path
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def load_address(address: str) -> Any:  # noqa: ANN401 - whatever class lies there
    """Import what lies at an address, ``module:Name``."""
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
