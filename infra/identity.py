"""Whose server answers: a server of a home proves it by a token that only this home's processes can read."""

from __future__ import annotations

import hashlib
import hmac
import secrets

PROOF = "/.well-known/driftwheel"
"""Path of the proof, on every port of the local stack."""
_TIMEOUT = 2.0


def prove(token: str, program: str, nonce: str) -> str:
    """Return what only a holder of the token can answer to a nonce: an HMAC-SHA256 over program and nonce, in hex."""
    return hmac.new(token.encode(), f"{program}\0{nonce}".encode(), hashlib.sha256).hexdigest()


def proves(address: str, program: str, token: str) -> bool:
    """Whether what listens at an address is the program of the home whose token this is.

    False also where nothing listens, or another server does.
    """
    import httpx  # the service proves itself without it

    nonce = secrets.token_hex(16)
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:
            answer = client.get(f"{address}{PROOF}", params={"nonce": nonce})
            found = answer.json() if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, ValueError):  # nothing there, or it is no JSON
        return False
    said = found.get("proof") if isinstance(found, dict) else None
    return isinstance(said, str) and hmac.compare_digest(said, prove(token, program, nonce))
