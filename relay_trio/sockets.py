"""Waiting on sockets: the only place where the relay touches `trio.lowlevel`.

A hub watches every socket of a process, whether a task waits on it or not, and so learns two things that a waiting
task alone cannot: that a peer has left while nobody reads, and that an idle pooled connection has died.

On Linux (`EpollHub`) each socket is registered once, edge-triggered, in one private epoll that one trio task drains; a
task that waits is parked and rescheduled by that task, so a wait costs no system call and can be cancelled at every
await. Elsewhere (`PortableHub`) waiting is trio's own, and a poll tells the peers that left. Both have one interface.

Edge-triggered rules (epoll(7)): an edge comes only for news, so a reader goes on until a read comes back short or would
block, and to the end of the stream once the peer has hung up.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import attrs
import outcome
import trio

RECEIVE_BYTES = 65536
"""How much one read asks for: what one read gives leaves in one write, so this also bounds a write."""

_READS_BEFORE_CHECKPOINT = 8
"""A peer that always has more to read would else never let another task run, nor its own deadline fire."""

_TLS_SEND_BYTES = 65536
"""OpenSSL wants a refused write repeated with the same beginning and no shorter, so a slice is always cut alike."""

_PORTABLE_POLL_S = 0.25
"""How often the portable hub looks for peers that left: a client's leaving ends its work within a second."""

_RST_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_Callback = Callable[[], None]


@attrs.frozen
class HubStatistics:
    """What a hub holds: sockets attached now, and since the start."""

    attached: int
    opened: int
    closed: int


class Hub(Protocol):
    """Watches sockets. `run` must be running for anything to be told."""

    async def run(self) -> None:
        """Tell waiting tasks of their sockets until cancelled."""
        ...

    def attach(self, sock: socket.socket, on_hangup: _Callback | None = None) -> HubSocket:
        """Take a connected, non-blocking socket over; `on_hangup` is called once, synchronously, when its peer leaves."""
        ...

    def statistics(self) -> HubStatistics:
        """Return what the hub holds."""
        ...

    async def wait_readable(self, sock: HubSocket) -> None:
        """Return when a read may bring something. Checkpoint; raises trio.ClosedResourceError."""
        ...

    async def wait_writable(self, sock: HubSocket) -> None:
        """Return when a write may be accepted. Checkpoint; raises trio.ClosedResourceError."""
        ...

    async def wait_news(self, sock: HubSocket) -> None:
        """Return when a read or a write may bring something. Checkpoint; raises trio.ClosedResourceError."""
        ...

    def add(self, sock: HubSocket) -> None:
        """Watch this socket."""
        ...

    def remove(self, sock: HubSocket) -> None:
        """Forget this socket and wake whoever waits on it with trio.ClosedResourceError."""
        ...


class HubSocket:
    """A connected socket whose waits go through a hub. One task may read while another writes.

    `hung_up` is true once the peer's FIN or RST has been told; what it sent before can still be read.
    """

    __slots__ = (
        "_hub", "_raw", "_reads", "broken", "fd", "hung_up", "on_hangup", "on_readable", "readable", "reader",
        "truncated", "writable", "writer",
    )  # fmt: skip

    def __init__(self, hub: Hub, raw: socket.socket, on_hangup: _Callback | None) -> None:
        self._hub = hub
        self._raw = raw
        self._reads = 0
        self.fd = raw.fileno()
        self.on_hangup = on_hangup
        self.on_readable: Callable[[], object] | None = None
        """Is called when there may be something to read, also while nobody waits for it. True: that was dealt with, and
        whoever waits for it need not wake."""
        self.hung_up = False
        self.broken: OSError | None = None
        """What a hub has met when it looked: the system tells it once, and after that says that the stream has ended."""
        self.truncated = False
        """TLS only: the stream ended without close_notify, so an end that only the connection's end proves is none."""
        self.readable = False
        """A read may bring something. Over TLS what is there need not be for us: a session ticket, half a record."""
        self.writable = True
        self.reader: trio.lowlevel.Task | None = None
        self.writer: trio.lowlevel.Task | None = None

    def __repr__(self) -> str:
        """Say what the socket is and how it stands."""
        state = "closed" if self.fd < 0 else "hung up" if self.hung_up else "open"
        return f"<{type(self).__name__} fd={self.fd} {state}>"

    @property
    def raw(self) -> socket.socket:
        """The socket itself, for its options and addresses."""
        return self._raw

    async def receive_some(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        """Return what has arrived, waiting for something; b"" is the end. Cancelled, it has taken nothing.

        Raises OSError when the connection broke, trio.ClosedResourceError when it was closed here. Every eighth read
        in a row that needs no wait is a checkpoint all the same.
        """
        while self.fd >= 0:
            if not self.readable:
                self._reads = 0
                await self._hub.wait_readable(self)
            elif self._reads >= _READS_BEFORE_CHECKPOINT:
                self._reads = 0
                await trio.lowlevel.checkpoint()
            else:
                data = self.receive_now(max_bytes)
                if data is not None:
                    self._reads += 1
                    return data
        raise trio.ClosedResourceError("closed by its owner")

    def send_now(self, data: bytes | memoryview) -> int:
        """Write what the kernel takes now and return how much that was. Raises OSError when the connection broke."""
        try:
            sent = self._raw.send(data)
        except BlockingIOError:
            self.writable = False
            return 0
        if sent < len(data):
            self.writable = False
        return sent

    async def wait_readable(self) -> None:
        """Return when a read may bring something. Checkpoint."""
        if self.readable:
            await trio.lowlevel.checkpoint()
        else:
            await self._hub.wait_readable(self)

    async def wait_writable(self) -> None:
        """Return when a write may be accepted. Checkpoint."""
        if self.writable:
            await trio.lowlevel.checkpoint()
        else:
            await self._hub.wait_writable(self)

    async def wait_writable_or_readable(self) -> None:
        """Return when a write may be accepted or when the peer has said something meanwhile. Checkpoint."""
        if self.writable or self.readable:
            await trio.lowlevel.checkpoint()
        else:
            await self._hub.wait_news(self)

    def holds_nothing(self) -> bool:
        """Look whether there is nothing to read, not even an end. What there is, is lost: only for idle connections."""
        try:
            return self.receive_now(1) is None
        except OSError:
            return False

    def shutdown_write(self) -> None:
        """Send FIN: the peer reads what was written, then the end."""
        if self.fd >= 0:
            try:
                self._raw.shutdown(socket.SHUT_WR)
            except OSError:
                self.hung_up = True

    def close(self) -> None:
        """Close at once; whoever waits on the socket gets trio.ClosedResourceError. May be called twice."""
        if self.fd >= 0:
            self._hub.remove(self)
            self.fd = -1
            self.on_hangup = None  # its owner, who holds this socket: else both would wait for the collector
            self._raw.close()

    def abort(self) -> None:
        """Close with RST: nothing that the peer has not taken lingers in the kernel."""
        if self.fd >= 0:
            try:
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            except OSError:
                self.hung_up = True
            self.close()

    def told_hangup(self) -> None:
        """Note that the peer has left and tell the owner, once. For hubs."""
        if not self.hung_up:
            self.hung_up = True
            if self.on_hangup is not None:
                self.on_hangup()

    # What cancels a wait. For hubs.

    def stop_reading(self, _: object) -> trio.lowlevel.Abort:
        """Nobody reads any more."""
        self.reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def stop_writing(self, _: object) -> trio.lowlevel.Abort:
        """Nobody writes any more."""
        self.writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def stop_both(self, _: object) -> trio.lowlevel.Abort:
        """Nobody waits any more."""
        self.reader = self.writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def receive_now(self, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
        """Return what has arrived; None if there is nothing yet, b"" at the end. Raises OSError."""
        try:
            data = self._raw.recv(max_bytes)
        except BlockingIOError:
            self.readable = False
            return None
        if not data and self.broken is not None:
            raise self.broken
        if len(data) < max_bytes and not self.hung_up:
            self.readable = False
        return data


class TlsHubSocket(HubSocket):
    """The same over TLS: a non-blocking ssl.SSLSocket, which costs 2 us a record more than clear text.

    A write that was refused must be repeated with the same bytes before anything else is written (SSL_write(3)): keep
    what was not sent and send it first.
    """

    __slots__ = ()

    _raw: ssl.SSLSocket

    async def handshake(self) -> None:
        """Finish the TLS handshake. Raises OSError (ssl.SSLError among them). Cancellable at every wait."""
        while True:
            try:
                self._raw.do_handshake()
            except ssl.SSLWantReadError:
                self.readable = False
                await self._hub.wait_readable(self)
            except ssl.SSLWantWriteError:
                self.writable = False
                await self._hub.wait_writable(self)
            else:
                self.readable = True
                await trio.lowlevel.checkpoint()
                return

    def send_now(self, data: bytes | memoryview) -> int:
        """Write what the kernel takes now; 0 means: again, with the same bytes."""
        sent = 0
        view = memoryview(data)
        try:
            while sent < len(view):
                sent += self._raw.send(view[sent : sent + _TLS_SEND_BYTES])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self.writable = False
        return sent

    def shutdown_write(self) -> None:
        """Send close_notify and FIN: only so does the peer know that it has everything (RFC 9112, 9.8).

        What the peer still sends is received as it is on the wire: fit to be thrown away.
        """
        if self.fd >= 0:
            with suppress(OSError, ValueError):  # it says that the peer's own has not come: nobody waits for that
                self._raw.unwrap()
        super().shutdown_write()

    def receive_now(self, max_bytes: int = RECEIVE_BYTES) -> bytes | None:
        """Return what has arrived; None if there is nothing yet, b"" at the end. Raises OSError."""
        try:
            return self._raw.recv(max_bytes)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            self.readable = False
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError:
            self.truncated = True
            return b""


class _BaseHub:
    """What both hubs do alike: they know their sockets by descriptor and count them."""

    def __init__(self) -> None:
        self._sockets: dict[int, HubSocket] = {}
        self._opened = 0
        self._closed = 0

    def statistics(self) -> HubStatistics:
        """Return what the hub holds."""
        return HubStatistics(attached=len(self._sockets), opened=self._opened, closed=self._closed)

    def _enter(self, sock: HubSocket) -> None:
        self._sockets[sock.fd] = sock
        self._opened += 1

    def _leave(self, sock: HubSocket) -> bool:
        if self._sockets.get(sock.fd) is not sock:
            return False
        del self._sockets[sock.fd]
        self._closed += 1
        return True


if sys.platform == "linux":
    _NEWS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
    _GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _EVENTS_PER_LOOK = 128
    """A burst of streams is passed on in turns of some 5 ms, so that between them others are served and clocks fire."""

    class EpollHub(_BaseHub):
        """One edge-triggered epoll for all sockets of the process, drained by one task."""

        def __init__(self) -> None:
            super().__init__()
            self._epoll = select.epoll()

        async def run(self) -> None:
            """Tell waiting tasks of their sockets until cancelled."""
            try:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for fd, events in self._epoll.poll(0, _EVENTS_PER_LOOK):
                        self._tell(fd, events)
            finally:
                self._epoll.close()

        def attach(self, sock: socket.socket, on_hangup: _Callback | None = None) -> HubSocket:
            """Take a connected socket over."""
            return _attach(self, sock, on_hangup)

        def add(self, sock: HubSocket) -> None:
            """Register the socket, once for its whole life."""
            self._epoll.register(sock.fd, _NEWS)
            self._enter(sock)

        def remove(self, sock: HubSocket) -> None:
            """Forget the socket and wake its waiters."""
            if not self._leave(sock):
                return
            if not self._epoll.closed:
                self._epoll.unregister(sock.fd)
            for task in {sock.reader, sock.writer}:
                if task is not None:
                    trio.lowlevel.reschedule(task, outcome.Error(trio.ClosedResourceError("closed by its owner")))
            sock.reader = sock.writer = None

        async def wait_readable(self, sock: HubSocket) -> None:
            """Park the task until the socket has news for a reader."""
            _claim(sock, sock.reader)
            sock.reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(sock.stop_reading)

        async def wait_writable(self, sock: HubSocket) -> None:
            """Park the task until the socket has room for a writer."""
            _claim(sock, sock.writer)
            sock.writer = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(sock.stop_writing)

        async def wait_news(self, sock: HubSocket) -> None:
            """Park the task until the socket has news of either kind."""
            _claim(sock, sock.reader or sock.writer)
            sock.reader = sock.writer = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(sock.stop_both)

        def _tell(self, fd: int, events: int) -> None:
            sock = self._sockets.get(fd)
            if sock is None:
                return
            if events & (select.EPOLLIN | _GONE):
                sock.readable = True
                dealt_with = sock.on_readable is not None and sock.on_readable() is True
                if events & _GONE:  # the end is told only once, and what was read just now need not have been all
                    sock.readable, dealt_with = True, False
                reader = sock.reader
                if reader is not None and not dealt_with:
                    sock.reader = None
                    if sock.writer is reader:
                        sock.writer = None
                    trio.lowlevel.reschedule(reader)
            if events & (select.EPOLLOUT | _GONE):
                sock.writable = True
                writer = sock.writer
                if writer is not None:
                    sock.writer = None
                    if sock.reader is writer:
                        sock.reader = None
                    trio.lowlevel.reschedule(writer)
            if events & _GONE:
                sock.told_hangup()

    def _claim(sock: HubSocket, holder: trio.lowlevel.Task | None) -> None:
        if sock.fd < 0:
            raise trio.ClosedResourceError("closed by its owner")
        if holder is not None:
            raise trio.BusyResourceError("another task waits on this socket")


class PortableHub(_BaseHub):
    """The same interface on trio's own waiting, for platforms without epoll."""

    async def run(self) -> None:
        """Look for peers that left, four times a second, until cancelled."""
        while True:
            await trio.sleep(_PORTABLE_POLL_S)
            for sock in list(self._sockets.values()):
                if sock.on_readable is not None and _peek(sock) is not None:
                    sock.readable = True
                    sock.on_readable()
                if not sock.hung_up and _peer_left(sock):
                    sock.readable = True
                    sock.told_hangup()

    def attach(self, sock: socket.socket, on_hangup: _Callback | None = None) -> HubSocket:
        """Take a connected socket over."""
        return _attach(self, sock, on_hangup)

    def add(self, sock: HubSocket) -> None:
        """Watch the socket."""
        self._enter(sock)

    def remove(self, sock: HubSocket) -> None:
        """Forget the socket and wake its waiters."""
        if self._leave(sock):
            trio.lowlevel.notify_closing(sock.raw)

    async def wait_readable(self, sock: HubSocket) -> None:
        """Wait as trio waits."""
        if sock.fd < 0:
            raise trio.ClosedResourceError("closed by its owner")
        await trio.lowlevel.wait_readable(sock.raw)
        sock.readable = True
        if _peer_left(sock):
            sock.told_hangup()

    async def wait_writable(self, sock: HubSocket) -> None:
        """Wait as trio waits."""
        if sock.fd < 0:
            raise trio.ClosedResourceError("closed by its owner")
        await trio.lowlevel.wait_writable(sock.raw)
        sock.writable = True

    async def wait_news(self, sock: HubSocket) -> None:
        """Wait for room, looking up now and then for what the peer says."""
        while not (sock.writable or sock.readable):
            with trio.move_on_after(_PORTABLE_POLL_S):
                await self.wait_writable(sock)
            if _peek(sock) is not None:
                sock.readable = True


def open_hub() -> Hub:
    """Return the best hub of this platform."""
    if sys.platform == "linux" and hasattr(select, "epoll"):
        return EpollHub()
    return PortableHub()


def _attach(hub: Hub, raw: socket.socket, on_hangup: _Callback | None) -> HubSocket:
    try:
        raw.setblocking(False)
        kind = TlsHubSocket if isinstance(raw, ssl.SSLSocket) else HubSocket
        sock = kind(hub, raw, on_hangup)
        hub.add(sock)
    except BaseException:
        raw.close()  # taken over is taken over: epoll may refuse one more (max_user_watches)
        raise
    return sock


class _TlsSocket(ssl.SSLSocket):
    """Can be made of a socket that its peer has reset: there ssl.SSLSocket raises, and forgets to close what it took."""

    def getpeername(self) -> Any:
        """Return the peer's address; None where the handshake will say what became of it."""
        try:
            return super().getpeername()
        except OSError:
            return None


def with_tls(raw: socket.socket, context: ssl.SSLContext, server_hostname: str | None = None) -> ssl.SSLSocket:
    """Return the connected socket with TLS laid over it, before the handshake; without a host's name, as the server.

    The old socket object is empty afterwards. Raises OSError.
    """
    context.sslsocket_class = _TlsSocket
    return context.wrap_socket(
        raw,
        server_side=server_hostname is None,
        server_hostname=server_hostname,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,  # a FIN without close_notify may come from anybody on the way
    )


def _peer_left(sock: HubSocket) -> bool:
    """Peek: an end or a reset stands where the next byte would. What waits unread hides it, as it does from a reader."""
    return _peek(sock) == b""


def _peek(sock: HubSocket) -> bytes | None:
    try:
        return socket.socket.recv(sock.raw, 1, socket.MSG_PEEK)  # past ssl.SSLSocket, which refuses flags
    except BlockingIOError:
        return None
    except OSError as error:
        sock.broken = error
        return b""
