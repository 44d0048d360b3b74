"""Bodies that are refused by how they begin."""

from __future__ import annotations

import json

import msgspec
import pytest

from infra.serving.bad_requests import BadRequestError
from infra.serving.forms import MAX_PARAMS_BYTES, check_opening, read_params

ROWS = b'{"dataframe_records": [{"a": 1, "b": "\\"params\\": {"}], '
OBJECTS = b"{}," * MAX_PARAMS_BYTES
BLANKS = b" \n" * 10_000


@pytest.mark.parametrize(
    "head",
    [
        ROWS + b'"params": {"a": [' + OBJECTS,
        b'{"params":[' + OBJECTS,
        b'{"params" \n: "' + b"x" * MAX_PARAMS_BYTES,
        b'{"params":' + b" " * 60 + b'{"a": {"params": [' + OBJECTS,
        b'{"params"' + BLANKS + b":" + BLANKS + b'{"a": [' + OBJECTS,
    ],
)
def test_params_that_are_too_large_whatever_follows_are_refused(head: bytes) -> None:
    with pytest.raises(BadRequestError, match="`params` has more than 16384 bytes") as refused:
        check_opening(head)
    with pytest.raises(BadRequestError, match="; at most 16384 are read") as read:
        read_params(msgspec.Raw(b"[" + OBJECTS[:-1] + b"]"))
    assert refused.value.status == read.value.status == 400


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[" * 100_000,
        ROWS + b'"params": {"output": "label"}, "odd": [' + OBJECTS,  # its own end is there
        ROWS + b'"params": {"output": label' + OBJECTS,  # no JSON, as what reads all of it says
        ROWS + b'"odd": {"params": {"a": [' + OBJECTS,  # of something else
        b'{"dataframe_records": [{"params": [' + OBJECTS,
        b'{"dataframe_records": [{"a": "' + OBJECTS + b'"params": {"',
        b'{"params": 1, "params_too": [' + OBJECTS,
        (b'{"params":[' + OBJECTS)[:MAX_PARAMS_BYTES],  # it may end yet
        b'{"params":' + BLANKS + b'{}, "dataframe_records": [' + OBJECTS,
        b'{"params":' + BLANKS,
    ],
)
def test_what_may_be_sound_yet_is_read_on(head: bytes) -> None:
    check_opening(head)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_bound_is_that_of_params_that_are_read(more: int) -> None:
    params = b'"' + b"x" * (MAX_PARAMS_BYTES - 2 + more) + b'"'
    head = b'{"params":' + params + b',"dataframe_records":[' + b"{}," * 9999
    assert len(json.loads(params)) == MAX_PARAMS_BYTES - 2 + more
    if more <= 0:
        check_opening(head)
        return
    with pytest.raises(BadRequestError):
        check_opening(head)
