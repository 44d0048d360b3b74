"""Texts as numbers: one function of a text, which both executors call."""

from __future__ import annotations

from hashlib import blake2b


def hash_text(text: str) -> int:
    """Return a number below 2^64 that is the same in every process: BLAKE2b of the text in UTF-8 (RFC 7693)."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
