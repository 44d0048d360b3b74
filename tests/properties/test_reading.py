"""A body that is read in pieces gives what it gives at once, whatever it holds and however it is written."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.serving import pieces, protocol
from infra.serving.bad_requests import BadRequestError
from infra.serving.protocol import Media, Reader
from tasks.bundles.manifest import BundleColumn
from tests.conftest import examples

COLUMNS = [
    BundleColumn(name=name, type=kind, role="key" if name == "k" else "input")  # type: ignore[arg-type]
    for name, kind in {"x": "number", "n": "integer", "t": "text", "b": "boolean", "w": "instant", "k": "text"}.items()
]
MAX_ROWS = 90
TEXTS = ["", "a", 'b"c', '}, {"x": 1', "], [1", "\\", "ß", "x,y\n\r\nz", "data", '"data": [[1']
EXACT = {
    "x": [1.5, -0.0, 1e300, None, 3],
    "n": [1, None, -7],
    "t": [*TEXTS, None],
    "b": [True, None],
    "w": ["2011-01-01T00:00:00Z", "2011-02-03", None],
    "k": [*TEXTS, None],
}
LOOSE = {"x": [True, float("nan")], "n": [2.0, True], "t": [5, 1.5, False], "b": [1, 0.0], "w": [], "k": [7]}
WRONG = ["5", "\0", [1], {"x": 1}, 10**30, float("inf"), "soon", 2.5]
UNKNOWN = [None, [{"x": 1}, {"x": 2}, {"x": [[1], [2]]}], "y" * 50, [[[1], [2]], [3]], {"data": [[1], [2]]}]


def table(chance: random.Random, *, sound: bool) -> list[dict[str, Any]]:
    """Make up rows: of exact types, some of others, and now and then one that is wrong."""
    order, unknown = [column.name for column in COLUMNS], sound and chance.random() < 0.4
    chance.shuffle(order)
    loose, wrong = chance.choice((0.0, 0.0, 0.02, 0.3)), chance.choice((0.0, 0.0, 0.0, 0.003))
    rows = []
    for _ in range(chance.choice((0, 1, 3, 20, 40, 60, 95))):
        row = {name: chance.choice(EXACT[name]) for name in order}
        for name in order:
            if chance.random() < loose and LOOSE[name]:
                row[name] = chance.choice(LOOSE[name])
            if chance.random() < wrong:
                row[name] = chance.choice(WRONG)
        if unknown:
            row["unknown"] = chance.choice(UNKNOWN)
        rows.append(row)
    return rows


def body_of(chance: random.Random) -> bytes:
    sound = chance.random() < 0.8
    rows = table(chance, sound=sound)
    names = list(rows[0]) if rows else []
    split: dict[str, Any] = {"columns": names, "data": [list(row.values()) for row in rows]}
    if chance.random() < 0.3:
        split = {"index": [f"]}} {at}" for at in range(len(rows))], **split}
    if chance.random() < 0.3:
        split = dict(reversed(split.items()))
    forms: list[dict[str, Any]] = [
        {"dataframe_records": rows},
        {"instances": rows},
        {"inputs": rows},
        {"inputs": {name: [row[name] for row in rows] for name in names}},
        {"dataframe_split": split},
    ]
    asked = chance.choice(forms)
    some: list[Any] = [{"output": "label"}, {"data": [[1]], "inputs": [{"x": 1}]}]
    params = chance.choice([*[None] * 6, *some, *some, [], "x" * 5000])
    if params is not None:
        asked = {"params": params, **asked} if chance.random() < 0.5 else {**asked, "params": params}
    if sound and chance.random() < 0.2:
        asked["other"] = chance.choice(UNKNOWN)
    how: dict[str, Any] = chance.choice([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])
    before, behind = chance.choice([(b"", b"")] * 4 + [(b" \n" * 500, b"\t" * 700)])
    body = before + json.dumps(asked, **how).encode() + behind
    return body if sound else torn(body, chance)


def csv_of(chance: random.Random) -> bytes:
    sound, out = chance.random() < 0.8, io.StringIO(newline="")
    rows = table(chance, sound=sound)
    write = csv.DictWriter(
        out, list(rows[0]) if rows else ["x"], lineterminator=chance.choice(["\n", "\r\n", "\r", "\n\n"])
    )
    write.writeheader()
    write.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    body = (b"\xef\xbb\xbf" if chance.random() < 0.2 else b"") + out.getvalue().encode()
    return body if sound else torn(body, chance)


def torn(body: bytes, chance: random.Random) -> bytes:
    """Damage a body that holds nothing but what is read; letters are left whole, as names nobody knows are skipped."""
    at, size = chance.randrange(len(body)), chance.randint(1, 30)
    damaged = body[:at] + (chance.randbytes(1) if size % 2 else b"") + body[at + size :]
    try:
        damaged.decode()
    except UnicodeDecodeError:
        return body
    return damaged


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (pieces, protocol):
            patch.setattr(module, "PIECE_BYTES", size)
        patch.setattr(pieces, "_MAX_KEY_BYTES", 40)
        yield


def outcome(body: bytes, media: Media, size: int) -> tuple[Any, ...]:
    """Read a body in pieces of so many bytes; its rows and parameters, or what is wrong but for the place."""
    reader = Reader(COLUMNS, "w", "Europe/Berlin", MAX_ROWS)
    with pieces_of(size):
        try:
            rows, params = reader.read(body, media)
        except BadRequestError as error:
            return (error.status,)
    return repr([msgspec.structs.asdict(row) for row in rows]), dict(params)


@examples(400)
@given(st.integers(0, 10**9))
def test_json_in_pieces_is_the_json_at_once(seed: int) -> None:
    body = body_of(random.Random(seed))
    assert outcome(body, "json", 300) == outcome(body, "json", 10**9)


@examples(200)
@given(st.integers(0, 10**9))
def test_csv_in_pieces_is_the_csv_at_once(seed: int) -> None:
    body = csv_of(random.Random(seed))
    assert outcome(body, "csv", 100) == outcome(body, "csv", 10**9)


def test_most_bodies_of_many_rows_are_read_in_pieces_at_all() -> None:
    seen = {"good": 0, "steps": 0}
    for seed in range(300):
        body = body_of(random.Random(seed))
        reader = Reader(COLUMNS, "w", "Europe/Berlin", MAX_ROWS)
        with pieces_of(300):
            steps = reader.read_in_steps(body)
            number = 0
            try:
                while True:
                    next(steps)
                    number += 1
            except StopIteration:
                seen["good"] += 1
                seen["steps"] += number * 400 > len(body)
            except BadRequestError:
                pass
    assert seen["good"] > 120
    assert seen["steps"] > seen["good"] / 2


@pytest.mark.parametrize("form", ["dataframe_records", "dataframe_split", "inputs"])
def test_what_is_wrong_in_a_large_body_is_named_by_its_column_and_row(form: str) -> None:
    rows = [{name: EXACT[name][0] for name in EXACT} for _ in range(80)]
    for at in (0, 41, 79):
        for value, words in (([1], "the column x needs a number in row"), ("soon", "the column w needs an ISO 8601")):
            name = words.split()[2]
            odd = [{**row, name: value} if place == at else row for place, row in enumerate(rows)]
            body: object = odd
            if form == "inputs":
                body = {each: [row[each] for row in odd] for each in rows[0]}
            elif form == "dataframe_split":
                body = {"columns": list(rows[0]), "data": [list(row.values()) for row in odd]}
            with pieces_of(300), pytest.raises(BadRequestError, match=words) as raised:
                Reader(COLUMNS, "w", "UTC", MAX_ROWS).read(json.dumps({form: body}).encode())
            assert str(raised.value).endswith(f"in row {at}")
