"""Prefect's API where it is asked without Prefect's own client: its address, and how to log in."""

from __future__ import annotations

import httpx

from expectations.masking import split_login


def flow_server(api: str, login: str = "") -> tuple[str, httpx.Auth]:
    """Return the address without a login in it, and the login: the one that is set, else the address's own.

    Parameters
    ----------
    login : str
        ``user:password``; empty where none is set.

    Examples
    --------
    >>> flow_server("http://ann:pass@prefect:4200/api/")[0]
    'http://prefect:4200/api'
    """
    address, own = split_login(api)
    user, _, password = login.partition(":")
    given = (user, password) if login else own
    return address.rstrip("/"), httpx.BasicAuth(*given) if given else httpx.Auth()
