"""Delta tables in folders of any name. Imported by the lake where a table is opened: deltalake takes its time."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable, WriterProperties

WRITING = WriterProperties(compression="ZSTD")
"""A quarter smaller than what deltalake writes by itself, and no slower to write or read."""


class LocalTable(DeltaTable):
    """A table in a folder.

    deltalake percent-encodes the paths of local files (``/home/J%C3%B6rg``), and Polars opens them as they come.
    Reading through a PyArrow dataset would not need this, but was 3 to 20 times slower.
    """

    def file_uris(self, *arguments: Any, **options: Any) -> list[str]:  # noqa: ANN401 - as deltalake's own
        """Return the paths of the files as the file system has them."""
        return [unquote(path) for path in super().file_uris(*arguments, **options)]

    @property
    def table_uri(self) -> str:
        """The folder, as the file system has it."""
        return unquote(super().table_uri)
