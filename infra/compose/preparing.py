"""What the stack of containers needs before it can start: secrets, a login, a certificate."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from expectations.errors import DriftwheelError, StackError
from infra.compose.certificates import certify, outdated, require_cryptography
from tasks.stores.files import storing
from tasks.stores.keys import PLATFORM, SCOPES, Keys
from tasks.stores.whole_files import replace_file

_HOST_NAME = re.compile(
    r"(?=.{1,240}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
RESTORING = "restoring"
"""A file in ``.stack`` from the beginning of a restore to its end."""


@dataclass(frozen=True)
class Initialised:
    """What `initialise` left.

    Attributes
    ----------
    made : tuple of str
        Files it wrote; empty where all was there.
    kept : tuple of str
        Settings of ``.env`` that stay although another value was asked for.
    warning : str
        What is wrong with the certificate that was there, and how to renew it; empty where nothing is.
    """

    made: tuple[str, ...]
    address: str
    kept: tuple[str, ...] = ()
    user: str = "admin"
    warning: str = ""


def initialise(
    folder: Path, domain: str, port: int, use_cases: tuple[str, ...], pool: Literal["process", "docker"] = "process"
) -> Initialised:
    """Write ``.env`` and ``.stack/`` beside ``docker-compose.yml``. What is there already stays as it is.

    Parameters
    ----------
    pool : {"process", "docker"}
        What flows run in: processes of one worker, or a container each.

    Raises
    ------
    DriftwheelError
        If there is no ``docker-compose.yml``, or the domain is no host name.
    StorageError
        If something cannot be written. What was made is whole; again, it makes the rest.
    """
    with storing("prepare the stack in", folder):
        return _initialise(folder, domain, port, use_cases, pool)


def _initialise(
    folder: Path, domain: str, port: int, use_cases: tuple[str, ...], pool: Literal["process", "docker"]
) -> Initialised:
    if not (folder / "docker-compose.yml").exists():
        raise DriftwheelError(
            f"docker-compose.yml in {folder}", "none", "Run it in a checkout of driftwheel, or give --folder"
        )
    require_cryptography()
    hidden, made = folder / ".stack", []
    environment = read_settings(folder / ".env")
    _check_domain(environment.get("DRIFTWHEEL_DOMAIN", domain))
    if (hidden / RESTORING).exists():
        raise StackError(
            "a stack that is whole", "one whose restore did not come to its end", "Run `driftwheel stack restore` again"
        )
    hidden.mkdir(mode=0o700, exist_ok=True)
    hidden.chmod(0o700)  # also where an engine made it for a mount
    wanted = _settings(domain, port, use_cases) | (_containers() if pool == "docker" else {})
    asked = ("DRIFTWHEEL_DOMAIN", "DRIFTWHEEL_PORT", *(("DRIFTWHEEL_USE_CASES",) if use_cases else ()))
    kept = [f"{name}={environment[name]}" for name in asked if environment.get(name, wanted[name]) != wanted[name]]
    if environment.get("DRIFTWHEEL_VERSION", wanted["DRIFTWHEEL_VERSION"]) != wanted["DRIFTWHEEL_VERSION"]:
        _raise_version(folder / ".env", wanted["DRIFTWHEEL_VERSION"])
        made.append(".env (DRIFTWHEEL_VERSION)")
    missing = {name: value for name, value in wanted.items() if name not in environment}
    if missing:
        _append(folder / ".env", missing)
        environment |= missing
        made.append(".env")
    made += [f".stack/{name}" for name in _make_secrets(hidden, environment)]
    if not (folder / "usecases").exists():
        (folder / "usecases").mkdir()
        (folder / "usecases").chmod(0o755)  # the containers read it as another user
    address = f"https://{environment['DRIFTWHEEL_DOMAIN']}:{environment['DRIFTWHEEL_PORT']}"
    warning = outdated(hidden / "nginx" / "certificate.pem")
    return Initialised(tuple(made), address, tuple(kept), warning=warning)


def _check_domain(domain: str) -> None:
    """Refuse what no certificate and no page below it could be named after.

    Raises
    ------
    DriftwheelError
        If it is no host name: an address, a port with it, or letters beyond ASCII.
    """
    if not _HOST_NAME.fullmatch(domain):
        raise DriftwheelError(
            "a host name as in example.org, as pages are at prefect.example.org and so on",
            repr(domain),
            "Give a name that leads to this machine; one beyond ASCII in its form with xn--",
        )


def _settings(domain: str, port: int, use_cases: tuple[str, ...]) -> dict[str, str]:
    return {
        "DRIFTWHEEL_VERSION": version("driftwheel"),
        "DRIFTWHEEL_DOMAIN": domain,
        "DRIFTWHEEL_PORT": str(port),
        "DRIFTWHEEL_USE_CASES": ",".join(use_cases),
        "DRIFTWHEEL_PASSWORD": secrets.token_urlsafe(24),
        "DRIFTWHEEL_SERVICE_KEY": f"dw_{PLATFORM}_{secrets.token_urlsafe(32)}",
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }


def _make_secrets(hidden: Path, environment: dict[str, str]) -> list[str]:
    """Write what is missing below ``.stack``; returns the files' names."""
    contents = {
        "nginx/users": _login("admin", environment["DRIFTWHEEL_PASSWORD"]),
        "alerts.env": "# Variables that alert addresses of use cases name: NAME=value\n",
        "mlflow/auth.ini": _mlflow(environment["POSTGRES_PASSWORD"]),
    }
    made = [name for name, content in contents.items() if _write_once(hidden / name, content)]
    if certify(hidden / "nginx", environment["DRIFTWHEEL_DOMAIN"]):
        made.append("nginx/certificate.pem")
    keys = Keys(hidden / "keys" / "keys.json")
    if PLATFORM not in keys.read():
        keys.add(PLATFORM, SCOPES, environment["DRIFTWHEEL_SERVICE_KEY"])
        made.append("keys/keys.json")
    for path in (each for each in hidden.iterdir() if each.is_dir()):
        path.chmod(0o755)  # the folder above keeps others of this machine out; the containers read below it
        for file in path.glob("*"):
            file.chmod(0o644)
    return made


def _containers() -> dict[str, str]:
    """Return what a worker needs to start containers.

    Raises
    ------
    StackError
        If there is no engine's socket here.
    """
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    path = Path(address.removeprefix("unix://"))
    if not address.startswith("unix://") or not path.is_socket():
        raise StackError("an engine's socket on this machine", address, "Start the engine, or set DOCKER_HOST")
    return {
        "COMPOSE_PROFILES": "docker",
        "DRIFTWHEEL_POOL": "driftwheel-docker",
        "DRIFTWHEEL_POOL_TYPE": "docker",
        "DRIFTWHEEL_ENGINE_SOCKET": str(path),
        "DRIFTWHEEL_ENGINE_GROUP": str(path.stat().st_gid),
    }


def read_settings(path: Path) -> dict[str, str]:
    """Read a ``.env`` file; one that is not there holds nothing."""
    if not path.exists():
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "=" in line and line[:1] != "#"]
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def settings_in_force(folder: Path) -> dict[str, str]:
    """Return the settings of the stack of a folder as Compose takes them: the environment goes before ``.env``."""
    return read_settings(folder / ".env") | os.environ


def _append(path: Path, values: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    text += "\n" if text and not text.endswith("\n") else ""
    # as a whole: half a secret would be taken for one
    replace_file(path, text + "".join(f"{name}={value}\n" for name, value in values.items()), 0o600)


def _raise_version(path: Path, version_: str) -> None:
    """Let the stack run the images of this checkout."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("DRIFTWHEEL_VERSION=")]
    replace_file(path, "\n".join([*kept, f"DRIFTWHEEL_VERSION={version_}", ""]), 0o600)


def _write_once(path: Path, content: str) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return True


def _login(user: str, password: str) -> str:
    """Write a line of nginx's users file. The password is 192 random bits, so a salted fast hash keeps it."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{user}:{{SSHA}}{base64.b64encode(digest + salt).decode()}\n"


def _mlflow(password: str) -> str:
    return (
        "[mlflow]\n"
        "default_permission = NO_PERMISSIONS\n"
        f"database_uri = postgresql+psycopg://driftwheel:{password}@postgres/mlflow_auth\n"
        "admin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"
    )
