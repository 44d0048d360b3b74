"""Files by path, glob or address."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.data import SourceContext
from expectations.durations import Duration
from expectations.fields import PositiveSpan
from tasks.collection.addresses import is_elsewhere, locate_files, read_elsewhere, read_here
from tasks.collection.sources.tables import TableFiles


class FileSource(TableFiles):
    """Files by path or glob, or at an address fsspec reads (https, s3, …); paths start at the use case's folder."""

    examples: ClassVar = (
        {"kind": "file", "path": "readings.csv"},
        {"kind": "file", "path": "https://example.org/weather.parquet", "timeout": "1m", "join": {"on": ["n"]}},
    )
    kind: Literal["file"]
    timeout: PositiveSpan = Duration.parse("5m")
    """Most that reading an address elsewhere may take."""

    def locate(self, context: SourceContext) -> list[str]:
        """Return the address itself where it leads elsewhere, else what its path stands for."""
        return locate_files(context.name, self.path, context.folder)

    def fetch(self, name: str, address: str) -> bytes:
        """Read a regular file of this machine, or what a store elsewhere holds."""
        if is_elsewhere(name, address):
            return read_elsewhere(name, address, self.timeout, self.max_megabytes)
        return read_here(name, address, self.max_megabytes)
