"""The service as flows see it: one address, and behind its name perhaps several replicas."""

from __future__ import annotations

import ipaddress
import socket
import time
from typing import Any, Literal, Self

import httpx

from expectations.errors import UnreachableError

_AGAIN_SECONDS = 0.5

Answers = list[dict[str, Any]]
"""One of each replica."""


class Service:
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
    """

    def __init__(self, address: str, key: str = "") -> None:
        self.address = address
        self.client = open_client(address, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, method: Literal["GET", "POST"], path: str, patience: float = 0.0, **params: str) -> Answers:
        """Ask every replica, and return what each answered; for `patience` seconds again, where one does not.

        Raises
        ------
        UnreachableError
            If one does not answer, or answers with an error.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.ask_once(method, path, **params)
            except httpx.HTTPError as error:
                if time.monotonic() >= deadline:
                    raise UnreachableError(
                        f"the service at {self.address} to answer {path}",
                        str(error),
                        "Start it (`driftwheel up`) and run again; nothing is lost",
                    ) from error
            time.sleep(_AGAIN_SECONDS)

    def ask_once(self, method: Literal["GET", "POST"], path: str, **params: str) -> Answers:
        """Ask every replica once.

        Raises
        ------
        httpx.HTTPError
            If one does not answer, or answers with an error.
        """
        url = self.client.base_url.copy_with(path=path)
        host = url.netloc.decode("ascii")
        answers = []
        for replica in _replicas(url):
            request = self.client.build_request(
                method, url.copy_with(host=replica), params=params, headers={"host": host}
            )
            request.extensions["sni_hostname"] = url.host
            answers.append(self.client.send(request).raise_for_status().json())
        return answers


def open_client(address: str, key: str = "", timeout: float = 10.0) -> httpx.Client:
    """Open a client of any replica."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=address, headers=headers, timeout=timeout)


def _replicas(url: httpx.URL) -> list[str]:
    """Return the hosts to ask: the name itself, or every address it stands for where those are several."""
    found = resolve(url.host, url.port or (443 if url.scheme == "https" else 80))
    return found if len(found) > 1 else [url.host]


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses a name stands for, each once; none for an address, or for this machine, which is one.

    Raises
    ------
    httpx.ConnectError
        If the name stands for nothing.
    """
    if host == "localhost" or host.endswith(".localhost") or _is_address(host):
        return []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise httpx.ConnectError(f"{host}: {error.strerror}") from error
    return sorted({str(each[4][0]) for each in found})


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
