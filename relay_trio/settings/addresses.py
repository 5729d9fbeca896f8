"""The addresses to listen on: the list, or its short way of RELAY_HOST and RELAY_PORT; and which of them strangers reach."""

from __future__ import annotations

import ipaddress

from relay_trio.settings.kinds import NotAllowed, Scalar, Unfit, address, count
from relay_trio.settings.written import InText

HOST_VARIABLE = "RELAY_HOST"
PORT_VARIABLE = "RELAY_PORT"

_PORTS: Scalar[int] = count(0, 65535)
_ADDRESSES: Scalar[str] = address()


def with_host(written: InText, address: str) -> str:
    """Return the address with another host. Raises Unfit."""
    bare = written.raw.strip("[]")
    host = f"[{bare}]" if ":" in bare else bare
    try:
        return _ADDRESSES.read(f"{host}:{address.rpartition(':')[2]}", written.around)
    except Unfit:
        raise Unfit("is no host", '"0.0.0.0" or "::1"') from None


def with_port(written: InText, address: str) -> str:
    """Return the address with another port. Raises Unfit."""
    try:
        port = _PORTS.read(written.raw, written.around)
    except NotAllowed as unfit:
        raise Unfit(f"{unfit.why}; allowed {_PORTS.allowed}, default 3000") from None
    return f"{address.rpartition(':')[0]}:{port}"


def is_loopback(address: str) -> bool:
    """Only this machine can reach the address. A name other than localhost may mean anything."""
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
