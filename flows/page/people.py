"""Who looks at the page, and whether that person may do what can be done on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flows.asking import this_person


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes
    ----------
    name : str
        As the ledger names them.
    may_do : bool
        Whether they are an operator; a reader only looks.
    """

    name: str
    may_do: bool


def logins(written: str) -> frozenset[str]:
    """Return the logins of a list with commas between.

    Examples
    --------
    >>> sorted(logins("ann, bob,"))
    ['ann', 'bob']
    """
    return frozenset(filter(None, (each.strip() for each in written.split(","))))


def person(headers: Mapping[str, str], operators: Collection[str] | None) -> Visitor:
    """Return who asks: whom the login in front let in; on this machine alone, whoever started the page.

    Parameters
    ----------
    operators : collection of str, or None
        Logins that may do what can be done, of those in front; any other is a reader. None where no login stands in
        front: only this machine reaches the page, and may do all.

    Notes
    -----
    The login is UTF-8, as browsers send it, of which each byte was read as one letter.

    Examples
    --------
    >>> person({"x-user": "ann"}, ["ann"])
    Visitor(name='ann', may_do=True)
    >>> person({"x-user": "bob"}, ["ann"])
    Visitor(name='bob', may_do=False)
    """
    if operators is None:
        return Visitor(this_person(), may_do=True)
    login = headers.get("x-user", "").encode("latin-1", "replace").decode("utf-8", "replace")  # as a header is read
    return Visitor(login[:100] or "a user", may_do=bool(login) and login in operators)
