"""What a query of a source may be: one statement that reads, and asks for `:since` and `:until` alone."""

from __future__ import annotations

import re

_QUOTED = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(\w*)\$.*?\$\1\$ | --[^\n]* | /\*.*?\*/""", re.DOTALL | re.VERBOSE
)
"""Literals, quoted names and comments: what stands in them is no word of the statement."""
_VARIABLE = re.compile(r"(?<![:\w\\]):([A-Za-z_]\w*)")
_CHANGES = re.compile(
    r"\b(insert|update|delete|merge|into|drop|alter|create|truncate|grant|revoke|exec|execute|call|attach|pragma)\b",
    re.IGNORECASE,
)
BOUND = ("since", "until")


def check_query(query: str) -> str:
    """Return a query that only reads.

    Raises
    ------
    ValueError
        If it is another statement, several, or asks for what it is not given.
    """
    bare = _QUOTED.sub(_hollow, query).strip().removesuffix(";").rstrip()
    if not re.match(r"[\s(]*(select|with)\b", bare, re.IGNORECASE):
        raise ValueError("a query begins with select or with: a source is only read")
    if ";" in bare:
        raise ValueError("one query, and no other statement after it")
    if found := _CHANGES.search(bare):
        word = found[1].lower()
        raise ValueError(f"a source is only read, and the query says {word}; a column of that name goes into quotes")
    if "'" in bare or '"' in bare or "/*" in bare:
        raise ValueError("a quote or comment in it has no end")
    if unknown := sorted(set(_VARIABLE.findall(bare)) - set(BOUND)):
        raise ValueError(
            f"it asks for :{', :'.join(unknown)}; there are :since and :until (a colon that is one is written \\:)"
        )
    return query


def asked_for(query: str) -> tuple[str, ...]:
    """Return which of :since and :until a query asks for."""
    found = _VARIABLE.findall(_QUOTED.sub(_hollow, query))
    return tuple(name for name in BOUND if name in found)


def with_plain_colons(query: str) -> str:
    """Return the query as SQLAlchemy takes it: each colon escaped that begins no variable."""
    parts, end = [], 0
    for found in _QUOTED.finditer(query):
        parts += [query[end : found.start()].replace("::", r"\:\:"), re.sub(r"\\?:", r"\\:", found[0])]
        end = found.end()
    return "".join((*parts, query[end:].replace("::", r"\:\:"))).strip().removesuffix(";")


def _hollow(found: re.Match[str]) -> str:
    """Return what stands for a quoted thing: a name, or nothing where it is a comment."""
    return " " if found[0].startswith(("--", "/*")) else " _ "
