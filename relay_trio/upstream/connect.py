"""Making a connection: addresses, the proxy's tunnel, the TLS handshake; all of it under the connect clock.

Each step that fails says which step it was; the phase is `connect` for all of them, because the operator's answer to each
is the same clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import trio

from relay_trio.errors import UpstreamFailed
from relay_trio.sockets import Hub, HubSocket, TlsHubSocket, with_tls
from relay_trio.upstream.target import Origin, Proxy, Route

_MAX_TUNNEL_HEAD = 16 * 1024

_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""The first after a minute of silence (macOS has its own name for it); four without an answer, and the peer is gone."""

KEEP_AWAKE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _PROBES.items() if hasattr(socket, name)),
)
"""Socket options: TCP asks a silent peer whether it is there. Models think for minutes without a byte, and a NAT on the
way forgets such a connection, without a word, after as little as two (https://github.com/openai/openai-python/pull/3270)."""


async def open_connection(hub: Hub, origin: Origin, route: Route, address: str | None = None) -> HubSocket:
    """Return a connected socket to the origin, through the route's proxy, with TLS where the origin wants it.

    With `address` (numeric) the origin's name is not looked up: that address is it, and the certificate is the name's.
    Raises UpstreamFailed (code `upstream_connect_failed`). Cancelled at any point, it leaves nothing open.
    """
    peer = route.proxy.origin if route.proxy is not None else origin
    with _step("The provider could not be reached"):
        sock = await _connected(hub, address or peer.host, peer.port)
    try:
        if route.proxy is not None and origin.secure:
            await _tunnel(sock, origin, route.proxy)
        if origin.secure:
            with _step("The TLS handshake with the provider failed"):
                sock = hub.attach(with_tls(_released(hub, sock), route.tls, origin.host))
                assert isinstance(sock, TlsHubSocket)
                await sock.handshake()
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(hub: Hub, host: str, port: int) -> HubSocket:
    """Return a connected socket. A name may have several addresses, which are tried as RFC 8305 has it; a number is one."""
    family = _family_of(host)
    if family is not None:
        return await _connected_at_once(hub, family, (host, port))
    stream = await trio.open_tcp_stream(host, port)
    raw = socket.socket(fileno=stream.socket.detach())
    with contextlib.suppress(OSError):  # macOS takes no options where the peer has closed: the next step tells
        _set_options(raw)
    return hub.attach(raw)


async def _connected_at_once(hub: Hub, family: socket.AddressFamily, address: tuple[str, int]) -> HubSocket:
    """Return a socket connected to an address in numbers.

    On the way through trio's own sockets this cost 75 us, a third of a small request: another wait, other objects, and
    the loop's next round, where a provider on this machine or beside it has often answered before anybody could wait.
    """
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        _set_options(raw)
        with contextlib.suppress(BlockingIOError):
            raw.connect(address)
    except BaseException:
        raw.close()
        raise
    sock = hub.attach(raw)  # not before: until it connects, a new socket looks to epoll like one that has hung up
    try:
        if not _is_connected(raw):
            sock.writable = False
            await sock.wait_writable()
            _raise_what_became_of(raw)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(raw: socket.socket) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in KEEP_AWAKE:
        raw.setsockopt(*option)


def _is_connected(raw: socket.socket) -> bool:
    """Say whether it has a peer; one that is still connecting, or has failed to, has none (getpeername(2): ENOTCONN)."""
    try:
        raw.getpeername()
    except OSError:
        return False
    return True


def _raise_what_became_of(raw: socket.socket) -> None:
    """Raise OSError if the connecting has failed (connect(2): SO_ERROR tells, once it is writable)."""
    failed = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


@functools.lru_cache(maxsize=1024)  # the providers' hosts, and some of the images that requests point to
def _family_of(host: str) -> socket.AddressFamily | None:
    """Return the family of an address in numbers; None for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return family
    return None


def _released(hub: Hub, sock: HubSocket) -> socket.socket:
    """Take a socket out of the hub again, open: TLS is laid over it next."""
    raw = sock.raw
    hub.remove(sock)
    sock.fd = -1
    return raw


async def _tunnel(sock: HubSocket, origin: Origin, proxy: Proxy) -> None:
    """Ask the proxy for a tunnel (RFC 9110, 9.3.6) and read its answer, no byte further."""
    request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (origin.host_and_port, origin.host_and_port)
    if proxy.authorization is not None:
        request += b"proxy-authorization: %b\r\n" % proxy.authorization
    with _step("The proxy broke off"):
        sock.send_now(request + b"\r\n")
        head = await _read_tunnel_head(sock)
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        said = status[0].decode("latin-1")[:3] if status else "no HTTP status"
        raise UpstreamFailed(
            f"The proxy on the way to the provider refused the tunnel ({said}).",
            code="upstream_connect_failed",
            phase="connect",
        )


async def _read_tunnel_head(sock: HubSocket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if len(head) > _MAX_TUNNEL_HEAD:
            raise OSError("the proxy's answer has no end")
        byte = await sock.receive_some(1)  # what follows the head belongs to TLS
        if not byte:
            raise OSError("the proxy closed the connection")
        head += byte
    return head


@contextlib.contextmanager
def _step(failed: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeError) as error:
        detail = _detail(error)
        raise UpstreamFailed(
            f"{failed}{f' ({detail})' if detail else ''}.", code="upstream_connect_failed", phase="connect"
        ) from error


def _detail(error: OSError | UnicodeError) -> str:
    """Name the cause in listed words: an exception's own text may hold addresses."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate was not accepted"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(
        error, socket.gaierror | UnicodeError
    ):  # or it is none: a label is empty or too long (RFC 1035, 2.3.4)
        return "its name was not found"
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError) and cause is not error:
        return _detail(cause)
    return ""
