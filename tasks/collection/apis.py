"""Ask a JSON API page by page: again where its fault may pass, within a time and a size, its faults in our words."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl

from expectations.data import SourceContext
from expectations.durations import Duration
from expectations.errors import SourceError, SourceUnreachableError
from expectations.masking import mask
from tasks.collection.batches import Batches, records

if TYPE_CHECKING:
    from tasks.collection.sources.http import Pages

_MEGABYTE = 10**6
_REQUEST_SECONDS = 60.0
"""Most that one answer may keep silent."""
_FIRST_PAUSE, _MAX_PAUSE = 0.5, 30.0
_MAX_TRIES = 6
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class Api:
    """An API, as a source asks it.

    Parameters
    ----------
    url : str
        As declared.
    """

    def __init__(self, context: SourceContext, url: str, timeout: Duration, max_megabytes: int) -> None:
        self._context, self._timeout, self._max = context, timeout, max_megabytes
        self._url = context.variables.fill(context.name, url)
        self._expected = f"an answer from {mask(url)} for the source {context.name!r}"
        self._deadline = time.monotonic() + timeout.approximate_seconds
        self._read = 0

    def read(
        self, params: Mapping[str, str], headers: Mapping[str, str], path: str | None, pages: Pages | None
    ) -> pl.DataFrame:
        """Read all records.

        Parameters
        ----------
        path : str, optional
            Where the records stand in an answer.

        Raises
        ------
        SourceError
            If the API refuses, answers something else, or more than may be read.
        SourceUnreachableError
            If it does not answer, or not in time.
        """
        for name in ("httpx", "httpcore"):  # they log addresses, in which a variable may be
            logging.getLogger(name).setLevel(logging.WARNING)
        batches = Batches(self._context.name, self._context.declared, self._max)
        patience = min(_REQUEST_SECONDS, self._timeout.approximate_seconds)
        try:
            with httpx.Client(headers=dict(headers), timeout=patience) as client:
                for answer in self._answers(client, httpx.URL(self._url).copy_merge_params(params), path, pages):
                    batches.add(*records(_flat(each) for each in self._records(answer, path)))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, ValueError) as error:
            raise self._refused(
                f"what is no request over HTTP ({type(error).__name__})", "Check `url`, `headers`"
            ) from None
        return batches.frame()

    def _answers(self, client: httpx.Client, first: httpx.URL, path: str | None, pages: Pages | None) -> Iterator[Any]:
        """Yield one answer after the other."""
        url, seen, before = first, set[str](), None
        number = pages.first if pages is not None else 0
        if pages is not None and pages.number:
            url = first.copy_set_param(pages.number, str(number))
        while True:
            seen.add(str(url))
            answer = self._ask(client, url)
            yield answer
            if pages is None:
                return
            if pages.number:
                if not self._records(answer, path):
                    return
                if answer == before:
                    raise self._refused(
                        f"twice the same page, by {pages.number}", "Check the parameter that counts pages"
                    )
                before, number = answer, number + 1
                url = first.copy_set_param(pages.number, str(number))
                continue
            following = _at(answer, pages.link or pages.cursor or "")
            if following in (None, "", False):
                return
            if not isinstance(following, str | int):
                raise self._refused(f"{type(following).__name__} at {pages.link or pages.cursor}", "Check `pages`")
            url = (
                url.join(str(following)) if pages.link else first.copy_set_param(pages.parameter or "", str(following))
            )
            if (url.scheme, url.host, url.port) != (first.scheme, first.host, first.port):
                raise self._refused("a link to another host, which is not sent the headers", "Check `pages`")
            if str(url) in seen:
                raise self._refused("a page that leads to one before it", "Check `pages`")

    def _ask(self, client: httpx.Client, url: httpx.URL) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Ask for one answer, and again while it may come."""
        pause, said = _FIRST_PAUSE, ""
        for tries in range(1, _MAX_TRIES + 1):
            wait = pause
            try:
                with client.stream("GET", url) as response:
                    if response.status_code == HTTPStatus.OK:
                        return self._json(self._content(response))
                    said = f"HTTP {response.status_code}"
                    if response.status_code not in _TRANSIENT:
                        raise self._refused(said, _remedy(response.status_code))
                    wait = _retry_after(response, pause)
            except httpx.TransportError as error:
                if isinstance(error, httpx.UnsupportedProtocol):
                    raise
                said = type(error).__name__
            if tries == _MAX_TRIES or time.monotonic() + wait > self._deadline:
                break
            time.sleep(wait)
            pause = min(2 * pause, _MAX_PAUSE)
        raise SourceUnreachableError(self._expected, said, "Check the address and the network, then run again")

    def _content(self, response: httpx.Response) -> bytes:
        parts = []
        for part in response.iter_bytes():
            parts.append(part)
            self._read += len(part)
            if self._read > self._max * _MEGABYTE:
                remedy = "Ask for fewer records; if all are needed, raise `max_megabytes` of the source"
                raise SourceError(f"at most {self._max:,} MB from the source {self._context.name!r}", "more", remedy)
            if time.monotonic() > self._deadline:
                remedy = "Ask for fewer records, or raise `timeout` of the source"
                raise SourceUnreachableError(self._expected, f"not all of it within {self._timeout}", remedy)
        return b"".join(parts)

    def _json(self, content: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._refused("what is no JSON", "Check `url`, and whether it wants a header `Accept`") from None

    def _records(self, answer: object, path: str | None) -> list[Mapping[str, object]]:
        found = _at(answer, path) if path else answer
        if not isinstance(found, list):
            keys = f", with the keys {', '.join(sorted(answer))}" if isinstance(answer, dict) else ""
            where = f"no list at {path}" if path else f"{type(answer).__name__}, and no list"
            raise self._refused(f"{where}{keys}"[:300], "Say under `records` where the list of records stands")
        odd = next((each for each in found if not isinstance(each, Mapping)), None)
        if odd is not None:
            raise self._refused(f"a record that is {type(odd).__name__}, not an object", "Check `records`")
        return found

    def _refused(self, found: str, remedy: str) -> SourceError:
        return SourceError(self._expected, found, remedy)


def _at(answer: object, path: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what stands at a dotted path; None where nothing does."""
    for key in path.split("."):
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer


def _flat(record: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a record as columns: what lies in an object is ``outer.inner``, a list is its JSON."""
    flat: dict[str, object] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


def _retry_after(response: httpx.Response, pause: float) -> float:
    """Return for how many seconds an answer asks to wait; at least the pause."""
    asked = response.headers.get("retry-after", "")
    try:
        if asked.isdecimal():
            return max(pause, float(asked))
        return max(pause, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()) if asked else pause
    except (TypeError, ValueError):
        return pause


def _remedy(status: int) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "Check the key it is shown, under `headers` or `params`"
    if 300 <= status < 400:  # it leads elsewhere, where the headers are not meant to go
        return "Write the address that it leads to"
    return "Check `url` and `params`"
