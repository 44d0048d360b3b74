"""What the supervisor of the local stack is to start, in its own words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from infra.settings import Addresses, Settings
from infra.supervised import Supervised


def supervisor_config(stack: Supervised, programs: Sequence[str], addresses: Addresses) -> str:
    """Return what the supervisor of a stack reads, to start programs that listen at these addresses."""
    settings, logs = stack.settings, stack.logs
    home = settings.folder
    python = _quoted(sys.executable)
    commands = {
        **{
            page: f"{python} -m infra.pages {page} --port {port_of(getattr(addresses, page))}"
            for page in ("prefect", "mlflow", "evidently")
        },
        "service": f"{python} -m infra.serving --releases {_quoted(home / 'releases')} "
        f"--journal {_quoted(home / 'journal')} --port {port_of(addresses.service)} {_service_options(settings)}",
        "runner": f"{python} -m flows.deployments",
        "page": f"{python} -m flows.page --port {port_of(addresses.page)}",
    }
    parts = [
        "[unix_http_server]",
        f"file={stack.socket}",
        "chmod=0600",
        "[supervisord]",
        f"logfile={logs / 'supervisord.log'}",
        "logfile_maxbytes=5MB",
        "logfile_backups=2",
        f"pidfile={stack.folder / 'supervisord.pid'}",
        f"childlogdir={logs}",
        "umask=077",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for name in programs:
        parts += [
            f"[program:{name}]",
            f"command={commands[name]}",
            "autorestart=true",
            "startsecs=1",
            "startretries=3",
            "stopwaitsecs=15",
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={logs / f'{name}.log'}",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=3",
        ]
    return "\n".join(parts).replace("%", "%%") + "\n"


def _service_options(settings: Settings) -> str:
    options = [f"--workers {settings.service_workers}", f"--durability {settings.service_durability}"]
    options.append(f"--keys {_quoted(settings.keys_file)} --token {_quoted(settings.token_file)}")
    if settings.service_answer_unlogged:
        options.append("--answer-unlogged")
    return " ".join(options)


def port_of(address: str) -> int:
    """Return the port of an address."""
    return int(address.rpartition(":")[2])


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "'\\''") + "'"
