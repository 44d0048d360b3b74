"""The service as flows see it: one address, and behind its name perhaps several replicas."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from functools import cached_property
from typing import Any, Literal, Self
from urllib.request import getproxies, proxy_bypass

import httpx

from expectations.errors import DriftwheelError, KeyRefusedError
from expectations.masking import split_login
from tasks.stores.retries import repeated, server_error

LEAVING_SECONDS = 45.0
"""So long a name may still stand for a replica that has gone, or for one that is not there yet."""
_NEW_KEY_SECONDS = 3.0
"""So long a key that was made just now may not be in force yet."""
_AGAIN_SECONDS = 0.5
_SECONDS = httpx.Timeout(10.0, connect=2.0)

Answers = list[dict[str, Any]]
"""One of each replica."""


class ServiceClient:
    """A client of the service's own pages; predictions are asked of any replica, what a flow does concerns all.

    Parameters
    ----------
    address : str
        URL. Its name may stand for several replicas: it must then resolve to each of them, as it does for a scaled
        service of a compose file and for a headless one on Kubernetes.
    key : str
        API key with every scope, where the service asks for one.

    Attributes
    ----------
    client : httpx.Client
        Asks any replica.
    several : bool
        Whether the name stood for several when they were asked last.
    """

    def __init__(self, address: str, key: str = "") -> None:
        self.address, login = split_login(address)
        self.several = False
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._login = httpx.BasicAuth(*login) if login else None
        here = _is_here(httpx.URL(self.address).host)  # no proxy is asked for this machine
        self.client = httpx.Client(
            base_url=self.address, headers=self._headers, auth=self._login, timeout=_SECONDS, trust_env=not here
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if "_direct" in vars(self):
            self._direct.close()

    @cached_property
    def _direct(self) -> httpx.Client:
        """A client of single replicas: no proxy stands before the name, so none may stand before its addresses."""
        trusted = ssl.create_default_context()
        return httpx.Client(headers=self._headers, auth=self._login, timeout=_SECONDS, trust_env=False, verify=trusted)

    def ask(self, method: Literal["GET", "POST"], path: str, patience: float = 0.0, **params: str) -> Answers:
        """Ask every replica, and return what each answered; for `patience` seconds again, where one does not.

        Where the name stands for several, one that does not answer is asked again until names are known to be right.

        Raises
        ------
        UnreachableError
            If one does not answer, or answers with an error.
        KeyRefusedError
            If one does not take the key.
        """
        began = time.monotonic()
        while True:
            asked = time.monotonic()
            try:
                return repeated(lambda: self.ask_once(method, path, **params))
            except httpx.HTTPError as error:
                leaving = LEAVING_SECONDS if self.several else _NEW_KEY_SECONDS if _of_key(error) else 0.0
                now = time.monotonic()
                if now - began + (now - asked) >= max(patience, leaving):  # once more would take as long again
                    raise self.fault(error) from error
            time.sleep(_AGAIN_SECONDS)

    def fault(self, error: httpx.HTTPError) -> DriftwheelError:
        """Say what it means that the service did not answer, or with an error."""
        if _of_key(error):
            return KeyRefusedError(
                f"the service at {self.address} to take the platform's key",
                str(error).partition("\n")[0],
                "See `driftwheel keys list`; `driftwheel keys remove platform` makes the platform another. Where "
                "DRIFTWHEEL_SERVICE_KEY is set, give it a key with every scope",
            )
        return server_error(
            f"an answer of the service at {self.address}",
            error,
            "Start it (`driftwheel up`), or see its log, and run again; nothing is lost",
            "DRIFTWHEEL_SERVICE_KEY",
        )

    def ask_once(self, method: Literal["GET", "POST"], path: str, **params: str) -> Answers:
        """Ask every replica once.

        Raises
        ------
        httpx.HTTPError
            If one does not answer, or answers with an error.
        """
        any_of_them = self.client.build_request(method, path, params=params)
        replicas = resolve(any_of_them.url)
        self.several = len(replicas) > 1
        if not self.several:
            return [_read(self.client.send(any_of_them))]
        answers = []
        for replica in replicas:
            url = any_of_them.url.copy_with(host=replica)
            request = self._direct.build_request(method, url, headers={"host": any_of_them.url.netloc.decode("ascii")})
            request.extensions["sni_hostname"] = any_of_them.url.host
            answers.append(_read(self._direct.send(request)))
        return answers


def _of_key(error: httpx.HTTPError) -> bool:
    refused = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in refused


def _read(answer: httpx.Response) -> dict[str, Any]:
    content: dict[str, Any]
    try:
        content = answer.raise_for_status().json()
    except ValueError as error:
        raise httpx.DecodingError("an answer that is none of the service's", request=answer.request) from error
    return content


def resolve(url: httpx.URL) -> list[str]:
    """Return the addresses a URL's name stands for; none where it is one server by its nature.

    That is an address, this machine, whatever it is called, or a name that only a proxy is asked for. Addresses of one
    family count: a server that listens in one family is not a second one in the other.

    Raises
    ------
    httpx.ConnectError
        If the name stands for nothing.
    """
    host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
    if _is_here(host) or _is_address(host) or (getproxies().get(url.scheme) and not proxy_bypass(host)):
        return []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"{host}: {error.strerror}") from error
    old = {str(each[4][0]) for each in found if each[0] == socket.AF_INET}
    return sorted(old or {str(each[4][0]) for each in found})


def _is_here(host: str) -> bool:
    own = ("localhost", socket.gethostname(), socket.getfqdn())
    return host in own or host.endswith(".localhost") or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
