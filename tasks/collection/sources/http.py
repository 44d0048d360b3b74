"""Records of a JSON API."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from expectations.data import DatasetOrigin, Source, SourceContext
from expectations.durations import Duration
from expectations.fields import PositiveSpan, Strict
from tasks.collection.addresses import origin_of

_Path = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]
_Name = Annotated[str, Field(min_length=1)]
_INSTANT = re.compile(r":(since|until)\b")
_ALL = datetime(1000, 1, 1, tzinfo=UTC)
"""Since when all rows are wanted."""


class Pages(Strict):
    """How an answer leads to the next one: by a number, a link or a cursor."""

    number: _Name | None = None
    """Parameter that counts pages; the first without a record is the last."""
    first: Annotated[int, Field(ge=0)] = 1
    """Number of the first page."""
    link: _Path | None = None
    """Where in an answer the address of the next one stands, as in ``links.next``."""
    cursor: _Path | None = None
    """Where in an answer a text stands that is sent for the next one, in the parameter `parameter`."""
    parameter: _Name | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(each is not None for each in (self.number, self.link, self.cursor)) != 1:
            raise ValueError("give one of `number`, `link` and `cursor`")
        if (self.cursor is None) != (self.parameter is None):
            raise ValueError("`parameter` says how the `cursor` is sent: give both")
        return self


class HttpSource(Source):
    """Records of a JSON API that answers in one piece, or in pages."""

    examples: ClassVar = (
        {
            "kind": "http",
            "url": "https://api.example.org/v1/readings",
            "records": "data.items",
            "params": {"changed_from": ":since", "changed_to": ":until", "limit": "500"},
            "headers": {"Authorization": "Bearer ${API_TOKEN}"},
            "pages": {"cursor": "meta.next", "parameter": "after"},
        },
        {"kind": "http", "url": "https://api.example.org/pumps", "pages": {"number": "page"}, "join": {"on": ["n"]}},
    )
    kind: Literal["http"]
    url: Annotated[str, Field(pattern=r"^(https?://|\$\{)")]
    """``${NAME}`` is filled in from the environment, here and in `params` and `headers`."""
    records: _Path | None = None
    """Where in an answer its list of records stands; without it the answer is that list."""
    params: dict[str, str] = Field({})
    """Parameters of the query. ``:since`` and ``:until`` become instants (2024-05-01T12:00:00Z), here and in `url`;
    where all rows are wanted, a parameter that is ``:since`` is left out, and within a longer text it is the year
    1000."""
    headers: dict[str, str] = Field({})
    pages: Pages | None = None
    timeout: PositiveSpan = Duration.parse("5m")
    """Most that reading may take, with all pages, and with waiting where the API asks for that."""
    max_megabytes: Annotated[int, Field(ge=1)] = 4096
    """Most that is read; more is an error."""

    @property
    def incremental(self) -> bool:
        """Whether it is asked for what changed since."""
        return any("since" in _INSTANT.findall(text) for text in (self.url, *self.params.values()))

    def origin(self, folder: Path) -> DatasetOrigin:  # noqa: ARG002
        """Return the server and the path there."""
        return origin_of(self.url)

    def read(self, context: SourceContext) -> pl.DataFrame:
        """Read page by page."""
        from tasks.collection.apis import Api

        fill = context.variables.fill
        instants = {"since": context.since or _ALL, "until": context.until or _ALL}

        def dated(text: str) -> str:
            return _INSTANT.sub(lambda found: f"{instants[found[1]].isoformat()[:19]}Z", text)

        params = {
            name: fill(context.name, dated(value))
            for name, value in self.params.items()
            if not (value in (":since", ":until") and getattr(context, value[1:]) is None)
        }
        headers = {name: fill(context.name, value) for name, value in self.headers.items()}
        api = Api(context, dated(self.url), self.timeout, self.max_megabytes)
        return api.read(params, headers, self.records, self.pages)
