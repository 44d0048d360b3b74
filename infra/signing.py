"""Signatures of what leaves this home: Ed25519, by a key that follows from the home's own secret.

Whoever has the public key alone can verify, offline, whether a byte was changed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.errors import StateError, StorageError
from tasks.stores.files import storing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "signature.json"


def signing_key(secret: bytes, purpose: str) -> Ed25519PrivateKey:
    """Return the key for a purpose."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = hashlib.blake2b(purpose.encode(), key=secret[:64], digest_size=32).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public key in hex: what others verify by."""
    return key.public_key().public_bytes_raw().hex()


def sign_folder(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write a signature over the hashes of all files in a folder into ``signature.json``."""
    hashes = _hashes(folder)
    signature = key.sign(_text(hashes)).hex()
    content = {"algorithm": "Ed25519", "key": public_text(key), "files": hashes, "signature": signature}
    (folder / SIGNATURE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def verify_folder(folder: Path, public: str) -> list[str]:
    """Return what is wrong with a signed folder: files that are altered, lacking or more; nothing where it is sound.

    Parameters
    ----------
    public : str
        The key in hex that it must be signed by.

    Raises
    ------
    StateError
        If the key is none.
    StorageError
        If it has no signature that can be read.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public_key(public)
    with storing("read the signature of", folder):
        try:
            content = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))
            files, signature = dict(content["files"]), bytes.fromhex(content["signature"])
        except (ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise StorageError(f"a signature in {folder / SIGNATURE}", why, "Write it anew") from error
        try:
            key.verify(signature, _text(files))
        except InvalidSignature:
            return [f"{SIGNATURE} was not made by the key {public[:12]}…, or was altered"]
        found = _hashes(folder)
    wrong = [f"{name} was altered" for name in files if name in found and found[name] != files[name]]
    wrong += [f"{name} is lacking" for name in files if name not in found]
    return wrong + [f"{name} is none of the signed files" for name in found if name not in files]


def _public_key(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise StateError(
            "a public key of Ed25519: 64 digits in hex",
            f"{len(text)} characters ({error})",
            "Give the key that was printed when the folder was signed",
        ) from error


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SIGNATURE
    }


def _text(hashes: dict[str, str]) -> bytes:
    return json.dumps(hashes, sort_keys=True, separators=(",", ":")).encode()
