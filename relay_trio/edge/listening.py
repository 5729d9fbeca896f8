"""The sockets that we accept from: given by the service manager, taken over from the relay before us, or bound here."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import MutableMapping, Sequence

from relay_trio.edge.server import BACKLOG


class AddressInUse(Exception):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use")
        self.host = host
        self.port = port


class CannotListen(Exception):
    """The address cannot be listened on."""


_FIRST_GIVEN_FD = 3
"""sd_listen_fds(3): the sockets follow on stdin, stdout and stderr."""


def given_listeners(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets that the service manager listens on for us (LISTEN_FDS), or none.

    The variables are taken out of the environment: they speak of this process, and of none that it starts.
    """
    pid, count, _ = (environment.pop(name, None) for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or count is None or not count.isdecimal():
        return []
    return [_adopted(fd) for fd in range(_FIRST_GIVEN_FD, _FIRST_GIVEN_FD + int(count))]


def _adopted(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock


def open_listeners(addresses: tuple[str, ...], taken_over: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """Return one bound, listening socket for each `host:port`, those that were taken over first of all.

    Of these the ones that nobody wants any more are closed. Raises AddressInUse, CannotListen; leaves none open then.
    """
    there = {sock.getsockname()[:2]: sock for sock in taken_over}
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            name = next((name for name in there if _is(name, _resolved(address))), None)
            opened.append(_listener(address) if name is None else there.pop(name))
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    finally:
        for sock in there.values():
            sock.close()
    return opened


def _split(address: str) -> tuple[str, int, socket.AddressFamily]:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return host, int(port), socket.AF_INET6 if ":" in host else socket.AF_INET


def _is(name: tuple[str, int], wanted: tuple[str, int] | None) -> bool:
    """Say whether a socket of this name is what is wanted; port 0 wants any port."""
    return wanted is not None and name[0] == wanted[0] and wanted[1] in {0, name[1]}


def _resolved(address: str) -> tuple[str, int] | None:
    """Return the address as getsockname(2) says it of a socket that is bound to it; None if it has no such name."""
    host, port, family = _split(address)
    try:
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return None
    return str(found[0][4][0]), int(found[0][4][1])


def _listener(address: str) -> socket.socket:
    host, port, family = _split(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
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
