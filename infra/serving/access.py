"""Who may ask what: API keys with scopes, read again whenever their file changes."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from expectations.errors import DriftwheelError
from infra.identity import PROOF
from tasks.stores.keys import Key, Keys, Scope, key_of

_log = logging.getLogger("driftwheel.serving")
OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready", PROOF})
"""Answered without a key: they reveal nothing but whether the service does well, and whose it is."""

_REMEMBERED = 64
"""Names of this machine and others that need not be read again; a client may send as many as it likes."""

Headers = Iterable[tuple[bytes, bytes]]


class Access:
    """Checks keys.

    Parameters
    ----------
    path : Path, optional
        File of keys; it need not exist yet.
    loopback : bool
        Whether only this machine can ask: then everything is open as long as there is no key.
    """

    def __init__(self, path: Path | None, *, loopback: bool) -> None:
        self._file, self._loopback = Keys(path) if path is not None else None, loopback
        self._closed = False
        """Whether there were keys once: a file that is lost does not open the door again."""
        self._keys: Sequence[Key] = ()
        self._seen: tuple[int, int] | None = None
        self.refusals = {401: 0, 403: 0, 503: 0}
        """Status -> requests refused with it before anything was done for them; 503: of one connection too many."""
        self.refresh()

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return self._loopback and not self._closed

    def refresh(self) -> None:
        """Read the keys again if their file changed; one that cannot be read leaves those known in force."""
        if self._file is None:
            return
        path = self._file.path
        state = (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None
        if state == self._seen:
            return
        try:
            self._keys = list(self._file.read().values())
        except (DriftwheelError, OSError) as error:
            _log.error("the keys stay as they were: %s", error)
            return
        self._seen, self._closed = state, self._closed or bool(self._keys)
        _log.info("%d keys are in force", len(self._keys))

    def refuses(self, headers: Headers, needed: Scope | None) -> int:
        """Return 0 where the request may pass, 401 where its key is none of ours, 403 where it may not do this.

        Where everything is open, a page of another origin in a browser on this machine may still do nothing, though a
        name of its own may lead here.

        Parameters
        ----------
        needed : {"predict", "feedback", "admin"}, optional
            None takes any key.
        """
        status = self._status(headers, needed)
        if status:
            self.refusals[status] += 1
        return status

    def _status(self, headers: Headers, needed: Scope | None) -> int:
        if self._loopback and not self._closed:
            host: bytes | None = None
            origin: bytes | None = None
            for name, value in headers:
                if name == b"host":
                    host = value
                elif name == b"origin":
                    origin = value
            if host is not None and not is_of_this_machine(host):
                return 403
            return 403 if origin is not None and (host is None or origin != b"http://" + host) else 0
        key = self._key(headers)
        if key is None or not key.scopes:
            return 401
        return 0 if needed is None or needed in key.scopes else 403

    def sender(self, headers: Headers) -> str:
        """Return the name of the key a request shows; empty where it shows none, as everything is open."""
        key = self._key(headers)
        return key.name if key is not None else ""

    def _key(self, headers: Headers) -> Key | None:
        presented = b""
        for name, value in headers:
            if name == b"authorization" and value[:7].lower() == b"bearer ":
                presented = value[7:].strip()
            elif name == b"x-api-key":
                presented = value
        return key_of(presented, self._keys) if presented else None


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which no other can reach it by."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(_REMEMBERED)
def is_of_this_machine(host: bytes) -> bool:
    """Whether the value of a Host header names this machine, at whatever port, and is nothing more than that."""
    try:
        text = host.decode("ascii")
        found = urlsplit(f"//{text}")
        _ = found.port  # raises where that is no number
        return found.netloc == text and "@" not in text and is_loopback(found.hostname or "")
    except ValueError:
        return False
