"""Whatever stands in the two files of a use case: it loads, or every fault is a problem of ours, soon."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from expectations.errors import ExpressionError, UseCaseError
from expectations.expression_tree import Expression
from expectations.expressions import parse_expression
from expectations.loading import SHIPPED, load_use_case
from tests.conftest import examples

GOOD = (SHIPPED / "bikes" / "usecase.yaml").read_text()
DATA = yaml.safe_load(GOOD.replace("{on:", "{'on':"))

INDICATORS = "[]{}&*!|>'\"%@`#,:?-<~ \n\t0.1eaé\\\r\0\x85\ufeff"
FILES = st.one_of(
    st.binary(max_size=200),
    st.text(st.sampled_from(INDICATORS), max_size=60).map(str.encode),
    st.lists(
        st.sampled_from(
            [*"[]{}a'~", "&a ", "*a", ": ", "- ", "\n", "  ", "? ", "<<", "!!", "str ", "int ", "map ", "!x ", '"\\0"']
        )
        | st.sampled_from(['"\\ud800"', ".inf", "1:30", "0x1f", "017", "1_0", "9" * 50, "---\n", "%TAG ! !\n"]),
        max_size=30,
    ).map(lambda parts: "".join(parts).encode()),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(
            ["1d", "99999999999d", "0 3 * * *", "0 0 31 2 *", "²", "a: b", "~nobody/x", "\0", "Europe/Paris"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


def load(folder: Path, usecase: bytes, suite: bytes) -> None:
    (folder / "usecase.yaml").write_bytes(usecase)
    (folder / "suite.yaml").write_bytes(suite)
    with suppress(UseCaseError):
        load_use_case(str(folder))


WRITES = examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@WRITES
@given(FILES)
@example(b"&a [*a]")
@example(b"a: &a {<<: *a}")
@example(b"{{ x }}: 1")
@example(b"title: {{ project }}")
@example(b"a: \0")
@example("a: ä".encode("latin-1"))
@example("a: b".encode("utf-16"))
def test_any_bytes_load_or_are_problems(tmp_path: Path, content: bytes) -> None:
    load(tmp_path, content, b"[]")
    load(tmp_path, GOOD.encode(), content)


@WRITES
@given(st.sampled_from(places(DATA)[1:]), VALUES)
def test_any_value_in_any_place_loads_or_is_a_problem(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    data = yaml.safe_load(yaml.safe_dump(DATA))
    target = data
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    load(tmp_path, yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "replace"), b"[]")


EXPRESSIONS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from([*"ab1+-*/()[],.<{}\0\n", "1e999", "'x'", " in ", " not ", " and ", " or ", " if ", " else "])
        | st.sampled_from(["==", "min", "abs", "is_missing", "__import__", "lambda", ":="]),
        max_size=25,
    ).map("".join),
)


@examples(300)
@given(EXPRESSIONS)
@example("-" * 9000 + "a")
@example("(" * 5000 + "a" + ")" * 5000)
@example("not " * 2000 + "a")
@example("a" + "+a" * 4000)
@example("9" * 400 + "+ a")
@example("9" * 5000 + "+ a")
@example("a + '\ud800'")
@example("a\0")
def test_any_text_is_an_expression_or_none_of_ours(text: str) -> None:
    with suppress(ExpressionError):
        assert isinstance(parse_expression(text), Expression)


@pytest.mark.parametrize("text", ["-" * 50_000 + "a", "a" + "+a" * 50_000])
def test_a_long_expression_is_refused_before_it_is_parsed(text: str) -> None:
    with pytest.raises(ExpressionError, match="of at most 10,000"):
        parse_expression(text)
