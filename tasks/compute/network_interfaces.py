"""Which network interface has an address."""

from __future__ import annotations

import psutil

from expectations.errors import ComputeError


def interface_of(host: str) -> str:
    """Return the name of the interface of this machine that has an address.

    Raises
    ------
    ComputeError
        If none has.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == host for each in addresses):
            return name
    raise ComputeError(
        f"a network interface of this machine with the address {host}",
        "none",
        "Start Ray with the address of one: `ray start --node-ip-address ADDRESS`",
    )
