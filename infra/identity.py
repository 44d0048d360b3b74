"""Whose server answers: a server of a home proves it by a token that only this home's processes can read."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import ssl

from expectations.errors import StackError

PROOF = "/.well-known/driftwheel"
"""Path of the proof, on every port of the local stack."""
_TIMEOUT = 2.0


def prove(token: str, program: str, nonce: str) -> str:
    """Return what only a holder of the token can answer to a nonce: an HMAC-SHA256 over program and nonce, in hex."""
    return hmac.new(token.encode(), f"{program}\0{nonce}".encode(), hashlib.sha256).hexdigest()


def require_proof(address: str, program: str, token: str) -> None:
    """Make sure that what listens at an address is the program of the home whose token this is.

    Raises
    ------
    StackError
        If another server answers there.
    httpx.HTTPError
        If none answers, or one that is too busy, or broken, to say whose it is.
    """
    import httpx  # the service proves itself without it

    nonce = secrets.token_hex(16)
    no_authority = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it is plain HTTP; httpx would read all of them, each time
    with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=no_authority) as client:
        answer = client.get(f"{address}{PROOF}", params={"nonce": nonce})
    if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        answer.raise_for_status()
    try:
        found = answer.json()
    except ValueError:
        found = None
    said = found.get("proof") if isinstance(found, dict) else None
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), prove(token, program, nonce).encode()):
        raise StackError(
            f"{program} of this home at {address}",
            "another server, which took its port",
            f"Stop what listens there; or `driftwheel down`, set DRIFTWHEEL_{program.upper()}_PORT to another (0 for "
            "any), and `driftwheel up`",
        )


def proves(address: str, program: str, token: str) -> bool:
    """Whether what listens at an address is the program of the home whose token this is.

    False also where nothing listens, or another server does.
    """
    import httpx

    try:
        require_proof(address, program, token)
    except (httpx.HTTPError, StackError):
        return False
    return True
