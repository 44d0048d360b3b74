"""The platform's own key to the service: in force as long as the service asks for any."""

from __future__ import annotations

import hmac
import secrets

from expectations.errors import DriftwheelError
from infra.settings import Settings
from tasks.stores.files import storing
from tasks.stores.keys import PLATFORM, SCOPES, Key, Keys, digest_of
from tasks.stores.whole_files import replace_file


def keep_platform_in(settings: Settings) -> bool:
    """See that the key the platform shows is in force; returns whether it was not.

    A file of keys elsewhere that has a platform's key already may be another platform's: it stays as it is.
    """
    file = Keys(settings.keys_file)
    shown = settings.shown_key
    known = file.read()
    if shown and any(_is(key, shown) and set(key.scopes) >= set(SCOPES) for key in known.values()):
        return False
    if PLATFORM in known and settings.service_keys is not None and not settings.service_key:
        return False
    file.put(PLATFORM, SCOPES, shown or _made(settings))
    return True


def remove_key(settings: Settings, name: str) -> bool:
    """Remove a key, the platform's by making it another; returns whether that was done.

    Raises
    ------
    DriftwheelError
        If there is none of this name, or if it is the platform's and given from outside: it would be locked out.
    """
    file = Keys(settings.keys_file)
    known, shown = file.read(), settings.shown_key
    shows = name in known and bool(shown) and _is(known[name], shown)
    if shows and settings.service_key:
        raise DriftwheelError(
            "a key the platform can do without",
            f"{name!r}, which DRIFTWHEEL_SERVICE_KEY gives the platform to show",
            "Give it another key with every scope there first, then remove this one",
        )
    if name == PLATFORM and name in known and not shows and settings.service_keys is not None:
        raise DriftwheelError(
            "the key of this home's platform",
            f"that of another in {file.path}",
            "Change it where that platform is configured (DRIFTWHEEL_SERVICE_KEY in `.env` of a stack of containers)",
        )
    renewed = shows or (name == PLATFORM and name in known)
    if renewed:
        file.put(name, SCOPES, _made(settings))
    else:
        file.remove(name)
        keep_platform_in(settings)
    return renewed


def _made(settings: Settings) -> str:
    """Make the platform a key; whole before it is in force, so a kill in between is healed by the next command."""
    key = f"dw_{PLATFORM}_{secrets.token_urlsafe(32)}"
    path = settings.own_key_file
    with storing("write the platform's own key to", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, key, 0o600)
    return key


def _is(key: Key, text: str) -> bool:
    return hmac.compare_digest(key.sha256, digest_of(text))
