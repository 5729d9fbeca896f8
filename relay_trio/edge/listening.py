"""The sockets that we accept from."""

from __future__ import annotations

import errno
import os
import socket

from relay_trio.edge.server import BACKLOG


class AddressInUse(Exception):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use")
        self.host = host
        self.port = port


class CannotListen(Exception):
    """The address cannot be listened on."""


def open_listeners(addresses: tuple[str, ...]) -> list[socket.socket]:
    """Return one bound, listening socket for each `host:port`. Raises AddressInUse, CannotListen; leaves none open then."""
    opened: list[socket.socket] = []
    try:
        opened.extend(map(_listener, addresses))
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _listener(address: str) -> socket.socket:
    host, _, port_text = address.rpartition(":")
    host = host.strip("[]")
    port = int(port_text)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6 and hasattr(socket, "IPV6_V6ONLY"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port) from error
        raise CannotListen(f"cannot listen on {address}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock
