"""Texts without what is secret in them: logins, values of a query, which may be tokens or signatures, and keys."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "***"
_KEY = re.compile(r"((?:Bearer|Basic) )(?=[a-z.~-]*[^a-z.~\s-])[\w.~+/=-]{8,}")  # a word of small letters is a word
# of a password that was not percent-encoded, everything up to the last @ of the word
_LOGIN = re.compile(r"(?<=://)(?:[^\s/?#'\"<>]*|[^\s/?#'\"<>@:]*:[^\s'\"<>]*)@")
_VALUE = re.compile(r"([?&;][\w.~%\[\]-]+=)[^\s&;'\"<>)]+")


def mask(text: str) -> str:
    """Hide logins and values of queries in whatever addresses a text holds, and what is shown as a key.

    Examples
    --------
    >>> mask("no answer from https://ann:pass@host:8080/rows.csv?user=7&sig=ab%2F (timeout)")
    'no answer from https://***@host:8080/rows.csv?user=***&sig=*** (timeout)'
    """
    text = _KEY.sub(rf"\1{MASK}", text)
    return _VALUE.sub(rf"\1{MASK}", _LOGIN.sub(f"{MASK}@", text)) if "://" in text or "?" in text else text


def split_login(address: str) -> tuple[str, tuple[str, str] | None]:
    """Take the login out of a URL: a client that gets it separately cannot write it into its errors.

    Examples
    --------
    >>> split_login("https://ann:p%40ss@host:8080/path")
    ('https://host:8080/path', ('ann', 'p@ss'))
    """
    parts = urlsplit(address)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return address, None
    user, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))
