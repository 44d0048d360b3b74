"""Rows of a replay, on their way to the live service."""

from __future__ import annotations

import httpx
import msgspec
import polars as pl

from flows.replay_story import SentRequests
from tasks.bundles.row_frames import jsonable
from tasks.stores.progress import say
from tasks.stores.retries import reason

_TIMEOUT = 60.0


def send_rows(client: httpx.Client, usecase: str, rows: pl.DataFrame, traffic: SentRequests) -> None:
    """Ask for predictions of rows in one request, or in halves where the service takes no body as large.

    One that fails is counted and its reason reported; it is not sent again, as its rows may have been answered.

    Parameters
    ----------
    rows : polars.DataFrame of shape (n_rows, n_inputs)
        The columns that a request carries.
    traffic : SentRequests
        Added to.
    """
    values = pl.DataFrame(jsonable(rows), schema=dict.fromkeys(rows.columns), infer_schema_length=None).rows()
    body = msgspec.json.encode({"dataframe_split": {"columns": rows.columns, "data": values}})
    kind = {"content-type": "application/json"}
    try:
        answer = client.post(f"/{usecase}/invocations", content=body, headers=kind, timeout=_TIMEOUT)
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE and len(rows) > 1:
            half = len(rows) // 2
            send_rows(client, usecase, rows[:half], traffic)
            send_rows(client, usecase, rows[half:], traffic)
            return
        answer.raise_for_status()
    except httpx.HTTPError as error:
        traffic.failed += 1
        say("a request of %d rows failed: %s; --batch sends fewer rows in each", len(rows), reason(error))
    traffic.requests += 1
    traffic.rows += len(rows)
