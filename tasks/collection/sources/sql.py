"""Rows of a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import polars as pl
from pydantic import AfterValidator, Field, model_validator

from expectations.data import Clock, DatasetOrigin, Source, SourceContext
from expectations.durations import Duration
from expectations.fields import PositiveSpan, Zone
from tasks.collection.addresses import origin_of
from tasks.collection.statements import asked_for, check_query
from tasks.collection.types import instants


class SqlSource(Source):
    """What a query of a database answers, or all of a table of it: SQLite, Postgres, and others SQLAlchemy reads."""

    examples: ClassVar = (
        {
            "kind": "sql",
            "address": "postgresql://reader:${SHOP_PASSWORD}@db.example.org/shop",
            "query": "select * from orders where changed >= :since and changed < :until",
        },
        {"kind": "sql", "address": "sqlite:///shop.db", "table": "customers", "join": {"on": ["n"]}},
    )
    kind: Literal["sql"]
    address: Annotated[str, Field(min_length=1)]
    """As SQLAlchemy writes them; ``${NAME}`` is filled in from the environment, as it is: nothing needs escaping.
    Files of SQLite are searched from the use case's folder."""
    query: Annotated[str, AfterValidator(check_query)] | None = None
    """One statement that reads. ``:since`` is from when on rows may have changed that were not collected yet (where all
    are wanted, the year 1000), ``:until`` the instant that is collected as of."""
    table: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)?$")] | None = None
    """Instead of a query, a table or view that is read whole; ``schema.table`` where it lies in a schema."""
    timezone: Zone | None = None
    """Of dates and times in the database that carry no zone. Where it is not given they are as in files, the clock's in
    its zone and others in UTC, and ``:since`` and ``:until`` are compared with them in the clock's."""
    timeout: PositiveSpan = Duration.parse("5m")
    """Most that reading may take."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read; more is an error."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.query is None) == (self.table is None):
            raise ValueError("give either `query` or `table`")
        return self

    @property
    def incremental(self) -> bool:
        """Whether the query asks for `:since`."""
        return self.query is not None and "since" in asked_for(self.query)

    def origin(self, folder: Path) -> DatasetOrigin:
        """Return the database and the table, or the query's place in it; of SQLite the file."""
        server = origin_of(self.address)
        if self.address.startswith("sqlite"):
            return DatasetOrigin("file", str(folder / self.address.partition(":///")[2].partition("?")[0]))
        return DatasetOrigin(
            server.namespace, ".".join(each for each in (server.name.strip("/"), self.table or "query") if each)
        )

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Read it in batches, in a transaction that only reads."""
        from tasks.collection.databases import Wanted, read_database

        clock = context.clock
        zone = self.timezone or (clock.timezone if clock else "UTC")
        rows = read_database(
            context, self.address, Wanted(self.query, self.table, zone), self.timeout, self.max_megabytes
        )
        if self.timezone is None:
            return rows
        kept = clock.column if clock is not None and clock.timezone == zone else None  # read by its other keys, too
        bare = [
            name
            for name, dtype in rows.schema.items()
            if isinstance(dtype, pl.Datetime) and dtype.time_zone is None and name != kept
        ]
        return rows.with_columns(
            instants(rows[name], Clock(column=name, timezone=zone), report=context.report) for name in bare
        )
